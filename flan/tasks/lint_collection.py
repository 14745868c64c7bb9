"""A whole collection looked at: each task's faults, what only shows between tasks, and its counts.

A collection is held to FLAN's own measure: what is a warning for somebody's template set (not ten templates,
more than three inverted, all built alike) is an error here.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from pydantic import Field

from flan.spec import Document, Name, parse
from flan.tasks.lint import template_findings
from flan.tasks.lint_findings import FLAN_LIMITS, Finding, Limits, RoundTrip
from flan.tasks.lint_rows import row_faults
from flan.tasks.lint_sets import MAX_SIMILARITY, RUN_WORDS, position, shared_runs, similarity
from flan.tasks.task import Collection, SyntheticSource, Task, collection_folder
from flan.tasks.taxonomy import Taxonomy
from flan.tasks.template import OPTIONS_SLOT, Template, slots
from flan.tasks.yaml_text import parse_yaml

EXCUSES_FILE = "excuses.yaml"
RowsOf = Callable[[Task], Iterable[Mapping[str, Any]]]
_ERRORS_HERE = frozenset(
    {
        "few_templates",
        "many_templates",
        "inverted_over_three",
        "duplicate_template",
        "similar_template",
        "positions_alike",
        "moods_alike",
        "options_seldom",
        "unused_field",
    }
)


class Excuse(Document):
    """A finding that is as it should be, and why."""

    task: Name
    code: str
    templates: tuple[int, ...] = ()
    """Empty = the finding is of no single template."""
    why: str = Field(min_length=10)


class Excuses(Document):
    """The file of a collection's excuses."""

    excuses: tuple[Excuse, ...]


class Excused(NamedTuple):
    """A finding with its excuse."""

    finding: Finding
    why: str


class ClusterCount(NamedTuple):
    """How large a cluster is. Variants of a dataset that share one list of templates count it once."""

    cluster: str
    name: str
    tasks: int
    families: int
    sets: int
    templates: int
    inverted: int
    with_options: int
    instruction_first: int
    similarity: float
    """Mean over the pairs of templates within each set, 0 to 1."""


class CollectionReport(NamedTuple):
    """What a collection's lint found."""

    findings: list[Finding]
    """Errors first."""
    excused: list[Excused]
    clusters: list[ClusterCount]


def made_up(task: Task) -> Sequence[Mapping[str, Any]]:
    """The row that comes with the task."""
    return [] if task.example is None else [task.example]


def lint_collection(
    tasks: Mapping[str, Task],
    taxonomy: Taxonomy,
    excuses: Iterable[Excuse] = (),
    rows: RowsOf = made_up,
    *,
    limits: Limits = FLAN_LIMITS,
    tokenizers: Mapping[str, RoundTrip] | None = None,
) -> CollectionReport:
    """Every finding of every task, without those that are excused, and the counts of each cluster.

    A list of templates that several tasks share is looked at once, as that of the first of them. An excuse
    for which there is no finding is an error, so that none outlives its reason.
    """
    found = [
        *_task_findings(tasks, rows, limits, tokenizers or {}),
        *_between_sets(_set_of(tasks)),
        *_cluster_findings(tasks, taxonomy),
    ]
    strict = [
        finding._replace(severity="error") if finding.code in _ERRORS_HERE else finding for finding in found
    ]
    kept, excused = _excuse(strict, tuple(excuses))
    return CollectionReport(
        sorted(kept, key=lambda finding: finding.severity), excused, count_clusters(tasks, taxonomy)
    )


def load_excuses(collection: Collection) -> tuple[Excuse, ...]:
    """The excuses that come with a collection; none where it has no such file."""
    path = collection_folder(collection) / EXCUSES_FILE
    return parse(Excuses, parse_yaml(path.read_text())).excuses if path.is_file() else ()


def count_clusters(tasks: Mapping[str, Task], taxonomy: Taxonomy) -> list[ClusterCount]:
    """The size of each cluster that has a task, in the taxonomy's order."""
    counts = []
    for cluster, name in taxonomy.clusters.items():
        here = [task for task in tasks.values() if task.cluster == cluster]
        sets = list(dict.fromkeys(task.slot_templates for task in here))
        templates = [template for each in sets for template in each]
        if here:
            counts.append(
                ClusterCount(
                    cluster,
                    name,
                    tasks=len(here),
                    families=len({task.kin for task in here}),
                    sets=len(sets),
                    templates=len(templates),
                    inverted=sum(template.role == "inverted" for template in templates),
                    with_options=sum(OPTIONS_SLOT in slots(template.input) for template in templates),
                    instruction_first=sum(position(template.input) == "first" for template in templates),
                    similarity=_mean_similarity(sets),
                )
            )
    return counts


def _task_findings(
    tasks: Mapping[str, Task], rows: RowsOf, limits: Limits, tokenizers: Mapping[str, RoundTrip]
) -> Iterator[Finding]:
    owners = {task.name for task in _set_of(tasks).values()}
    for task in tasks.values():
        found = list(row_faults(task, rows(task), limits, tokenizers))
        if task.name in owners:
            found += template_findings(task, tokenizers)
        yield from (finding._replace(task=task.name) for finding in found)


def _between_sets(sets: Mapping[tuple[Template, ...], Task]) -> Iterator[Finding]:
    places = [(task, i) for task in sets.values() for i in range(len(task.slot_templates))]
    inputs = [task.slot_templates[i].input for task, i in places]
    for run in shared_runs(inputs):
        (task, i), (other, j) = places[run.b], places[run.a]
        if task is not other:
            message = f"{RUN_WORDS} words in a row are those of template {j} of {other.name}: {run.text!r}"
            yield Finding(i, "shared_run", "warning", message, task=task.name)
    for a, b in combinations(sets.values(), 2):
        if a.kin == b.kin:
            message = f"the templates are not those of {a.name}, which is of the same family"
            yield Finding(None, "family_differs", "warning", message, task=b.name)
            yield from _similar_between(a, b)


def _similar_between(a: Task, b: Task) -> Iterator[Finding]:
    for i, template in enumerate(b.slot_templates):
        for j, other in enumerate(a.slot_templates):
            if (share := similarity(template.input, other.input)) > MAX_SIMILARITY:
                message = f"shares {share:.0%} of its words with template {j} of {a.name}"
                yield Finding(i, "similar_template", "error", message, task=b.name)


def _cluster_findings(tasks: Mapping[str, Task], taxonomy: Taxonomy) -> Iterator[Finding]:
    for task in tasks.values():
        if task.cluster not in taxonomy.clusters:
            message = f"the taxonomy has no cluster {task.cluster!r}"
            yield Finding(None, "unknown_cluster", "error", message, task=task.name)
        if task.example is None and not isinstance(task.source, SyntheticSource):
            yield Finding(None, "no_example", "error", "no made-up row to show it with", task=task.name)
    inhabited = Counter(task.cluster for task in tasks.values())
    for cluster in taxonomy.clusters:
        if not inhabited[cluster]:
            yield Finding(None, "empty_cluster", "error", f"cluster {cluster!r} has no task")


def _excuse(found: Sequence[Finding], excuses: Sequence[Excuse]) -> tuple[list[Finding], list[Excused]]:
    reasons = {
        (excuse.task, excuse.code, template): excuse.why
        for excuse in excuses
        for template in excuse.templates or (None,)
    }
    keys = [(finding.task, finding.code, finding.template) for finding in found]
    kept = [finding for finding, key in zip(found, keys, strict=True) if key not in reasons]
    excused = [
        Excused(finding, reasons[key]) for finding, key in zip(found, keys, strict=True) if key in reasons
    ]
    for task, code, template in reasons.keys() - set(keys):
        message = f"there is no finding {code!r} to excuse any more"
        kept.append(Finding(template, "idle_excuse", "error", message, task=task))
    return kept, excused


def _set_of(tasks: Mapping[str, Task]) -> dict[tuple[Template, ...], Task]:
    """Each list of templates, with the first task that has it."""
    first: dict[tuple[Template, ...], Task] = {}
    for task in tasks.values():
        first.setdefault(task.slot_templates, task)
    return first


def _mean_similarity(sets: Iterable[Sequence[Template]]) -> float:
    shares = [similarity(a.input, b.input) for each in sets for a, b in combinations(each, 2)]
    return sum(shares) / len(shares) if shares else 0.0
