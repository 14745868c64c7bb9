"""Packs of a stream of sizes, to its end."""

from collections.abc import Iterable, Iterator

from flan.data.window import Lengths, Pack, Window


def take_all(sizes: Iterable[Lengths], lengths: Lengths) -> Iterator[tuple[int, Pack]]:
    """Every pack of a stream of examples, with the number of examples that had been drawn when it went out."""
    window, drawn = Window(lengths), 0
    for number, each in enumerate(sizes):
        if window.is_full:
            yield drawn, window.take()
        window.add(number, each)
        drawn = number + 1
    while window.waiting:
        yield drawn, window.take()
