"""Passages that rows share, word for word: an index of held-out rows, past which training rows stream.

Two texts share a passage where a run of words is the same in both: 13 words, or 8 where the held-out text has
fewer than 13, which is then two thirds of it at least. Besides, a text is found whole by its letters alone, so
that other spacing or signs ("do n't", "don't") hide nothing. Nothing of fewer than 30 letters is a passage.

What many rows say gives no row away. Such stock is set aside on either side, by two rules, each counted within
one task so that no verdict depends on what else is in a mixture:

- a *text* is stock when more than five times as many rows hold it as it has words, or more than half of the
  rows (and more than ten) do: instructions, a licence, "What is the main idea of the passage?";
- a *passage* is stock when more different texts hold each of its runs than half the number of its words, or
  than a hundred: "which of the following is an example of a …", a notice at the end of many letters. The longer a
  passage, the more texts may quote it: a page that many questions are asked about is none.

Only the held-out rows are kept in memory. A training text costs one pass of a regular expression, a look-up
of each word, and a few vector operations: runs are compared by a polynomial hash, and those that agree
then word by word, so that a collision flags nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from flan.data.ngrams import GramIndex, Integers, Numbers, Windows, window_size
from flan.data.wording import SHORTEST_TEXT, texts, words

MOST_TEXTS = 100
"""A run of words that more texts of one task hold than this is stock, however long the passage."""
_CHUNK = 1 << 18
"""Words that are compared at a time."""
Row = Mapping[str, Any]


class Place(NamedTuple):
    """Where a text stands."""

    row: int
    field: str


class HeldOutText(NamedTuple):
    """A held-out text, and where it stands: source → places."""

    text: str
    num_words: int
    places: dict[str, list[Place]]


class Match(NamedTuple):
    """A passage that a training text and a held-out text share, counted in words."""

    held_out: int
    """Which held-out text."""
    start: int
    """Its first word, in the training text."""
    held_out_start: int
    """Its first word, in the held-out text."""
    length: int
    is_whole: bool
    """The two texts are equal as a whole, letter by letter."""


class Found(NamedTuple):
    """A training text with the passages in it, and where it stands."""

    text: str
    places: list[Place]
    matches: list[Match]


def most_rows(num_words: int, num_rows: int) -> int:
    """In how many of `num_rows` rows a text of `num_words` words may stand without being stock."""
    return min(5 * num_words, max(10, num_rows // 2))


def most_texts(num_words: int) -> int:
    """In how many texts of a task a passage of `num_words` words may stand without being stock."""
    return min(num_words // 2, MOST_TEXTS)


class HeldOutIndex:
    """The texts of numbered held-out rows, by source, and their runs of words.

    A run has `num_words` words; `num_short` in a text that has fewer.
    """

    def __init__(
        self, sources: Mapping[str, Iterable[tuple[int, Row]]], *, num_words: int, num_short: int
    ) -> None:
        self.num_rows: dict[str, int] = {}
        """Source → its rows."""
        self.texts = self._own_texts(sources)
        """What is looked for: each text once, stock left out."""
        self.numbers: dict[str, int] = {}
        """Word → its number, from 1."""
        self.starts: Integers = np.empty(0, np.int64)
        """Where each text begins among the words of all, each followed by a 0."""
        self.by_letters: dict[str, list[int]] = {}
        """The letters of a text → which texts have them."""
        self._sizes = (num_words, num_short)
        self.grams = self._indexed()
        self.texts_holding = self._num_texts_holding()
        """Run → in how many of the texts it stands."""

    def _own_texts(self, sources: Mapping[str, Iterable[tuple[int, Row]]]) -> list[HeldOutText]:
        places: dict[str, dict[str, list[Place]]] = {}
        for source, rows in sources.items():
            self.num_rows[source] = 0
            for number, row in rows:
                self.num_rows[source] += 1
                for field, text in texts(row):
                    places.setdefault(text, {}).setdefault(source, []).append(Place(number, field))
        found = []
        for text, by_source in places.items():
            own = words(text)
            kept = {
                source: here
                for source, here in by_source.items()
                if num_rows_of(here) <= most_rows(len(own), self.num_rows[source])
            }
            if kept and sum(map(len, own)) >= SHORTEST_TEXT:
                found.append(HeldOutText(text, len(own), kept))
        return found

    def _indexed(self) -> GramIndex:
        flat: list[int] = []
        starts = []
        for number, each in enumerate(self.texts):
            own = words(each.text)
            starts.append(len(flat))
            flat.extend(self.numbers.setdefault(word, len(self.numbers) + 1) for word in own)
            flat.append(0)
            self.by_letters.setdefault("".join(own), []).append(number)
        self.starts = np.array(starts, np.int64)
        sizes = [window_size(each.num_words, self._sizes) for each in self.texts]
        return GramIndex(np.array(flat, np.int32), self.starts, np.array(sizes, np.int64))

    def grams_of(self, match: Match) -> Integers:
        """The runs that a passage is made of."""
        first = int(self.starts[match.held_out]) + match.held_out_start
        size = window_size(self.texts[match.held_out].num_words, self._sizes)
        return self.grams.gram_at[first : first + match.length - size + 1]

    def _num_texts_holding(self) -> Integers:
        counts = np.zeros(len(self.grams), np.int64)
        for windows in self.grams.find(self.grams.numbers).values():
            count_holders(counts, windows.grams, self.grams.text_at(windows.starts))
        return counts


def count_holders(counts: Integers, grams: Integers, holders: Integers) -> None:
    """Add to the count of each run the number of different texts it stands in: columns of a run and a text."""
    pairs = np.unique(grams << 32 | holders)
    np.add.at(counts, pairs >> 32, 1)


def num_rows_of(places: Iterable[Place]) -> int:
    """How many rows `places` are in."""
    return len({place.row for place in places})


class _Chunk(NamedTuple):
    """Some texts of a task, and the numbers of their words."""

    places: dict[str, list[Place]]
    starts: list[int]
    numbers: list[int]
    whole: dict[int, list[int]]
    """Which of the texts equals which held-out ones as a whole."""


def shared_passages(index: HeldOutIndex, rows: Iterable[tuple[int, Row]], num_rows: int) -> list[Found]:
    """The texts of one training task that share a passage with a held-out one, in the order they first stand in.

    `rows` are `num_rows` numbered rows; they are read once.
    """
    task = _Task(index)
    for chunk in _chunks(index, rows, task.found):
        task.compare(chunk)
    return task.own(num_rows)


def _chunks(
    index: HeldOutIndex, rows: Iterable[tuple[int, Row]], found: Mapping[str, Found]
) -> Iterator[_Chunk]:
    """The texts of `rows`, some at a time, each once; of those `found` already only the place is noted."""
    look_up = index.numbers.get
    chunk = _Chunk({}, [], [], {})
    for number, row in rows:
        for field, text in texts(row):
            if text in found:
                found[text].places.append(Place(number, field))
            elif text in chunk.places:
                chunk.places[text].append(Place(number, field))
            else:
                own = words(text)
                same = index.by_letters.get("".join(own))
                if same:
                    chunk.whole[len(chunk.starts)] = same
                chunk.places[text] = [Place(number, field)]
                chunk.starts.append(len(chunk.numbers))
                chunk.numbers.extend(map(look_up, own, repeat(0)))
                chunk.numbers.append(0)
        if len(chunk.numbers) >= _CHUNK:
            yield chunk
            chunk = _Chunk({}, [], [], {})
    yield chunk


class _Task:
    """What was found in the rows of one training task so far."""

    def __init__(self, index: HeldOutIndex) -> None:
        self.found: dict[str, Found] = {}
        self._index = index
        self._texts_holding = np.zeros(len(index.grams), np.int64)
        """Run → in how many texts of the task it stands."""

    def compare(self, chunk: _Chunk) -> None:
        """Look for held-out passages in the texts of `chunk`."""
        ends = np.append(np.array(chunk.starts, np.int64), len(chunk.numbers))
        numbers = np.array(chunk.numbers, np.int32)
        matches: dict[int, list[Match]] = {}
        for text, same in chunk.whole.items():
            length = int(ends[text + 1] - ends[text]) - 1
            matches[text] = [Match(held_out, 0, 0, length, is_whole=True) for held_out in same]
        for size, windows in self._index.grams.find(numbers).items():
            holders = np.searchsorted(ends, windows.starts, side="right") - 1
            count_holders(self._texts_holding, windows.grams, holders)
            rare = self._texts_with(windows.grams) <= MOST_TEXTS
            windows = Windows(windows.starts[rare], windows.grams[rare])
            for text, match in self._matches(numbers, ends, windows, size):
                matches.setdefault(text, []).append(match)
        names = list(chunk.places)
        for text in sorted(matches):
            self.found[names[text]] = Found(names[text], chunk.places[names[text]], matches[text])

    def own(self, num_rows: int) -> list[Found]:
        """What was found in the `num_rows` rows of the task, without stock."""
        kept = []
        for found in self.found.values():
            own = words(found.text)
            if num_rows_of(found.places) > most_rows(len(own), num_rows):
                continue
            whole = {match.held_out for match in found.matches if match.is_whole}
            matches = [
                match
                for match in found.matches
                if match.is_whole or (match.held_out not in whole and self._is_own(match, own))
            ]
            if matches:
                kept.append(found._replace(matches=matches))
        return kept

    def _texts_with(self, grams: Integers) -> Integers:
        """In how many texts each run of `grams` stands, of this task or held out, whichever are more."""
        return np.maximum(self._texts_holding[grams], self._index.texts_holding[grams])

    def _matches(
        self, numbers: Numbers, ends: Integers, windows: Windows, size: int
    ) -> Iterator[tuple[int, Match]]:
        runs = self._index.grams.runs(numbers, windows, size)
        holders = np.searchsorted(ends, runs.starts, side="right") - 1
        held_out = self._index.grams.text_at(runs.indexed_starts)
        starts, places = runs.starts - ends[holders], runs.indexed_starts - self._index.starts[held_out]
        columns = (each.tolist() for each in (holders, held_out, starts, places, runs.lengths))
        for text, other, start, place, length in zip(*columns, strict=True):
            yield text, Match(other, start, place, length, is_whole=False)

    def _is_own(self, match: Match, own: Sequence[str]) -> bool:
        """Whether the passage is long enough to be one, and no stock."""
        if sum(map(len, own[match.start : match.start + match.length])) < SHORTEST_TEXT:
            return False
        return bool(self._texts_with(self._index.grams_of(match)).min() <= most_texts(match.length))
