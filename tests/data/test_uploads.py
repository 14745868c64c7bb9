"""An upload is read once; every fault is counted and the first ones are shown with their place."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flan.data.formats import MAX_ROW_BYTES, Format
from flan.data.uploads import MAX_COLUMNS, MAX_FAULTS_SHOWN, Column, Upload, read_uploaded


def read(tmp_path: Path, data: bytes, format_: Format = "jsonl") -> Upload:
    (tmp_path / "upload").write_bytes(data)
    return read_uploaded(tmp_path / "upload", format_)


def test_columns_are_summed_up(tmp_path: Path) -> None:
    """Types seen, and how many rows lack a column or hold null there."""
    upload = read(tmp_path, b'{"a": 1, "b": "x"}\n{"a": 2.5, "b": null}\n{"a": true}\n')

    assert upload.num_rows == 3
    assert upload.faults == ()
    assert upload.columns == {
        "a": Column(("boolean", "integer", "number"), 0),
        "b": Column(("null", "string"), 2),
    }


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        (b'{"a": 1', "json", 8),
        (b'{"a": NaN}', "json", None),
        (b"[1]", "not_an_object", 1),
        (b'{"a": "\xc3\xbc\xff"}', "not_utf8", 9),
        (b'{"a": "\\uD800"}', "surrogate", None),
        (b'{"a": ' + b"[" * 100_000 + b"}", "json", None),
        (b'{"a": ' + b"9" * 10_000 + b"}", "json", None),
        (b'{"a": "' + b"x" * MAX_ROW_BYTES + b'"}', "row_too_large", None),
    ],
    ids=["cut", "nan", "list", "utf8", "surrogate", "deep", "digits", "large"],
)
def test_bad_line_is_a_fault_with_its_place(
    tmp_path: Path, line: bytes, code: str, column: int | None
) -> None:
    """One bad line is one fault on its own line; the lines around it are good rows."""
    upload = read(tmp_path, b'{"a": 1}\n' + line + b'\n{"a": 2}\n')

    assert [(fault.line, fault.code, fault.column) for fault in upload.faults] == [(2, code, column)]
    assert upload.num_rows == 2


def test_faults_beyond_the_first_are_counted(tmp_path: Path) -> None:
    """A file of nothing but faults does not fill the answer."""
    upload = read(tmp_path, b"nonsense\n" * 100)

    assert upload.num_faults == 100
    assert [fault.line for fault in upload.faults] == list(range(1, MAX_FAULTS_SHOWN + 1))


@pytest.mark.parametrize(
    ("data", "format_"), [(b"", "jsonl"), (b"\n\n", "jsonl"), (b"a,b\n", "csv"), (b"", "csv")]
)
def test_file_without_rows_is_a_fault(tmp_path: Path, data: bytes, format_: Format) -> None:
    """A header alone, or blank lines, are no dataset."""
    assert [fault.code for fault in read(tmp_path, data, format_).faults] == ["empty_dataset"]


def test_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    """Files saved by editors that write a mark are read as they look."""
    assert read(tmp_path, b'\xef\xbb\xbf{"a": 1}\n').num_rows == 1
    assert list(read(tmp_path, b"\xef\xbb\xbfa\n1\n", "csv").columns) == ["a"]


def test_too_many_columns_end_the_reading(tmp_path: Path) -> None:
    """Rows with a key each of their own cannot grow the summary without bound."""
    upload = read(tmp_path, b"".join(b'{"c%d": 1}\n' % i for i in range(1_000)))

    assert upload.faults[-1].code == "too_many_columns"
    assert len(upload.columns) == MAX_COLUMNS + 1


@pytest.mark.parametrize(
    ("data", "code", "line"),
    [
        (b"a,b\n1,2\n3\n4,5\n", "csv_width", 3),
        (b"a,a\n1,2\n", "csv_header", 1),
        (b"a,\n1,2\n", "csv_header", 1),
        (b'a,b\n"1\n\n2",3\n4\n', "csv_width", 5),
        (b'a,b\n1,2\n"3"x,4\n', "csv", 3),
        (b"a,b\n1,\xff\n", "not_utf8", 1),
    ],
    ids=["short", "twice", "nameless", "after line breaks", "quote", "utf8"],
)
def test_csv_faults_have_their_line(tmp_path: Path, data: bytes, code: str, line: int) -> None:
    """Lines are those of the file, whatever line breaks quoted values hold."""
    fault = read(tmp_path, data, "csv").faults[0]

    assert (fault.code, fault.line) == (code, line)


def test_parquet_values_that_json_lacks_are_faults(tmp_path: Path) -> None:
    """Bytes and NaN are named by their row; a file that is no Parquet is one fault."""
    table = pa.table({"a": pa.array([1.0, float("nan"), 2.0])})
    pq.write_table(table, tmp_path / "nan.parquet")
    pq.write_table(pa.table({"a": pa.array([b"x"])}), tmp_path / "bytes.parquet")

    nan = read_uploaded(tmp_path / "nan.parquet", "parquet")
    raw = read_uploaded(tmp_path / "bytes.parquet", "parquet")
    broken = read(tmp_path, b"PAR1 nonsense PAR1", "parquet")

    assert (nan.num_rows, [fault.line for fault in nan.faults]) == (2, [2])
    assert [fault.code for fault in raw.faults] == ["value"]
    assert [fault.code for fault in broken.faults] == ["parquet"]
