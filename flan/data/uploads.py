"""What is in an uploaded file, and every fault in it, found in one pass that keeps one row in memory."""

from pathlib import Path
from typing import NamedTuple

from flan.data.formats import Fault, Format, json_type, read_rows

MAX_ROWS = 2_000_000
MAX_COLUMNS = 256
MAX_FAULTS_SHOWN = 20


class Column(NamedTuple):
    """What a column holds over all rows."""

    types: tuple[str, ...]
    """JSON types seen, sorted."""
    num_missing: int
    """Rows that lack the column, or hold null there."""


class Upload(NamedTuple):
    """Summary of an uploaded file. It can be used when `faults` is empty."""

    num_rows: int
    """Good rows."""
    columns: dict[str, Column]
    num_faults: int
    faults: tuple[Fault, ...]
    """The first MAX_FAULTS_SHOWN."""


def read_uploaded(path: Path, format_: Format) -> Upload:
    """Read the file once, from start to end or until a cap is passed."""
    num_rows = num_faults = 0
    faults: list[Fault] = []
    types: dict[str, set[str]] = {}
    present: dict[str, int] = {}
    for line, row in read_rows(path, format_):
        if isinstance(row, Fault):
            fault: Fault | None = row
        else:
            num_rows += 1
            for name, value in row.items():
                types.setdefault(name, set()).add(json_type(value))
                present[name] = present.get(name, 0) + (value is not None)
            fault = _cap_passed(line, num_rows, len(types))
        if fault is not None:
            num_faults += 1
            faults.extend([fault] if num_faults <= MAX_FAULTS_SHOWN else [])
            if fault.code.startswith("too_many"):
                break
    if num_rows == 0 and num_faults == 0:
        num_faults, faults = 1, [Fault(0, None, "empty_dataset", "the file has no row")]
    columns = {name: Column(tuple(sorted(types[name])), num_rows - present[name]) for name in types}
    return Upload(num_rows, columns, num_faults, tuple(faults))


def _cap_passed(line: int, num_rows: int, num_columns: int) -> Fault | None:
    if num_rows > MAX_ROWS:
        return Fault(line, None, "too_many_rows", f"more than {MAX_ROWS:,} rows; split the dataset")
    if num_columns > MAX_COLUMNS:
        return Fault(line, None, "too_many_columns", f"more than {MAX_COLUMNS} columns in all rows together")
    return None
