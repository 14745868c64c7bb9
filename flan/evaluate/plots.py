"""Pictures of a report: the paper's figures, drawn from our own runs.

    clusters       zero-shot bars by cluster (Wei et al. 2022, figure 1)
    num-clusters   by the number of clusters that were trained on (figure 6)
    scale          by the number of weights, tuned and untuned (figure 7)
    instructions   by what the models were asked with (figure 8)
    few-shot       by the number of solved rows before a question (figure 9)
    soft-prompt    after a prompt was learnt for the task (figure 10)
    templates-per-task   by the number of templates of each training task (the released code's ablation)

Whiskers and bands are the standard deviation over templates, points single tasks; a hatched bar is not proven
zero-shot. Published figures are grey, and never of the same thing. Equal reports give equal files.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from flan.errors import FlanError
from flan.evaluate.publication import ClusterLine, Column, Report
from flan.evaluate.published import cited

# Okabe and Ito's colours: told apart by everyone, and in grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_LIGHT = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7")
"""Of these: dark letters can be read on them."""
_LOW = 0.05
"""A bar that does not reach behind its figure."""
INK, GREY, RULE = "#1f2328", "#8a8f98", "#e3e6ea"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.labelcolor": INK,
    "axes.edgecolor": RULE, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
    "axes.spines.right": False, "axes.spines.left": False, "axes.grid": True, "axes.grid.axis": "y",
    "grid.color": RULE, "axes.axisbelow": True, "xtick.major.size": 0, "ytick.major.size": 0,
    "svg.hashsalt": "flan", "svg.fonttype": "path", "hatch.linewidth": 0.6, "legend.frameon": False,
}  # fmt: skip
_HATCH = "////"
Style = Literal["solid", "dotted"]
_PUBLISHED = ", published: not comparable"


class NothingToDraw(FlanError):
    """A report has not what a picture shows."""

    code, blame = "nothing_to_draw", "user"


class Point(NamedTuple):
    """A column of a report along an axis: means over its clusters."""

    x: float
    mean: float
    spread: float | None
    is_proven: bool


def draw(name: str, report: Report) -> Figure:
    """The picture `name` (one of FIGURES). Raises NothingToDraw."""
    with mpl.rc_context(_STYLE):
        return FIGURES[name](report)


def telling(report: Report) -> dict[str, Figure]:
    """The pictures that show a difference between these columns. Soft prompts are not on record: drawn when asked."""
    pictures = {}
    for name in FIGURES:
        about = _ABOUT.get(name)
        if name == "soft-prompt" or (
            about and len({about(column) for column in report.columns} - {None}) < 2
        ):
            continue
        with suppress(NothingToDraw):
            pictures[name] = draw(name, report)
    return pictures


def save(figure: Figure, path: Path) -> None:
    """Write an SVG or a PNG, by the ending of `path`."""
    # Without a date equal pictures are equal files.
    without = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with mpl.rc_context(_STYLE):
        figure.savefig(path, dpi=200, metadata=without, bbox_inches="tight", facecolor="white")


def written(figure: Figure) -> str:
    """The picture as SVG."""
    text = StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight", facecolor="white")
    return text.getvalue()


def _bars(report: Report, title: str, references: Mapping[str, Style] = {}) -> Figure:
    """A group of bars for each cluster, a bar for each column; `references`: published system → its line."""
    lines = _whole(report)
    num = len(report.columns)
    figure = Figure(figsize=(max(5.6, 1.6 + 0.5 * len(lines) * (num + 1)), 3.9))
    axes = figure.add_subplot()
    width = 0.72 / num
    for i, column in enumerate(report.columns):
        places = [place + (i - (num - 1) / 2) * width for place in range(len(lines))]
        for place, line in zip(places, lines, strict=True):
            _bar(axes, place, line, i, width * 0.88)
            _dots(axes, place, report, line, i)
        axes.bar([0], [0], color=COLOURS[i % len(COLOURS)], label=column.label)
    for system, style in references.items():
        _cite(axes, report, lines, system, style)
    axes.set_xticks(range(len(lines)), [_tick(line) for line in lines])
    _percent_axis(axes)
    _finish(figure, axes, title, report)
    return figure


def _bar(axes: Axes, place: float, line: ClusterLine, column: int, width: float) -> None:
    figures = line.figures[column]
    assert figures is not None, "only whole clusters are drawn"
    colour = COLOURS[column % len(COLOURS)]
    axes.bar(
        [place], [figures.mean], width, color=colour, edgecolor="white", linewidth=0.6,
        hatch=None if figures.verdict == "proven" else _HATCH,
    )  # fmt: skip
    if figures.spread is not None:
        axes.errorbar(
            [place], [figures.mean], [figures.spread], color=INK, elinewidth=0.9, capsize=2, capthick=0.9
        )
    # At the foot, where neither whisker nor point nor published figure can cross it.
    axes.annotate(
        f"{100 * figures.mean:.1f}", (place, 0), xytext=(0, 4), textcoords="offset points", ha="center",
        fontsize=7.5, fontweight="bold", color=INK if colour in _LIGHT or figures.mean < _LOW else "white",
    )  # fmt: skip


def _dots(axes: Axes, place: float, report: Report, line: ClusterLine, column: int) -> None:
    """The tasks of a cluster, where it has several."""
    means = [
        each.over_templates.mean
        for task in report.tasks
        if task.task in line.tasks and (each := task.figures[column]) is not None
    ]
    if len(means) > 1:
        axes.plot(
            [place] * len(means), means, "o", markersize=3.2, markerfacecolor="white", markeredgecolor=INK,
            markeredgewidth=0.7, linestyle="none", zorder=3, clip_on=False,
        )  # fmt: skip


def _cite(axes: Axes, report: Report, lines: Sequence[ClusterLine], system: str, style: Style) -> None:
    """Mark what the paper's first figure has for a system, in every cluster with a task that it was asked, too."""
    theirs = {task.cluster for task in report.tasks if any(each and each.published for each in task.figures)}
    found = {
        each.figure.cluster: each.figure
        for each in cited()
        if each.figure.system == system
        and each.figure.setting == "zero_shot"
        and each.id.startswith("wei2022-clusters-")
    }
    label = f"{system}{_PUBLISHED}"
    for place, line in enumerate(lines):
        if line.cluster not in theirs or (figure := found.get(line.cluster)) is None:
            continue
        value = figure.value / 100
        ends = [place - 0.4, place + 0.4]
        axes.plot(ends, [value, value], color=GREY, linestyle=style, linewidth=1.4, zorder=4, label=label)
        label = "_"  # once in the legend
        mark = "" if figure.confidence == "published" else "*"
        axes.annotate(
            f"{figure.value:.1f}{mark}", (place + 0.41, value), va="center", fontsize=6.5, color=GREY,
            annotation_clip=False,
        )  # fmt: skip


def _lines(
    report: Report, title: str, x_label: str, place: Callable[[Column], float], *, is_log: bool = False
) -> Figure:
    """A line for tuned columns and one for untuned ones: mean over the clusters, with a band of the spread."""
    lines = _whole(report)
    figure = Figure(figsize=(5.8, 3.9))
    axes = figure.add_subplot()
    series = _series(report, lines, place)
    if not any(len({point.x for point in points}) > 1 for points in series.values()):
        raise NothingToDraw(
            f"a line over {x_label} needs two columns that differ in it",
            hint="give the results of several models, as a sweep leaves them",
        )
    everywhere = [point for points in series.values() for point in points]
    for i, (label, points) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        xs, means = [point.x for point in points], [point.mean for point in points]
        axes.plot(xs, means, "-", color=colour, linewidth=1.8, label=label)
        axes.fill_between(
            xs,
            [point.mean - (point.spread or 0) for point in points],
            [point.mean + (point.spread or 0) for point in points],
            color=colour,
            alpha=0.14,
            linewidth=0,
        )
        if len(points) == 1 and points[0].spread is not None:  # a band needs two
            axes.errorbar(xs, means, [points[0].spread], color=colour, elinewidth=0.9, capsize=2)
        for k, point in enumerate(points):
            face = colour if point.is_proven else "white"
            axes.plot(
                [point.x], [point.mean], "o", color=colour, markerfacecolor=face, markersize=5.5, zorder=3
            )
            beside = points[max(k - 1, 0) : k] + points[k + 1 : k + 2]
            is_lower = any(other.x == point.x and other.mean > point.mean for other in everywhere) or (
                len(points) > 1 and all(other.mean > point.mean for other in beside)
            )
            # Beside a whisker, else above or below the point.
            place_of, side = (
                ((6, -3), "left") if len(points) == 1 else ((0, -13 if is_lower else 7), "center")
            )
            axes.annotate(
                f"{100 * point.mean:.1f}", (point.x, point.mean), xytext=place_of, textcoords="offset points",
                ha=side, fontsize=7.5,
            )  # fmt: skip
    if is_log:
        axes.set_xscale("log")
        axes.set_xticks([], minor=True)
        axes.set_xticks(sorted({point.x for point in everywhere}))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(x_label)
    axes.margins(x=0.08)
    _percent_axis(axes)
    _finish(figure, axes, title, report)
    return figure


def _series(
    report: Report, lines: Sequence[ClusterLine], place: Callable[[Column], float]
) -> Mapping[str, list[Point]]:
    """Tuned and untuned columns in the order of their places."""
    series: dict[str, list[Point]] = {}
    for i, column in enumerate(report.columns):
        figures = [each for line in lines if (each := line.figures[i]) is not None]
        spreads = [each.spread for each in figures if each.spread is not None]
        point = Point(
            place(column),
            fmean(each.mean for each in figures),
            fmean(spreads) if spreads else None,
            all(each.verdict == "proven" for each in figures),
        )
        series.setdefault("instruction tuned" if column.tuned_steps else "untuned", []).append(point)
    return {label: sorted(points) for label, points in series.items()}


def _whole(report: Report) -> list[ClusterLine]:
    """The clusters that every column was measured on. Raises NothingToDraw."""
    lines = [line for line in report.clusters if all(line.figures)]
    if not lines:
        raise NothingToDraw(
            "no cluster was measured in every column", hint="give results of the same tasks, or fewer of them"
        )
    return lines


def _percent_axis(axes: Axes) -> None:
    low = min(0.0, axes.get_ylim()[0])
    axes.set_ylim(low, min(1.08, max(0.3, axes.get_ylim()[1] * 1.06)))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _finish(figure: Figure, axes: Axes, title: str, report: Report) -> None:
    """Title, legend between it and the picture, and what every figure needs below."""
    named = zip(*axes.get_legend_handles_labels(), strict=True)
    handles, labels = zip(*sorted(named, key=lambda each: _PUBLISHED in each[1]), strict=True)
    per_row = max(1, int(figure.get_figwidth() // 2.4))
    rows = -(-len(labels) // per_row)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=10 + 14 * rows)
    axes.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=per_row, fontsize=8, borderpad=0.2,
        handlelength=1.4, columnspacing=1.4,
    )  # fmt: skip
    has_marks = any(text.get_text().endswith("*") for text in axes.texts)
    note = _note(report, has_circles=not axes.get_xlabel(), has_marks=has_marks)
    axes.annotate(
        note, (0, 0), xytext=(0, -46), xycoords="axes fraction", textcoords="offset points", fontsize=7,
        color=GREY, va="top",
    )  # fmt: skip


def _note(report: Report, *, has_circles: bool, has_marks: bool) -> str:
    figures = [each for line in report.tasks for each in line.figures if each is not None]
    rows = sum(line.figures[0].n for line in report.tasks if line.figures[0] is not None)
    templates = sorted({each.over_templates.num_templates for each in figures})
    many = f"{templates[0]}" if len(templates) == 1 else f"{templates[0]} to {templates[-1]}"
    verdicts = sorted({each.verdict for each in figures})
    shape, otherwise = (
        ("circles: tasks; whiskers", "hatched") if has_circles else ("bands, whisker", "hollow points")
    )
    num_tasks = f"{len(report.tasks)} task" + ("s" if len(report.tasks) > 1 else "")
    return (
        f"{num_tasks}, n = {rows:,} rows, {many} templates each; {shape}: one standard deviation "
        f"over templates.\nZero-shot: {', '.join(verdicts)}; {otherwise}: not proven."
        + ("  * recalled and cross-checked, not read in its source." if has_marks else "")
    )


def _tick(line: ClusterLine) -> str:
    figures = line.figures[0]
    assert figures is not None, "only whole clusters are drawn"
    words, rows = line.name.split(), [""]
    for word in words:
        if rows[-1] and len(rows[-1]) + len(word) > 15:
            rows.append("")
        rows[-1] = f"{rows[-1]} {word}".strip()
    count = f"{figures.num_tasks} task" + ("s" if figures.num_tasks > 1 else "")
    return "\n".join([*rows, f"({count}, n {figures.n:,})"])


def _count(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def _num_clusters(column: Column) -> float:
    if column.clusters_seen is None:
        raise NothingToDraw(f"{column.label}: it is not on record how many clusters it was tuned on")
    return len(column.clusters_seen)


def _num_parameters(column: Column) -> float:
    if column.num_parameters is None:
        raise NothingToDraw(f"{column.label}: its results do not say how many weights it has")
    return column.num_parameters


def _num_templates(column: Column) -> float:
    if column.tuned_steps == 0:
        return 0
    if column.templates_trained is None:
        raise NothingToDraw(f"{column.label}: it is not on record how many templates it was tuned on")
    return column.templates_trained


def _by_formats(report: Report) -> Report:
    """Columns called by what the model was tuned with and asked with, where that tells them apart."""
    labels = [_formats(column) for column in report.columns]
    if len({*labels}) < len(labels):
        return report
    columns = [
        column.model_copy(update={"label": label})
        for column, label in zip(report.columns, labels, strict=True)
    ]
    return report.model_copy(update={"columns": tuple(columns)})


def _formats(column: Column) -> str:
    tuned_with = "untuned" if column.tuned_steps == 0 else column.trained_with or "unknown"
    return f"{tuned_with} → {column.prompt_format}".replace("_", " ")


FIGURES: Mapping[str, Callable[[Report], Figure]] = {
    "clusters": lambda report: _bars(
        report, "Zero-shot, by cluster", {"FLAN 137B": "solid", "GPT-3 175B": "dotted"}
    ),
    "num-clusters": lambda report: _lines(
        report, "Number of clusters tuned on", "clusters tuned on", _num_clusters
    ),
    "scale": lambda report: _lines(report, "Scale", "weights of the model", _num_parameters, is_log=True),
    "instructions": lambda report: _bars(
        _by_formats(report), "Role of instructions: tuned with → asked with"
    ),
    "few-shot": lambda report: _bars(report, "Few-shot: solved rows before a question"),
    "soft-prompt": lambda report: _bars(report, "Soft prompts learnt for the task"),
    "templates-per-task": lambda report: _lines(
        report, "Templates per task", "templates of each training task", _num_templates
    ),
}

_ABOUT: Mapping[str, Callable[[Column], object]] = {
    "instructions": lambda column: (
        (column.trained_with, column.prompt_format) if column.tuned_steps else None
    ),
    "few-shot": lambda column: column.shots,
}
"""What of a column a picture of bars is about; None: nothing of this one."""
