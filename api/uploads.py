"""An uploaded file: from the wire to a file on disk, checked row by row, into the artifact store."""

import errno
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from anyio import to_thread
from fastapi import Request

from api.bodies import capped
from api.problems import UnsupportedMedia
from api.settings import Settings
from flan.data.formats import Format
from flan.data.uploads import Upload, read_uploaded
from flan.errors import DiskFull, FlanError, InvalidDocument
from flan.store import Store

_BLOCK_BYTES = 1 << 20
_MEDIA: dict[str, Format] = {
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/jsonlines": "jsonl",
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
}


class NotARowsFile(FlanError):
    """The bytes are something else than rows: an archive, a pickle, another format than was said."""

    code, blame = "dataset_invalid", "user"


_FOREIGN = {
    b"\x1f\x8b": "gzip", b"PK\x03\x04": "a zip archive", b"\x28\xb5\x2f\xfd": "zstd", b"\x80\x04": "a pickle",
    b"\x80\x02": "a pickle", b"\x80\x05": "a pickle", b"BZh": "bzip2", b"\xfd7zXZ": "xz",
    b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
}  # fmt: skip


class Stored(NamedTuple):
    """An upload that was found good and is in the store."""

    sha256: str
    size_bytes: int
    upload: Upload


def format_of(request: Request, given: Format | None) -> Format:
    """The format said by parameter, or by Content-Type. Raises UnsupportedMedia."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    format_ = given or _MEDIA.get(media)
    if format_ is None:
        raise UnsupportedMedia(
            f"{media or 'no Content-Type'} does not say which format the rows have",
            hint=f"add ?format=jsonl, csv or parquet, or send one of {', '.join(_MEDIA)}",
            accepted=list(_MEDIA),
        )
    return format_


async def receive(request: Request, settings: Settings, store: Store, format_: Format) -> Stored:
    """Take the body of `request` as a file of rows.

    Raises TooLarge, DiskFull, NotARowsFile; InvalidDocument with the first faults and their lines.
    """
    folder = settings.uploads_folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            async for block in _blocks(capped(request, settings.max_upload_bytes)):
                await to_thread.run_sync(file.write, block)
        return await to_thread.run_sync(_take, path, format_, store)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull("no space left for the upload", hint="free some space and try again") from error
        raise
    finally:
        path.unlink(missing_ok=True)


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`chunks` joined into blocks worth a trip to a thread."""
    pending = bytearray()
    async for chunk in chunks:
        pending += chunk
        if len(pending) >= _BLOCK_BYTES:
            yield bytes(pending)
            pending.clear()
    yield bytes(pending)


def _take(path: Path, format_: Format, store: Store) -> Stored:
    _refuse_foreign(path, format_)
    upload = read_uploaded(path, format_)
    if upload.faults:
        faults = [
            {
                "pointer": "",
                "line": fault.line,
                "column": fault.column,
                "code": fault.code,
                "message": fault.message,
            }
            for fault in upload.faults
        ]
        first = upload.faults[0]
        where = f"line {first.line}: " if first.line else ""
        more = f" ({upload.num_faults} faults)" if upload.num_faults > 1 else ""
        raise InvalidDocument(f"{where}{first.message}{more}", faults)
    return Stored(store.put_file(path), path.stat().st_size, upload)


def _refuse_foreign(path: Path, format_: Format) -> None:
    with path.open("rb") as file:
        head = file.read(8)
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise NotARowsFile(
                f"this is {what}, not {format_}", hint="send the rows themselves, as UTF-8 text"
            )
    if head.startswith(b"PAR1") != (format_ == "parquet") and head:
        is_parquet = head.startswith(b"PAR1")
        message = f"this is Parquet, not {format_}" if is_parquet else "this is not Parquet"
        raise NotARowsFile(message, hint="say the right format: ?format=jsonl, csv or parquet")
