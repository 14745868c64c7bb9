"""Which rows training rows are compared with: those of tasks that are held out, or that the spec names."""

from collections.abc import Iterator
from typing import NamedTuple

from flan.data.members import leaves_of, members_of
from flan.data.pinning import task_pin
from flan.data.rows import EmptyDataset, MissingRows, Places, Rows, open_rows
from flan.data.selectors import Library, select_tasks
from flan.spec import Mixture, TaskPin, TuneSpec
from flan.store import Store
from flan.tasks.holdouts import held_out
from flan.tasks.task import Task
from flan.tasks.taxonomy import load_taxonomy


class Compared(NamedTuple):
    """What the training rows of a job are compared with: fields of its pins."""

    held_out: dict[str, TaskPin]
    not_compared: dict[str, str]
    """Task that is held out too → why its rows, or some of them, are not compared."""


def pin_held_out(spec: TuneSpec, whole: Mixture, library: Library, places: Places, store: Store) -> Compared:
    """The tasks whose rows are compared, pinned; `whole` is the mixture of `spec` with its presets replaced.

    Rows that are not on this machine are passed over where a task is only held out; one that the spec names in
    `leakage.against` must have them, unless what is missing may be dropped. Raises UnknownTask, UnknownCluster,
    UnknownPreset, MissingRows, EmptyDataset with their places.
    """
    found = Compared({}, {})
    tasks, pointers = _wanted(spec, whole, library)
    for name in sorted(tasks):
        opened, missing = _opened(tasks[name], spec.leakage.splits, places)
        if missing is not None and name in pointers and spec.mixture.missing == "fail":
            missing.pointer = pointers[name]
            raise missing
        if missing is not None:
            found.not_compared[name] = missing.message
        elif not opened:
            found.not_compared[name] = f"it has no split {' or '.join(spec.leakage.splits)}"
        if opened:
            found.held_out[name] = task_pin(tasks[name], opened, store)
    return found


def _wanted(spec: TuneSpec, whole: Mixture, library: Library) -> tuple[dict[str, Task], dict[str, str]]:
    """The tasks, and the place in the spec of those that it names itself."""
    if not spec.leakage.against:
        # A corpus holds nothing out.
        return (dict(_held_out(spec, whole, library)) if spec.objective == "instructions" else {}), {}
    collection, taxonomy = library.tasks(whole.collection), load_taxonomy(whole.collection)
    selection = select_tasks(spec.leakage.against, "/leakage/against", collection, library, taxonomy)
    return selection.tasks, {name: selection.pointers[name] for name in selection.named}


def _held_out(spec: TuneSpec, whole: Mixture, library: Library) -> Iterator[tuple[str, Task]]:
    """What the mixture, or a part of it, holds out to be asked about: not what is left out for being like it."""
    for leaf in leaves_of(spec.mixture, whole):
        collection = library.tasks(leaf.mixture.collection)
        taxonomy = load_taxonomy(leaf.mixture.collection)
        known = {**collection, **members_of(leaf, library).selection.tasks}
        for hold_out, pointer in leaf.hold_outs:
            yield from ((name, known[name]) for name in held_out(known, hold_out, taxonomy, pointer))
            measured = f"{pointer}/evaluation"
            yield from select_tasks(
                hold_out.evaluation, measured, collection, library, taxonomy
            ).tasks.items()


def _opened(
    task: Task, splits: tuple[str, ...], places: Places
) -> tuple[dict[str, Rows], MissingRows | EmptyDataset | None]:
    opened, missing = {}, None
    for split in splits:
        if split in task.source.splits:
            try:
                opened[split] = open_rows(task, split, places)
            except (MissingRows, EmptyDataset) as error:
                missing = error
    return opened, missing
