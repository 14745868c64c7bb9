"""Results of several models side by side, as data, as a table for a terminal and as Markdown.

A cell is mean ± spread over templates, in a line with the n that all its cells share: no figure is shown
without them. The last column says whether the last model of the line met the task for the first time (proven, violated
or unknown) and, where its training rows were compared with these, how many share a passage with one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from flan.errors import FlanError
from flan.evaluate.results import Results, TaskResult
from flan.spec import parse
from flan.tasks.taxonomy import Verdict

TITLE = "Mean ± spread over templates, in percent (accuracy unless named)"
MODEL_WIDTH = 11
"""Columns a model's name has before it breaks."""


class NotComparable(FlanError):
    """Results that were not measured alike cannot stand in one table."""

    code, blame = "not_comparable", "user"


class Cell(NamedTuple):
    """What one model got on one task."""

    mean: float
    spread: float | None
    interval: tuple[float, float]
    verdict: Verdict
    num_unclean: int | None
    """Rows of the split that share a passage with a row the model was tuned on; None = not compared."""
    clean_mean: float | None
    """Mean without such rows; None where none was asked, or it is not known which they are."""


class Line(NamedTuple):
    """One task of a comparison."""

    task: str
    cluster: str
    metric: str
    n: int
    chance: float | None
    majority: float | None
    cells: tuple[Cell | None, ...]
    """One per model; None where it was not measured on this task."""


class Comparison(NamedTuple):
    """Models side by side; tasks in the order of the first results that have them."""

    models: tuple[str, ...]
    lines: tuple[Line, ...]


def compare(results: Sequence[Results], labels: Sequence[str] = ()) -> Comparison:
    """The comparison of `results`, each under its label or the name of its model.

    Raises NotComparable where a task was measured otherwise: on other rows, templates or options, in another
    metric or way of scoring.
    """
    by_task: dict[str, list[TaskResult | None]] = {}
    for column, one in enumerate(results):
        for task in one.tasks:
            by_task.setdefault(task.task, [None] * len(results))[column] = task
    models = tuple(labels) or tuple(one.model for one in results)
    return Comparison(models, tuple(_line(measured, results) for measured in by_task.values()))


def results_table(results: Sequence[Mapping[str, Any]], labels: Sequence[str] = ()) -> Table:
    """A table for a terminal. `results` are as read from results.json, base first."""
    header, *rows = _rows(compare([parse(Results, one) for one in results], labels))
    table = Table(title=TITLE, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(header[0], min_width=16, overflow="fold")
    for i in range(1, len(header) - 1):
        # Names may break over lines, figures may not.
        width = max(min(len(header[i]), MODEL_WIDTH), *(len(row[i]) for row in rows))
        table.add_column(header[i], justify="right", min_width=width, overflow="fold")
    table.add_column(header[-1], min_width=len(header[-1]), overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def results_markdown(results: Sequence[Mapping[str, Any]], labels: Sequence[str] = ()) -> str:
    """The same as a Markdown table under its title, ended by a line break."""
    header, *rows = _rows(compare([parse(Results, one) for one in results], labels))
    rule = ["---", *["---:"] * (len(header) - 2), "---"]
    return f"{TITLE}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *rows))


def _line(measured: Sequence[TaskResult | None], results: Sequence[Results]) -> Line:
    present = [one for one in measured if one is not None]
    first = present[0]
    for other in present[1:]:
        _check_alike(first, other)
    return Line(
        task=first.task,
        cluster=first.cluster,
        metric=first.metric,
        n=first.n,
        chance=first.chance,
        majority=first.majority,
        cells=tuple(_cell(one, whole) if one else None for one, whole in zip(measured, results, strict=True)),
    )


def _cell(one: TaskResult, whole: Results) -> Cell:
    return Cell(
        mean=one.mean,
        spread=one.spread,
        interval=one.interval,
        verdict=whole.verdicts[one.task],
        num_unclean=whole.unclean.get(one.task),
        clean_mean=one.clean.mean if one.clean else None,
    )


def _check_alike(a: TaskResult, b: TaskResult) -> None:
    for name in ("metric", "split", "scoring", "n", "asked"):
        if getattr(a, name) != getattr(b, name):
            raise NotComparable(
                f"{a.task} was measured with {name} {getattr(a, name)} and with {name} {getattr(b, name)}",
                hint="evaluate both models with the same spec but for the model",
                task=a.task,
            )


def _rows(comparison: Comparison) -> list[list[str]]:
    header = ["task", "n", "chance", "majority", *comparison.models, "zero-shot"]
    return [header, *(_texts(line) for line in comparison.lines)]


def _texts(line: Line) -> list[str]:
    task = line.task if line.metric == "accuracy" else f"{line.task} ({line.metric})"
    guesses = ["–" if guess is None else f"{100 * guess:.1f}" for guess in (line.chance, line.majority)]
    last = next(cell for cell in reversed(line.cells) if cell)
    return [task, str(line.n), *guesses, *(_cell_text(cell) for cell in line.cells), _verdict_text(last)]


def _verdict_text(cell: Cell) -> str:
    if cell.num_unclean is None:
        return cell.verdict
    without = "" if cell.clean_mean is None else f" ({100 * cell.clean_mean:.1f} without)"
    return f"{cell.verdict}, {f'{cell.num_unclean:,} unclean' if cell.num_unclean else 'clean'}{without}"


def _cell_text(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    return f"{100 * cell.mean:.1f}" + ("" if cell.spread is None else f" ± {100 * cell.spread:.1f}")
