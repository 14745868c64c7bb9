"""What the names of a spec mean now: tasks by the digests of their documents and rows, leaf by leaf of a mixture."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from flan.card import ModelCard
from flan.data.bases import PRESETS
from flan.data.continuation import longest_piece
from flan.data.corpora import corpus_task
from flan.data.members import TRAIN, Members, check_overlap, leaves_of, members_of, missing_shares
from flan.data.presets import expanded, load_presets
from flan.data.rates import EmptyMixture
from flan.data.rows import EmptyDataset, MissingRows, MissingSplit, Places, Rows, open_rows
from flan.data.selectors import Library, select_tasks
from flan.data.sound import unusable
from flan.errors import Conflict, FlanError, more_tasks
from flan.spec import EvaluateSpec, Mixture, Pins, Sha256, TaskPin, TuneSpec
from flan.store import Store
from flan.tasks.task import Task
from flan.tasks.taxonomy import load_taxonomy

Lacking = Mapping[str, FlanError]
"""Task → what of it is not on this machine."""
MAX_SHOWN = 5
ALL_ROWS = 2**31 - 1
"""A cap that no text reaches: every piece counts."""
MIN_PIECE = 8


class NothingToEvaluate(FlanError):
    """No selected task has rows to be measured on."""

    code, blame = "nothing_to_evaluate", "user"


class Pinned(NamedTuple):
    """What the names of a spec mean, but for its model."""

    pins: Pins
    warnings: tuple[str, ...]


def pin_evaluation(spec: EvaluateSpec, library: Library, places: Places, store: Store) -> Pinned:
    """Tasks and rows that an evaluation reads. Raises what selecting and opening raise; NothingToEvaluate."""
    taxonomy, collection = load_taxonomy(spec.collection), library.tasks(spec.collection)
    # Of the tasks that a suite names, and may lack, those count that are here.
    is_open = spec.suite is not None and spec.missing == "drop"
    selection = select_tasks(spec.tasks, "/tasks", collection, library, taxonomy, is_open=is_open)
    rows, lacking = _open_all(selection.tasks, spec.splits, places)
    if lacking and spec.missing == "fail":
        _refuse(lacking, selection.pointers, {})
    reasons = {name: error.message for name, error in lacking.items()}
    if not rows:
        raise NothingToEvaluate(f"no task has rows to evaluate on: {_shown(reasons)}", pointer="/tasks")
    if spec.dev:
        # A task that is only evaluated, such as WSC273, has none: then no template is its best one.
        chosen_on, _ = _open_all({name: selection.tasks[name] for name in rows}, (spec.dev.split,), places)
        rows = {name: each | chosen_on.get(name, {}) for name, each in rows.items()}
    return _pinned(selection.tasks, rows, store, reasons, Pins(tasks={}, adjacency=taxonomy.neighbours))


def pin_mixture(written: Mixture, library: Library, places: Places, store: Store) -> tuple[Mixture, Pinned]:
    """`written` with its presets replaced by their contents, and the tasks and rows that it trains on.

    Raises what selecting and opening raise; UnknownMixture, CircularMixture, EmptyMixture, Overlap; MissingRows
    with the share of what is missing, unless it may be dropped.
    """
    whole = expanded(written, load_presets())
    members = [members_of(leaf, library) for leaf in leaves_of(written, whole)]
    for each in members:
        each.excluded.update(_without_train(each))
    tasks = _together(members)
    wanted = {name: tasks[name] for each in members for name in each.wanted}
    rows, lacking = _open_all(wanted, (TRAIN,), places)
    lacking |= {
        name: MissingRows(f"no task {name} is here", hint="import its templates, or leave it out", task=name)
        for each in members
        for name in sorted(each.selection.lacking.difference(each.excluded))
    }
    num_rows = {name: len(opened[TRAIN]) for name, opened in rows.items()}
    missing = missing_shares(whole, members, {name: tasks.get(name) for name in lacking}, num_rows)
    _check_missing(members, lacking, missing)
    names = [tuple(name for name in each.wanted if name in rows) for each in members]
    reasons = _reasons(members, {name for leaf in names for name in leaf}, lacking)
    if not rows:
        raise EmptyMixture(f"no task is left to train on: {_shown(reasons)}", pointer="/mixture")
    said = [
        each
        for one, among in zip(members, names, strict=True)
        for each in check_overlap(one.leaf, among, tasks, library)
    ]
    trained = {
        name: (load_taxonomy(each.leaf.mixture.collection), tasks[name])
        for each, among in zip(members, names, strict=True)
        for name in among
    }
    known = Pins(
        tasks={},
        train=tuple(sorted(rows)),
        texts_of={
            name: further
            for name, (taxonomy, task) in sorted(trained.items())
            if (further := tuple(sorted(taxonomy.families(task) - {task.kin})))
        },
        unplaced={
            name: why
            for name, (taxonomy, task) in sorted(trained.items())
            if (why := taxonomy.unplaced(task)) is not None
        },
        leaves=tuple(names),
        missing=missing,
        adjacency={
            cluster: near
            for each in members
            for cluster, near in load_taxonomy(each.leaf.mixture.collection).neighbours.items()
        },
    )
    pinned = _pinned(tasks, rows, store, reasons, known)
    return whole, pinned._replace(warnings=(*pinned.warnings, *said))


def pin_corpus(
    spec: TuneSpec, card: ModelCard | None, library: Library, places: Places, store: Store
) -> tuple[Mixture, Pinned]:
    """The texts of a corpus as tasks whose rows are pieces, and the mixture that draws all of them by size.

    Raises MissingCorpus, UnreadableText, EmptyDataset, MissingSplit, NotFound (a dataset), Conflict.
    """
    assert spec.corpus is not None, "objective lm reads a corpus"
    tokens = longest_piece(_is_decoder(spec, card), spec.input_length, spec.target_length)
    longest = max(MIN_PIECE, round(spec.corpus.chars_per_token * tokens))
    tasks: dict[str, Task] = {}
    rows: dict[str, dict[str, Rows]] = {}
    for i, text in enumerate(spec.corpus.texts):
        pointer = f"/corpus/texts/{i}"
        try:
            task = corpus_task(text, longest, library)
            rows.setdefault(task.name, {TRAIN: open_rows(task, TRAIN, places)})
        except FlanError as error:
            error.pointer = error.pointer or pointer
            raise
        if tasks.setdefault(task.name, task) is not task:
            raise Conflict(f"two texts are called {task.name!r}", hint="leave one out", pointer=pointer)
    mixture = Mixture(tasks=tuple(sorted(tasks)), examples_cap=ALL_ROWS, rate_maximum=ALL_ROWS)
    pins = Pins(tasks={}, train=tuple(sorted(tasks)), leaves=(tuple(sorted(tasks)),))
    return mixture, _pinned(tasks, rows, store, {}, pins)


def _is_decoder(spec: TuneSpec, card: ModelCard | None) -> bool:
    if spec.base in PRESETS:
        return PRESETS[spec.base].architecture == "decoder"
    return card is None or card.contract.architecture == "decoder"


def _pinned(
    tasks: Mapping[str, Task],
    rows: Mapping[str, Mapping[str, Rows]],
    store: Store,
    reasons: Mapping[str, str],
    pins: Pins,
) -> Pinned:
    warnings = [
        unusable(tasks[name], split, each) for name, opened in rows.items() for split, each in opened.items()
    ]
    found = {
        "tasks": {name: task_pin(tasks[name], rows[name], store) for name in sorted(rows)},
        "excluded": dict(sorted(reasons.items())),
        "clusters": {name: tasks[name].cluster for name in sorted(tasks)},
        "families": {name: tasks[name].kin for name in sorted(tasks)},
    }
    return Pinned(pins.model_copy(update=found), tuple(sorted(filter(None, warnings))))


def task_pin(task: Task, rows: Mapping[str, Rows], store: Store) -> TaskPin:
    """`task` and its rows by their digests; the document is put into the store."""
    document: Sha256 = store.put_bytes(task.canonical().encode())
    return TaskPin(
        document=document,
        rows={split: each.digest for split, each in rows.items()},
        num_rows={split: len(each) for split, each in rows.items()},
    )


def _together(members: Sequence[Members]) -> dict[str, Task]:
    """Every selected task, by name. Raises Conflict where two leaves mean different ones by a name."""
    tasks: dict[str, Task] = {}
    for each in members:
        for name, task in each.selection.tasks.items():
            if tasks.setdefault(name, task) != task:
                pointer = each.selection.pointers[name]
                raise Conflict(f"{name!r} is another task in another part", pointer=pointer)
    return tasks


def _without_train(members: Members) -> dict[str, str]:
    """Tasks that exist for evaluation only: passed over, unless they were asked for by name."""
    without = {name: task for name, task in members.wanted.items() if TRAIN not in task.source.splits}
    for name in without:
        if name in members.selection.named:
            raise MissingSplit(
                f"task {name} has no split {TRAIN!r} to train on",
                hint=f"it has {sorted(without[name].source.splits)}",
                pointer=members.selection.pointers[name],
            )
    return dict.fromkeys(without, "for evaluation only: it has no split train")


def _open_all(
    tasks: Mapping[str, Task], splits: Sequence[str], places: Places
) -> tuple[dict[str, dict[str, Rows]], dict[str, FlanError]]:
    """Task → split → rows, where all are there, and what the others lack."""
    rows: dict[str, dict[str, Rows]] = {}
    lacking: dict[str, FlanError] = {}
    for name, task in tasks.items():
        try:
            rows[name] = {split: open_rows(task, split, places) for split in splits}
        except (MissingRows, MissingSplit, EmptyDataset) as error:
            lacking[name] = error
    return rows, lacking


def _check_missing(members: Sequence[Members], lacking: Lacking, missing: Mapping[str, float | None]) -> None:
    """Raise what is missing where a leaf does not go on without it."""
    for each in members:
        if each.leaf.may_lack:
            continue
        names = {*each.wanted, *each.selection.lacking.difference(each.excluded)}
        mine = {name: error for name, error in lacking.items() if name in names}
        unnamed = [name for name in missing if name.startswith(f"{each.leaf.label}: ")]
        mine |= {name: MissingRows(f"not here: {name}", hint="import them") for name in unnamed}
        if mine:
            pointers = each.selection.pointers
            _refuse(mine, {name: pointers.get(name, each.leaf.pointer) for name in mine}, missing)


def _refuse(lacking: Lacking, pointers: Mapping[str, str], shares: Mapping[str, float | None]) -> None:
    first, lack = next(iter(lacking.items()))
    others = more_tasks(len(lacking) - 1)
    known = [share for name in lacking if (share := shares.get(name)) is not None]
    told = f"; {sum(known):.1%} of the examples would be of what is missing" if known else ""
    hint = "; or ".join(filter(None, (lack.hint, "set missing: drop to go on without")))
    raise type(lack)(
        f"{lack.message}{others}{told}",
        hint=hint,
        pointer=pointers[first],
        tasks=sorted(lacking),
        shares={name: shares[name] for name in sorted(lacking) if name in shares},
    )


def _reasons(members: Sequence[Members], trained: set[str], lacking: Lacking) -> dict[str, str]:
    """Task → why it is left out; of one that another part trains on, in which part it is."""
    reasons = {name: error.message for name, error in lacking.items()}
    for each in members:
        for name, why in each.excluded.items():
            where = f"in {each.leaf.label} alone: " if name in trained else ""
            reasons.setdefault(name, where + why)
    return reasons


def _shown(reasons: Mapping[str, str]) -> str:
    shown = "; ".join(f"{name}: {why}" for name, why in islice(reasons.items(), MAX_SHOWN))
    return f"{shown}; and {len(reasons) - MAX_SHOWN} more" if len(reasons) > MAX_SHOWN else shown
