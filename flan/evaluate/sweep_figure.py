"""The picture of a sweep's experiment, drawn from its report (flan/evaluate/sweep_report.py)."""

from pathlib import Path

from matplotlib.figure import Figure

from flan.evaluate.plots import FIGURES, draw, save
from flan.evaluate.publication import Report

BARS = "clusters"
"""The picture of a sweep that has none of its own name: bars by cluster, a bar for each column."""


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
