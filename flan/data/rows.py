"""Rows of a task, by number: from the hub layout, from an uploaded artifact, or made by a pure function.

    <data>/hub/<folder>/meta.json           columns, with the names of class labels; sha256 of files that were pulled
    <data>/hub/<folder>/<split>.jsonl.gz    one JSON object a line; or <split>.jsonl

A split of a task is a split of the hub or a part of one, written as a slice: `train[:-200]`, `train[-200:]`.
Slices count in a fixed random order, because some files are sorted by label; the rows keep the file's order.
Where the hub's training rows are not at hand, a file `train_from_<split>` holds rows of another split that
stand in for them: good for a demonstration, never for a published figure.

Whatever they come from, rows are JSON lines, parsed when asked for. Where there is a store the lines of files
lie in its folder `rows`, uncompressed, by the digest of the file they are from: read from there, they take no
memory of the process, however many there are. That folder is made anew where it is missing, and what nobody opens for
KEPT_DAYS is removed from it when other lines come. Class labels come
out as their names, never as numbers: mirrors of one dataset number them differently. Templates of
promptsource alone see the numbers: they are written for them.
"""

import gzip
import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flan.data.corpus import Piece, corpus_file, cut_pieces, read_documents, split_documents, text_of
from flan.data.formats import Fault, decode_row, encode_row, read_rows
from flan.data.known import known_sha256
from flan.data.lines import CHUNK_BYTES, Lines, LinesInMemory, LinesOnDisk, in_chunks, write_lines
from flan.data.mixture import permutation
from flan.errors import FlanError
from flan.spec import canonical_json
from flan.store import Store, file_sha256
from flan.tasks.synthetic import generate
from flan.tasks.task import CorpusSource, DatasetSource, HubSource, SyntheticSource, Task

_LABELS = "ClassLabel"
STAND_IN = "train_from_"
KEPT, _KNOWN = "rows", ".known"
"""Folder in the store of lines that are kept uncompressed; in it, what is known of the files they are from."""
KEPT_DAYS = 90
"""How long lines are kept that nobody opens."""


class Places(NamedTuple):
    """Where rows can be found on this machine."""

    data: Path | None
    """FLAN_DATA: the folder that holds `hub/`."""
    store: Store | None
    """Artifacts: uploaded rows, task documents, models."""
    opened: "dict[tuple[str, str], Rows] | None" = None
    """Rows that were opened before, for whoever reads the same ones many times; None: each time anew."""


class MissingRows(FlanError):
    """The rows of a task are not on this machine."""

    code, blame = "missing_rows", "user"


class MissingSplit(FlanError):
    """A task has no split of that name."""

    code, blame = "missing_split", "user"


class UnreadableRow(FlanError):
    """A file of rows is broken at a known place."""

    code, blame = "row_unreadable", "user"


class EmptyDataset(FlanError):
    """A file of rows has none."""

    code, blame = "empty_dataset", "user"


class Rows:
    """Rows of one split, by number from 0. Raises UnreadableRow where a line is broken."""

    def __init__(
        self,
        lines: bytes | Lines,
        origin: str,
        digest: str,
        columns: Mapping[str, Any] | None = None,
        part: slice | None = None,
    ) -> None:
        self._lines = LinesInMemory(lines) if isinstance(lines, bytes) else lines
        self._chosen: npt.NDArray[np.int64] | None = None
        """Which lines they are; None = all."""
        if part is not None:
            # Nothing but the number of rows decides, so that the parts of a split never overlap.
            order = permutation(len(self._lines), "split")
            self._chosen = np.sort(order[part])
        self._columns = _with_labels(columns or {})
        self.origin = origin
        """Where they come from, for messages."""
        self.digest = digest
        """sha256 of what decides the rows: equal digests, equal rows."""
        if len(self) == 0:
            raise EmptyDataset(f"{origin} has no row")

    def __len__(self) -> int:
        return len(self._lines) if self._chosen is None else len(self._chosen)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)} in {self.origin}")
        text, number = self._lines[index if self._chosen is None else int(self._chosen[index])]
        row = decode_row(text.rstrip(b"\r"), number + 1)
        if isinstance(row, Fault):
            raise unreadable(self.origin, row)
        return {name: _named(value, self._columns.get(name), name) for name, value in row.items()}

    def without(self, numbers: Sequence[int]) -> "Rows":
        """These rows but those of `numbers`; the ones behind move up. Raises EmptyDataset when none is left."""
        if len(numbers) == len(self):
            raise EmptyDataset(f"all {len(self):,} rows of {self.origin} are left out")
        left = copy(self)
        chosen = np.arange(len(self)) if self._chosen is None else self._chosen
        left._chosen = np.delete(chosen, numbers)
        left.digest = hashlib.sha256(canonical_json([self.digest, list(numbers)]).encode()).hexdigest()
        return left

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))


def open_rows(task: Task, split: str, places: Places) -> Rows:
    """The rows of one split. Raises MissingSplit, MissingRows, UnreadableRow, EmptyDataset, StoreCorrupt."""
    if places.opened is None:
        return _opened(task, split, places)
    key = (task.digest(), split)
    if key not in places.opened:
        places.opened[key] = _opened(task, split, places)
    return places.opened[key]


def _opened(task: Task, split: str, places: Places) -> Rows:
    source = task.source
    if split not in source.splits:
        raise MissingSplit(
            f"task {task.name} has no split {split!r}",
            hint=f"it has {sorted(source.splits)}",
            task=task.name,
            split=split,
        )
    if isinstance(source, HubSource):
        return _hub_rows(task, source, split, places)
    if isinstance(source, DatasetSource):
        return _stored_rows(task.name, source, split, places)
    if isinstance(source, CorpusSource):
        return _corpus_rows(source, places)
    return _synthetic_rows(source, split)


def unreadable(origin: str, fault: Fault) -> UnreadableRow:
    """`fault` as an error that names the file, the line and the column."""
    column = f", column {fault.column}" if fault.column else ""
    return UnreadableRow(
        f"{origin}, line {fault.line}{column}: {fault.message}", line=fault.line, column=fault.column
    )


def _hub_rows(task: Task, source: HubSource, split: str, places: Places) -> Rows:
    part = source.part(split)
    hint = f"set FLAN_DATA to a folder that holds it, or run: flan data pull {task.name} --to FOLDER"
    if places.data is None:
        raise MissingRows(f"no rows for {task.name}: no data folder is set", hint=hint, task=task.name)
    folder = places.data / "hub" / (source.folder or task.name)
    meta = json.loads((folder / "meta.json").read_text()) if (folder / "meta.json").is_file() else {}
    path = split_file(folder, part.split, meta)
    if path is None:
        raise MissingRows(
            f"no rows for {task.name}: no {part.split}.jsonl.gz in {folder}", hint=hint, task=task.name
        )
    columns = meta.get("columns", {}) if task.language == "slots" else {}
    lines, sha256 = _file_lines(path, meta.get("files", {}).get(path.name), task.name, places)
    decides = [canonical_json(_with_labels(columns)), *([str(part.which)] if part.which else []), sha256]
    digest = hashlib.sha256("\n".join(decides).encode()).hexdigest()
    origin = f"{path} ({source.splits[split]})" if part.which else str(path)
    return Rows(lines, origin, digest, columns, part.which)


def split_file(folder: Path, name: str, meta: Mapping[str, Any]) -> Path | None:
    """The file of the hub split `name`; mirrors may call theirs otherwise, and say so in meta.json."""
    names = [file for file, split in meta.get("hub_split_names", {}).items() if split == name]
    names = [file for file in names if not file.startswith(STAND_IN)] + [name]
    if name.startswith("train"):
        names += sorted(path.name.partition(".")[0] for path in folder.glob(f"{STAND_IN}*.jsonl*"))
    files = (folder / f"{each}{ending}" for each in names for ending in (".jsonl.gz", ".jsonl"))
    return next((file for file in files if file.is_file()), None)


def _file_lines(
    path: Path, recorded: Mapping[str, Any] | None, task: str, places: Places
) -> tuple[Lines, str]:
    """The lines of a file and their sha256; where meta.json has that of the file, it is the one that was written."""
    sha256 = _sha256_of(path, places)
    if recorded is not None and sha256 != recorded["sha256"]:
        raise UnreadableRow(
            f"{path} is not the file that was pulled: its sha256 differs from that in meta.json",
            hint=f"fetch it again: flan data pull {task} --to {path.parents[2]}",
        )
    return _lines(sha256, _chunks(path), places)


def _sha256_of(path: Path, places: Places) -> str:
    return known_sha256(path, places.store.root / KEPT / _KNOWN) if places.store else file_sha256(path)


def _lines(key: str, chunks: Iterable[bytes], places: Places) -> tuple[Lines, str]:
    """Lines that `key` decides, and their sha256: kept in the store where there is one."""
    if places.store is not None:
        on_disk = _kept(places.store, key, chunks)
        return on_disk, on_disk.sha256
    data = b"".join(chunks)
    return LinesInMemory(data), hashlib.sha256(data).hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    """The text of a file, uncompressed."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file.read(CHUNK_BYTES)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnreadableRow(f"{path} is not a whole gzip file: {error}", hint="fetch it again") from error


def _kept(store: Store, key: str, chunks: Iterable[bytes]) -> LinesOnDisk:
    """The lines kept in the store under `key`, which decides them; written from `chunks` where they are not yet."""
    place = store.root / KEPT / key[:2] / key[2:]
    if not place.is_dir():
        _forget(store.root / KEPT)
        return write_lines(place, chunks)
    with suppress(OSError):  # a store that others write
        os.utime(place)  # they are in use
    return LinesOnDisk(place)


def _forget(folder: Path) -> None:
    """Remove lines that nobody has opened for KEPT_DAYS; whoever opens them again has them made anew."""
    for place in folder.glob("[0-9a-f][0-9a-f]/*"):
        with suppress(FileNotFoundError):  # another process was quicker
            if place.stat().st_mtime < time.time() - KEPT_DAYS * 86_400:
                shutil.rmtree(place, ignore_errors=True)


def _stored_rows(task: str, source: DatasetSource, split: str, places: Places) -> Rows:
    if places.store is None:
        raise MissingRows(f"no rows for {task}: there is no artifact store", task=task)
    digest = source.splits[split]
    origin = f"dataset {source.name} ({split})"
    key = hashlib.sha256(f"{source.format} {digest}".encode()).hexdigest()
    return Rows(_kept(places.store, key, _stored(places.store, source, digest, origin)), origin, digest)


def _stored(store: Store, source: DatasetSource, digest: str, origin: str) -> Iterator[bytes]:
    """The lines of an artifact, which is verified before the first."""
    path = store.verify_file(digest)
    if source.format == "jsonl":
        yield from chain([_without_mark(path)], islice(_chunks(path), 1, None))
    else:
        yield from in_chunks(_encoded(path, source, origin))


def _without_mark(path: Path) -> bytes:
    return next(_chunks(path)).removeprefix(b"\xef\xbb\xbf")


def _encoded(path: Path, source: DatasetSource, origin: str) -> Iterator[bytes]:
    for _, row in read_rows(path, source.format):
        if isinstance(row, Fault):
            raise unreadable(origin, row)
        yield encode_row(row)


def _corpus_rows(source: CorpusSource, places: Places) -> Rows:
    documents: Iterable[Piece]
    if source.dataset is not None:
        rows = _stored_rows(source.name, source.dataset, source.splits["train"], places)
        origin, digest = rows.origin, rows.digest
        texts = (text_of(row, source.column, f"{origin}, row {i + 1}") for i, row in enumerate(rows))
        documents = chain.from_iterable(split_documents([text], "whole") for text in texts)
    else:
        path = corpus_file(places.data, source.name)
        origin, digest = str(path), _sha256_of(path, places)
        column = source.column if ".jsonl" in path.suffixes else None
        documents = read_documents(_chunks(path), origin, source.documents, column)
    key = hashlib.sha256(f"{digest}\n{source.canonical()}".encode()).hexdigest()
    pieces = (encode_row(each._asdict()) for each in cut_pieces(documents, source.piece_chars))
    lines, sha256 = _lines(key, in_chunks(pieces), places)
    digest = hashlib.sha256(f"{sha256}\n{source.canonical()}".encode()).hexdigest()
    return Rows(lines, origin, digest)


def _synthetic_rows(source: SyntheticSource, split: str) -> Rows:
    made = (generate(source.generator, split, i) for i in range(source.splits[split]))
    lines = b"\n".join(encode_row(row) for row in made)
    return Rows(lines, f"generator {source.generator} ({split})", hashlib.sha256(lines).hexdigest())


def _with_labels(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that hold class labels somewhere; the others need no second look."""
    return {name: column for name, column in columns.items() if _LABELS in canonical_json(column)}


def _named(value: Any, column: Any, path: str) -> Any:
    """`value` with the class labels in it as names. The hub's -1 (no label) becomes None."""
    if column is None or value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        # A hub sequence of objects is stored as an object of lists: its column is then no list.
        inner = column[0] if isinstance(column, list) else column
        return [_named(part, inner, path) for part in value]
    if isinstance(column, dict) and set(column) == {_LABELS}:
        names = column[_LABELS]
        if not isinstance(value, int) or not -1 <= value < len(names):
            raise UnreadableRow(f"column {path!r} holds {value!r}, not one of {len(names)} class labels")
        return names[value] if value >= 0 else None
    if isinstance(column, dict) and isinstance(value, dict):
        return {name: _named(part, column.get(name), f"{path}.{name}") for name, part in value.items()}
    return value
