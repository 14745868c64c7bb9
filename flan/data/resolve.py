"""Names → digests: what a job will read is fixed when it is accepted, and found unchanged when it runs.

`resolve` turns the names of a spec into pins and says what will happen (the plan). A resolved spec resolves
to itself, after everything it pins was verified. Ranks read pinned tasks and rows back by digest.
"""

import json
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from flan.card import CARD_FILE, ModelCard, read_card
from flan.data.mixture import EmptyMixture
from flan.data.plan import Plan, make_plan
from flan.data.rows import EmptyDataset, MissingRows, MissingSplit, Places, Rows, open_rows
from flan.data.selectors import Library, Selection, select_tasks
from flan.data.sound import unusable
from flan.errors import FlanError, NotFound, StoreCorrupt
from flan.spec import EvaluateSpec, HoldOut, Pins, PromptFormat, ServeSpec, Spec, TaskPin, TuneSpec, parse
from flan.store import Store
from flan.tasks.formats import formatted
from flan.tasks.task import Collection, Task
from flan.tasks.taxonomy import Taxonomy, excluded, load_taxonomy

TRAIN = "train"


class Resolved(NamedTuple):
    """A spec with its pins, and what it will do."""

    spec: Spec
    plan: Plan


class HeldOutTask(FlanError):
    """A pinned training task is of what the spec holds out."""

    code, blame = "holdout_violation", "user"


class NothingToEvaluate(FlanError):
    """No selected task has rows to be measured on."""

    code, blame = "nothing_to_evaluate", "user"


class DatasetChanged(FlanError):
    """Rows are no longer those that the job was accepted with."""

    code, blame = "dataset_changed", "user"


def resolve(spec: Spec, library: Library, places: Places) -> Resolved:
    """`spec` with its names pinned, and its plan. Task documents are put into the store.

    Raises, with a JSON pointer where one place of the spec is at fault: UnknownTask, UnknownCluster,
    InvalidDocument (hold_out), MissingSplit, MissingRows, EmptyMixture, NothingToEvaluate, RowError,
    ContextTooShort, NotFound (a model); for a resolved spec DatasetChanged, HeldOutTask, StoreCorrupt.
    """
    assert places.store is not None, "resolving puts task documents into a store"
    if spec.pins is None:
        card, pins, warnings = _pin(spec, library, places, places.store)
        spec = spec.model_copy(update={"pins": pins})
    else:
        card, warnings = _verify(spec, spec.pins, library, places, places.store)
    return Resolved(spec, make_plan(spec, pinned_tasks(spec, places.store), card, warnings))


def pinned_tasks(spec: Spec, store: Store) -> dict[str, Task]:
    """The tasks a resolved spec reads, by name, in the format it asks for. Raises NotFound, StoreCorrupt."""
    assert spec.pins is not None, "the spec is not resolved"
    tasks = {}
    form = _format_of(spec)
    for name, pin in spec.pins.tasks.items():
        task = parse(Task, json.loads(store.read_bytes(pin.document)))
        if task.name != name:
            raise StoreCorrupt(f"the document pinned for task {name} is that of {task.name}")
        tasks[name] = formatted(task, form)
    return tasks


def _format_of(spec: Spec) -> PromptFormat:
    if isinstance(spec, TuneSpec):
        return spec.mixture.prompt_format
    return spec.prompt_format if isinstance(spec, EvaluateSpec) else "instructions"


def open_pinned_rows(spec: Spec, tasks: Mapping[str, Task], split: str, places: Places) -> dict[str, Rows]:
    """The rows of one split of each of `tasks`, verified against the pins.

    Raises DatasetChanged when they are not those that the job was accepted with; MissingRows.
    """
    assert spec.pins is not None, "the spec is not resolved"
    opened = {}
    for name, task in tasks.items():
        opened[name] = open_rows(task, split, places)
        pinned = spec.pins.tasks[name].rows[split]
        if opened[name].digest != pinned:
            raise DatasetChanged(
                f"the rows of {name} ({split}) have changed: {opened[name].origin} now has digest "
                f"{opened[name].digest[:12]}, the job was accepted with {pinned[:12]}",
                hint="bring the old rows back, or submit the job anew",
                task=name,
                split=split,
            )
    return opened


class _Reading(NamedTuple):
    """What a spec reads."""

    collection: Collection
    selectors: tuple[str, ...]
    pointer: str
    splits: tuple[str, ...]
    drop_missing: bool


def _reading(spec: TuneSpec | EvaluateSpec) -> _Reading:
    if isinstance(spec, TuneSpec):
        mixture = spec.mixture
        return _Reading(
            mixture.collection, mixture.tasks, "/mixture/tasks", (TRAIN,), mixture.missing == "drop"
        )
    splits = (spec.split, spec.few_shot.split) if spec.few_shot else (spec.split,)
    return _Reading(
        spec.collection, spec.tasks, "/tasks", tuple(dict.fromkeys(splits)), spec.missing == "drop"
    )


class _Pinned(NamedTuple):
    """What the names of a spec mean now."""

    card: ModelCard | None
    pins: Pins
    warnings: tuple[str, ...] = ()


def _pin(spec: Spec, library: Library, places: Places, store: Store) -> _Pinned:
    model, card = _model(spec, library)
    if isinstance(spec, ServeSpec):
        return _Pinned(card, Pins(tasks={}, model=model))
    reading = _reading(spec)
    taxonomy, collection = load_taxonomy(reading.collection), library.tasks(reading.collection)
    selection = select_tasks(reading.selectors, reading.pointer, collection, library, taxonomy)
    reasons: dict[str, str] = {}
    if isinstance(spec, TuneSpec):
        reasons |= _held_out(spec.mixture.hold_out, collection, selection.tasks, taxonomy)
        reasons |= _without_train(selection, reasons)
    wanted = {name: task for name, task in selection.tasks.items() if name not in reasons}
    rows, missing = _open_all(wanted, reading, places, selection)
    reasons |= missing
    if not rows:
        _refuse_empty(spec, reasons)
    warnings = [
        unusable(wanted[name], split, each) for name, opened in rows.items() for split, each in opened.items()
    ]
    pins = Pins(
        tasks={name: _pinned(wanted[name], opened, store) for name, opened in rows.items()},
        train=tuple(rows) if isinstance(spec, TuneSpec) else (),
        excluded=dict(sorted(reasons.items())),
        clusters={name: task.cluster for name, task in selection.tasks.items()},
        families={name: task.kin for name, task in selection.tasks.items()},
        adjacency=taxonomy.neighbours,
        model=model,
    )
    return _Pinned(card, pins, tuple(sorted(filter(None, warnings))))


def _held_out(
    hold_out: HoldOut, collection: Mapping[str, Task], selected: Mapping[str, Task], taxonomy: Taxonomy
) -> dict[str, str]:
    reasons = excluded({**collection, **selected}, hold_out, taxonomy)
    return {name: reasons[name] for name in selected if name in reasons}


def _model(spec: Spec, library: Library) -> tuple[str | None, ModelCard | None]:
    reference, pointer = (spec.base, "/base") if isinstance(spec, TuneSpec) else (spec.model, "/model")
    try:
        digest, card = library.model(reference)
    except FlanError as error:
        error.pointer = error.pointer or pointer
        raise
    if digest is None and not isinstance(spec, TuneSpec):
        raise NotFound(f"{reference!r} has no weights to {spec.kind}", hint="tune it first", pointer=pointer)
    return digest, card


def _without_train(selection: Selection, reasons: Mapping[str, str]) -> dict[str, str]:
    """Tasks that exist for evaluation only: passed over, unless they were asked for by name."""
    without = {n: t for n, t in selection.tasks.items() if n not in reasons and TRAIN not in t.source.splits}
    for name in without:
        if name in selection.named:
            raise MissingSplit(
                f"task {name} has no split {TRAIN!r} to train on",
                hint=f"it has {sorted(without[name].source.splits)}",
                pointer=selection.pointers[name],
            )
    return dict.fromkeys(without, "for evaluation only: it has no split train")


def _open_all(
    tasks: Mapping[str, Task], reading: _Reading, places: Places, selection: Selection
) -> tuple[dict[str, dict[str, Rows]], dict[str, str]]:
    """Task → split → rows, where all are there, and why the others lack some. Raises unless these may be dropped."""
    rows: dict[str, dict[str, Rows]] = {}
    lacking: dict[str, MissingRows | MissingSplit | EmptyDataset] = {}
    for name, task in tasks.items():
        try:
            rows[name] = {split: open_rows(task, split, places) for split in reading.splits}
        except (MissingRows, MissingSplit, EmptyDataset) as error:
            lacking[name] = error
    if lacking and not reading.drop_missing:
        first, lack = next(iter(lacking.items()))
        others = f" (and {len(lacking) - 1} more tasks)" if len(lacking) > 1 else ""
        raise type(lack)(
            f"{lack.message}{others}",
            hint="; or ".join(filter(None, (lack.hint, "set missing: drop to go on without"))),
            pointer=selection.pointers[first],
            tasks=sorted(lacking),
        )
    return rows, {name: error.message for name, error in lacking.items()}


def _pinned(task: Task, rows: Mapping[str, Rows], store: Store) -> TaskPin:
    document = store.put_bytes(task.canonical().encode())
    return TaskPin(
        document=document,
        rows={split: each.digest for split, each in rows.items()},
        num_rows={split: len(each) for split, each in rows.items()},
    )


def _refuse_empty(spec: Spec, reasons: Mapping[str, str]) -> None:
    shown = "; ".join(f"{name}: {why}" for name, why in islice(reasons.items(), 5))
    more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
    if isinstance(spec, TuneSpec):
        raise EmptyMixture(f"no task is left to train on: {shown}{more}", pointer="/mixture")
    raise NothingToEvaluate(f"no task has rows to evaluate on: {shown}{more}", pointer="/tasks")


def _verify(
    spec: Spec, pins: Pins, library: Library, places: Places, store: Store
) -> tuple[ModelCard | None, tuple[str, ...]]:
    """Check that everything pinned is there and unchanged, and that no training task is held out.

    The card of the pinned model, and what is odd about the rows.
    """
    tasks = pinned_tasks(spec, store)
    if isinstance(spec, TuneSpec):
        _check_hold_out(spec, pins, tasks, library)
    warnings = [
        unusable(task, split, open_pinned_rows(spec, {name: task}, split, places)[name])
        for name, task in tasks.items()
        for split in pins.tasks[name].rows
    ]
    directory = None if pins.model is None else store.path(pins.model)
    card = read_card(directory) if directory is not None and (directory / CARD_FILE).is_file() else None
    return card, tuple(sorted(filter(None, warnings)))


def _check_hold_out(spec: TuneSpec, pins: Pins, tasks: Mapping[str, Task], library: Library) -> None:
    strange = sorted(set(pins.train) - set(tasks))
    if strange:
        raise NotFound(f"{strange[0]!r} is trained on but not pinned", pointer="/pins/train")
    collection, taxonomy = library.tasks(spec.mixture.collection), load_taxonomy(spec.mixture.collection)
    reasons = _held_out(spec.mixture.hold_out, collection, tasks, taxonomy)
    for name in pins.train:
        if name in reasons:
            raise HeldOutTask(
                f"{name} would be trained on, but is {reasons[name]}", pointer="/pins/train", task=name
            )
