"""The store: artifacts are known by their digest and never change."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.errors import NotFound, StoreCorrupt
from flan.store import Store, write_atomically


@given(st.binary(max_size=100))
def test_what_is_put_is_read_back_under_its_sha256(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """The digest is that of the bytes, and putting them twice is the same as once."""
    store = Store(tmp_path_factory.mktemp("store"))

    digest = store.put_bytes(data)

    assert digest == hashlib.sha256(data).hexdigest() == store.put_bytes(data)
    assert store.read_bytes(digest) == data


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    """Bit rot of the same length, in a file and in a directory."""
    store = Store(tmp_path / "store")
    file = store.put_bytes(b"weights")
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "sub" / "w").write_bytes(b"weights")
    tree = store.put_tree(tmp_path / "model")
    assert store.verify_tree(tree) == store.path(tree)

    store.path(file).write_bytes(b"weight5")
    (store.path(tree) / "sub" / "w").write_bytes(b"weight5")

    with pytest.raises(StoreCorrupt):
        store.read_bytes(file)
    with pytest.raises(StoreCorrupt):
        store.verify_tree(tree)


def test_equal_directories_are_one_artifact_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    """Storing the same model twice keeps one copy and no temporary folder."""
    store = Store(tmp_path / "store")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w").write_bytes(b"1")

    assert store.put_tree(tmp_path / "a") == store.put_tree(tmp_path / "b")
    assert not list((tmp_path / "store").rglob(".writing-*"))


def test_symbolic_links_do_not_enter(tmp_path: Path) -> None:
    """A link would make the artifact depend on what lies outside it."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "w").symlink_to("/etc/passwd")

    with pytest.raises(StoreCorrupt, match="symbolic link"):
        Store(tmp_path / "store").put_tree(tmp_path / "model")


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 64])
def test_a_digest_is_no_path(tmp_path: Path, digest: str) -> None:
    """Only a known sha256 leads anywhere."""
    with pytest.raises(NotFound):
        Store(tmp_path).path(digest)


def test_a_failed_write_leaves_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader sees the old file or the new one."""
    path = tmp_path / "wish.json"
    write_atomically(path, b"old")
    monkeypatch.setattr("flan.store.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))

    with pytest.raises(OSError, match="full"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
