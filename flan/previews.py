"""A task looked at on the command line: which rows it is looked at with, and how findings and prompts are shown."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from flan.errors import FlanError, NotFound
from flan.tasks.task import DatasetSource, Task
from flan.terminal import count

if TYPE_CHECKING:  # reading rows loads numpy: `--help` must not wait for it
    from flan.data.formats import Format

Row = Mapping[str, Any]


class UnknownRows(FlanError):
    """A file does not say by its ending which rows it holds."""

    code, blame = "rows_unknown", "user"


class Sample(NamedTuple):
    """Rows to look at a task with."""

    rows: list[Row]
    origin: str
    """Which rows they are, for people."""


def sample_of(task: Task, data: Path | None, file: Path | None, limit: int) -> Sample:
    """Up to `limit` rows for `task`: of a file, else of its first split.

    Raises MissingRows where only a platform has them, and whatever reading rows raises.
    """
    from flan.data.rows import MissingRows, MissingSplit, Places, open_rows

    if file is not None:
        rows = read_rows_file(file, limit)
        return Sample(rows, f"{count(len(rows), 'row')} of {file}")
    if isinstance(task.source, DatasetSource):
        raise MissingRows(
            f"{task.name} reads the uploaded dataset {task.source.name!r}, which is not on this machine",
            hint=f"give rows: --rows FILE; or ask the platform: flan templates lint {task.name}",
        )
    split = next(iter(task.source.splits), None)
    if split is None:
        raise MissingSplit(f"task {task.name} has no split", hint="name one under source.splits")
    table = open_rows(task, split, Places(data=data, store=None))
    rows = [table[i] for i in range(min(limit, len(table)))]
    return Sample(rows, f"{count(len(rows), 'row')} of {split}")


def row_format(file: Path) -> "Format":
    """Which rows a file holds, by its ending. Raises NotFound, UnknownRows."""
    formats: dict[str, Format] = {
        ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet",
    }  # fmt: skip
    if not file.is_file():
        raise NotFound(f"no file {file}")
    if file.suffix not in formats:
        raise UnknownRows(f"{file} is no file of rows", hint=f"it must end in {', '.join(formats)}")
    return formats[file.suffix]


def read_rows_file(file: Path, limit: int) -> list[Row]:
    """The first `limit` rows of a file. Raises NotFound, UnknownRows, EmptyDataset; UnreadableRow with the line."""
    from flan.data.formats import Fault, read_rows
    from flan.data.rows import EmptyDataset, unreadable

    found: list[Row] = []
    for _, row in islice(read_rows(file, row_format(file)), limit):
        if isinstance(row, Fault):
            raise unreadable(str(file), row)
        found.append(row)
    if not found:
        raise EmptyDataset(f"{file} has no row")
    return found


def list_findings(findings: Sequence[Mapping[str, Any]]) -> None:
    """A line for each finding."""
    for finding in findings:
        where = "" if finding["template"] is None else f" template {finding['template']}"
        typer.echo(f"{finding['severity']}: {finding['code']}{where}: {finding['message']}")


def show_findings(findings: Sequence[Mapping[str, Any]], looked_at: str) -> None:
    """A line for each finding, and what was looked at; exits with 1 when one is an error."""
    list_findings(findings)
    typer.echo(f"{count(len(findings), 'finding')} in {looked_at}")
    if any(finding["severity"] == "error" for finding in findings):
        raise typer.Exit(1)


def show_rendered(template: int, role: str, prompt: str, target: str) -> None:
    """One prompt and its target; what they are stands on standard error."""
    typer.secho(f"template {template} {role}", bold=True, err=True)
    typer.echo(f"{prompt}\n[target] {target}\n")
