"""`flan data leakage`: what training rows and held-out rows share, on this machine, before anything is trained."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flan.spec import Leakage
from flan.tasks.task import Collection, Task
from flan.tasks.taxonomy import load_taxonomy
from flan.terminal import FAILED, Output, count, cut, errors, line_width, show_json, show_table

if TYPE_CHECKING:  # reading rows loads numpy: `--help` must not wait for it
    from flan.data.leakage import LeakageReport, Passage, SharedRows, TrainingRows
    from flan.data.mixture_preview import SampledLeakage
    from flan.data.rows import Rows

_CUT = 100
"""Letters of a passage that are shown in a file or a pipe."""


def data_leakage(
    tasks: Annotated[
        list[str],
        typer.Argument(metavar="TASK...", help="Training tasks: names, YAML files, cluster:NAME, *."),
    ],
    against: Annotated[list[str], typer.Option(help="Held-out tasks, likewise; may be given again.")],
    data: Annotated[
        Path | None, typer.Option("--data", envvar="FLAN_DATA", help="Folder of datasets in hub layout.")
    ] = None,
    collection: Annotated[Collection, typer.Option(help="Where names are looked up.")] = "flan",
    split: Annotated[
        list[str] | None,
        typer.Option(help="Held-out splits that a task has; validation and test if left out."),
    ] = None,
    words: Annotated[int, typer.Option(min=2, help="Words in a row that make a shared passage.")] = 13,
    short_words: Annotated[
        int, typer.Option(min=2, help="The same in a held-out text that has fewer than that.")
    ] = 8,
    show: Annotated[int, typer.Option(min=0, max=5, help="Passages to show of each pair.")] = 1,
    fail: Annotated[bool, typer.Option("--fail", help="Exit status 1 when anything is shared.")] = False,
    output: Output = "text",
) -> None:
    """Tell which training rows share a passage with held-out rows, word for word, whatever the template."""
    from flan.data.leakage import TrainingRows, find_leakage

    lengths = Leakage(
        splits=tuple(split or Leakage().splits), words=words, short_words=min(words, short_words)
    )
    train, without = _opened(tasks, collection, ("train",), data, "TASK")
    held_out, unchecked = _opened(against, collection, lengths.splits, data, "--against")
    rows = [TrainingRows(name, each, range(len(each))) for (name, _), each in train.items()]
    with _progress(rows) as on_rows:
        report = find_leakage(
            rows,
            {f"{name}/{split}": each for (name, split), each in held_out.items()},
            lengths,
            on_rows=on_rows,
        )
    if output == "json":
        show_json(report.model_dump(mode="json") | {"without": without | unchecked})
    else:
        _show(report, show, without | unchecked)
    if fail and report.shared:
        raise typer.Exit(FAILED)


def _opened(
    selectors: Sequence[str], collection: Collection, splits: Sequence[str], data: Path | None, parameter: str
) -> "tuple[dict[tuple[str, str], Rows], dict[str, str]]":
    """Task and split → rows, and why a task that was not asked for by name has none. Raises when nothing is left."""
    from flan.data.rows import EmptyDataset, MissingRows, Places, open_rows

    opened: dict[tuple[str, str], Rows] = {}
    without: dict[str, str] = {}
    for task, is_named in _selected(selectors, collection):
        there = [split for split in splits if split in task.source.splits]
        if not there:
            without[task.name] = f"it has no split {' or '.join(splits)}"
        for split in there:
            try:
                opened[task.name, split] = open_rows(task, split, Places(data, None))
            except (MissingRows, EmptyDataset) as error:
                if is_named:
                    raise
                without[task.name] = error.message
    if not opened:
        why = "; ".join(f"{name}: {reason}" for name, reason in without.items())
        raise typer.BadParameter(f"no rows to compare: {why or 'no task'}", param_hint=parameter)
    return opened, without


def _selected(selectors: Sequence[str], collection: Collection) -> Iterator[tuple[Task, bool]]:
    """The tasks that `selectors` stand for, and whether each was asked for by name."""
    from flan.data.selectors import select_tasks
    from flan.local import LocalLibrary
    from flan.store import Store

    with tempfile.TemporaryDirectory() as folder:
        library = LocalLibrary(Store(Path(folder)))
        selection = select_tasks(selectors, "", library.tasks(collection), library, load_taxonomy(collection))
    for name, task in selection.tasks.items():
        yield task, name in selection.named


def _show(report: "LeakageReport", num_shown: int, without: Mapping[str, str]) -> None:
    show_shared(report, num_shown)
    num_train, num_held_out = sum(report.train.values()), sum(report.held_out.values())
    num_shared = sum(map(len, report.train_rows.values()))
    num_touched = sum(map(len, report.held_out_rows.values()))
    typer.echo(
        f"{count(num_train, 'training row')} of {count(len(report.train), 'task')} compared with "
        f"{count(num_held_out, 'held-out row')} of {count(len(report.held_out), 'split')}: "
        f"{num_shared:,} and {num_touched:,} share a passage"
    )
    for name, reason in without.items():
        errors.print(f"not compared: {name}: {reason}", markup=False)
    for name, unread in report.unreadable.items():
        errors.print(f"not compared: {name}: {count(unread, 'unreadable row')}", markup=False)


def show_shared(report: "LeakageReport | SampledLeakage", num_shown: int) -> None:
    """A table of the pairs that share a passage, and `num_shown` passages of each; nothing where there is none."""
    if not report.shared:
        return
    columns = ("TRAINING TASK", "HELD OUT", "TRAINING ROWS", "HELD-OUT ROWS", "WHOLE TEXTS IN")
    show_table(columns, [_line(each, report) for each in report.shared])
    for pair in report.shared if num_shown else ():
        typer.echo(f"\n{pair.train} ↔ {pair.held_out}")
        for passage in pair.passages[:num_shown]:
            typer.echo(_told(passage))
    typer.echo("")


def _line(pair: "SharedRows", report: "LeakageReport | SampledLeakage") -> tuple[str, ...]:
    return (
        pair.train,
        pair.held_out,
        f"{pair.train_rows:,} of {report.train[pair.train]:,}",
        f"{pair.held_out_rows:,} of {report.held_out[pair.held_out]:,}",
        f"{pair.whole_held_out_rows:,}",
    )


def _told(passage: "Passage") -> str:
    places = [
        f"row {span.row} {span.field}[{span.start}:{span.end}]" for span in (passage.train, passage.held_out)
    ]
    words = f"{count(passage.words, 'word')}, {passage.coverage:.0%} of the field"
    text = cut(" ".join(passage.text.split()), (line_width() or _CUT) - 4)
    return f"  {' ↔ '.join(places)}: {words}\n    {text}"


@contextmanager
def _progress(rows: "Sequence[TrainingRows]") -> Iterator[Callable[[str, int], None] | None]:
    """A bar over all training rows on a terminal; in a pipe none."""
    if not sys.stdout.isatty():
        yield None
        return
    text = TextColumn("{task.description}", markup=False)
    with Progress(text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True) as bars:
        bar = bars.add_task("", total=sum(len(each.rows) for each in rows))
        yield lambda task, more: bars.update(bar, description=task, advance=more)
