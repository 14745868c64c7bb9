"""A dataset on disk, in hub layout: whole or not there, and checked against the digests in its meta.json.

<data>/hub/<folder>/meta.json              what it is, and sha256 and size of each file
<data>/hub/<folder>/<split>.jsonl.gz
<data>/hub/.<folder>.unfinished/           the same on its way; renamed when the last split is there
"""

import errno
import fcntl
import gzip
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flan.data.formats import encode_row
from flan.errors import Conflict, DiskFull, FlanError
from flan.store import file_sha256, sync_directory, sync_tree, write_atomically

META = "meta.json"
_LOCK = ".lock"


class UnwritableRow(FlanError):
    """A row holds what JSON has not, such as an image."""

    code, blame = "row_unwritable", "user"


def read_meta(folder: Path) -> dict[str, Any]:
    """What meta.json says; empty where there is none, or where it is no JSON object."""
    try:
        meta = json.loads((folder / META).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


def write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Replace meta.json at once."""
    write_atomically(folder / META, json.dumps(meta, indent=1, ensure_ascii=False).encode())


def is_recorded(path: Path, files: Mapping[str, Any]) -> bool:
    """Whether the file at `path` has the size and sha256 that `files`, of a meta.json, has for its name."""
    known = files.get(path.name)
    if known is None or not path.is_file() or path.stat().st_size != known["size_bytes"]:
        return False
    return bool(file_sha256(path) == known["sha256"])


def is_whole(folder: Path, meta: Mapping[str, Any]) -> bool:
    """Whether every file that meta.json records is there as it was written."""
    files = meta.get("files", {})
    return bool(files) and all(is_recorded(folder / name, files) for name in files)


def write_split(folder: Path, split: str, rows: Iterable[Mapping[str, Any]]) -> tuple[int, dict[str, Any]]:
    """Write `<split>.jsonl.gz`; the number of rows, and the file's record. Raises UnwritableRow, DiskFull."""
    path, count = folder / f"{split}.jsonl.gz", 0
    try:
        # Neither time nor name: the same rows make the same file.
        with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
            for row in rows:
                file.write(_encoded(row, split, count) + b"\n")
                count += 1
        sync_tree(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"no space left for {path}", hint="free some space and pull again") from error
        raise
    return count, {"sha256": file_sha256(path), "size_bytes": path.stat().st_size}


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """Where the dataset of `folder` is put together; it stays when that fails, so that it can be gone on with.

    Raises Conflict while another process is at it.
    """
    place = folder.with_name(f".{folder.name}.unfinished")
    place.mkdir(parents=True, exist_ok=True)
    with (place / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"another process is fetching {folder}", hint="wait until it ends") from error
        yield place


def publish(place: Path, folder: Path) -> None:
    """Make what was put together in `place` the dataset of `folder`, in the stead of one that is there."""
    before = folder.with_name(f".{folder.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    (place / _LOCK).unlink()
    if folder.exists():
        folder.rename(before)
    place.rename(folder)
    sync_directory(folder.parent)
    shutil.rmtree(before, ignore_errors=True)


def clear(place: Path) -> None:
    """Begin anew in `place`."""
    for path in place.iterdir():
        if path.name != _LOCK:
            path.unlink()


def _encoded(row: Mapping[str, Any], split: str, index: int) -> bytes:
    try:
        return encode_row(row)
    except (TypeError, ValueError) as error:
        raise UnwritableRow(f"row {index} of {split}: {error}") from error
