"""Selectors → tasks.

`*` is the whole collection, `preset:flan2021` a named choice of it, `cluster:sentiment` a cluster of it, or of
the tasks that were brought here where the collection has none of that name;
`task0*` every task called so, brought ones included; else a selector is a task of the collection, or an
uploaded template set `name@2`. Each adds to those before it;
one that begins with `-` takes away what it stands for.
"""

import difflib
from collections.abc import Collection as Collected
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple, Protocol

from flan.card import ModelCard
from flan.errors import Conflict, NotFound, did_you_mean
from flan.spec import Name
from flan.tasks.task import Collection, DatasetSource, Task
from flan.tasks.taxonomy import CLUSTER_PREFIX, Taxonomy

PRESET_PREFIX = "preset:"
TAKE_AWAY = "-"


class Library(Protocol):
    """What names mean: the catalog of a server, or files on a machine without one."""

    def tasks(self, collection: Collection) -> Mapping[str, Task]:
        """Every task of a collection that comes with the platform."""
        ...

    def task(self, reference: str) -> Task:
        """An uploaded task, its dataset's splits filled in with digests. Raises NotFound."""
        ...

    def names(self) -> Iterable[str]:
        """What the tasks are called that are no collection's: the newest of each."""
        ...

    def dataset(self, reference: str) -> DatasetSource:
        """An uploaded dataset with the digests of its splits. Raises NotFound."""
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
    lacking: frozenset[str] = frozenset()
    """Names that stand for no task here, and may."""


def select_tasks(
    selectors: Iterable[str],
    pointer: str,
    collection: Mapping[str, Task],
    library: Library,
    taxonomy: Taxonomy,
    *,
    may_lack: Collected[str] = (),
    is_open: bool = False,
) -> Selection:
    """What `selectors` stand for; of the names in `may_lack`, those that are unknown are told apart.

    `is_open`: which tasks there are depends on what was brought here, so a pattern or a cluster that none of
    them is of takes nothing away, and that is no fault.
    Raises UnknownTask, -Cluster, -Preset and Conflict, each with its pointer.
    """
    tasks: dict[str, Task] = {}
    pointers: dict[str, str] = {}
    named: set[str] = set()
    lacking: set[str] = set()
    for i, selector in enumerate(selectors):
        here = f"{pointer}/{i}"
        wanted = selector.removeprefix(TAKE_AWAY)
        # What is taken away may be among tasks that were brought here, of clusters that no collection has.
        known = {**collection, **tasks} if wanted != selector else collection
        try:
            found = _selected(wanted, here, known, library, taxonomy)
        except (UnknownTask, UnknownCluster):
            if wanted not in may_lack and not is_open:
                raise
            found = []
        if selector.startswith(TAKE_AWAY):
            gone = {task.name for task in found} | {wanted}
            tasks = {name: task for name, task in tasks.items() if name not in gone}
            lacking -= gone
            continue
        lacking |= set() if found or wanted not in may_lack else {wanted}
        for task in found:
            if tasks.get(task.name, task) != task:
                raise Conflict(f"{selector!r} is another task called {task.name!r}", pointer=here)
            tasks[task.name] = task
            pointers.setdefault(task.name, here)
            if "*" not in selector and not selector.startswith((CLUSTER_PREFIX, PRESET_PREFIX)):
                named.add(task.name)
    return Selection(dict(sorted(tasks.items())), pointers, frozenset(named), frozenset(lacking))


def _selected(
    selector: str, pointer: str, collection: Mapping[str, Task], library: Library, taxonomy: Taxonomy
) -> list[Task]:
    if selector == "*":
        return list(collection.values())
    if selector.startswith(CLUSTER_PREFIX):
        return _cluster(selector.removeprefix(CLUSTER_PREFIX), pointer, collection, library, taxonomy)
    if selector.startswith(PRESET_PREFIX):
        return _preset(selector.removeprefix(PRESET_PREFIX), pointer, collection, taxonomy)
    if selector in collection:
        return [collection[selector]]
    if "*" in selector:
        return _matching(selector, pointer, collection, library)
    try:
        return [library.task(selector)]
    except NotFound as error:
        names = [*collection, *error.values.get("near", ())]
        hint = _likely(selector, names, collection, taxonomy) or error.hint
        raise UnknownTask(f"there is no task {selector!r}", hint=hint, pointer=pointer) from error


def _matching(pattern: str, pointer: str, collection: Mapping[str, Task], library: Library) -> list[Task]:
    found = [task for name, task in collection.items() if fnmatchcase(name, pattern)]
    brought = (name for name in library.names() if name not in collection and fnmatchcase(name, pattern))
    found += [library.task(name) for name in brought]
    if not found:
        raise UnknownTask(f"no task is called like {pattern!r}", pointer=pointer)
    return found


def _cluster(
    name: str, pointer: str, collection: Mapping[str, Task], library: Library, taxonomy: Taxonomy
) -> list[Task]:
    tasks = [task for task in collection.values() if task.cluster == name]
    if not tasks and name not in taxonomy.clusters:
        # A category of tasks that were brought here, which no taxonomy knows.
        tasks = [task for task in map(library.task, library.names()) if task.cluster == name]
    if not tasks:
        known = {task.cluster for task in collection.values()}
        why = "has no task" if name in taxonomy.clusters else "does not exist"
        raise UnknownCluster(f"cluster {name!r} {why}", hint=did_you_mean(name, known), pointer=pointer)
    return tasks


def _preset(name: str, pointer: str, collection: Mapping[str, Task], taxonomy: Taxonomy) -> list[Task]:
    if name not in taxonomy.presets:
        known = ", ".join(PRESET_PREFIX + each for each in taxonomy.presets) or "none"
        hint = f"there are: {known}; for a whole mixture, say preset: {name} instead of tasks"
        raise UnknownPreset(f"there is no preset {name!r} of tasks", hint=hint, pointer=pointer)
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
