"""Rows come out the same wherever they lie, and what is broken is named with its place."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flan.data.rows import EmptyDataset, MissingRows, MissingSplit, Places, Rows, UnreadableRow, open_rows
from flan.errors import StoreCorrupt
from flan.store import Store
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
    task = make_task(source={"kind": "hub", "id": "x", "splits": {"train": "../../secret"}})

    with pytest.raises(MissingSplit, match="not the name of a split file"):
        open_rows(task, "train", Places(tmp_path, None))


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
