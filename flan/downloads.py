"""`flan data …`: datasets of the hub brought to this machine, and what is there. No server needed."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flan.errors import FlanError, NotFound, did_you_mean
from flan.tasks.task import HubSource, Task, load_collection
from flan.tasks.taxonomy import load_taxonomy
from flan.terminal import FAILED, Output, count, errors, show_json, show_table

if TYPE_CHECKING:  # reading rows loads numpy: `--help` must not wait for it
    from flan.data.pull import OnRows, Pulled

data_app = typer.Typer(no_args_is_help=True, help="Datasets on this machine.")
_STATUS = {
    "pulled": "pulled",
    "there": "there already",
    "unchecked": "there already, without checksums: left as it is",
}


@data_app.command("pull")
def data_pull(
    to: Annotated[Path, typer.Option(help="Folder; becomes FLAN_DATA.")],
    tasks: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK]...", help="Tasks of the collection, or YAML files.")
    ] = None,
    cluster: Annotated[list[str] | None, typer.Option(help="Every task of a cluster.")] = None,
    preset: Annotated[str | None, typer.Option(help="Every task of a preset: flan2021.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every task of the collection.")] = False,
) -> None:
    """Fetch datasets from the hub into a folder, where jobs find them.

    What is there and whole is passed over. Of a split of more than 100,000 rows a seeded sample is kept; a dataset of
    more than 1,000,000 rows is streamed, and what is kept of its large splits is no uniform sample. Exit status 1 when
    a task could not be fetched; the others are.
    """
    wanted = _wanted(tasks or [], cluster or [], preset, everything=all_)
    if not wanted:
        raise typer.BadParameter("name tasks, or say --cluster, --preset or --all", param_hint="TASK")
    done: dict[str, Pulled] = {}
    failed: dict[str, FlanError | OSError] = {}
    with _progress() as bars:
        for task in wanted:
            _say(bars, f"{task.name}  {_dataset(task)}  licence: {task.licence}")
            try:
                done[task.name] = _pull(task, to, bars)
            except (FlanError, OSError) as error:
                failed[task.name] = error
                _say(bars, f"{task.name}  failed")
            else:
                rows = ", ".join(f"{split} {rows:,}" for split, rows in done[task.name].rows.items())
                _say(bars, f"{task.name}  {_STATUS[done[task.name].status]}  {rows}".rstrip())
    _summarise(done, failed)
    if failed:
        raise typer.Exit(FAILED)


@data_app.command("list")
def data_list(
    data: Annotated[
        Path, typer.Option("--data", envvar="FLAN_DATA", help="Folder of datasets in hub layout.")
    ],
    output: Output = "text",
) -> None:
    """Tell which tasks of the collection have rows in a folder, how many, and their licences."""
    from flan.data.holdings import holding

    if not data.is_dir():
        raise NotFound(f"no folder {data}", hint="fetch datasets into it: flan data pull --all --to FOLDER")
    tasks = load_collection("flan").values()
    found = {task.name: held for task in tasks if (held := holding(task, data))}
    without = [task.name for task in tasks if task.name not in found]
    if output == "json":
        show_json({"data": [each._asdict() for each in found.values()], "without": without})
        return
    rows = [
        (each.task, each.cluster, *(_count(each.rows.get(split)) for split in ("train", "validation", "test")),
         each.licence)
        for each in found.values()
    ]  # fmt: skip
    if rows:
        show_table(("TASK", "CLUSTER", "TRAIN", "VALIDATION", "TEST", "LICENCE"), rows)
    typer.echo(f"{len(found)} of {count(len(tasks), 'task')} have rows in {data}")
    if any(each.stands_in for each in found.values()):
        typer.echo("* rows of another split of the hub stand in: not for published figures")
    if without:
        typer.echo(f"without: {', '.join(without)}")
    wrong = {name: each.problem for name, each in found.items() if each.problem}
    for name, problem in wrong.items():
        errors.print(f"{name}: {problem}", markup=False)


def _wanted(
    names: Sequence[str], clusters: Sequence[str], preset: str | None, *, everything: bool
) -> list[Task]:
    """The tasks that are asked for, each once. Raises NotFound with the nearest name."""
    collection, taxonomy = load_collection("flan"), load_taxonomy("flan")
    for cluster in clusters:
        if cluster not in taxonomy.clusters:
            hint = did_you_mean(cluster, taxonomy.clusters) or f"there are {', '.join(taxonomy.clusters)}"
            raise NotFound(f"there is no cluster {cluster!r}", hint=hint)
    if preset is not None and preset not in taxonomy.presets:
        hint = did_you_mean(preset, taxonomy.presets) or f"there are {', '.join(taxonomy.presets)}"
        raise NotFound(f"there is no preset {preset!r}", hint=hint)
    from flan.local import find_task

    wanted = {task.name: task for task in map(find_task, names)}
    for task in collection.values():
        is_of_preset = preset is not None and taxonomy.presets[preset].holds(task)
        if everything or task.cluster in clusters or is_of_preset:
            wanted.setdefault(task.name, task)
    return list(wanted.values())


def _dataset(task: Task) -> str:
    if not isinstance(task.source, HubSource):
        return f"({task.source.kind})"
    return f"{task.source.id} ({task.source.config or 'default'})"


def _pull(task: Task, to: Path, bars: Progress | None) -> "Pulled":
    from datasets import disable_progress_bars

    from flan.data.pull import pull

    disable_progress_bars()  # ours stand for them
    if bars is None:
        return pull(task, to)
    with _bar(bars, task.name) as on_rows:
        return pull(task, to, on_rows)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Bars on a terminal; in a pipe none."""
    if not sys.stdout.isatty():
        yield None
        return
    text = TextColumn("{task.description}", markup=False)
    with Progress(text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True) as bars:
        yield bars


@contextmanager
def _bar(bars: Progress, name: str) -> "Iterator[OnRows]":
    bar = bars.add_task(f"{name}: fetching", total=None)

    def on_rows(split: str, done: int, total: int | None) -> None:
        bars.update(bar, description=f"{name}: {split}", completed=done, total=total)

    try:
        yield on_rows
    finally:
        bars.remove_task(bar)


def _say(bars: Progress | None, line: str) -> None:
    if bars is None:
        typer.echo(line)
    else:
        bars.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _summarise(done: "Mapping[str, Pulled]", failed: Mapping[str, FlanError | OSError]) -> None:
    num_pulled = sum(each.status == "pulled" for each in done.values())
    typer.echo(f"{num_pulled} pulled, {len(done) - num_pulled} there already, {len(failed)} failed")
    for name, error in failed.items():
        errors.print(f"{name}: {error}", markup=False)
        if isinstance(error, FlanError) and error.hint:
            errors.print(f"  {error.hint}", markup=False)


def _count(held: Any) -> str:
    return "" if held is None else f"{held.rows:,}{'*' if held.stands_in else ''}"
