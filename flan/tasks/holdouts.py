"""What a mixture must leave out of training, and why: the rules of a hold-out, each with its reason.

A held-out cluster goes whole, its neighbours with it; a held-out task takes its family along. Documents of other
projects go with the cluster that their category joins, and with a task that was made from their dataset
(flan/tasks/joins.py). Besides, the ablations of Wei et al. 2022 and its released code: one dataset of each cluster
(`intra_cluster`), the first n clusters in the order of figure 6 (`first_clusters`), the first n datasets of each
(`datasets_per_cluster`). The taxonomy's lineage is a rule
of ours, and off unless asked for.
"""

import math
from collections import abc, defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from flan.errors import InvalidDocument, Problem, problem
from flan.spec import HoldOut
from flan.tasks.task import Task
from flan.tasks.taxonomy import Taxonomy, near, relatives


def excluded(
    tasks: Mapping[str, Task], hold_out: HoldOut, taxonomy: Taxonomy, pointer: str = "/mixture/hold_out"
) -> dict[str, str]:
    """Task → why it is left out of training, in plain words, for those of `tasks` that are.

    The first reason that applies is given. Raises InvalidDocument naming every cluster and task of `hold_out`
    that does not exist, with places below `pointer`.
    """
    reasons = held_out(tasks, hold_out, taxonomy, pointer)
    asked = tuple(reasons)
    for name, reason in (
        *_alike(tasks, hold_out, taxonomy),
        *_same_texts(tasks, asked, taxonomy),
        *_neighbours(tasks, hold_out, taxonomy),
        *_akin(tasks, asked, hold_out, taxonomy),
        *_beyond(tasks, hold_out, taxonomy),
        *_further(tasks, hold_out, taxonomy),
    ):
        reasons.setdefault(name, reason)
    return reasons


def held_out(
    tasks: Mapping[str, Task], hold_out: HoldOut, taxonomy: Taxonomy, pointer: str = "/mixture/hold_out"
) -> dict[str, str]:
    """Those that are held out to be asked, not for being akin to such a one; raises likewise."""
    _check(tasks, hold_out, taxonomy, pointer)
    reasons: dict[str, str] = {}
    for name, reason in (
        *_clusters(tasks, hold_out),
        *_names(tasks, hold_out),
        *_within(tasks, hold_out, taxonomy),
    ):
        reasons.setdefault(name, reason)
    return reasons


def held_out_within(tasks: Mapping[str, Task], split: int, taxonomy: Taxonomy) -> tuple[str, ...]:
    """The tasks that split number `split` holds out: one dataset of each cluster that has several.

    The datasets of a cluster are taken in a seeded order, one in each split, then again from the beginning.
    Those of the paper are grouped, ordered and seeded as in the released code; a variant that it does not know
    goes with its family. Elsewhere a family is a dataset, and the place of the cluster among all is the seed.
    """
    known = {name for each in taxonomy.intra_cluster for group in each.groups for name in group}
    grouped = {each.cluster: (each.seed, each.groups) for each in taxonomy.intra_cluster}
    families: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(tasks):
        families[tasks[name].cluster][tasks[name].kin].append(name)
    for seed, cluster in enumerate(sorted(families)):
        by_family = [tuple(families[cluster][family]) for family in sorted(families[cluster])]
        grouped.setdefault(cluster, (seed, tuple(by_family)))
    held: set[str] = set()
    for seed, groups in (grouped[cluster] for cluster in families):
        if len(groups) > 1:
            order = np.random.RandomState(seed).permutation(len(groups))
            held |= {name for name in groups[int(order[split % len(groups)])] if name in tasks}
    kin = {each for name in held for each in relatives(tasks[name], tasks.values())}
    return tuple(sorted(held | (kin - known)))


Reasons = Iterator[tuple[str, str]]


def _clusters(tasks: Mapping[str, Task], hold_out: HoldOut) -> Reasons:
    for cluster in hold_out.clusters:
        for name, task in tasks.items():
            if task.cluster == cluster:
                yield name, f"held out: cluster {cluster}"


def _names(tasks: Mapping[str, Task], hold_out: HoldOut) -> Reasons:
    for name in hold_out.tasks:
        yield name, "held out by name"
        for relative in sorted(relatives(tasks[name], tasks.values())):
            yield relative, f"of the same family ({tasks[name].kin}) as held-out {name}"


def _alike(tasks: Mapping[str, Task], hold_out: HoldOut, taxonomy: Taxonomy) -> Reasons:
    for cluster in hold_out.clusters:
        for name, task in tasks.items():
            if taxonomy.are_alike(task.cluster, cluster):
                yield name, f"its category {task.cluster} has tasks like those of held-out cluster {cluster}"


def _same_texts(tasks: Mapping[str, Task], asked: tuple[str, ...], taxonomy: Taxonomy) -> Reasons:
    """Tasks whose rows are those of a held-out task's dataset, whatever their cluster.

    Variants that the splits of the paper tell apart stay apart.
    """
    told_apart = {name for each in taxonomy.intra_cluster for group in each.groups for name in group}
    holders: dict[str, list[str]] = defaultdict(list)
    for held in asked:
        for family in taxonomy.families(tasks[held]):
            holders[family].append(held)
    for name, task in tasks.items():
        for family in sorted(taxonomy.families(task) & holders.keys()):
            for held in holders[family]:
                if name != held and not {name, held} <= told_apart:
                    yield name, f"made from texts of {family}, as held-out {held}"


def _within(tasks: Mapping[str, Task], hold_out: HoldOut, taxonomy: Taxonomy) -> Reasons:
    if hold_out.intra_cluster is not None:
        for name in held_out_within(tasks, hold_out.intra_cluster, taxonomy):
            yield name, f"held out: split {hold_out.intra_cluster} within cluster {tasks[name].cluster}"


def _neighbours(tasks: Mapping[str, Task], hold_out: HoldOut, taxonomy: Taxonomy) -> Reasons:
    if hold_out.adjacent == "exclude":
        for cluster in hold_out.clusters:
            for name, task in tasks.items():
                pairs = taxonomy.likened(cluster, task.cluster)
                if any(b in taxonomy.neighbours.get(a, ()) for a, b in pairs):
                    yield name, f"adjacent to held-out cluster {cluster}"


def _akin(
    tasks: Mapping[str, Task], asked: tuple[str, ...], hold_out: HoldOut, taxonomy: Taxonomy
) -> Reasons:
    if hold_out.lineage == "exclude":
        for held in asked:
            akin = taxonomy.akin(tasks[held], tasks.values())
            for name, task in tasks.items():
                if not akin.isdisjoint(taxonomy.families(task)):
                    yield name, f"made from the same texts as held-out {held}"


def _beyond(tasks: Mapping[str, Task], hold_out: HoldOut, taxonomy: Taxonomy) -> Reasons:
    if hold_out.first_clusters is not None:
        first = taxonomy.ablation[: hold_out.first_clusters]
        for name, task in tasks.items():
            if task.cluster not in first:
                yield name, f"not of the first {len(first)} clusters: {', '.join(first)}"


def _further(tasks: Mapping[str, Task], hold_out: HoldOut, taxonomy: Taxonomy) -> Reasons:
    most = hold_out.datasets_per_cluster
    if most is not None:
        for cluster, datasets in _datasets(tasks, taxonomy).items():
            for name in (name for dataset in datasets[most:] for name in dataset):
                yield name, f"not of the first {most} datasets of cluster {cluster}"


def _datasets(tasks: Mapping[str, Task], taxonomy: Taxonomy) -> dict[str, list[list[str]]]:
    """Cluster → the tasks of each of its datasets: in the order of the released code's splits, then by family."""
    places: dict[str, float] = {}
    families: dict[str, float] = {}
    for each in taxonomy.intra_cluster:
        for number, name in ((number, name) for number, group in enumerate(each.groups) for name in group):
            places[name] = number
            if name in tasks:
                families.setdefault(tasks[name].kin, number)
    datasets: dict[str, dict[tuple[float, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, task in tasks.items():
        place = places.get(name, families.get(task.kin, math.inf))
        datasets[task.cluster][place, task.kin if place == math.inf else ""].append(name)
    return {cluster: [found[key] for key in sorted(found)] for cluster, found in datasets.items()}


def _check(tasks: Mapping[str, Task], hold_out: HoldOut, taxonomy: Taxonomy, pointer: str) -> None:
    clusters = set(taxonomy.clusters) | {task.cluster for task in tasks.values()}
    problems = _strangers("cluster", hold_out.clusters, clusters, pointer)
    problems += _strangers("task", hold_out.tasks, tasks, pointer)
    if (hold_out.first_clusters or 0) > len(taxonomy.ablation):
        said = f"the ablation adds {len(taxonomy.ablation)} clusters, not {hold_out.first_clusters}"
        hint = "its order is that of the flan collection" if not taxonomy.ablation else None
        problems.append(problem(f"{pointer}/first_clusters", "too_many_clusters", said, hint))
    if problems:
        raise InvalidDocument(f"hold_out: {problems[0]['message']}", problems)


def _strangers(what: str, names: tuple[str, ...], known: abc.Collection[str], pointer: str) -> list[Problem]:
    return [
        {
            "pointer": f"{pointer}/{what}s/{i}",
            "code": f"unknown_{what}",
            "message": f"there is no {what} {name!r}{near(name, known)}",
        }
        for i, name in enumerate(names)
        if name not in known
    ]
