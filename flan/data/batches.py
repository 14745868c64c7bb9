"""The endless stream of training steps: draws → rows → text → ids → packs → the whole of a global step.

A step is made whole, and every rank takes its share of it, so the order of examples does not know how many
ranks there are. Where the stream stands is a small
document: the number of the next draw and which draws wait for a pack; they are encoded anew on resume.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

from flan.card import Contract
from flan.data.encoding import Encoder
from flan.data.packing import PackedBatch, pack_batch, pack_lengths, select, size
from flan.data.rows import UnreadableRow
from flan.data.tokens import InputTooLong, TargetTooLong, Tokens
from flan.data.window import Pack, Window
from flan.errors import FlanError
from flan.spec import Document, Sha256, TuneSpec
from flan.tasks.template import RowError

MAX_DROPPED_IN_A_ROW = 1_000
"""After so many draws of which none can be used, the stream fails with the last reason."""
_DROPS: dict[type[FlanError], str] = {
    InputTooLong: "input_too_long",
    TargetTooLong: "target_too_long",
    RowError: "bad_row",
    UnreadableRow: "bad_row",
}


class StreamChanged(FlanError):
    """A stream is not the one that a checkpoint belongs to."""

    code, blame = "stream_changed", "system"


class TaskCounts(Document):
    """What became of the draws of one task, and its share of the tokens."""

    drawn: int = 0
    cut: int = 0
    """Kept, with the long field cut."""
    other_row: int = 0
    """Kept or dropped, with another row than drawn: a template of promptsource passes over that one."""
    input_too_long: int = 0
    """Dropped: too long even without the long field."""
    target_too_long: int = 0
    """Dropped: targets are never cut."""
    bad_row: int = 0
    """Dropped: the row is broken, or lacks what the task needs."""
    input_tokens: int = 0
    target_tokens: int = 0
    templates: dict[str, int] = {}
    """Template, counted from 0 among those that are used → examples through it."""

    @property
    def used(self) -> int:
        """Draws that became examples."""
        return self.drawn - self.input_too_long - self.target_too_long - self.bad_row


def by_task(counts: Mapping[str, TaskCounts]) -> dict[str, TaskCounts]:
    """The counts of a stream by task alone, those of a task in several parts together; without templates."""
    sums: dict[str, Counter[str]] = {}
    for key, each in counts.items():
        sums.setdefault(key.rpartition("/")[2], Counter()).update(each.model_dump(exclude={"templates"}))
    return {task: TaskCounts.model_validate(dict(total)) for task, total in sorted(sums.items())}


class StreamState(Document):
    """Where a stream stands after a step. Opened from it, a stream goes on with the same bits."""

    draws: Sha256 | None = None
    """Digest of the stream's first draws; None before the first step."""
    next_draw: int = 0
    waiting: tuple[int, ...] = ()
    """Draws that wait for a place in a pack, oldest first."""
    counts: dict[str, TaskCounts] = {}
    """By task, `part/task` where there are several parts: of those drawn so far, since the start of the stream;
    draws that wait are counted."""


class StepBatch(NamedTuple):
    """One optimizer update, over all ranks."""

    packs: PackedBatch
    target_tokens: int
    """Tokens that carry loss: what the step's loss is divided by."""
    num_tokens: int
    """Slots that are no padding, encoder and decoder together."""
    draws: tuple[tuple[int, ...], ...]
    """Which draws are in each pack, by segment."""


def share(step: StepBatch, rank: int, ranks: int, micro_batch: int) -> list[PackedBatch]:
    """The micro-batches of one rank: packs rank, rank + ranks, …, at most `micro_batch` at a time.

    All ranks get the same number of micro-batches of the same shapes: who is short gets empty packs. Over
    the ranks, every pack of the step comes exactly once.
    """
    return [select(step.packs, packs) for packs in shares(len(step.draws), rank, ranks, micro_batch)]


def shares(num_packs: int, rank: int, ranks: int, micro_batch: int) -> list[list[int]]:
    """Which packs of a step are in each micro-batch of one rank; -1 stands for an empty pack."""
    per_rank = -(-num_packs // ranks)
    mine = [pack if pack < num_packs else -1 for pack in range(rank, per_rank * ranks, ranks)]
    return [mine[i : i + micro_batch] for i in range(0, per_rank, micro_batch)]


class Steps:
    """The steps of a tune spec from `state` on, one after the other, from what `encoder` encodes.

    `draws` is the digest of its first draws. Raises StreamChanged when `state` has another.
    """

    def __init__(
        self, spec: TuneSpec, contract: Contract, encoder: Encoder, draws: str, state: StreamState
    ) -> None:
        self._spec, self._contract = spec, contract
        self._lengths = pack_lengths(contract, spec)
        plain = {name: counts.model_dump(exclude={"templates"}) for name, counts in state.counts.items()}
        self._counts = {name: Counter(counts) for name, counts in plain.items()}
        self._templates = {name: Counter(counts.templates) for name, counts in state.counts.items()}
        self._next_draw, self._dropped_in_a_row = state.next_draw, 0
        self._draws = draws
        if state.draws is not None and state.draws != draws:
            raise StreamChanged(
                f"the stream to go on with begins with draws of digest {state.draws[:12]}, this one with draws of "
                f"{draws[:12]}: other examples would follow",
                hint="go on with the version of the code that began it, or start anew",
            )
        self._window, self._tokens = Window(self._lengths), dict[int, Tokens]()
        for draw, encoded in zip(state.waiting, encoder.encode(state.waiting), strict=True):
            assert not isinstance(encoded.tokens, FlanError), "what waits was usable before"
            self._wait(draw, encoded.tokens)
        self._encoded = chain.from_iterable(encoder.blocks(state.next_draw))

    def make(self) -> StepBatch:
        """The next step."""
        packs = [self._pack() for _ in range(self._spec.packs_per_step)]
        examples = [[self._tokens.pop(draw) for draw in pack.examples] for pack in packs]
        return StepBatch(
            packs=pack_batch(examples, self._lengths, self._contract),
            target_tokens=sum(len(tokens.target_ids) for pack in examples for tokens in pack),
            num_tokens=sum(sum(pack.used) for pack in packs),
            draws=tuple(pack.examples for pack in packs),
        )

    def state(self) -> StreamState:
        """Where the stream stands after the steps so far."""
        return StreamState(
            draws=self._draws,
            next_draw=self._next_draw,
            waiting=tuple(self._window.waiting),
            counts={
                name: TaskCounts(**counts, templates=dict(sorted(self._templates[name].items())))
                for name, counts in sorted(self._counts.items())
            },
        )

    def _pack(self) -> Pack:
        while not self._window.is_full:
            self._advance()
        return self._window.take()

    def _advance(self) -> None:
        """One draw more. Raises what it cannot be used for when none before it could be either."""
        number, (task, template, tokens, was_cut, other_row) = self._next_draw, next(self._encoded)
        self._next_draw += 1
        counts = self._counts.setdefault(task, Counter())
        templates = self._templates.setdefault(task, Counter())
        counts["drawn"] += 1
        counts["other_row"] += other_row
        if isinstance(tokens, FlanError):
            counts[next(reason for kind, reason in _DROPS.items() if isinstance(tokens, kind))] += 1
            self._dropped_in_a_row += 1
            if self._dropped_in_a_row >= MAX_DROPPED_IN_A_ROW:
                raise tokens
            return
        self._dropped_in_a_row = 0
        counts["cut"] += was_cut
        counts["input_tokens"] += len(tokens.input_ids)
        counts["target_tokens"] += len(tokens.target_ids)
        templates[str(template)] += 1
        self._wait(number, tokens)

    def _wait(self, draw: int, tokens: Tokens) -> None:
        self._tokens[draw] = tokens
        self._window.add(draw, size(self._contract, tokens))
