"""Which tasks each leaf of a mixture draws from, which it leaves out and why, and what is not here.

A leaf selects tasks; the hold-outs of the mixtures around it, and its own, take some away. What it names but
nobody knows here, or knows without rows, is missing: its share is that which it would have had.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from flan.data.mixture import size_of
from flan.data.rates import EmptyMixture, Size, mixing_rates
from flan.data.selectors import Library, Selection, UnknownTask, select_tasks
from flan.errors import FlanError, did_you_mean, more_tasks
from flan.spec import HoldOut, Mixture
from flan.tasks.formats import formatted
from flan.tasks.holdouts import excluded
from flan.tasks.task import HubSource, Task
from flan.tasks.taxonomy import load_taxonomy

TRAIN = "train"


class Overlap(FlanError):
    """A mixture trains on what its model is to be measured on as unseen."""

    code, blame = "evaluation_overlap", "user"


class Leaf(NamedTuple):
    """A leaf of a mixture, in its place."""

    mixture: Mixture
    number: int
    pointer: str
    """Of what selects its tasks, in the spec as it was written."""
    hold_outs: tuple[tuple[HoldOut, str], ...]
    """Those that hold for it, outermost first, with their pointers."""
    may_lack: bool
    """Whether it goes on without tasks that are missing."""
    is_drawn: bool
    """Whether it and everything around it has a weight above 0."""

    @property
    def label(self) -> str:
        """What plans and counts call it."""
        return self.mixture.name or f"part-{self.number}"


class Members(NamedTuple):
    """The tasks of a leaf."""

    leaf: Leaf
    selection: Selection
    excluded: dict[str, str]
    """Task → why it is left out."""

    @property
    def wanted(self) -> dict[str, Task]:
        """The tasks to train on, if their rows are here."""
        return {name: task for name, task in self.selection.tasks.items() if name not in self.excluded}


def leaves_of(written: Mixture, whole: Mixture) -> tuple[Leaf, ...]:
    """The leaves of `whole`, which is `written` with its presets replaced."""
    found = _leaves(written, whole, "/mixture", (), may_lack=False, is_drawn=True)
    return tuple(leaf._replace(number=number) for number, leaf in enumerate(found))


def members_of(leaf: Leaf, library: Library) -> Members:
    """What `leaf` selects, and what its hold-outs leave of it.

    Raises UnknownTask, UnknownCluster, UnknownPreset, Conflict; InvalidDocument (hold_out).
    """
    mixture = leaf.mixture
    taxonomy, collection = load_taxonomy(mixture.collection), library.tasks(mixture.collection)
    try:
        selection = select_tasks(
            mixture.tasks,
            f"{leaf.pointer}/tasks",
            collection,
            library,
            taxonomy,
            may_lack=mixture.published,
            is_open=mixture.num_published is not None,
        )
    except FlanError as error:
        if leaf.pointer.endswith("/preset"):
            error.pointer = leaf.pointer
        raise
    _check_weights(leaf, selection)
    reasons: dict[str, str] = {}
    for hold_out, pointer in leaf.hold_outs:
        for name, why in excluded({**collection, **selection.tasks}, hold_out, taxonomy, pointer).items():
            if name in selection.tasks or name in selection.lacking:
                reasons.setdefault(name, why)
    for name in (*selection.tasks, *selection.lacking):
        if mixture.weights.get(name) == 0:
            reasons.setdefault(name, "its weight is 0")
        if not leaf.is_drawn:
            reasons.setdefault(name, f"the weight of {leaf.label} is 0")
    return Members(leaf, selection, reasons)


def check_overlap(leaf: Leaf, names: Sequence[str], tasks: Mapping[str, Task], library: Library) -> list[str]:
    """Raise Overlap where one of `names`, tasks to train on, is what an evaluation calls unseen.

    What overlaps is said in words where the hold-out allows it. Raises what selecting the evaluation raises.
    """
    taxonomy, collection = load_taxonomy(leaf.mixture.collection), library.tasks(leaf.mixture.collection)
    said = []
    for hold_out, pointer in leaf.hold_outs:
        measured = select_tasks(
            hold_out.evaluation, f"{pointer}/evaluation", collection, library, taxonomy
        ).tasks
        clusters = () if hold_out.overlap == "same_cluster" else {task.cluster for task in measured.values()}
        rule = HoldOut(
            clusters=tuple(sorted(clusters)),
            tasks=tuple(measured),
            adjacent=hold_out.adjacent,
            lineage=hold_out.lineage,
        )
        everything = {**collection, **measured, **{name: tasks[name] for name in names}}
        found = excluded(everything, rule, taxonomy, pointer)
        overlapping = {
            name: found[name].replace("held out", "evaluated").replace("held-out", "evaluated")
            for name in names
            if name in found
        }
        if overlapping and hold_out.overlap != "allow":
            first, why = next(iter(overlapping.items()))
            more = more_tasks(len(overlapping) - 1)
            raise Overlap(
                f"{first} would be trained on, and is what the model is measured on: {why}{more}",
                hint="hold it out, or set hold_out.overlap: same_cluster or allow",
                pointer=f"{pointer}/evaluation",
                tasks=overlapping,
            )
        said += [f"trained on, and measured on: {name} ({why})" for name, why in overlapping.items()]
    return said


def missing_shares(
    whole: Mixture,
    members: Sequence[Members],
    lacking: Mapping[str, Task | None],
    num_rows: Mapping[str, int],
) -> dict[str, float | None]:
    """Task that is not here → the share of the examples it would have, were everything here as it was published.

    None where its size is not known.

    `lacking` are those tasks, with their documents where these are here; `num_rows` are the rows of all others.
    Tasks that a publication has and nobody can name are told as one entry of their leaf, each of the leaf's
    mean size; of a leaf without any task the share is that of the leaf.
    """
    sizes: list[dict[str, Size]] = []
    for each in members:
        leaf = each.leaf.mixture
        # As published, wherever that is known: what is here may be a part of it.
        found = {
            name: _published(name, task, leaf)
            or size_of(formatted(task, leaf.prompt_format), num_rows[name], leaf)
            for name, task in each.wanted.items()
            if name in num_rows
        }
        for name in {*each.wanted, *each.selection.lacking}.intersection(lacking).difference(each.excluded):
            size = _published(name, lacking[name], leaf)
            found |= {name: size} if size is not None else {}
        # What is left out is here, and not missing.
        num_left_out = len(each.excluded.keys() & each.selection.tasks.keys())
        unnamed = (leaf.num_published or 0) - len(found) - num_left_out
        if unnamed > 0 and each.leaf.is_drawn:
            found |= {_unnamed(each.leaf, unnamed, place): _mean(found) for place in range(unnamed)}
        sizes.append(found)
    try:
        rates = mixing_rates(whole, sizes)
    except EmptyMixture:
        return dict.fromkeys(lacking)
    shares: dict[str, float | None] = dict.fromkeys(sorted(lacking))
    for leaf_rates in rates:
        for name, rate in leaf_rates.items():
            known = name.partition("\0")[0]
            if name in lacking or "\0" in name:
                shares[known] = (shares.get(known) or 0.0) + rate
    return shares


def _leaves(
    written: Mixture | None,
    whole: Mixture,
    pointer: str,
    above: tuple[tuple[HoldOut, str], ...],
    *,
    may_lack: bool,
    is_drawn: bool,
) -> Iterator[Leaf]:
    if written is not None and written.hold_out != HoldOut():
        above = (*above, (written.hold_out, f"{pointer}/hold_out"))
    elif written is None and whole.hold_out != HoldOut():
        above = (*above, (whole.hold_out, pointer))
    if written is not None and written.preset is not None:
        pointer, written = f"{pointer}/preset", None
    may_lack, is_drawn = may_lack or whole.missing == "drop", is_drawn and whole.weight > 0
    if not whole.parts:
        yield Leaf(whole, 0, pointer, above, may_lack, is_drawn)
    for i, part in enumerate(whole.parts):
        given, below = (written.parts[i], f"{pointer}/parts/{i}") if written is not None else (None, pointer)
        yield from _leaves(given, part, below, above, may_lack=may_lack, is_drawn=is_drawn)


def _check_weights(leaf: Leaf, selection: Selection) -> None:
    known = {*selection.tasks, *selection.lacking}
    for name in leaf.mixture.weights:
        if name not in known:
            raise UnknownTask(
                f"weights names {name!r}, which is none of the tasks",
                hint=did_you_mean(name, known),
                pointer=f"{leaf.pointer}/weights/{name}",
            )


def _published(name: str, task: Task | None, leaf: Mixture) -> Size | None:
    """What is known of a task that is not here."""
    if name in leaf.published:
        known = leaf.published[name]
        used = min(known.templates, leaf.templates_per_task)
        return Size(known.rows, used) if known.rows is not None else None
    if task is None or not isinstance(task.source, HubSource) or TRAIN not in task.source.splits:
        return None
    rows = task.source.published_rows(TRAIN)
    return size_of(formatted(task, leaf.prompt_format), rows, leaf) if rows else None


def _unnamed(leaf: Leaf, count: int, place: int) -> str:
    """A name for one of `count` tasks of which only the number is known; what stands before NUL is shown."""
    tasks = "task" if count == 1 else "tasks"
    return f"{leaf.label}: {count} more {tasks}\0{place}"


def _mean(sizes: Mapping[str, Size]) -> Size:
    found = list(sizes.values()) or [Size(1, 1)]
    return Size(
        max(1, sum(size.rows for size in found) // len(found)),
        max(1, sum(size.templates for size in found) // len(found)),
    )
