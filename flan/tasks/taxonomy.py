"""Which tasks are kin: clusters, which of them are adjacent, and which tasks were made from the same texts.

From it follow the two answers on which a zero-shot claim rests: which tasks a mixture must leave out
(flan/tasks/holdouts.py), and whether a model has seen anything akin to a task (`verdict`). Source of the rules:
Wei et al. 2022, 2.2, and the released code's splits.
"""

import difflib
from collections import Counter, abc
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from flan.card import Lineage
from flan.errors import NotFound
from flan.spec import Document, Name, Reference, parse
from flan.tasks.joins import Joins, load_joins, origins
from flan.tasks.task import Collection, Task, collection_folder
from flan.tasks.yaml_text import parse_yaml

TAXONOMY_FILE = "taxonomy.yaml"
CLUSTER_PREFIX = "cluster:"
Verdict = Literal["proven", "violated", "unknown"]
"""Of the claim that a model never saw anything akin to a task."""


class Ruling(NamedTuple):
    """A verdict, and what it rests on."""

    verdict: Verdict
    why: str


class SharedSource(Document):
    """Tasks `a` and `b` were made from the same texts: who trained on one has read parts of the other."""

    a: Name
    b: Name
    why: str = Field(min_length=1)


class Preset(Document):
    """A choice of a collection's tasks that has a name, such as those of a publication."""

    description: str = Field(min_length=1)
    without: tuple[Reference, ...] = ()
    """Tasks, and clusters as `cluster:NAME`, that are not of it."""
    counted: dict[str, tuple[Name, ...]] = {}
    """A cluster of the publication, by its display name → those of the taxonomy that it was split into."""
    counted_apart: tuple[Name, ...] = ()
    """Families of which the publication counts each task as a dataset; of any other it counts one."""

    def holds(self, task: Task) -> bool:
        """Whether `task` is of it."""
        return task.name not in self.without and f"{CLUSTER_PREFIX}{task.cluster}" not in self.without

    def num_datasets(self, tasks: Iterable[Task], clusters: Mapping[str, str]) -> dict[str, int]:
        """Cluster of the publication → its datasets, as it counts them; `clusters` are a taxonomy's."""
        merged = {each: name for name, many in self.counted.items() for each in many}
        datasets = {
            (merged.get(task.cluster, clusters[task.cluster]), self._dataset(task))
            for task in tasks
            if self.holds(task)
        }
        return dict(Counter(cluster for cluster, _ in sorted(datasets)))

    def _dataset(self, task: Task) -> str:
        return task.name if task.kin in self.counted_apart else task.kin


class ClusterGroups(Document):
    """The datasets of a cluster, in an order that splits depend on."""

    cluster: Name
    seed: int = Field(ge=0)
    """Of the permutation in which they are held out."""
    groups: tuple[tuple[Name, ...], ...]
    """Tasks that are held out together."""


class Taxonomy(Document):
    """The clusters of a collection.

    Adjacency goes both ways however it is written; `neighbours` holds it complete. `lineage` names what
    the cluster rule does not catch: a verdict always counts it, a hold-out where it is asked to (the paper's
    rule does not know it).
    """

    clusters: dict[Name, str] = Field(min_length=1)
    """Cluster → display name."""
    adjacency: dict[Name, tuple[Name, ...]] = {}
    lineage: tuple[SharedSource, ...] = ()
    ablation: tuple[Name, ...] = ()
    """Clusters in the order in which the paper's ablation adds them."""
    intra_cluster: tuple[ClusterGroups, ...] = ()
    """Of which datasets a split within clusters holds out one; a cluster that is not named has its families."""
    presets: dict[Name, Preset] = {}
    joins: Joins = Joins()
    """How documents of other projects join these clusters, and the families of tasks."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for cluster, neighbours in self.adjacency.items():
            for name in (cluster, *neighbours):
                if name not in self.clusters:
                    raise ValueError(
                        f"adjacency names {name!r}, which is none of the clusters{near(name, self.clusters)}"
                    )
            if cluster in neighbours:
                raise ValueError(f"{cluster!r} cannot be adjacent to itself")
        for name in (*self.ablation, *(each.cluster for each in self.intra_cluster)):
            if name not in self.clusters:
                raise ValueError(f"{name!r} is none of the clusters{near(name, self.clusters)}")
        for edge in self.lineage:
            if edge.a == edge.b:
                raise ValueError(f"lineage joins {edge.a!r} with itself")
        return self

    @property
    def neighbours(self) -> dict[str, tuple[str, ...]]:
        """Cluster → every adjacent cluster, in both directions, for the clusters that have one."""
        pairs = {(a, b) for a, many in self.adjacency.items() for b in many}
        pairs |= {(b, a) for a, b in pairs}
        return {a: tuple(sorted(b for c, b in pairs if c == a)) for a in sorted({a for a, _ in pairs})}

    def likened(self, a: str, b: str) -> frozenset[tuple[str, str]]:
        """The pairs by which tasks of `a` and `b`, clusters or categories of others, are compared.

        A category stands beside the clusters that it joins for tasks of ours. Two categories that join one cluster
        are not of a kind by that: who made them told them apart.
        """
        joined = self.joins.clusters_of
        through = {(a, each) for each in joined.get(b, ())} | {(each, b) for each in joined.get(a, ())}
        return frozenset(through | {(a, b)})

    def are_alike(self, a: str, b: str) -> bool:
        """Whether `a` and `b` are one cluster, or one is a category with tasks of the other's kind."""
        return any(one == other for one, other in self.likened(a, b))

    def families(self, task: Task) -> frozenset[str]:
        """The families whose texts are in `task`'s rows, its own among them."""
        joined = (self.joins.families_in(name) for name in (task.kin, *origins(task)))
        return frozenset({task.kin}).union(*(found for found in joined if found is not None))

    def akin(self, task: Task, tasks: Iterable[Task]) -> frozenset[str]:
        """The families made from texts that `task` was made from, its own among them.

        `tasks` are all that are known: a lineage edge names tasks, and holds for their families.
        """
        families = {each.name: each.kin for each in tasks}
        edges = [(families.get(edge.a, edge.a), families.get(edge.b, edge.b)) for edge in self.lineage]
        own = self.families(task)
        return own.union(*(edge for edge in edges if not own.isdisjoint(edge)))

    def unplaced(self, task: Task) -> str | None:
        """Why it is not known what `task` is akin to; None where it is."""
        if (why := self.unplaced_cluster(task.cluster)) is not None:
            return why
        strange = [each for each in origins(task) if self.joins.families_in(each) is None]
        return f"what its dataset {strange[0]!r} shares with others is not on record" if strange else None

    def unplaced_cluster(self, cluster: str) -> str | None:
        """Why it is not known what tasks of `cluster` are akin to; None where it is."""
        placed = self.clusters.keys() | self.joins.clusters.keys() | self.joins.clusters_of.keys()
        way_out = "name one of the taxonomy's or a category of Super-NaturalInstructions"
        return None if cluster in placed else f"its cluster {cluster!r} is joined with none: {way_out}"


def load_taxonomy(collection: Collection) -> Taxonomy:
    """The taxonomy of a collection that comes with the platform, with what joins it from elsewhere."""
    path = collection_folder(collection) / TAXONOMY_FILE
    if not path.is_file():
        raise NotFound(f"no file {path}")
    return parse(Taxonomy, parse_yaml(path.read_text())).model_copy(update={"joins": load_joins()})


def relatives(task: Task, tasks: Iterable[Task]) -> frozenset[str]:
    """Names of the other tasks of `task`'s family, among `tasks`."""
    return frozenset(other.name for other in tasks if other.kin == task.kin and other.name != task.name)


def judge(lineage: Lineage, task: Task, taxonomy: Taxonomy, tasks: abc.Collection[Task]) -> Ruling:
    """Whether a model of this `lineage` meets `task` for the first time, and why.

    violated: it was trained on the task, on its cluster, on a cluster adjacent to it (by the rules that were
    in force at training time), on its family or on one made from the same texts (`tasks` are all that are
    known). unknown: nothing of that is on record, but neither is all that the weights have seen, or what the task
    or one of those seen is akin to. proven: the record is whole, and nothing akin is in it. A from-scratch base has
    seen nothing. Plain text is no task: the verdict is about instructions, and `lineage.corpora` says beside it what
    else was read.
    """
    tasks_seen, clusters_seen = lineage.tasks_seen or (), lineage.clusters_seen or ()
    if task.name in tasks_seen:
        return Ruling("violated", "it was trained on")
    families = {each.name: each.kin for each in tasks}
    seen = {*lineage.families_seen, *(families.get(name, name) for name in tasks_seen)}
    seen = seen.union(*(taxonomy.joins.families_of.get(family, ()) for family in seen))
    if shared := sorted(taxonomy.akin(task, tasks) & seen):
        return Ruling("violated", f"texts of {shared[0]} were trained on")
    for cluster in clusters_seen:
        pairs = sorted(taxonomy.likened(cluster, task.cluster))
        if any(a == b or _are_adjacent(a, b, lineage.adjacency) for a, b in pairs):
            akin = "" if cluster == task.cluster else f", which is akin to {task.cluster}"
            return Ruling("violated", f"tasks of cluster {cluster} were trained on{akin}")
    if lineage.tasks_seen is None or lineage.clusters_seen is None:
        return Ruling("unknown", "what the model has seen is not all on record")
    if not tasks_seen and not clusters_seen:
        return Ruling("proven", "the model has seen no task")
    if (why := taxonomy.unplaced(task)) is not None:
        return Ruling("unknown", why)
    for name, why in lineage.unplaced.items():
        return Ruling("unknown", f"{name} was trained on, and {why}")
    for cluster in clusters_seen:
        if (why := taxonomy.unplaced_cluster(cluster)) is not None:
            return Ruling("unknown", f"a task was trained on, and {why}")
    return Ruling("proven", "nothing akin was trained on")


def _are_adjacent(a: str, b: str, adjacency: Mapping[str, tuple[str, ...]]) -> bool:
    return b in adjacency.get(a, ()) or a in adjacency.get(b, ())


def near(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown `name`: what of `known` is spelt most like it, if anything is."""
    likely = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {likely[0]!r}?" if likely else ""
