"""The texts of a raw row, and their words: what a row says, whatever its case, signs and spacing.

A word is a run of letters and digits; of scripts written without spaces each character is one. Words are
compared casefolded. No normal form of Unicode is brought about: a composed letter and a letter with a
combining mark are two things.
"""

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

SHORTEST_TEXT = 30
"""Letters of the shortest text that is compared: what is shorter is shared by chance."""
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(r"\w+")
_WORD_OR_SIGN = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+")
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_ASCII_SIGNS = str.maketrans({code: " " for code in range(128) if not chr(code).isalnum()})


class Extent(NamedTuple):
    """Where something stands in a text: characters from `start` up to, not including, `end`."""

    start: int
    end: int


def texts(row: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and text of every string in a raw row, at any depth, that has SHORTEST_TEXT characters at least.

    A path is that of a task's columns: `answers.text.0`.
    """
    if isinstance(row, str):
        if len(row) >= SHORTEST_TEXT:
            yield path, row
    elif isinstance(row, dict | list):
        pairs = row.items() if isinstance(row, dict) else enumerate(row)
        for key, value in pairs:
            if isinstance(value, str | dict | list):
                yield from texts(value, f"{path}.{key}" if path else str(key))


def words(text: str) -> list[str]:
    """The words of a text, casefolded, in order."""
    if text.isascii():
        # The same words in half the time: most texts are.
        return text.lower().translate(_ASCII_SIGNS).split()
    folded = _folded(text)
    return _pattern(folded).findall(folded)


def extents(text: str) -> list[Extent]:
    """Where each of `words(text)` stands in `text`."""
    folded = _folded(text)
    found = [Extent(*match.span()) for match in _pattern(folded).finditer(folded)]
    if len(folded) == len(text):
        return found
    # Casefolding lengthens some letters (ß → ss): back to the places of the letters they were made of.
    lengths = [len(letter.casefold()) for letter in text]
    ends = list(accumulate(lengths))
    origin = [place for place, length in enumerate(lengths) for _ in range(length)]
    assert ends[-1] == len(folded), "casefolding goes letter by letter"
    return [Extent(origin[start], origin[end - 1] + 1) for start, end in found]


def _folded(text: str) -> str:
    return text.casefold().replace("_", " ")


def _pattern(folded: str) -> re.Pattern[str]:
    if folded.isascii() or not _HAS_UNSPACED.search(folded):
        return _WORD
    return _WORD_OR_SIGN
