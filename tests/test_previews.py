"""Rows a task is looked at with on the command line."""

from pathlib import Path

import pytest

from flan.data.rows import EmptyDataset, MissingRows, MissingSplit, UnreadableRow
from flan.errors import NotFound
from flan.previews import UnknownRows, read_rows_file, row_format, sample_of
from flan.spec import parse
from flan.tasks.task import Task, load_collection

UPLOADED = {
    "name": "dinners", "cluster": "sentiment", "source": {"kind": "dataset", "name": "rows"},
    "fields": {"text": "text"}, "answer": {"column": "label", "choices": ["bad", "good"]},
    "metrics": ["accuracy"], "templates": [{"input": "{text}\n{options_}"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.jsonl", '{"text": "a"}\n\n{"text": "b"}\n'),
        ("rows.ndjson", '{"text": "a"}\n{"text": "b"}'),
        ("rows.csv", "text\na\nb\n"),
    ],
)
def test_the_ending_says_how_a_file_is_read(tmp_path: Path, name: str, text: str) -> None:
    """The same rows from each; no more than were asked for."""
    file = tmp_path / name
    file.write_text(text)

    assert read_rows_file(file, 10) == [{"text": "a"}, {"text": "b"}]
    assert read_rows_file(file, 1) == [{"text": "a"}]


def test_a_file_that_cannot_be_used_is_refused_with_its_place(tmp_path: Path) -> None:
    """Absent, of another ending, empty, or broken in a line."""
    (tmp_path / "rows.txt").write_text("a")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text": \n')

    with pytest.raises(NotFound, match="no file"):
        row_format(tmp_path / "none.csv")
    with pytest.raises(UnknownRows) as refused:
        row_format(tmp_path / "rows.txt")
    assert refused.value.hint == "it must end in .jsonl, .ndjson, .csv, .parquet"
    with pytest.raises(EmptyDataset, match="has no row"):
        read_rows_file(tmp_path / "empty.jsonl", 5)
    with pytest.raises(UnreadableRow, match=r"broken\.jsonl, line 2, column"):
        read_rows_file(tmp_path / "broken.jsonl", 5)


def test_a_task_is_looked_at_with_its_own_rows_or_a_files(tmp_path: Path) -> None:
    """The sample says which rows it is; only a platform has the rows of an uploaded dataset."""
    made = load_collection("synthetic")["shop_reviews"]
    (tmp_path / "rows.csv").write_text("text,label\nWarm soup.,good\n")
    uploaded = parse(Task, UPLOADED)

    own = sample_of(made, None, None, 3)
    given = sample_of(uploaded, None, tmp_path / "rows.csv", 3)

    assert (len(own.rows), own.origin) == (3, f"3 rows of {next(iter(made.source.splits))}")
    assert given.rows == [{"text": "Warm soup.", "label": "good"}]
    assert given.origin == f"1 row of {tmp_path / 'rows.csv'}"
    with pytest.raises(MissingRows) as refused:
        sample_of(uploaded, None, None, 3)
    assert "--rows FILE" in str(refused.value.hint)
    with pytest.raises(MissingSplit, match="has no split"):
        sample_of(
            parse(Task, UPLOADED | {"source": {"kind": "hub", "id": "a/b", "splits": {}}}), None, None, 3
        )
