"""The endless stream of training steps: draws → rows → text → ids → packs → the whole of a global step.

Every rank makes the same stream and takes its share of each step, so no rank waits for data from another
and the order of examples does not know how many ranks there are. Where the stream stands is a small
document: the number of the next draw and which draws wait in open packs; they are rendered anew on resume.
"""

from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Self

from flan.card import Contract
from flan.data.examples import Examples
from flan.data.packing import Lengths, OpenPacks, Pack, PackedBatch, pack_batch, pack_lengths, select, size
from flan.data.rows import Rows, UnreadableRow
from flan.data.tokens import InputTooLong, TargetTooLong, Tokens
from flan.errors import FlanError
from flan.spec import Document, TuneSpec
from flan.tasks.task import Task
from flan.tasks.template import RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

STEPS_AHEAD = 3
"""Steps made ready while the network computes."""
MAX_DROPPED_IN_A_ROW = 1_000
"""After so many draws of which none can be used, the stream fails with the last reason."""
_DROPS: dict[type[FlanError], str] = {
    InputTooLong: "input_too_long",
    TargetTooLong: "target_too_long",
    RowError: "bad_row",
    UnreadableRow: "bad_row",
}


class TaskCounts(Document):
    """What became of the draws of one task, and its share of the tokens."""

    drawn: int = 0
    cut: int = 0
    """Kept, with the long field cut."""
    input_too_long: int = 0
    """Dropped: too long even without the long field."""
    target_too_long: int = 0
    """Dropped: targets are never cut."""
    bad_row: int = 0
    """Dropped: the row is broken, or lacks what the task needs."""
    input_tokens: int = 0
    target_tokens: int = 0


class StreamState(Document):
    """Where a stream stands after a step. Opened from it, a stream goes on with the same bits."""

    next_draw: int = 0
    open_packs: tuple[tuple[int, ...], ...] = ()
    """Draws that wait, by pack, oldest pack first."""
    counts: dict[str, TaskCounts] = {}
    """By task, since the start of the stream; draws that wait are counted."""


class StepBatch(NamedTuple):
    """One optimizer update, over all ranks."""

    packs: PackedBatch
    target_tokens: int
    """Tokens that carry loss: what the step's loss is divided by."""
    num_tokens: int
    """Slots that are no padding, encoder and decoder together."""
    draws: tuple[tuple[int, ...], ...]
    """Which draws are in each pack, by segment."""


class Stream:
    """Steps of a tune spec, made ahead in a thread of its own. Close it, or use it in `with`.

    `rows` holds the training rows of each of `tasks`. One thread at a time may call it.
    """

    def __init__(
        self,
        spec: TuneSpec,
        tasks: Mapping[str, Task],
        rows: Mapping[str, Rows],
        tokenizer: "PreTrainedTokenizerFast",
        contract: Contract,
        start: StreamState | None = None,
    ) -> None:
        self._state = start or StreamState()
        self._steps = _Steps(spec, tasks, rows, tokenizer, contract)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stream")
        self._ready: deque[Future[tuple[StepBatch, StreamState]]] = deque()
        self._opened = self._thread.submit(self._steps.open, self._state)

    def next_step(self) -> StepBatch:
        """The next step. Raises what made the draws unusable when none can be used any more."""
        self._opened.result()
        while len(self._ready) < STEPS_AHEAD:
            self._ready.append(self._thread.submit(self._steps.make))
        step, self._state = self._ready.popleft().result()
        return step

    def state(self) -> StreamState:
        """Where the stream stands after the step last handed out."""
        return self._state

    def counts(self) -> dict[str, TaskCounts]:
        """What became of the draws up to the step last handed out, by task."""
        return self._state.counts

    def close(self) -> None:
        """Stop making steps; returns when the thread has ended."""
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def share(step: StepBatch, rank: int, ranks: int, micro_batch: int) -> list[PackedBatch]:
    """The micro-batches of one rank: packs rank, rank + ranks, …, at most `micro_batch` at a time.

    All ranks get the same number of micro-batches of the same shapes: who is short gets empty packs. Over
    the ranks, every pack of the step comes exactly once.
    """
    num_packs = len(step.draws)
    per_rank = -(-num_packs // ranks)
    mine = [pack if pack < num_packs else -1 for pack in range(rank, per_rank * ranks, ranks)]
    return [select(step.packs, mine[i : i + micro_batch]) for i in range(0, per_rank, micro_batch)]


class _Steps:
    """Makes steps one after the other, in one thread."""

    def __init__(
        self,
        spec: TuneSpec,
        tasks: Mapping[str, Task],
        rows: Mapping[str, Rows],
        tokenizer: "PreTrainedTokenizerFast",
        contract: Contract,
    ) -> None:
        self._spec, self._examples = spec, Examples(spec, tasks, rows)
        self._tokenizer, self._contract = tokenizer, contract
        self._lengths = pack_lengths(contract, spec.packed_length, spec.input_length, spec.target_length)
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in tasks}
        self._next_draw = self._dropped_in_a_row = 0
        self._waiting: dict[int, Tokens] = {}
        self._open = OpenPacks(self._lengths)

    def open(self, state: StreamState) -> None:
        """Stand where `state` says."""
        self._next_draw = state.next_draw
        self._counts |= {name: Counter(counts.model_dump()) for name, counts in state.counts.items()}
        self._waiting = {draw: self._example(draw)[1] for pack in state.open_packs for draw in pack}
        self._open = OpenPacks(self._lengths, [self._reopened(pack) for pack in state.open_packs])

    def make(self) -> tuple[StepBatch, StreamState]:
        """The next step, and where the stream stands after it."""
        packs: list[Pack] = []
        while len(packs) < self._spec.packs_per_step:
            pack = self._advance()
            packs += [pack] if pack is not None else []
        examples = [[self._waiting.pop(draw) for draw in pack.examples] for pack in packs]
        step = StepBatch(
            packs=pack_batch(examples, self._lengths, self._contract),
            target_tokens=sum(len(tokens.target_ids) for pack in examples for tokens in pack),
            num_tokens=sum(sum(pack.used) for pack in packs),
            draws=tuple(pack.examples for pack in packs),
        )
        return step, self._state()

    def _advance(self) -> Pack | None:
        """Draw once; the pack that went out, if one did."""
        number, self._next_draw = self._next_draw, self._next_draw + 1
        counts = self._counts[self._examples.draw(number).task]
        counts["drawn"] += 1
        try:
            was_cut, tokens = self._example(number)
        except tuple(_DROPS) as error:
            counts[next(reason for kind, reason in _DROPS.items() if isinstance(error, kind))] += 1
            self._dropped_in_a_row += 1
            if self._dropped_in_a_row >= MAX_DROPPED_IN_A_ROW:
                raise
            return None
        self._dropped_in_a_row = 0
        counts.update(cut=was_cut, input_tokens=len(tokens.input_ids), target_tokens=len(tokens.target_ids))
        self._waiting[number] = tokens
        return self._open.add(number, size(self._contract, tokens))

    def _example(self, number: int) -> tuple[bool, Tokens]:
        fitted = self._examples.fitted(number, self._tokenizer, self._contract)
        return fitted.was_cut, fitted.tokens

    def _reopened(self, draws: tuple[int, ...]) -> Pack:
        sizes = [size(self._contract, self._waiting[draw]) for draw in draws]
        return Pack(draws, Lengths(sum(each.input for each in sizes), sum(each.target for each in sizes)))

    def _state(self) -> StreamState:
        return StreamState(
            next_draw=self._next_draw,
            open_packs=tuple(pack.examples for pack in self._open.packs),
            counts={name: TaskCounts(**counts) for name, counts in self._counts.items()},
        )
