"""What a sweep found out: its evaluations, cell by cell and task by task, as data, as a table and as Markdown.

A line is a task in a cell, a column one of the sweep's evaluations: base beside tuned. A figure stands with its
spread over templates, its n and its verdict. Evaluations of a cell that were asked about more tasks than the others
(one measurement of the base serves every cell) show those that all have.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from flan.evaluate.results import Results, TaskResult
from flan.spec import Document, parse
from flan.sweeps import Cell
from flan.tasks.taxonomy import Verdict

TITLE = "Mean ± spread over templates, in percent (accuracy unless named)"


class Figure(Document):
    """What one evaluation got on one task."""

    child: str
    """Name of the child that measured it."""
    model: str
    """Name of the model."""
    mean: float
    """Over templates."""
    spread: float | None
    """Standard deviation over templates; null for a single one."""
    interval: tuple[float, float]
    """95% interval of the mean, over rows."""
    best: float | None = None
    """Figure of the template that was best on dev rows; null where none was chosen."""
    n: int
    """Rows."""
    verdict: Verdict
    """Whether the model met the task for the first time."""


class SweepLine(Document):
    """A task in a cell."""

    cell: dict[str, str]
    """Axis → setting."""
    task: str
    cluster: str
    metric: str
    figures: dict[str, Figure]
    """Evaluation of the sweep → its figure."""


class CellMean(Document):
    """An evaluation in a cell: the unweighted mean over its tasks."""

    cell: dict[str, str]
    job: str
    """Evaluation of the sweep."""
    mean: float
    num_tasks: int


class ChildState(Document):
    """How a child stands."""

    name: str
    job: str
    """Which of the sweep's jobs it is."""
    state: str
    code: str | None = None
    """Why it failed."""
    message: str | None = None


class SweepResults(Document):
    """results.json of a sweep."""

    kind: str = "sweep"
    sweep: str
    """Name of the sweep."""
    experiment: str | None = None
    """Which experiment of the paper it is."""
    partial: bool
    """Whether an evaluation is still to come, or failed."""
    axes: dict[str, tuple[str, ...]]
    """Axis → its settings, in order."""
    lines: tuple[SweepLine, ...]
    means: tuple[CellMean, ...]
    children: tuple[ChildState, ...]


class Ended(NamedTuple):
    """A child as it stands, and what it measured."""

    state: ChildState
    kind: str
    """tune or evaluate."""
    results: Mapping[str, Any] | None
    """Of an evaluation: its results.json, where it has measured something."""


def sweep_results(
    name: str, experiment: str | None, cells: Sequence[Cell], children: Sequence[Ended]
) -> SweepResults:
    """What the `children` of the sweep `name` have found out so far."""
    evaluations = {one.state.name: one for one in children if one.kind == "evaluate"}
    measured = {
        child: parse(Results, one.results) for child, one in evaluations.items() if one.results is not None
    }
    lines = tuple(line for cell in cells for line in _lines(cell, measured))
    return SweepResults(
        sweep=name,
        experiment=experiment,
        partial=set(evaluations) != set(measured),
        axes=_axes(cells),
        lines=lines,
        means=tuple(_means(lines)),
        children=tuple(one.state for one in children),
    )


def sweep_table(found: SweepResults) -> Table:
    """A table for a terminal."""
    header, *rows = _rows(found)
    table = Table(title=TITLE, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    named = len(found.axes) + 1
    for i, name in enumerate(header):
        width = max(len(row[i]) for row in [header, *rows])
        is_figure = i >= named and i < len(header) - 1
        table.add_column(
            name,
            justify="right" if is_figure else "left",
            min_width=width if is_figure else None,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    return table


def sweep_markdown(found: SweepResults) -> str:
    """The same as Markdown, under its title, with what is not there yet; ended by a line break."""
    header, *rows = _rows(found)
    named = len(found.axes) + 1
    rule = ["---" if i < named or i == len(header) - 1 else "---:" for i in range(len(header))]
    table = "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *rows))
    lacking = [each for each in found.children if each.state != "succeeded"]
    told = "".join(
        f"- {each.name}: {each.state}" + (f", {each.code}: {each.message}" if each.code else "") + "\n"
        for each in lacking
    )
    return f"# {found.sweep}\n\n{TITLE}\n\n{table}" + (f"\nNot done:\n\n{told}" if told else "")


def _axes(cells: Sequence[Cell]) -> dict[str, tuple[str, ...]]:
    axes: dict[str, dict[str, None]] = {}
    for cell in cells:
        for axis, label in cell.labels.items():
            axes.setdefault(axis, {})[label] = None
    return {axis: tuple(labels) for axis, labels in axes.items()}


def _lines(cell: Cell, measured: Mapping[str, Results]) -> Iterator[SweepLine]:
    here = {job: measured[name] for job, name in cell.children.items() if name in measured}
    tasks = {job: {one.task: one for one in results.tasks} for job, results in here.items()}
    if not tasks:
        return
    # A task that one of them failed at stays: the others were asked about it too.
    asked = [{*tasks[job], *here[job].failed} for job in here]
    in_order = dict.fromkeys(task for found in tasks.values() for task in found)
    for task in (task for task in in_order if all(task in each for each in asked)):
        told = {
            job: _figure(cell.children[job], here[job], found[task])
            for job, found in tasks.items()
            if task in found
        }
        first = next(found[task] for found in tasks.values() if task in found)
        yield SweepLine(
            cell=dict(cell.labels), task=task, cluster=first.cluster, metric=first.metric, figures=told
        )


def _figure(child: str, whole: Results, one: TaskResult) -> Figure:
    return Figure(
        child=child,
        model=whole.model,
        mean=one.mean,
        spread=one.spread,
        interval=one.interval,
        best=one.best.metric_value if one.best else None,
        n=one.n,
        verdict=whole.verdicts[one.task],
    )


def _means(lines: tuple[SweepLine, ...]) -> Iterator[CellMean]:
    by_cell: dict[tuple[tuple[str, str], ...], dict[str, list[float]]] = {}
    for line in lines:
        jobs = by_cell.setdefault(tuple(line.cell.items()), {})
        for job, figure in line.figures.items():
            jobs.setdefault(job, []).append(figure.mean)
    for cell, jobs in by_cell.items():
        for job, means in jobs.items():
            yield CellMean(cell=dict(cell), job=job, mean=fmean(means), num_tasks=len(means))


def _rows(found: SweepResults) -> list[list[str]]:
    jobs = list(dict.fromkeys(job for line in found.lines for job in line.figures))
    header = [*found.axes, "task", "n", *jobs, "zero-shot"]
    rows = []
    for line in found.lines:
        task = line.task if line.metric == "accuracy" else f"{line.task} ({line.metric})"
        numbers = dict.fromkeys(str(line.figures[job].n) for job in jobs if job in line.figures)
        verdicts = dict.fromkeys(line.figures[job].verdict for job in jobs if job in line.figures)
        figures = [_text(line.figures.get(job)) for job in jobs]
        rows.append(
            [*(line.cell[axis] for axis in found.axes), task, "/".join(numbers), *figures, "/".join(verdicts)]
        )
    return [header, *rows]


def _text(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{100 * figure.mean:.1f}" + ("" if figure.spread is None else f" ± {100 * figure.spread:.1f}")
