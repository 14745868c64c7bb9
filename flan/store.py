"""Artifacts by sha256 under one folder: documents, uploaded rows, model directories.

    <root>/ab/cdef…          a file whose bytes have the digest abcdef…
    <root>/ab/cdef…/         a directory: its digest is that of MANIFEST.json, which lists its files

What is stored is never changed, so a digest in a spec means the same for ever. Everything is written beside
its place and renamed into it: a reader finds all of it or nothing.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from flan.errors import DiskFull, NotFound, StoreCorrupt
from flan.spec import canonical_json

MANIFEST = "MANIFEST.json"
NOTES = "notes"
"""Folder of what was computed from artifacts: key → digest of the result."""


class Store:
    """The artifacts under `root`; the folder is made when it is not there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def put_bytes(self, data: bytes) -> str:
        """Store `data`; its digest."""
        digest = hashlib.sha256(data).hexdigest()
        with self._writing(digest) as temporary:
            temporary.write_bytes(data)
        return digest

    def put_file(self, path: Path) -> str:
        """Store a copy of the file at `path`; its digest."""
        digest = file_sha256(path)
        with self._writing(digest) as temporary:
            shutil.copyfile(path, temporary)
        return digest

    def put_tree(self, directory: Path, *, only: Sequence[str] = ("*",), follow_links: bool = False) -> str:
        """Store a copy of the files below `directory` whose name matches `only`; the digest of its manifest.

        Copies, not links: whoever owns `directory` may change its files in place later.
        """
        manifest = tree_manifest(directory, only=only, follow_links=follow_links)
        text = canonical_json(manifest).encode()
        digest = hashlib.sha256(text).hexdigest()
        with self._writing(digest) as temporary:
            temporary.mkdir()
            for name in manifest:
                target = temporary / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(directory / name, target)
            (temporary / MANIFEST).write_bytes(text)
        return digest

    def path(self, digest: str) -> Path:
        """Where the artifact lies. Raises NotFound."""
        path = self._place(digest)
        if not path.exists():
            raise NotFound(f"no artifact {digest[:12]} in {self.root}", hint="restore it, or make it anew")
        return path

    def read_bytes(self, digest: str) -> bytes:
        """The bytes of a stored file, verified. Raises NotFound, StoreCorrupt."""
        data = self.path(digest).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreCorrupt(
                f"artifact {digest[:12]} in {self.root} has other bytes than when it was stored"
            )
        return data

    def note(self, key: str, digest: str) -> None:
        """Remember that the artifact `digest` is what follows from `key`, a digest of all that it follows from."""
        folder = self.root / NOTES
        folder.mkdir(exist_ok=True)
        write_atomically(folder / key, digest.encode())

    def recall(self, key: str) -> str | None:
        """The artifact that was noted for `key`, verified; None where there is none, or it is not as it was."""
        try:
            digest = (self.root / NOTES / key).read_text()
            self.read_bytes(digest)
        except (FileNotFoundError, NotFound, StoreCorrupt):
            return None
        return digest

    def verify_file(self, digest: str) -> Path:
        """Where a stored file lies, verified. Raises NotFound, StoreCorrupt."""
        path = self.path(digest)
        if file_sha256(path) != digest:
            raise StoreCorrupt(
                f"artifact {digest[:12]} in {self.root} has other bytes than when it was stored"
            )
        return path

    def verify_tree(self, digest: str) -> Path:
        """The directory, each file verified against the manifest. Raises NotFound, StoreCorrupt."""
        directory = self.path(digest)
        text = (directory / MANIFEST).read_bytes()
        if hashlib.sha256(text).hexdigest() != digest:
            raise StoreCorrupt(f"the manifest of {digest[:12]} was changed")
        for name, entry in json.loads(text).items():
            if file_sha256(directory / name) != entry["sha256"]:
                raise StoreCorrupt(f"{name} of {digest[:12]} was changed")
        return directory

    def _place(self, digest: str) -> Path:
        if len(digest) != 64 or not all(c in "0123456789abcdef" for c in digest):
            raise NotFound(f"{digest!r} is not a sha256")
        return self.root / digest[:2] / digest[2:]

    @contextmanager
    def _writing(self, digest: str) -> Iterator[Path]:
        """A free path beside the artifact's place, renamed into it at the end."""
        place = self._place(digest)
        place.parent.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=place.parent))
        try:
            yield folder / "artifact"
            sync_tree(folder / "artifact")
            try:
                (folder / "artifact").rename(place)
            except OSError:
                # A stored directory is never replaced: same digest, same content.
                if not place.exists():
                    raise
            sync_directory(place.parent)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise DiskFull(
                    f"no space left in {self.root}", hint="free some space and try again"
                ) from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_manifest(
    directory: Path, *, only: Sequence[str] = ("*",), follow_links: bool = False
) -> dict[str, dict[str, str | int]]:
    """Relative name → {"sha256", "size_bytes"} of the files below `directory`, in name order.

    `only`: glob patterns of the last part of the name.
    A manifest that is already there is left out: it describes the others. Symbolic links are refused unless
    they are to be followed (the hub's cache is made of them).
    """
    manifest: dict[str, dict[str, str | int]] = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if not path.is_dir() and not any(fnmatch(path.name, pattern) for pattern in only):
            continue
        if path.is_symlink() and not follow_links:
            raise StoreCorrupt(f"{name} is a symbolic link: an artifact holds files only")
        if path.is_file() and name != MANIFEST:
            manifest[name] = {"sha256": file_sha256(path), "size_bytes": path.stat().st_size}
    return manifest


def tree_digest(directory: Path) -> str:
    """The digest `directory` would have in a store."""
    return hashlib.sha256(canonical_json(tree_manifest(directory)).encode()).hexdigest()


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put `data` at `path` so that a reader sees the old bytes or the new ones, even after power loss."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make renames in `directory` survive a power loss."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """fsync a file, or every file and folder below a directory."""
    if path.is_file():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return
    for child in path.iterdir():
        sync_tree(child)
    sync_directory(path)
