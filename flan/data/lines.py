"""Lines of a file by number: in memory, or on disk, where the memory they take is the page cache's.

    <folder>/lines         as they are in the file, uncompressed
    <folder>/index         of each line that is not blank: where it starts and ends, its number from 0; int64
    <folder>/about.json    {"count", "sha256"} of the lines

A folder is written whole beside its place and renamed into it, and never changed: any number of processes
read it, and whoever finds it need not uncompress again.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from flan.errors import DiskFull
from flan.store import sync_tree

CHUNK_BYTES = 1 << 20
_LINES, _INDEX, _ABOUT = "lines", "index", "about.json"
_PLACE_BYTES = 24  # three int64
_NEWLINE, _BRACE = ord("\n"), ord("{")


class Line(NamedTuple):
    """A line that is not blank."""

    text: bytes
    number: int
    """In the file, from 0."""


class Lines(Protocol):
    """Lines by number, without the blank ones."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, index: int) -> Line:
        """One of them; `index` counts those that are not blank."""


class LinesInMemory:
    """The lines of `data`."""

    def __init__(self, data: bytes) -> None:
        self._data, self._places = data, _places(data, 0, 0, is_last=True)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Line:
        start, end, number = self._places[index].tolist()
        return Line(self._data[start:end], number)


class LinesOnDisk:
    """The lines in a folder that `write_lines` has made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        about = json.loads((folder / _ABOUT).read_text())
        self.sha256: str = about["sha256"]
        self._count: int = about["count"]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Line:
        # Opened for each line: a mixture may have more files than a process may hold open.
        start, end, number = np.frombuffer(
            _read(self._index, _PLACE_BYTES * index, _PLACE_BYTES), np.int64
        ).tolist()
        return Line(_read(self._lines, start, end - start), number)

    @cached_property
    def _index(self) -> str:
        return str(self._folder / _INDEX)

    @cached_property
    def _lines(self) -> str:
        return str(self._folder / _LINES)


def in_chunks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, each with its line break, some thousands at a time."""
    held, size = [], 0
    for line in lines:
        held.append(line + b"\n")
        size += len(held[-1])
        if size >= CHUNK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def write_lines(place: Path, chunks: Iterable[bytes]) -> LinesOnDisk:
    """The lines of a text that comes in chunks, in a new folder at `place`; what is there already stays.

    Takes the memory of a chunk and of its longest line. Raises DiskFull, and what `chunks` raises.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=place.parent))
    try:
        _write(folder, chunks)
        sync_tree(folder)
        try:
            folder.rename(place)
        except OSError:
            # Another process was quicker: same place, same lines.
            if not place.exists():
                raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"no space left for the rows at {place}", hint="free some space") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return LinesOnDisk(place)


def _write(folder: Path, chunks: Iterable[bytes]) -> None:
    digest, count, start, number, rest = hashlib.sha256(), 0, 0, 0, b""
    with (folder / _LINES).open("wb") as lines, (folder / _INDEX).open("wb") as index:
        for chunk, is_last in _with_last(chunks):
            digest.update(chunk)
            lines.write(chunk)
            rest += chunk
            if b"\n" not in chunk and not is_last:
                continue
            places = _places(rest, start, number, is_last=is_last)
            index.write(places.tobytes())
            count += len(places)
            whole = rest.rfind(b"\n") + 1
            number += rest.count(b"\n")
            start, rest = start + whole, rest[whole:]
    (folder / _ABOUT).write_text(json.dumps({"count": count, "sha256": digest.hexdigest()}))


def _with_last(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for chunk in chunks:
        yield chunk, False
    yield b"", True


def _places(data: bytes, start: int, number: int, *, is_last: bool) -> npt.NDArray[np.int64]:
    """(lines, 3): start, end and number of each whole line of `data`, which stands at `start` of its file.

    Behind the last line break there is a line only where the file ends there.
    """
    text = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(text == _NEWLINE)
    starts = np.concatenate([[0], ends + 1])
    ends = np.append(ends, len(data)) if is_last else ends
    starts = starts[: len(ends)]
    is_filled = ends > starts
    # Nearly every line is an object: only the others are looked at one by one.
    odd = is_filled & (np.append(text, 0)[starts] != _BRACE)
    for i in np.flatnonzero(odd):
        is_filled[i] = bool(data[starts[i] : ends[i]].strip())
    places = np.stack([starts + start, ends + start, np.arange(len(ends)) + number], axis=1)
    return places[is_filled].astype(np.int64)


def _read(path: str, start: int, count: int) -> bytes:
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.pread(handle, count, start)
    finally:
        os.close(handle)
