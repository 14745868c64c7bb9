"""Plain text → documents → pieces, short enough for a segment: the rows of a corpus.

A document that is longer than a piece is cut at blanks into pieces of about equal length; together they are the
document, character for character. A row says whether its piece ends the document. Pure functions of the text, which
comes and goes in parts: a text of any length takes the memory of a stretch of it, and JSON lines that of a line.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from flan.errors import FlanError, NotFound, did_you_mean
from flan.spec import Name

Documents = Literal["whole", "lines", "blank_lines"]
"""How a text is parted: not at all; at single line breaks (blank lines part the paragraphs of a document); at
blank lines."""
ENDINGS = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz")
FOLDER = "corpus"
STRETCH = 1 << 22
"""Characters of a document that are cut into pieces together; what is longer comes in several stretches."""
_STRETCH_END = re.compile(r"(?<=\S)\s")
"""Before all blanks between two words, so that none of them looks like the end of a document."""
_PARTS: dict[Documents, str] = {"lines": r"(?<!\n)\n(?!\n)", "blank_lines": r"\n[ \t]*\n\s*"}


class MissingCorpus(NotFound):
    """A corpus is not on this machine."""

    code = "missing_corpus"


class UnreadableText(FlanError):
    """A corpus is broken at a known place."""

    code, blame = "text_unreadable", "user"


class Piece(NamedTuple):
    """A document, or a part of one."""

    text: str
    ends: bool
    """Whether the document ends with it."""


def corpus_file(data: Path | None, name: Name) -> Path:
    """The file of a corpus in the folder of datasets. Raises MissingCorpus with the names there are."""
    folder = data / FOLDER if data is not None else None
    for ending in ENDINGS:
        if folder is not None and (folder / f"{name}{ending}").is_file():
            return folder / f"{name}{ending}"
    there = _names(folder) if folder is not None else []
    hint = did_you_mean(name, there) or (f"there are {', '.join(there)}" if there else None)
    where = f"in {folder}" if folder is not None else "and no data folder is set"
    raise MissingCorpus(
        f"no corpus {name!r} {where}",
        hint=hint or f"set FLAN_DATA to a folder with {FOLDER}/{name}.txt, or upload a dataset",
    )


def read_documents(
    chunks: Iterable[bytes], origin: str, documents: Documents, column: str | None
) -> Iterator[Piece]:
    """The documents in a file: of JSON lines the texts in `column`, else the parts of its text; in stretches.

    Raises UnreadableText with the place.
    """
    if column is None:
        yield from split_documents(_decoded(chunks, origin), documents)
        return
    for line, written in enumerate(_lines(_decoded(chunks, origin)), start=1):
        if not written.strip():
            continue
        try:
            row = json.loads(written)
        except (ValueError, RecursionError) as error:
            raise UnreadableText(f"{origin}, line {line}: not JSON: {error}") from error
        yield from split_documents([text_of(row, column, f"{origin}, line {line}")], "whole")


def split_documents(texts: Iterable[str], documents: Documents) -> Iterator[Piece]:
    """The documents of a text that comes in parts, without those that are blank; in stretches where they are long."""
    held, goes_on = "", False
    for text in chain(_with_plain_breaks(texts), [None]):
        held += text or ""
        start = 0
        for found in re.finditer(_PARTS[documents], held) if documents in _PARTS else ():
            if text is not None and found.end() == len(held):
                break  # it may go on in the next part
            yield from _last(held[start : found.start()], goes_on)
            start, goes_on = found.end(), False
        held = held[start:] if goes_on else held[start:].lstrip()
        while len(held) > 2 * STRETCH:
            edge = _STRETCH_END.search(held, STRETCH)
            if edge is None or not held[edge.start() :].strip():
                break  # the document may end here
            yield Piece(held[: edge.start()], False)
            held, goes_on = held[edge.start() :], True
    yield from _last(held, goes_on)


def _with_plain_breaks(texts: Iterable[str]) -> Iterator[str]:
    r"""The texts with \r\n as \n, even where one ends between the two."""
    held = ""
    for text in texts:
        held = (held + text).replace("\r\n", "\n")
        if held.endswith("\r"):
            yield held[:-1]
            held = "\r"
        else:
            yield held
            held = ""
    yield held


def _last(text: str, goes_on: bool) -> Iterator[Piece]:
    """What ends a document, of which stretches went before if it goes on; nothing where it is blank."""
    text = text.rstrip() if goes_on else text.strip()
    if text:
        yield Piece(text, True)


def _decoded(chunks: Iterable[bytes], origin: str) -> Iterator[str]:
    decoder, start, is_first = codecs.getincrementaldecoder("utf-8")(), 0, True
    for chunk in chain(chunks, [None]):
        begun = start - len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk or b"", final=chunk is None)
        except UnicodeDecodeError as error:
            said = f"byte {begun + error.start} is {error.object[error.start]:#04x}, which is not UTF-8"
            raise UnreadableText(f"{origin}: {said}", hint="save the file as UTF-8") from error
        start += len(chunk or b"")
        yield text.removeprefix("\ufeff") if is_first else text
        is_first = is_first and not text


def _lines(texts: Iterable[str]) -> Iterator[str]:
    held: list[str] = []
    for text in texts:
        first, *others = text.split("\n")
        held.append(first)
        for each in others:
            yield "".join(held)
            held = [each]
    yield "".join(held)


def text_of(row: Any, column: str, place: str) -> str:
    """The text of a row. Raises UnreadableText."""
    value = row.get(column) if isinstance(row, dict) else None
    if not isinstance(value, str):
        columns = sorted(row) if isinstance(row, dict) else []
        raise UnreadableText(f"{place}: no text in column {column!r}", hint=f"its columns are {columns}")
    return value


def cut_pieces(documents: Iterable[Piece], longest: int) -> Iterator[Piece]:
    """Documents, or stretches of them, in pieces of about equal length: `longest` characters, up to a word more."""
    for document, ends in documents:
        count = -(-len(document) // longest)
        edges = [_edge(document, place * len(document) // count, longest // 2) for place in range(count)]
        for start, stop in zip(edges, [*edges[1:], len(document)], strict=True):
            if start < stop:
                yield Piece(document[start:stop], ends and stop == len(document))


def _edge(document: str, place: int, reach: int) -> int:
    """The first blank at or after `place`, so that no word is torn; `place` itself where none is near."""
    if place == 0:
        return 0
    blank = re.compile(r"\s").search(document, place, place + reach)
    return blank.start() if blank else place


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    files = [path.name for path in folder.iterdir()]
    return sorted({name.removesuffix(end) for name in files for end in ENDINGS if name.endswith(end)})
