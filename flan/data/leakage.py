"""What held-out rows and training rows have in common, text by text: the report on a mixture.

The rows are compared raw, before any template, preparation or choice of columns: an answer in another column
or behind another question is found all the same (flan/data/overlap.py says what a shared passage is). A
report is a pure function of the rows and the two lengths.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from flan.data.overlap import Found, HeldOutIndex, Match, Place, shared_passages
from flan.data.rows import UnreadableRow
from flan.data.wording import Extent, extents
from flan.spec import Document, Leakage

VERSION = 1
"""Raised whenever the same rows would get another report than before."""
MOST_SHOWN = 5
"""Passages that are shown of each pair of tasks: the ones that cover most."""
_SAY_EVERY = 1_000
"""Rows between two words of progress."""


class RowSource(Protocol):
    """Raw rows by number; one that cannot be read raises UnreadableRow."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


class TrainingRows(NamedTuple):
    """What is trained on of one task."""

    task: str
    rows: RowSource
    numbers: Iterable[int]
    """Which of the rows."""


class Span(Document):
    """Where a passage stands: characters `start` up to, not including, `end` of a field of a raw row."""

    row: int
    """Of the split, from 0."""
    field: str
    """Path of the column: `answers.text.0`."""
    start: int
    """Its first character, from 0."""
    end: int
    """The one behind its last."""


class Passage(Document):
    """A passage that a training row and a held-out row share."""

    train: Span
    """In the training row."""
    held_out: Span
    """In the held-out row."""
    text: str
    """As it stands in the held-out row."""
    words: int
    """Words of it."""
    coverage: float
    """Its share of the words of the held-out field: 1 = all of it."""


class SharedRows(Document):
    """What one training task and one held-out split share."""

    train: str
    """Task that is trained on."""
    held_out: str
    """Held-out rows, as task/split."""
    train_rows: int
    """Training rows that share a passage with a held-out row."""
    held_out_rows: int
    """Held-out rows that share a passage with a training row."""
    whole_train_rows: int
    """Of the training rows, those with a field that is a field of a held-out row, letter by letter."""
    whole_held_out_rows: int
    """Of the held-out rows, likewise."""
    passages: tuple[Passage, ...]
    """The ones that cover most of a held-out field, each of another held-out row."""


class LeakageReport(Document):
    """What training rows and held-out rows have in common."""

    version: int = VERSION
    """Of the rules."""
    words: int
    """Words of the shortest shared passage."""
    short_words: int
    """The same where the held-out text has fewer."""
    train: dict[str, int]
    """Task → its training rows that were compared."""
    held_out: dict[str, int]
    """Task/split → its rows, all compared."""
    unreadable: dict[str, int] = {}
    """Task or task/split → rows that could not be read, and so not compared."""
    shared: tuple[SharedRows, ...]
    """Every pair that shares a passage, the one with the most held-out rows first."""
    train_rows: dict[str, tuple[int, ...]]
    """Task → its training rows that share a passage with any held-out row."""
    held_out_rows: dict[str, tuple[int, ...]]
    """Task/split → its rows that share a passage with any training row."""


def find_leakage(
    train: Iterable[TrainingRows],
    held_out: Mapping[str, RowSource],
    lengths: Leakage,
    *,
    on_rows: Callable[[str, int], None] | None = None,
) -> LeakageReport:
    """What `train` and `held_out` (task/split → rows) have in common.

    Training rows are read once, a task at a time; `on_rows` hears after every thousand how many more were.
    """
    broken: dict[str, int] = {}
    index = HeldOutIndex(
        {name: _readable(name, rows, range(len(rows)), broken) for name, rows in held_out.items()},
        num_words=lengths.words,
        num_short=lengths.short_words,
    )
    counted: dict[str, int] = {}
    shared: list[SharedRows] = []
    train_rows: dict[str, tuple[int, ...]] = {}
    touched: dict[str, set[int]] = {}
    for task, rows, numbers in train:
        numbers = list(numbers)
        counted[task] = len(numbers)
        read = _telling(_readable(task, rows, numbers, broken), task, on_rows)
        pairs = _by_source(index, shared_passages(index, read, len(numbers)))
        shared += [_shared(task, source, index, pair) for source, pair in pairs.items()]
        for source, pair in pairs.items():
            touched.setdefault(source, set()).update(pair.held_out)
        if pairs:
            train_rows[task] = tuple(sorted(set().union(*(pair.train for pair in pairs.values()))))
    return LeakageReport(
        words=lengths.words,
        short_words=lengths.short_words,
        train=counted,
        held_out={name: len(rows) for name, rows in held_out.items()},
        unreadable=broken,
        shared=tuple(sorted(shared, key=lambda each: (-each.held_out_rows, each.train, each.held_out))),
        train_rows=train_rows,
        held_out_rows={source: tuple(sorted(rows)) for source, rows in sorted(touched.items())},
    )


class _Pair:
    """What was found between one training task and one source of held-out rows."""

    def __init__(self) -> None:
        self.train: set[int] = set()
        self.held_out: set[int] = set()
        self.whole_train: set[int] = set()
        self.whole_held_out: set[int] = set()
        self.matches: list[tuple[Found, Match]] = []


def _readable(
    name: str, rows: RowSource, numbers: Iterable[int], broken: dict[str, int]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number in numbers:
        try:
            yield int(number), rows[int(number)]
        except UnreadableRow:
            broken[name] = broken.get(name, 0) + 1


def _telling(
    rows: Iterator[tuple[int, Mapping[str, Any]]], task: str, on_rows: Callable[[str, int], None] | None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    unsaid = 0
    for row in rows:
        yield row
        unsaid += 1
        if unsaid == _SAY_EVERY and on_rows is not None:
            on_rows(task, unsaid)
            unsaid = 0
    if unsaid and on_rows is not None:
        on_rows(task, unsaid)


def _by_source(index: HeldOutIndex, found: Iterable[Found]) -> dict[str, _Pair]:
    pairs: dict[str, _Pair] = {}
    for each in found:
        train = {place.row for place in each.places}
        for match in each.matches:
            for source, places in index.texts[match.held_out].places.items():
                pair = pairs.setdefault(source, _Pair())
                held_out = {place.row for place in places}
                pair.train |= train
                pair.held_out |= held_out
                if match.is_whole:
                    pair.whole_train |= train
                    pair.whole_held_out |= held_out
                pair.matches.append((each, match))
    return pairs


def _shared(task: str, source: str, index: HeldOutIndex, pair: _Pair) -> SharedRows:
    return SharedRows(
        train=task,
        held_out=source,
        train_rows=len(pair.train),
        held_out_rows=len(pair.held_out),
        whole_train_rows=len(pair.whole_train),
        whole_held_out_rows=len(pair.whole_held_out),
        passages=tuple(_worst(source, index, pair)),
    )


def _worst(source: str, index: HeldOutIndex, pair: _Pair) -> Iterator[Passage]:
    def badness(found_match: tuple[Found, Match]) -> tuple[float, int]:
        return _coverage(index, found_match[1]), found_match[1].length

    shown: set[int] = set()
    for found, match in sorted(pair.matches, key=badness, reverse=True):
        held_out = index.texts[match.held_out].places[source][0]
        if held_out.row not in shown:
            shown.add(held_out.row)
            yield _passage(index, found, match, held_out)
        if len(shown) == MOST_SHOWN:
            return


def _coverage(index: HeldOutIndex, match: Match) -> float:
    return 1.0 if match.is_whole else match.length / index.texts[match.held_out].num_words


def _passage(index: HeldOutIndex, found: Found, match: Match, held_out: Place) -> Passage:
    text = index.texts[match.held_out].text
    length = index.texts[match.held_out].num_words if match.is_whole else match.length
    there = _extent(text, match.held_out_start, length)
    here = _extent(found.text, match.start, match.length)
    return Passage(
        train=Span(row=found.places[0].row, field=found.places[0].field, start=here.start, end=here.end),
        held_out=Span(row=held_out.row, field=held_out.field, start=there.start, end=there.end),
        text=text[there.start : there.end],
        words=length,
        coverage=_coverage(index, match),
    )


def _extent(text: str, first: int, length: int) -> Extent:
    places = extents(text)
    return Extent(places[first].start, places[first + length - 1].end)
