"""Files of rows: JSON lines, CSV and Parquet, read one row at a time; every fault has its place.

A row is a JSON object: text, numbers, booleans, null, lists and objects. CSV values are text.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

Row = Mapping[str, Any]
Format = Literal["jsonl", "csv", "parquet"]

MAX_ROW_BYTES = 1 << 20
"""A longer row is a fault: 1 MiB is some 200,000 tokens, far beyond any input."""
_PARQUET_BATCH = 256  # rows decoded at a time: bounds memory at 256 MiB of legal rows
_BOM = b"\xef\xbb\xbf"


class Fault(NamedTuple):
    """What is wrong with a row. `line` counts from 1 (Parquet: the row); 0 = the file as a whole."""

    line: int
    column: int | None
    """Character in the line, from 1, where one can be named."""
    code: str
    message: str


def read_rows(path: Path, format_: Format) -> Iterator[tuple[int, Row | Fault]]:
    """Every row of the file, or what is wrong with it, with its line. Blank lines are skipped."""
    if format_ == "jsonl":
        return _read_jsonl(path)
    if format_ == "csv":
        return _read_csv(path)
    return _read_parquet(path)


def decode_row(text: bytes, line: int) -> Row | Fault:
    """The JSON object in one line, or what is wrong with it."""
    if len(text) > MAX_ROW_BYTES:
        return _too_large(line)
    try:
        row = _DECODER.decode(text.decode())
    except UnicodeDecodeError as error:
        return _not_utf8(line, text, error)
    except json.JSONDecodeError as error:
        return Fault(line, error.colno, "json", f"not JSON: {error.msg}")
    except (ValueError, RecursionError) as error:
        return Fault(line, None, "json", f"not JSON we read: {error}")
    if not isinstance(row, dict):
        return Fault(line, 1, "not_an_object", f"a row is a JSON object, not {json_type(row)}")
    # Only an escape can smuggle in half a surrogate pair, which no tokenizer can encode.
    if b"\\ud" in text.lower():
        return _checked(row, line)
    return row


def encode_row(row: Row) -> bytes:
    """The row as one JSON line without its end. Raises TypeError or ValueError on values JSON lacks."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def json_type(value: Any) -> str:
    """JSON Schema's name for the type of `value`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


def _read_jsonl(path: Path) -> Iterator[tuple[int, Row | Fault]]:
    with path.open("rb") as file:
        line = 0
        while text := file.readline(MAX_ROW_BYTES + 2):
            line += 1
            is_cut = len(text) > MAX_ROW_BYTES + 1
            while is_cut and (rest := file.readline(MAX_ROW_BYTES)):
                is_cut = not rest.endswith(b"\n")
            content = text.removeprefix(_BOM) if line == 1 else text
            if content.strip():
                yield line, decode_row(content.rstrip(b"\r\n"), line)


def _read_csv(path: Path) -> Iterator[tuple[int, Row | Fault]]:
    # Process-wide, and only ever widened: the default of 131,072 is less than a long document.
    csv.field_size_limit(MAX_ROW_BYTES)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        start = 1
        try:
            header = next(reader, [])
            problem = _header_problem(header)
            if problem:
                yield 1, Fault(1, None, "csv_header", problem)
                return
            start = reader.line_num + 1
            for values in reader:
                if values:
                    yield start, _csv_row(header, values, start)
                start = reader.line_num + 1
        except UnicodeDecodeError as error:
            yield start, Fault(start, None, "not_utf8", f"not UTF-8 near line {start}: {error.reason}")
        except csv.Error as error:
            # The reader cannot find the next row after a broken quote.
            yield start, Fault(start, None, "csv", f"not CSV: {error}; nothing after this line was read")


def _header_problem(header: list[str]) -> str | None:
    if not header:
        return None
    if any(not name.strip() for name in header):
        return f"column {[bool(name.strip()) for name in header].index(False) + 1} has no name"
    twice = sorted({name for name in header if header.count(name) > 1})
    return f"column {twice[0]!r} stands twice" if twice else None


def _csv_row(header: list[str], values: list[str], line: int) -> Row | Fault:
    if len(values) != len(header):
        return Fault(line, None, "csv_width", f"{len(values)} values for {len(header)} columns")
    return _checked(dict(zip(header, values, strict=True)), line)


def _read_parquet(path: Path) -> Iterator[tuple[int, Row | Fault]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _checked(row, number)
    except (pa.ArrowException, OSError) as error:
        yield number, Fault(number, None, "parquet", f"not Parquet we read: {error}")


def _checked(row: dict[str, Any], line: int) -> Row | Fault:
    try:
        return row if len(encode_row(row)) <= MAX_ROW_BYTES else _too_large(line)
    except UnicodeEncodeError:
        return Fault(line, None, "surrogate", "holds half of a surrogate pair, which is no text")
    except (TypeError, ValueError) as error:
        return Fault(line, None, "value", f"holds a value JSON lacks: {error}")


def _too_large(line: int) -> Fault:
    return Fault(line, None, "row_too_large", f"the row is longer than {MAX_ROW_BYTES:,} bytes")


def _not_utf8(line: int, text: bytes, error: UnicodeDecodeError) -> Fault:
    column = len(text[: error.start].decode()) + 1
    return Fault(line, column, "not_utf8", f"byte {error.start} of the line is not UTF-8: {error.reason}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
