"""A task looked at on the command line: which rows it is looked at with, and how findings and prompts are shown."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from flan.errors import FlanError, NotFound
from flan.tasks.task import Collection, DatasetSource, Task
from flan.terminal import Format, count, show_json, show_table

if TYPE_CHECKING:  # reading rows loads numpy: `--help` must not wait for it
    from flan.data.formats import Format as RowFormat
    from flan.tasks.lint_collection import CollectionReport
    from flan.tasks.lint_findings import RoundTrip
    from flan.tasks.taxonomy import Taxonomy

Row = Mapping[str, Any]


class UnknownRows(FlanError):
    """A file does not say by its ending which rows it holds."""

    code, blame = "rows_unknown", "user"


class Sample(NamedTuple):
    """Rows to look at a task with."""

    rows: list[Row]
    origin: str
    """Which rows they are, for people."""
    split: str | None = None
    """The split they are the first rows of; None = they are of none."""


def sample_of(
    task: Task, data: Path | None, file: Path | None, limit: int, split: str | None = None
) -> Sample:
    """Up to `limit` rows for `task`: of a file, else of `split` or its first one, else the one that comes with it.

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
    split = split or next(iter(task.source.splits), None)
    if split is None:
        raise MissingSplit(f"task {task.name} has no split", hint="name one under source.splits")
    try:
        table = open_rows(task, split, Places(data=data, store=None))
    except MissingRows:
        if data is not None or task.example is None:
            raise
        return Sample([task.example], "its made-up row: no data is at hand")
    rows = [table[i] for i in range(min(limit, len(table)))]
    return Sample(rows, f"{count(len(rows), 'row')} of {split}", split)


def row_format(file: Path) -> "RowFormat":
    """Which rows a file holds, by its ending. Raises NotFound, UnknownRows."""
    formats: dict[str, RowFormat] = {
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
        where = "".join(
            f" {what} {finding[what]}" for what in ("task", "template") if finding.get(what) is not None
        )
        typer.echo(f"{finding['severity']}: {finding['code']}{where}: {finding['message']}")


def show_findings(findings: Sequence[Mapping[str, Any]], looked_at: str, output: Format = "text") -> None:
    """A line for each finding, and what was looked at; exits with 1 when one is an error."""
    if output == "json":
        show_json(list(findings))
    else:
        list_findings(findings)
        typer.echo(f"{count(len(findings), 'finding')} in {looked_at}")
    if any(finding["severity"] == "error" for finding in findings):
        raise typer.Exit(1)


def round_trips(references: Sequence[str]) -> dict[str, "RoundTrip"]:
    """Name of the folder → text there and back through its tokenizer. Raises what loading one raises."""
    if not references:
        return {}
    from flan.model.load import load_tokenizer
    from flan.tasks.lint_tokens import round_trip

    loaded = {Path(each).name: load_tokenizer(Path(each)) for each in references}
    return {name: round_trip(each.backend_tokenizer) for name, each in loaded.items()}


def lint_whole(
    name: str, data: Path | None, limit: int, tokenizers: Mapping[str, "RoundTrip"], output: Format
) -> None:
    """Look at a collection: its size by cluster, as the papers count it, and what is wrong with it.

    Rows are up to `limit` of every task that is below `data`, else the task's made-up one. Raises NotFound.
    """
    from flan.data.rows import MissingRows
    from flan.tasks.lint_collection import lint_collection, load_excuses, made_up
    from flan.tasks.task import load_collection
    from flan.tasks.taxonomy import load_taxonomy

    if name not in ("flan", "synthetic"):
        raise NotFound(
            f"there is no collection {name!r}", hint="flan or synthetic; for a task, no --collection"
        )
    collection: Collection = "flan" if name == "flan" else "synthetic"
    tasks, taxonomy = load_collection(collection), load_taxonomy(collection)
    without: list[str] = []

    def rows_of(task: Task) -> Iterable[Row]:
        try:
            return sample_of(task, data, None, limit).rows
        except MissingRows:
            without.append(task.name)
            return made_up(task)

    report = lint_collection(tasks, taxonomy, load_excuses(collection), rows_of, tokenizers=tokenizers)
    if output == "json":
        show_json(
            {
                "clusters": [each._asdict() for each in report.clusters],
                "presets": {
                    key: preset.num_datasets(tasks.values(), taxonomy.clusters)
                    for key, preset in taxonomy.presets.items()
                },
                "findings": [each._asdict() for each in report.findings],
                "excused": [each.finding._asdict() | {"why": each.why} for each in report.excused],
            }
        )
    else:
        _show_report(report, taxonomy, tasks)
        looked_at = (
            f"{len(tasks)} tasks, on rows of {data}" if data else f"{len(tasks)} tasks, on made-up rows"
        )
        typer.echo(f"{count(len(report.findings), 'finding')}, {len(report.excused)} excused, in {looked_at}")
        if without:
            typer.echo(f"on their made-up row, because no other is there: {', '.join(without)}")
    if any(finding.severity == "error" for finding in report.findings):
        raise typer.Exit(1)


def _show_report(report: "CollectionReport", taxonomy: "Taxonomy", tasks: Mapping[str, Task]) -> None:
    counts = [
        (each.name, each.tasks, each.families, each.sets, each.templates, each.inverted, each.with_options)
        for each in report.clusters
    ]
    total = ("all", *(sum(column) for column in zip(*(row[1:] for row in counts), strict=True)))
    show_table(
        ("CLUSTER", "TASKS", "FAMILIES", "SETS", "TEMPLATES", "INVERTED", "WITH OPTIONS"), [*counts, total]
    )
    for name, preset in taxonomy.presets.items():
        datasets = preset.num_datasets(tasks.values(), taxonomy.clusters)
        each = ", ".join(f"{cluster} {number}" for cluster, number in datasets.items())
        typer.echo(f"\n{name}: {sum(datasets.values())} datasets in {len(datasets)} clusters: {each}")
        typer.echo(preset.description)
    typer.echo()
    list_findings([finding._asdict() for finding in report.findings])
