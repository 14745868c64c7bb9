"""Digests of files that were read before: a file is read again where it is not as it was.

    <store>/rows/.known/<digest of its path>    {"mark", "sha256"}

The mark is what the file system says of the file: device, number, size, times of change. The time at which a file's
number or size was last changed cannot be set by hand, so equal marks are equal bytes, but for one case: a file that was
changed twice within a tick of the clock. One that changed just now is therefore read each time.
"""

import hashlib
import json
import os
import time
from pathlib import Path

from flan.store import file_sha256, write_atomically

SETTLED_S = 10.0
"""How long a file must have been as it is before its digest is written down."""


def known_sha256(path: Path, folder: Path) -> str:
    """sha256 of a file's bytes, in hex; `folder` holds what is known of files."""
    note = folder / hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    mark = _mark(path)
    try:
        known = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):
        known = {}
    if known.get("mark") == mark:
        return str(known["sha256"])
    sha256 = file_sha256(path)
    status = path.stat()
    if _mark(path) == mark and time.time() - max(status.st_mtime, status.st_ctime) > SETTLED_S:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(note, json.dumps({"mark": mark, "sha256": sha256}).encode())
    return sha256


def _mark(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
