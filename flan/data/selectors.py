"""Selectors → tasks.

`*` is the whole collection, `preset:flan2021-paper` a named choice of it, `cluster:sentiment` a cluster of it;
else a selector is a task of the collection, or an uploaded template set `name@2`.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from flan.card import ModelCard
from flan.errors import Conflict, NotFound, did_you_mean
from flan.spec import Name
from flan.tasks.task import Collection, Task
from flan.tasks.taxonomy import CLUSTER_PREFIX, Taxonomy

PRESET_PREFIX = "preset:"


class Library(Protocol):
    """What names mean: the catalog of a server, or files on a machine without one."""

    def tasks(self, collection: Collection) -> Mapping[str, Task]:
        """Every task of a collection that comes with the platform."""
        ...

    def task(self, reference: str) -> Task:
        """An uploaded task, its dataset's splits filled in with digests. Raises NotFound."""
        ...

    def model(self, reference: str) -> tuple[str | None, ModelCard | None]:
        """Digest in the store and card of a model; (None, None) for a preset. Raises NotFound."""
        ...


class UnknownTask(NotFound):
    """A selector names no task."""

    code = "unknown_task"


class UnknownCluster(NotFound):
    """A selector names no cluster."""

    code = "unknown_cluster"


class UnknownPreset(NotFound):
    """A selector names no preset."""

    code = "unknown_preset"


class Selection(NamedTuple):
    """The tasks that selectors stand for."""

    tasks: dict[str, Task]
    """In name order."""
    pointers: dict[Name, str]
    """Task → JSON pointer of the selector it came by."""
    named: frozenset[str]
    """Tasks asked for by their own name, rather than by `*`, a preset or a cluster."""


def select_tasks(
    selectors: Iterable[str],
    pointer: str,
    collection: Mapping[str, Task],
    library: Library,
    taxonomy: Taxonomy,
) -> Selection:
    """What `selectors` stand for. Raises UnknownTask, -Cluster, -Preset and Conflict, each with its pointer."""
    tasks: dict[str, Task] = {}
    pointers: dict[str, str] = {}
    named: set[str] = set()
    for i, selector in enumerate(selectors):
        here = f"{pointer}/{i}"
        for task in _selected(selector, here, collection, library, taxonomy):
            if tasks.get(task.name, task) != task:
                raise Conflict(f"{selector!r} is another task called {task.name!r}", pointer=here)
            tasks[task.name] = task
            pointers.setdefault(task.name, here)
            if selector != "*" and not selector.startswith((CLUSTER_PREFIX, PRESET_PREFIX)):
                named.add(task.name)
    return Selection(dict(sorted(tasks.items())), pointers, frozenset(named))


def _selected(
    selector: str, pointer: str, collection: Mapping[str, Task], library: Library, taxonomy: Taxonomy
) -> list[Task]:
    if selector == "*":
        return list(collection.values())
    if selector.startswith(CLUSTER_PREFIX):
        return _cluster(selector.removeprefix(CLUSTER_PREFIX), pointer, collection, taxonomy)
    if selector.startswith(PRESET_PREFIX):
        return _preset(selector.removeprefix(PRESET_PREFIX), pointer, collection, taxonomy)
    if selector in collection:
        return [collection[selector]]
    try:
        return [library.task(selector)]
    except NotFound as error:
        names = [*collection, *error.values.get("near", ())]
        hint = _likely(selector, names, collection, taxonomy) or error.hint
        raise UnknownTask(f"there is no task {selector!r}", hint=hint, pointer=pointer) from error


def _cluster(name: str, pointer: str, collection: Mapping[str, Task], taxonomy: Taxonomy) -> list[Task]:
    tasks = [task for task in collection.values() if task.cluster == name]
    if not tasks:
        known = {task.cluster for task in collection.values()}
        why = "has no task" if name in taxonomy.clusters else "does not exist"
        raise UnknownCluster(f"cluster {name!r} {why}", hint=did_you_mean(name, known), pointer=pointer)
    return tasks


def _preset(name: str, pointer: str, collection: Mapping[str, Task], taxonomy: Taxonomy) -> list[Task]:
    if name not in taxonomy.presets:
        known = ", ".join(PRESET_PREFIX + each for each in taxonomy.presets) or "none"
        raise UnknownPreset(f"there is no preset {name!r}", hint=f"there are: {known}", pointer=pointer)
    return [task for task in collection.values() if taxonomy.presets[name].holds(task)]


def _likely(
    selector: str, names: Iterable[str], collection: Mapping[str, Task], taxonomy: Taxonomy
) -> str | None:
    """A hint at that of `names`, or the cluster by either of its own, that is spelt most like `selector`."""
    meant = {name: name for name in names}
    for cluster in {task.cluster for task in collection.values()}:
        for name in (cluster, taxonomy.clusters.get(cluster, cluster).lower()):
            meant[name] = CLUSTER_PREFIX + cluster
    near = difflib.get_close_matches(selector.lower(), sorted(meant), n=1, cutoff=0.6)
    return f"did you mean {meant[near[0]]!r}?" if near else None
