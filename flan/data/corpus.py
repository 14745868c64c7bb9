"""Plain text → documents → pieces, short enough for a segment: the rows of a corpus.

A document that is longer than a piece is cut at blanks into pieces of about equal length; together they are the
document, character for character. A row says whether its piece ends the document. Pure functions of the text.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from flan.errors import FlanError, NotFound, did_you_mean
from flan.spec import Name

Documents = Literal["whole", "lines", "blank_lines"]
"""How a text is parted: not at all; at single line breaks (blank lines part the paragraphs of a document); at
blank lines."""
ENDINGS = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz")
FOLDER = "corpus"
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


def split_documents(text: str, documents: Documents) -> list[str]:
    """The documents of a text, without those that are blank."""
    text = text.replace("\r\n", "\n")
    parts = re.split(_PARTS[documents], text) if documents in _PARTS else [text]
    return [part.strip() for part in parts if part.strip()]


def read_documents(data: bytes, origin: str, documents: Documents, column: str | None) -> list[str]:
    """The documents in a file: of JSON lines the texts in `column`, else the parts of its text.

    Raises UnreadableText with the place.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        said = f"byte {error.start} is {data[error.start]:#04x}, which is not UTF-8"
        raise UnreadableText(f"{origin}: {said}", hint="save the file as UTF-8") from error
    if column is None:
        return split_documents(text, documents)
    found: list[str] = []
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        try:
            row = json.loads(written)
        except (ValueError, RecursionError) as error:
            raise UnreadableText(f"{origin}, line {line}: not JSON: {error}") from error
        found += split_documents(text_of(row, column, f"{origin}, line {line}"), "whole")
    return found


def text_of(row: Any, column: str, place: str) -> str:
    """The text of a row. Raises UnreadableText."""
    value = row.get(column) if isinstance(row, dict) else None
    if not isinstance(value, str):
        columns = sorted(row) if isinstance(row, dict) else []
        raise UnreadableText(f"{place}: no text in column {column!r}", hint=f"its columns are {columns}")
    return value


def cut_pieces(documents: Sequence[str], longest: int) -> Iterator[Piece]:
    """The documents, each in pieces of about equal length, up to a word longer than `longest` characters."""
    for document in documents:
        count = -(-len(document) // longest)
        edges = [_edge(document, place * len(document) // count, longest // 2) for place in range(count)]
        for start, stop in zip(edges, [*edges[1:], len(document)], strict=True):
            if start < stop:
                yield Piece(document[start:stop], stop == len(document))


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
