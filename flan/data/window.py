"""Which examples share a pack: those that wait fill one after another, as nearly as their sizes allow.

A pack is filled by subset sums. Every way of filling it that some of the waiting examples give is one bit of a
Python integer, and another example is a shift of that integer and an `or`: all ways through a few dozen examples
take microseconds, and the best one is exact to the token. Pure: no clock, no random number.

Legend: a pack has an input side and a target side; of a decoder-only model the target side has length 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

WAITING_ONE_SIDED, WAITING_TWO_SIDED = 128, 512
"""Examples that wait at a time, at least, for packs of one side and of two. One side is as full with 64; two fill up
together only where enough wait for what one of them gets too much of to be balanced by others."""
_PACKS_WAITING = 2
"""Packs that the examples that wait would fill, at least: long packs of short examples need more of them."""
_GRID = 1 << 15
"""Ways of filling what is left of a pack that are told apart, at most: 4 KiB of bits."""
_NEAR = 512
"""A pack of which no side lacks more than one part in so many is full."""
_SKEW = 8
"""By what part of its length a side may be ahead of the other before the last places of a pack are filled."""


class Lengths(NamedTuple):
    """How long packs are. Decoder-only: `input` is the whole sequence and `target` is 0."""

    input: int
    target: int


class Pack(NamedTuple):
    """Examples, by number, that share a pack; and how much of it they take."""

    examples: tuple[int, ...]
    used: Lengths


class Window:
    """Examples that wait for a place in a pack.

    A pack begins with the example that has waited longest, and takes others in their order as long as its sides
    fill up as they would from all that wait. The last places go to the examples that fill them best; the older
    ones where several choices are as good. So nobody waits for more packs than there are others before it.
    Deterministic: the same examples in the same order give the same packs.
    """

    def __init__(self, lengths: Lengths) -> None:
        self._lengths = lengths
        self._enough = WAITING_TWO_SIDED if lengths.target else WAITING_ONE_SIDED
        self._sizes: list[Lengths] = []
        self._held = Lengths(0, 0)
        self.waiting: list[int] = []
        """The examples, oldest first: all that decides how it goes on."""

    @property
    def is_full(self) -> bool:
        """Whether enough examples wait for good packs."""
        if len(self.waiting) < self._enough:
            return False
        held, one = self._held, self._lengths
        return held.input >= _PACKS_WAITING * one.input or 0 < _PACKS_WAITING * one.target <= held.target

    def add(self, example: int, size: Lengths) -> None:
        """Let an example wait."""
        fits = size.input <= self._lengths.input and size.target <= self._lengths.target
        assert fits, f"example {example} of {size} for packs of {self._lengths}"
        self.waiting.append(example)
        self._sizes.append(size)
        self._held = Lengths(self._held.input + size.input, self._held.target + size.target)

    def take(self) -> Pack:
        """The next pack; its examples wait no longer."""
        chosen, left = self._begin()
        others = sorted(set(range(len(self._sizes))).difference(chosen))
        sizes = [self._sizes[i] for i in others]
        chosen += [others[i] for i in best_fill(sizes, left, self._lengths)]
        return self._leave(sorted(chosen))

    def _begin(self) -> tuple[list[int], Lengths]:
        """The oldest, and others in their order until the ways of filling what is left can all be told apart."""
        left_input, left_target = self._lengths
        all_input, all_target = self._held
        most = left_input * all_target // _SKEW
        chosen, skew = [], 0
        for i, (num_input, num_target) in enumerate(self._sizes):
            if num_input > left_input or num_target > left_target:
                continue
            ahead = skew + num_input * all_target - num_target * all_input
            if i == 0 or abs(ahead) <= max(most, abs(skew)):
                chosen.append(i)
                skew = ahead
                left_input -= num_input
                left_target -= num_target
                if _num_ways(left_input, left_target) <= _GRID:
                    break
        return chosen, Lengths(left_input, left_target)

    def _leave(self, chosen: Sequence[int]) -> Pack:
        examples = tuple(self.waiting[i] for i in chosen)
        sizes = [self._sizes[i] for i in chosen]
        used = Lengths(sum(each.input for each in sizes), sum(each.target for each in sizes))
        self._held = Lengths(self._held.input - used.input, self._held.target - used.target)
        for i in reversed(chosen):
            del self.waiting[i], self._sizes[i]
        return Pack(examples, used)


def best_fill(sizes: Sequence[Lengths], room: Lengths, whole: Lengths) -> list[int]:
    """Which of `sizes` together leave the least of `room`, as shares of the sides of a pack of lengths `whole`.

    The first ones that fill it to one part in _NEAR of the pack will do. Of a room that has more than _GRID ways to
    be filled, the emptier side is not filled to its end.
    """
    told_apart = _told_apart(room, whole)
    most_input, most_target = told_apart
    width = 2 * most_target + 1  # a row of ways for each length of input; in its upper half targets run over
    row = (1 << (most_target + 1)) - 1
    allowed = _repeated(row, width, most_input + 1)
    near_input, near_target = (min(n // _NEAR, left) for n, left in zip(whole, told_apart, strict=True))
    few = ((1 << (near_target + 1)) - 1) << (most_target - near_target)
    full = _repeated(few, width, near_input + 1) << ((most_input - near_input) * width)
    ways, before, tried = 1, [], []
    for i, (num_input, num_target) in enumerate(sizes):
        if ways & full:
            break
        if num_input <= most_input and num_target <= most_target:
            before.append(ways)
            tried.append(i)
            ways |= (ways << (num_input * width + num_target)) & allowed
    way = _best(ways, most_input, most_target, whole) if not ways & full else (ways & full).bit_length() - 1
    chosen = []
    for i, others in zip(reversed(tried), reversed(before), strict=True):
        # Taken only where those before it cannot do without: so the older ones go first.
        if not others >> way & 1:
            chosen.append(i)
            way -= sizes[i].input * width + sizes[i].target
    return chosen


def _num_ways(num_input: int, num_target: int) -> int:
    return (num_input + 1) * (2 * num_target + 1)


def _told_apart(room: Lengths, whole: Lengths) -> Lengths:
    """`room`, the side that is emptier for its length cut until its ways are no more than _GRID."""
    num_input, num_target = room
    if _num_ways(num_input, num_target) <= _GRID:
        return room
    if num_input * whole.target >= num_target * whole.input:
        return Lengths(_GRID // (2 * num_target + 1) - 1, num_target)
    return Lengths(num_input, max(0, _GRID // (num_input + 1) - 1) // 2)


def _best(ways: int, most_input: int, most_target: int, whole: Lengths) -> int:
    """The place of the bit that leaves least, as shares of the sides of a pack."""
    width, row = 2 * most_target + 1, (1 << (most_target + 1)) - 1
    per_input, per_target = max(whole.target, 1), whole.input
    least, best = (most_input + 1) * per_input + most_target * per_target, 0
    for num_input in range(most_input, -1, -1):
        lacking = (most_input - num_input) * per_input
        if lacking >= least:
            break
        num_target = (ways >> num_input * width & row).bit_length() - 1
        if num_target >= 0 and lacking + (most_target - num_target) * per_target < least:
            least = lacking + (most_target - num_target) * per_target
            best = num_input * width + num_target
    return best


def _repeated(row: int, width: int, count: int) -> int:
    """`row`, `count` times, one every `width` bits."""
    if count == 1:
        return row
    half = _repeated(row, width, count // 2)
    both = half | half << width * (count // 2)
    return both | row << width * (count - 1) if count % 2 else both
