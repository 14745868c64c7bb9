"""Rows come out the same wherever they lie, and what is broken is named with its place."""

import gzip
import hashlib
import json
import os
import pickle
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.data import known
from flan.data.known import known_sha256
from flan.data.rows import EmptyDataset, MissingRows, MissingSplit, Places, Rows, UnreadableRow, open_rows
from flan.errors import InvalidDocument, StoreCorrupt
from flan.store import Store, file_sha256
from tests.kit.tasks import make_rows, make_task, write_hub

LABELS = {"text": "string", "label": {"ClassLabel": ["neg", "pos"]}}


def dataset_task(format_: str, digest: str):
    source = {"kind": "dataset", "name": "mine@1", "format": format_, "splits": {"train": digest}}
    return make_task(source=source)


def test_class_labels_come_out_as_names(tmp_path: Path) -> None:
    """A number in a class-label column is its name, -1 is no label, and other columns are untouched."""
    rows = [{"text": "a", "label": 1}, {"text": "1", "label": 0}, {"text": "b", "label": -1}]
    write_hub(tmp_path, "mood", {"train": rows}, LABELS)

    opened = open_rows(make_task(), "train", Places(tmp_path, None))

    assert [opened[i]["label"] for i in range(3)] == ["pos", "neg", None]
    assert opened[1]["text"] == "1"


def test_class_labels_inside_nested_columns_are_named(tmp_path: Path) -> None:
    """Lists of objects, and hub sequences stored as objects of lists, hold names too."""
    columns = {"spans": [{"kind": {"ClassLabel": ["x", "y"]}}], "marks": {"kind": {"ClassLabel": ["x", "y"]}}}
    rows = [{"spans": [{"kind": 1}, {"kind": 0}], "marks": {"kind": [0, 1]}}]
    write_hub(tmp_path, "mood", {"train": rows}, columns)

    row = open_rows(make_task(), "train", Places(tmp_path, None))[0]

    assert row == {"spans": [{"kind": "y"}, {"kind": "x"}], "marks": {"kind": ["x", "y"]}}


def test_label_outside_its_names_is_refused(tmp_path: Path) -> None:
    """A label that has no name is an error, not a number that a task could mistake for an index."""
    write_hub(tmp_path, "mood", {"train": [{"text": "a", "label": 2}]}, LABELS)

    with pytest.raises(UnreadableRow, match="2, not one of 2 class labels"):
        open_rows(make_task(), "train", Places(tmp_path, None))[0]


def test_rows_are_kept_uncompressed_in_the_store(tmp_path: Path) -> None:
    """With a store and without, the same rows and digest; a changed file is read anew, never the one kept before."""
    store = Store(tmp_path / "store")
    write_hub(tmp_path, "mood", {"train": make_rows(9)}, LABELS)
    alone = open_rows(make_task(), "train", Places(tmp_path, None))
    kept = [open_rows(make_task(), "train", Places(tmp_path, store)) for _ in range(2)]
    write_hub(tmp_path, "mood", {"train": make_rows(8)}, LABELS)
    changed = open_rows(make_task(), "train", Places(tmp_path, store))

    assert [*alone] == [*kept[0]] == [*kept[1]] == [*pickle.loads(pickle.dumps(kept[0]))]
    assert alone.digest == kept[0].digest == kept[1].digest != changed.digest
    assert len(changed) == 8
    assert len([*(tmp_path / "store" / "rows").glob("*/*/lines")]) == 2


def test_a_file_is_read_once_while_it_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its digest is known from then on; one that changed just now is read each time, and so is a changed one."""
    path, read = tmp_path / "file", []
    monkeypatch.setattr(known, "file_sha256", lambda path: read.append(1) or file_sha256(path))
    path.write_bytes(b"one")
    fresh = [known_sha256(path, tmp_path / "notes") for _ in range(2)]
    monkeypatch.setattr(known, "SETTLED_S", -1.0)
    settled = [known_sha256(path, tmp_path / "notes") for _ in range(3)]
    assert len(read) == 3
    path.write_bytes(b"two")
    os.utime(path, (1, 1))
    changed = known_sha256(path, tmp_path / "notes")

    assert {*fresh, *settled} == {hashlib.sha256(b"one").hexdigest()}
    assert changed == hashlib.sha256(b"two").hexdigest()


def test_lines_that_nobody_opens_are_removed(tmp_path: Path) -> None:
    """When others come; those that were opened stay, and removed ones are made anew."""
    store = Store(tmp_path / "store")
    places = Places(tmp_path, store)
    for name in ("old", "used", "new"):
        write_hub(tmp_path, name, {"train": [{"text": name, "label": 1}]}, LABELS)
    tasks = {name: make_task(name) for name in ("old", "used", "new")}
    rows = {name: open_rows(tasks[name], "train", places) for name in ("old", "used")}
    for place in (store.root / "rows").glob("??/*"):
        os.utime(place, (1, 1))
    open_rows(tasks["used"], "train", places)
    open_rows(tasks["new"], "train", places)

    assert len([*(store.root / "rows").glob("??/*/lines")]) == 2
    assert rows["used"][0]["text"] == "used"
    assert open_rows(tasks["old"], "train", places)[0]["text"] == "old"


def test_plain_jsonl_is_read_like_gzip(tmp_path: Path) -> None:
    """A folder with <split>.jsonl and no meta.json serves as well."""
    folder = tmp_path / "hub" / "mood"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_bytes(b'{"text": "a"}\r\n\n{"text": "b"}')

    opened = open_rows(make_task(), "train", Places(tmp_path, None))

    assert [row["text"] for row in opened] == ["a", "b"]


def test_digest_follows_content_not_compression(tmp_path: Path) -> None:
    """The same rows packed anew keep their digest; another row or another label order changes it."""
    places = Places(tmp_path, None)
    folder = write_hub(tmp_path, "mood", {"train": make_rows(3)}, LABELS)
    before = open_rows(make_task(), "train", places).digest

    text = gzip.decompress((folder / "train.jsonl.gz").read_bytes())
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(text, compresslevel=1))
    repacked = open_rows(make_task(), "train", places).digest
    turned = {"label": {"ClassLabel": ["pos", "neg"]}}
    write_hub(tmp_path, "mood", {"train": make_rows(3)}, turned)
    relabelled = open_rows(make_task(), "train", places).digest
    write_hub(tmp_path, "mood", {"train": make_rows(4)}, LABELS)
    longer = open_rows(make_task(), "train", places).digest

    assert before == repacked
    assert len({before, relabelled, longer}) == 3


@pytest.mark.parametrize("data", [None, "empty"])
def test_missing_rows_say_where_they_were_sought_and_the_way_out(tmp_path: Path, data: str | None) -> None:
    """The error names the task, the folder, and both ways to get the rows."""
    places = Places(tmp_path if data else None, None)

    with pytest.raises(MissingRows, match="mood") as caught:
        open_rows(make_task(), "train", places)

    assert "FLAN_DATA" in str(caught.value.hint)
    assert "flan data pull mood" in str(caught.value.hint)
    assert data is None or str(tmp_path / "hub" / "mood") in caught.value.message


def test_missing_split_lists_those_there_are() -> None:
    """Asking for a split that the task lacks names the splits it has."""
    with pytest.raises(MissingSplit, match="'test'") as caught:
        open_rows(make_task(), "test", Places(None, None))

    assert "train" in str(caught.value.hint)


def test_split_file_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    """A task document from anyone cannot name a file elsewhere on the machine."""
    (tmp_path / "secret.jsonl").write_text('{"text": "s", "label": "pos"}\n')
    write_hub(tmp_path, "mood", {})

    with pytest.raises(InvalidDocument, match="splits/train"):
        split_of(tmp_path, "../../secret")


@pytest.mark.parametrize(
    "part", ["train[", "train[:x]", "train[1:2:3]", "train[0]", "train]", "", "train[:] "]
)
def test_a_part_is_a_slice_with_two_ends(part: str) -> None:
    """Anything else is refused where the document is read."""
    with pytest.raises(InvalidDocument, match="splits/train"):
        make_task(source={"kind": "hub", "id": "x", "splits": {"train": part}})


def split_of(folder: Path, part: str, **source: object) -> Rows:
    task = make_task(source={"kind": "hub", "id": "x", "splits": {"train": part}} | source)
    return open_rows(task, "train", Places(folder, None))


@given(size=st.integers(1, 60), held=st.integers(1, 59))
def test_parts_share_the_rows_out(size: int, held: int) -> None:
    """Every row in one of them, in the file's order, `held` in the second, whatever the size."""
    with tempfile.TemporaryDirectory() as folder:
        write_hub(Path(folder), "mood", {"train": ({"text": str(i)} for i in range(size))})
        if size <= held:
            with pytest.raises(EmptyDataset, match=r"train\[:-"):
                split_of(Path(folder), f"train[:-{held}]")
            return
        first, second = split_of(Path(folder), f"train[:-{held}]"), split_of(Path(folder), f"train[-{held}:]")
        a, b = ([int(row["text"]) for row in rows] for rows in (first, second))

    assert len(b) == held
    assert sorted(a + b) == list(range(size))
    assert (a, b) == (sorted(a), sorted(b))
    assert first.digest != second.digest


def test_a_part_is_a_mix_of_a_sorted_file(tmp_path: Path) -> None:
    """Files sorted by label are common: the last 200 rows in the file's order would be of one kind."""
    write_hub(tmp_path, "mood", {"train": ({"label": i // 500} for i in range(1_000))})

    labels = [row["label"] for row in split_of(tmp_path, "train[-200:]")]

    assert 70 < sum(labels) < 130


def test_a_mirror_may_name_its_files_otherwise(tmp_path: Path) -> None:
    """meta.json says which split of the hub a file holds."""
    folder = write_hub(tmp_path, "mood", {"train": make_rows(3), "test": make_rows(2)})
    meta = json.loads((folder / "meta.json").read_text()) if (folder / "meta.json").is_file() else {}
    names = {"train": "train_r3", "test": "test_r3"}
    (folder / "meta.json").write_text(json.dumps(meta | {"hub_split_names": names}))

    assert (len(split_of(tmp_path, "train_r3")), len(split_of(tmp_path, "test_r3"))) == (3, 2)


def test_training_rows_that_are_not_at_hand_are_stood_in_for(tmp_path: Path) -> None:
    """By a file carved from another split; the true file wins as soon as it is there, and no other split is."""
    folder = write_hub(tmp_path, "mood", {"train_from_validation": make_rows(5), "validation": make_rows(2)})
    names = {"train_from_validation": "validation", "validation": "validation"}
    (folder / "meta.json").write_text(json.dumps({"hub_split_names": names}))

    assert len(split_of(tmp_path, "train[:-1]")) == 4
    assert len(split_of(tmp_path, "validation")) == 2
    with pytest.raises(MissingRows):
        split_of(tmp_path, "test")

    write_hub(tmp_path, "mood", {"train": make_rows(7)})
    assert len(split_of(tmp_path, "train")) == 7


def test_broken_line_is_named_with_line_and_column() -> None:
    """Blank lines count; the good lines before and after stay readable."""
    rows = Rows(b'{"a": 1}\n\n{"a": 1,, }\n{"a": 2}', "file", "")

    with pytest.raises(UnreadableRow, match="file, line 3, column 9") as caught:
        rows[1]

    assert caught.value.values == {"line": 3, "column": 9}
    assert rows[2] == {"a": 2}


def test_file_without_rows_is_refused(tmp_path: Path) -> None:
    """An empty dataset is an error when it is opened, not an endless search for a row."""
    write_hub(tmp_path, "mood", {"train": []})

    with pytest.raises(EmptyDataset, match=r"train\.jsonl\.gz has no row"):
        open_rows(make_task(), "train", Places(tmp_path, None))


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    """Half a file is no dataset of half the size."""
    folder = write_hub(tmp_path, "mood", {"train": make_rows(500)})
    whole = (folder / "train.jsonl.gz").read_bytes()
    (folder / "train.jsonl.gz").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(UnreadableRow, match="not a whole gzip file"):
        open_rows(make_task(), "train", Places(tmp_path, None))


def test_uploaded_formats_give_the_same_rows(tmp_path: Path) -> None:
    """JSON lines, CSV and Parquet of the same texts are the same rows, known by the digest of their file."""
    rows = [{"text": 'a "quoted"\nline', "label": "pos"}, {"text": "ü", "label": "neg"}]
    store = Store(tmp_path / "store")
    csv = 'text,label\r\n"a ""quoted""\nline",pos\r\nü,neg\r\n'
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    digests = {
        "jsonl": store.put_bytes("\n".join(json.dumps(row) for row in rows).encode()),
        "csv": store.put_bytes(b"\xef\xbb\xbf" + csv.encode()),
        "parquet": store.put_file(tmp_path / "rows.parquet"),
    }

    opened = {f: open_rows(dataset_task(f, d), "train", Places(None, store)) for f, d in digests.items()}

    assert {f: [*each] for f, each in opened.items()} == dict.fromkeys(digests, rows)
    assert {f: each.digest for f, each in opened.items()} == digests


def test_changed_artifact_is_noticed(tmp_path: Path) -> None:
    """Uploaded rows are read by digest: other bytes are an error."""
    store = Store(tmp_path)
    digest = store.put_bytes(b'{"text": "a"}')
    store.path(digest).write_bytes(b'{"text": "b"}')

    with pytest.raises(StoreCorrupt):
        open_rows(dataset_task("jsonl", digest), "train", Places(None, store))


def test_synthetic_rows_need_no_folder() -> None:
    """Generated rows are there on every machine, with the same digest at every opening."""
    source = {"kind": "synthetic", "generator": "shop_reviews", "splits": {"train": 30, "validation": 20}}
    task = make_task(source=source)

    train, again = (open_rows(task, "train", Places(None, None)) for _ in range(2))
    validation = open_rows(task, "validation", Places(None, None))

    assert (len(train), len(validation)) == (30, 20)
    assert train.digest == again.digest != validation.digest
