"""What a model said to every question of an evaluation: compressed JSON lines that can be read in pages.

    samples/samples.jsonl.gz   a question a line; every 256 lines, and every task, are a gzip member of their own
    samples/index.json         where each member begins, and of which task and split its questions are

`zcat` reads it like any other. What is in a line: flan/evaluate/records.py.
"""

import gzip
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from flan.errors import StoreCorrupt
from flan.spec import Document, canonical_json, parse
from flan.store import sync_directory

SAMPLES, LINES, INDEX = "samples", "samples.jsonl.gz", "index.json"
CHUNK = 256
"""Lines of a member: what is read for a page at least."""
Sample = dict[str, Any]


class Chunk(Document):
    """A gzip member: consecutive questions of one task and split."""

    task: str
    split: str
    first: int
    """Number of its first question, from 0."""
    count: int
    offset: int
    """Byte where it begins."""


class Index(Document):
    """index.json."""

    format: int = 1
    count: int
    """Questions in all."""
    chunks: tuple[Chunk, ...]


class Numbered(NamedTuple):
    """A question in its place."""

    number: int
    sample: Sample


class SamplesWriter:
    """Writes a folder of samples; it is in its place when all of them were written. Equal samples, equal bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._unfinished = folder, folder.with_name(f".{folder.name}.unfinished")
        self._chunks: list[Chunk] = []
        self._waiting: list[Sample] = []
        self._count = 0

    def __enter__(self) -> Self:
        shutil.rmtree(self._unfinished, ignore_errors=True)
        self._unfinished.mkdir()
        self._file = (self._unfinished / LINES).open("wb")
        return self

    def write(self, samples: Iterable[Sample]) -> None:
        """Add `samples`, in their order."""
        for sample in samples:
            if self._waiting and (
                len(self._waiting) == CHUNK or _source(self._waiting[0]) != _source(sample)
            ):
                self._end_chunk()
            self._waiting.append(sample)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._file.close()
            shutil.rmtree(self._unfinished, ignore_errors=True)
            return
        if self._waiting:
            self._end_chunk()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        index = Index(count=self._count, chunks=tuple(self._chunks))
        (self._unfinished / INDEX).write_text(index.model_dump_json() + "\n")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._unfinished.rename(self._folder)
        sync_directory(self._folder.parent)

    def _end_chunk(self) -> None:
        task, split = _source(self._waiting[0])
        self._chunks.append(
            Chunk(
                task=task,
                split=split,
                first=self._count,
                count=len(self._waiting),
                offset=self._file.tell(),
            )
        )
        text = "".join(canonical_json(sample) + "\n" for sample in self._waiting)
        # No time in the header: equal samples, equal bytes.
        self._file.write(gzip.compress(text.encode(), mtime=0))
        self._count += len(self._waiting)
        self._waiting = []


def read_samples(
    folder: Path, *, task: str | None = None, split: str | None = None, after: int = -1
) -> Iterator[Numbered]:
    """The questions behind number `after`, in order, of a task or split or of all. Raises StoreCorrupt."""
    try:
        index = parse(Index, json.loads((folder / INDEX).read_text()))
        with (folder / LINES).open("rb") as file:
            for i, chunk in enumerate(index.chunks):
                is_wanted = task in (None, chunk.task) and split in (None, chunk.split)
                if not is_wanted or chunk.first + chunk.count - 1 <= after:
                    continue
                file.seek(chunk.offset)
                size = index.chunks[i + 1].offset - chunk.offset if i + 1 < len(index.chunks) else -1
                lines = gzip.decompress(file.read(size)).splitlines()
                for number, line in enumerate(lines, start=chunk.first):
                    if number > after:
                        yield Numbered(number, json.loads(line))
    except (OSError, ValueError, EOFError) as error:
        raise StoreCorrupt(f"the samples in {folder} cannot be read: {error}") from error


def _source(sample: Sample) -> tuple[str, str]:
    return sample["task"], sample["split"]
