"""The evaluations of a sweep as the columns of one report, and the picture of its experiment.

A model that was tuned with one cluster held out is measured on that cluster alone. So that a row of such models makes
one column, what the settings of SPREAD axes measured is put together: other axes tell columns apart.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from flan.evaluate.plots import FIGURES, draw, save
from flan.evaluate.publication import Report
from flan.evaluate.reporting import Run, report
from flan.evaluate.results import Results

SPREAD = ("held_out", "task")
"""Axes whose settings measure different tasks: `held_out` of the presets, and `task` of soft prompts."""
BARS = "clusters"
"""The picture of a sweep that has none of its own name: bars by cluster, a bar for each column."""


class Measured(NamedTuple):
    """An evaluation of a sweep."""

    job: str
    """Which of the sweep's jobs it is."""
    labels: Mapping[str, str]
    """Axis → setting, for the axes that shape it."""
    results: Results


def sweep_report(measured: Sequence[Measured]) -> Report:
    """The report of a sweep's evaluations, of which there is at least one; base models come first."""
    columns: dict[str, list[Results]] = {}
    for one in sorted(measured, key=lambda each: each.results.lineage.steps > 0):
        told = [_told(axis, label) for axis, label in one.labels.items() if axis not in SPREAD]
        columns.setdefault(", ".join([one.job, *told]), []).append(one.results)
    return report([Run(_joined(each)) for each in columns.values()], tuple(columns))


def draw_sweep(experiment: str | None, made: Report, folder: Path) -> tuple[Path, ...]:
    """The picture of an experiment, as SVG and PNG in `folder`. Raises NothingToDraw."""
    picture = draw_figure(experiment, made)
    paths = tuple(folder / f"figure.{ending}" for ending in ("svg", "png"))
    for path in paths:
        save(picture, path)
    return paths


def draw_figure(experiment: str | None, made: Report) -> Figure:
    """The picture of an experiment. Raises NothingToDraw."""
    return draw(experiment if experiment is not None and experiment in FIGURES else BARS, made)


def _told(axis: str, label: str) -> str:
    """A setting in words: a bare number says nothing."""
    return f"{axis.replace('_', ' ')} {label}" if label.isdigit() else label


def _joined(parts: Sequence[Results]) -> Results:
    """Evaluations of different tasks as one; what is said of the model is that of the first."""
    tasks = {task.task: task for one in reversed(parts) for task in one.tasks}
    in_order = dict.fromkeys(task.task for one in parts for task in one.tasks)
    return parts[0].model_copy(
        update={
            "tasks": tuple(tasks[name] for name in in_order),
            "verdicts": {name: verdict for one in parts for name, verdict in one.verdicts.items()},
            "unclean": {name: count for one in parts for name, count in one.unclean.items()},
            "failed": {name: failure for one in parts for name, failure in one.failed.items()},
        }
    )
