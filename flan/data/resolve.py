"""Names → digests: what a job will read is fixed when it is accepted, and found unchanged when it runs.

`resolve` turns the names of a spec into pins and says what will happen (the plan). A resolved spec resolves
to itself, after everything it pins was verified. Ranks read pinned tasks and rows back by digest.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from flan.card import CARD_FILE, ModelCard, read_card
from flan.data.held_out import pin_held_out
from flan.data.members import check_overlap, leaves_of
from flan.data.pinning import pin_corpus, pin_evaluation, pin_mixture
from flan.data.plan import Plan, make_plan
from flan.data.presets import has_preset
from flan.data.rows import Places, Rows, open_rows
from flan.data.selectors import Library
from flan.data.sound import unusable
from flan.data.suites import with_suite
from flan.errors import Conflict, FlanError, NotFound, StoreCorrupt, more_tasks
from flan.spec import EvaluateSpec, Pins, ServeSpec, Spec, TaskPin, TuneSpec, parse
from flan.store import Store
from flan.sweeps import Need
from flan.tasks.formats import formatted
from flan.tasks.holdouts import excluded
from flan.tasks.task import Task
from flan.tasks.taxonomy import judge, load_taxonomy


class Resolved(NamedTuple):
    """A spec with its pins, and what it will do."""

    spec: Spec
    plan: Plan


class _Known(NamedTuple):
    """What resolving found out beside the spec."""

    card: ModelCard | None
    warnings: tuple[str, ...] = ()


class HeldOutTask(FlanError):
    """A pinned training task is of what the spec holds out."""

    code, blame = "holdout_violation", "user"


class NotProven(FlanError):
    """An evaluation is to be zero-shot, and the model may have seen what it asks."""

    code, blame = "not_proven", "user"


class DatasetChanged(FlanError):
    """Rows are no longer those that the job was accepted with."""

    code, blame = "dataset_changed", "user"


def resolve(spec: Spec, library: Library, places: Places) -> Resolved:
    """`spec` with its names pinned, and its plan. Task documents are put into the store.

    Raises, with a JSON pointer where one place of the spec is at fault: UnknownSuite, UnknownTask, UnknownCluster,
    UnknownMixture, CircularMixture, InvalidDocument (hold_out), MissingSplit, MissingRows, EmptyMixture, Overlap,
    NothingToEvaluate, NotProven, RowError, ContextTooShort, NotFound (a model); for a resolved spec DatasetChanged,
    HeldOutTask, Overlap, StoreCorrupt.
    """
    assert places.store is not None, "resolving puts task documents into a store"
    if spec.pins is None:
        spec = with_suite(spec) if isinstance(spec, EvaluateSpec) else spec
        spec, known = _pin(spec, library, places, places.store)
    else:
        known = _verify(spec, spec.pins, library, places, places.store)
    return Resolved(spec, make_plan(spec, pinned_tasks(spec, places.store), known.card, known.warnings))


def pinned_tasks(spec: Spec, store: Store) -> dict[str, Task]:
    """The tasks a resolved spec reads, by name; an evaluation's in the format it asks for, a mixture's as they are.

    Raises NotFound, StoreCorrupt.
    """
    assert spec.pins is not None, "the spec is not resolved"
    tasks = {name: _pinned_task(name, pin, store) for name, pin in spec.pins.tasks.items()}
    if isinstance(spec, EvaluateSpec):
        return {name: formatted(task, spec.prompt_format) for name, task in tasks.items()}
    return tasks


def open_pinned_rows(spec: Spec, tasks: Mapping[str, Task], split: str, places: Places) -> dict[str, Rows]:
    """The rows of one split of each of `tasks`, verified against the pins.

    Raises DatasetChanged when they are not those that the job was accepted with; MissingRows.
    """
    assert spec.pins is not None, "the spec is not resolved"
    pinned = spec.pins.tasks
    return {
        name: _open_as_pinned(task, split, pinned[name].rows[split], places) for name, task in tasks.items()
    }


def open_held_out(pins: Pins, places: Places) -> dict[str, Rows]:
    """The rows that training rows are compared with, as task/split, verified against the pins. Raises likewise."""
    assert places.store is not None, "task documents lie in a store"
    opened = {}
    for name, pin in pins.held_out.items():
        task = _pinned_task(name, pin, places.store)
        for split, digest in pin.rows.items():
            opened[f"{name}/{split}"] = _open_as_pinned(task, split, digest, places)
    return opened


def _pinned_task(name: str, pin: TaskPin, store: Store) -> Task:
    task = parse(Task, json.loads(store.read_bytes(pin.document)))
    if task.name != name:
        raise StoreCorrupt(f"the document pinned for task {name} is that of {task.name}")
    return task


def _open_as_pinned(task: Task, split: str, digest: str, places: Places) -> Rows:
    rows = open_rows(task, split, places)
    if rows.digest != digest:
        raise DatasetChanged(
            f"the rows of {task.name} ({split}) have changed: {rows.origin} now has digest "
            f"{rows.digest[:12]}, the job was accepted with {digest[:12]}",
            hint="bring the old rows back, or submit the job anew",
            task=task.name,
            split=split,
        )
    return rows


def _pin(spec: Spec, library: Library, places: Places, store: Store) -> tuple[Spec, _Known]:
    model, card = _model(spec, library)
    if isinstance(spec, ServeSpec):
        return spec.model_copy(update={"pins": Pins(tasks={}, model=model)}), _Known(card)
    found: dict[str, Any] = {}
    if isinstance(spec, TuneSpec):
        found["mixture"], pinned = (
            pin_corpus(spec, card, library, places, store)
            if spec.objective == "lm"
            else pin_mixture(spec.mixture, library, places, store)
        )
        compared = pin_held_out(spec, found["mixture"], library, places, store)._asdict()
    else:
        pinned, compared = pin_evaluation(spec, library, places, store), {}
    found["pins"] = pinned.pins.model_copy(update={"model": model, **compared})
    resolved = spec.model_copy(update=found)
    if isinstance(resolved, EvaluateSpec):
        _check_verdicts(resolved, pinned_tasks(resolved, store), card, library)
    return resolved, _Known(card, pinned.warnings)


def _model(spec: Spec, library: Library) -> tuple[str | None, ModelCard | None]:
    reference, pointer = (spec.base, "/base") if isinstance(spec, TuneSpec) else (spec.model, "/model")
    try:
        digest, card = library.model(reference)
    except FlanError as error:
        error.pointer = error.pointer or pointer
        raise
    if digest is None and not (isinstance(spec, TuneSpec) or Need.of(reference)):
        raise NotFound(f"{reference!r} has no weights to {spec.kind}", hint="tune it first", pointer=pointer)
    return digest, card


def _verify(spec: Spec, pins: Pins, library: Library, places: Places, store: Store) -> _Known:
    """Check that everything pinned is there and unchanged, and that no training task is held out."""
    tasks = pinned_tasks(spec, store)
    said: list[str] = []
    if isinstance(spec, TuneSpec):
        said = _check_hold_out(spec, pins, tasks, library)
        open_held_out(pins, places)
    warnings = [
        unusable(task, split, open_pinned_rows(spec, {name: task}, split, places)[name])
        for name, task in tasks.items()
        for split in pins.tasks[name].rows
    ]
    directory = None if pins.model is None else store.path(pins.model)
    card = read_card(directory) if directory is not None and (directory / CARD_FILE).is_file() else None
    if isinstance(spec, EvaluateSpec):
        _check_verdicts(spec, tasks, card, library)
    return _Known(card, (*sorted(filter(None, warnings)), *said))


def _check_verdicts(
    spec: EvaluateSpec, tasks: Mapping[str, Task], card: ModelCard | None, library: Library
) -> None:
    """Raise NotProven where the spec wants tasks that the model meets for the first time, and one is not."""
    if spec.require == "anything":
        return
    assert card is not None, "a model that can be evaluated has a card"
    taxonomy, known = load_taxonomy(spec.collection), {**library.tasks(spec.collection), **tasks}
    found = {name: judge(card.lineage, task, taxonomy, list(known.values())) for name, task in tasks.items()}
    others = {name: each for name, each in found.items() if each.verdict != "proven"}
    if others:
        first, said = next(iter(others.items()))
        more = more_tasks(len(others) - 1)
        raise NotProven(
            f"{first} is not proven zero-shot for {card.name}: {said.why}{more}",
            hint="leave these tasks out, take a model that held them out, or set require: anything",
            pointer="/require",
            verdicts={name: each.verdict for name, each in others.items()},
        )


def _check_hold_out(spec: TuneSpec, pins: Pins, tasks: Mapping[str, Task], library: Library) -> list[str]:
    """Raise where the pins are not those of the mixture, or train on what it holds out; what overlaps, in words."""
    strange = sorted(set(pins.train) - set(tasks))
    if strange:
        raise NotFound(f"{strange[0]!r} is trained on but not pinned", pointer="/pins/train")
    leaves = leaves_of(spec.mixture, spec.mixture) if not has_preset(spec.mixture) else ()
    if len(leaves) != len(pins.leaves) or {*pins.train} != {name for leaf in pins.leaves for name in leaf}:
        raise Conflict(
            "the pins are not those of this mixture", hint="leave pins out", pointer="/pins/leaves"
        )
    said = []
    for leaf, names in zip(leaves, pins.leaves, strict=True):
        collection, taxonomy = library.tasks(leaf.mixture.collection), load_taxonomy(leaf.mixture.collection)
        for hold_out, pointer in leaf.hold_outs:
            reasons = excluded({**collection, **tasks}, hold_out, taxonomy, pointer)
            for name in names:
                if name in reasons:
                    message = f"{name} would be trained on, but is {reasons[name]}"
                    raise HeldOutTask(message, pointer="/pins/train", task=name)
        said += check_overlap(leaf, names, tasks, library)
    return said
