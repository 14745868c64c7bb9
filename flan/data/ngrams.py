"""Runs of equal words between two sequences of word numbers, one of them indexed. Vectors only; no text.

A word number is positive; 0 stands between texts and for words that the indexed side does not have, and is
equal to nothing. Windows of n words are compared by a polynomial hash modulo 2**64, and those that agree word
by word: what comes out is exact, whatever the hashes do.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
_BASE = 0x9E3779B97F4A7C15
"""Of the polynomial."""
_PAIRS = 1 << 20
"""Pairs of places that are compared at a time: bounds the memory of one call."""


class Windows(NamedTuple):
    """Places of one sequence at which a window of the other stands."""

    starts: Integers
    """In the sequence that was looked through, rising."""
    grams: Integers
    """Which of the index's different windows stands there."""


class Runs(NamedTuple):
    """Maximal runs of equal words, as columns."""

    starts: Integers
    """First word of each, in the sequence that was looked through."""
    indexed_starts: Integers
    """And in the indexed one."""
    lengths: Integers
    """In words; at least that of a window."""


class GramIndex:
    """The windows of some texts, `text_numbers` laid end to end with a 0 after each.

    `sizes` is the length of the windows of each text; 0 = it has none.
    """

    def __init__(self, text_numbers: Numbers, text_starts: Integers, sizes: Integers) -> None:
        self.numbers = text_numbers
        self.text_starts = text_starts
        self._values = np.random.Philox(key=0).random_raw(int(text_numbers.max(initial=0)) + 1)
        self.windows = tuple(sorted({int(size) for size in sizes if size}))
        """The lengths of windows there are."""
        size_of = np.repeat(sizes, np.diff(np.append(text_starts, len(text_numbers))))
        places, hashes = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
        for size in self.windows:
            starts = np.flatnonzero(
                _all_known(text_numbers, size) & (size_of[: _count(text_numbers, size)] == size)
            )
            places.append(starts)
            hashes.append(self._hashes(text_numbers, size)[starts])
        self._index(np.concatenate(places), np.concatenate(hashes))

    def _index(self, places: Integers, hashes: Hashes) -> None:
        order = np.argsort(hashes, kind="stable")
        hashes = hashes[order]
        is_first = np.ones(len(hashes), bool)
        is_first[1:] = hashes[1:] != hashes[:-1]
        self._places = places[order]
        """Of the windows, those with equal hashes together."""
        self._first = np.append(np.flatnonzero(is_first), len(hashes))
        self._unique = hashes[is_first]
        self.gram_at = np.full(len(self.numbers), -1, np.int64)
        """Place in the texts → which window begins there; -1 = none."""
        self.gram_at[self._places] = np.cumsum(is_first) - 1
        bits = max(16, (8 * len(self._unique)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._is_likely = np.zeros(1 << bits, bool)
        self._is_likely[self._unique >> self._shift] = True

    def __len__(self) -> int:
        """How many different windows there are."""
        return len(self._unique)

    def text_at(self, places: Integers) -> Integers:
        """The text each of `places` is in."""
        return np.searchsorted(self.text_starts, places, side="right") - 1

    def find(self, numbers: Numbers) -> dict[int, Windows]:
        """Where windows of the index may stand in `numbers`, by their length: hashes agree, words were not compared."""
        found = {}
        for size in self.windows:
            starts = np.flatnonzero(_all_known(numbers, size))
            hashes = self._hashes(numbers, size)[starts]
            is_likely = self._is_likely[hashes >> self._shift]
            starts, hashes = starts[is_likely], hashes[is_likely]
            grams = np.searchsorted(self._unique, hashes)
            grams[grams == len(self)] = 0
            is_there = self._unique[grams] == hashes if len(self) else np.zeros(0, bool)
            found[size] = Windows(starts[is_there], grams[is_there])
        return found

    def runs(self, numbers: Numbers, windows: Windows, size: int) -> Runs:
        """The maximal runs of equal words around `windows`, which are of `size` words."""
        pairs = [
            (starts[same], places[same])
            for starts, places in self._pairs(windows)
            if (same := self._same(numbers, starts, places, size)).any()
        ]
        if not pairs:
            return Runs(*(np.empty(0, np.int64) for _ in range(3)))
        starts = np.concatenate([pair[0] for pair in pairs])
        places = np.concatenate([pair[1] for pair in pairs])
        order = np.lexsort((starts, places - starts))
        return self._widened(numbers, _joined(starts[order], places[order], size))

    def _pairs(self, windows: Windows) -> Iterator[tuple[Integers, Integers]]:
        """Each window with each place it has in the index, some at a time."""
        ends = np.cumsum(self._first[windows.grams + 1] - self._first[windows.grams])
        begin = 0
        while begin < len(ends):
            before = int(ends[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, before + _PAIRS, side="right")))
            which, places = self._places_of(windows.grams[begin:end])
            yield windows.starts[begin:end][which], places
            begin = end

    def _places_of(self, grams: Integers) -> tuple[Integers, Integers]:
        """For each place of each of `grams`: which of these it is of, and the place."""
        first, counts = self._first[grams], self._first[grams + 1] - self._first[grams]
        which = np.repeat(np.arange(len(grams)), counts)
        within = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        return which, self._places[first[which] + within]

    def _same(self, numbers: Numbers, starts: Integers, places: Integers, size: int) -> Flags:
        steps = np.arange(size)
        same: Flags = (numbers[starts[:, None] + steps] == self.numbers[places[:, None] + steps]).all(axis=1)
        return same

    def _widened(self, numbers: Numbers, runs: Runs) -> Runs:
        """`runs` as far as words are equal on both sides, each once: windows that were set aside leave gaps."""
        starts, places, lengths = (column.copy() for column in runs)
        while (moves := self._equal_at(numbers, starts - 1, places - 1)).any():
            starts[moves], places[moves], lengths[moves] = (
                starts[moves] - 1,
                places[moves] - 1,
                lengths[moves] + 1,
            )
        while (moves := self._equal_at(numbers, starts + lengths, places + lengths)).any():
            lengths[moves] += 1
        columns = np.unique(np.stack([starts, places, lengths], axis=1), axis=0)
        return Runs(columns[:, 0], columns[:, 1], columns[:, 2])

    def _equal_at(self, numbers: Numbers, starts: Integers, places: Integers) -> Flags:
        within = (starts >= 0) & (places >= 0) & (starts < len(numbers)) & (places < len(self.numbers))
        one = numbers[np.where(within, starts, 0)]
        other = self.numbers[np.where(within, places, 0)]
        equal: Flags = within & (one == other) & (one != 0)
        return equal

    def _hashes(self, numbers: Numbers, size: int) -> Hashes:
        """The hash of the window at each place, by doubling: a window of 13 is one of 8, one of 4 and one of 1."""
        power, power_size = self._values[numbers], 1
        total, total_size = None, 0
        while True:
            if size & power_size:
                total = power if total is None else _beside(total, total_size, power, power_size)
                total_size += power_size
            if power_size * 2 > size:
                break
            power, power_size = _beside(power, power_size, power, power_size), power_size * 2
        assert total is not None and total_size == size, "a size is positive"
        # Windows of another length are other windows, whatever they begin with.
        mixed: Hashes = total[: _count(numbers, size)] * np.uint64(2 * size + 1)
        return mixed


def _beside(left: Hashes, left_size: int, right: Hashes, right_size: int) -> Hashes:
    """The hashes of windows made of a left part and a right part."""
    weight = np.uint64(pow(_BASE, right_size, 1 << 64))
    length = max(0, len(right) - left_size)
    return left[:length] * weight + right[left_size:][:length]


def _count(numbers: Numbers, size: int) -> int:
    return max(0, len(numbers) - size + 1)


def _all_known(numbers: Numbers, size: int) -> Flags:
    """For the window at each place: whether the index has each of its words."""
    known = np.concatenate([[0], np.cumsum(numbers != 0)])
    all_known: Flags = known[size:] - known[:-size] == size
    return all_known[: _count(numbers, size)]


def _joined(starts: Integers, places: Integers, size: int) -> Runs:
    """Windows one word apart as one run. They come sorted by the distance of the two places, then by place."""
    begins = np.ones(len(starts), bool)
    begins[1:] = (np.diff(starts) != 1) | (np.diff(places) != 1)
    first = np.flatnonzero(begins)
    lengths = np.diff(np.append(first, len(starts))) + size - 1
    return Runs(starts[first], places[first], lengths)


def window_size(num_words: int, sizes: Sequence[int]) -> int:
    """The longest of `sizes` that a text of `num_words` words holds; 0 = none."""
    return max((size for size in sizes if size <= num_words), default=0)
