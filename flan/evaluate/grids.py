"""A report as tables of texts: rounded to be read, in percent, each figure with its n and its verdict.

A cell is mean ± standard deviation over templates.
"""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from flan.evaluate.publication import Report, TaskFigures, TaskLine
from flan.evaluate.statistics import verdict_of_all
from flan.tasks.importers.natural_instructions import EVALUATION_METRICS, ROUGE_L

ABSENT = "–"


class Grid(NamedTuple):
    """A table: its first column names things, the rest are figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def grids(report: Report) -> Iterator[Grid]:
    """The tables of a report, those without a row left out."""
    found = (
        _clusters(report),
        _super_ni(report),
        _tasks(report),
        _templates(report),
        _paired(report),
        _published(report),
        _failed(report),
        _columns(report),
    )
    return (grid for grid in found if grid.rows)


def _clusters(report: Report) -> Grid:
    rows = []
    for line in report.clusters:
        first = next((each for each in line.figures if each), None)
        if first is None:
            continue
        figures = [_pm(each.mean, each.spread) if each else ABSENT for each in line.figures]
        verdicts = [each.verdict if each else ABSENT for each in line.figures]
        rows.append((line.name, str(first.num_tasks), f"{first.n:,}", *figures, _same(verdicts)))
    return Grid(
        "Clusters",
        ("cluster", "tasks", "n", *_labels(report), "zero-shot"),
        tuple(rows),
        "Unweighted mean over the tasks that every column has ± mean of their standard deviations over templates, "
        "in percent; n is rows.",
    )


def _tasks(report: Report) -> Grid:
    rows = []
    for line in report.tasks:
        first = _first(line)
        guesses = (_percent(line.chance), _percent(line.majority))
        figures = [
            _pm(each.over_templates.mean, each.over_templates.spread) if each else ABSENT
            for each in line.figures
        ]
        verdicts = [_verdict(each) if each else ABSENT for each in line.figures]
        mark = "" if line.is_alike else " *"
        rows.append((_named(line) + mark, f"{first.n:,}", *guesses, *figures, _same(verdicts)))
    starred = "" if all(line.is_alike for line in report.tasks) else " * The columns were asked differently."
    return Grid(
        "Tasks",
        ("task", "n", "chance", "majority", *_labels(report), "zero-shot"),
        tuple(rows),
        "Mean ± standard deviation over templates, in percent (accuracy unless named)." + starred,
    )


def _super_ni(report: Report) -> Grid:
    """What Super-NaturalInstructions reports: ROUGE-L of all its test categories, then each in its own metric."""
    asked: list[tuple[str, str, tuple[str, ...]]] = [("all categories", ROUGE_L, tuple(EVALUATION_METRICS))]
    asked += [(each.replace("_", " "), metric, (each,)) for each, metric in EVALUATION_METRICS.items()]
    rows = []
    for name, metric, categories in asked:
        lines = [
            line
            for line in report.tasks
            if line.cluster in categories and all(each and metric in each.metrics for each in line.figures)
        ]
        if lines:
            rows.append(_benchmark_row(name, lines, metric))
    return Grid(
        "Super-NaturalInstructions, English test categories",
        ("category", "metric", "tasks", "n", *_labels(report), "zero-shot"),
        tuple(rows),
        "Mean over rows, in percent, of the tasks that every column has, ± mean of their standard deviations over "
        "templates.",
    )


def _benchmark_row(name: str, lines: Sequence[TaskLine], metric: str) -> tuple[str, ...]:
    figures, verdicts = [], []
    for column in range(len(lines[0].figures)):
        found = [each for line in lines if (each := line.figures[column]) is not None]
        mean = sum(each.n * each.metrics[metric] for each in found) / sum(each.n for each in found)
        spreads = [each.metric_spreads[metric] for each in found if metric in each.metric_spreads]
        figures.append(_pm(mean, fmean(spreads) if spreads else None))
        verdicts.append(verdict_of_all(each.verdict for each in found))
    num_rows = sum(_first(line).n for line in lines)
    said = "ROUGE-L" if metric == ROUGE_L else "exact match"
    return (name, said, str(len(lines)), f"{num_rows:,}", *figures, _same(verdicts))


def _templates(report: Report) -> Grid:
    rows = []
    for line, column, each in _cells(report):
        over = each.over_templates
        low, high = each.interval
        first, third = over.quartiles
        best = ABSENT if each.best is None else f"{_percent(each.best)} (template {each.best_template})"
        rows.append(
            (
                line.task,
                column,
                f"{each.n:,}",
                str(over.num_templates),
                f"{_percent(low)} to {_percent(high)}",
                f"{_percent(over.median)} ({_percent(first)} to {_percent(third)})",
                best,
                f"{_percent(over.worst)} (template {over.worst_template})",
                each.verdict,
            )
        )
    return Grid(
        "Over rows and templates",
        ("task", "column", "n", "templates", "95% interval", "median (quartiles)", "best on dev", "worst", "zero-shot"),
        tuple(rows),
        "The interval is of the mean, bootstrapped over rows. The best template is chosen on development rows; its "
        "figure is of the rows reported.",
    )  # fmt: skip


def _paired(report: Report) -> Grid:
    rows = []
    for line, column, each in _cells(report):
        if each.paired is None:
            continue
        low, high = each.paired.interval
        rows.append(
            (
                line.task,
                column,
                f"{each.paired.n:,}",
                _signed(each.paired.difference),
                f"{_signed(low)} to {_signed(high)}",
                _p_value(each.paired.p_value),
                each.verdict,
            )
        )
    return Grid(
        f"Less {report.columns[0].label}, question by question",
        ("task", "column", "n", "difference", "95% interval", "p", "zero-shot"),
        tuple(rows),
        "Percent points. Interval: paired bootstrap over rows; p: two-sided, rows swapped at random between the two. "
        "No correction for the number of tasks.",
    )


def _published(report: Report) -> Grid:
    rows = []
    all_caveats = [each.published.caveats for _, _, each in _cells(report) if each.published]
    shared = [one for one in (all_caveats or [()])[0] if all(one in each for each in all_caveats)]
    for line, column, each in _cells(report):
        if each.published is not None:
            caveats = [one for one in each.published.caveats if one not in shared]
            ours = _pm(each.over_templates.mean, each.over_templates.spread)
            rows.append(
                (
                    line.task, column, f"{each.n:,}", ours, _pm(each.published.value, each.published.spread),
                    each.published.confidence.replace("_", "-"), each.published.reference,
                    "; ".join(caveats) or ABSENT, each.verdict,
                )
            )  # fmt: skip
    return Grid(
        "Beside published figures",
        ("task", "column", "n", "ours", "theirs", "trusted", "source", "not comparable either", "zero-shot"),
        tuple(rows),
        "Percent, ± standard deviation over templates. Only “published” was read in a source that prints the number; "
        "spreads of theirs are recalled."
        + (f" No line is comparable: {'; '.join(shared)}." if shared else ""),
    )


def _failed(report: Report) -> Grid:
    rows = [
        (task, column.label, why.code, why.message)
        for column in report.columns
        for task, why in column.failed.items()
    ]
    return Grid("Not measured", ("task", "column", "code", "why"), tuple(rows))


def _columns(report: Report) -> Grid:
    rows = [
        (
            each.label, each.base, ABSENT if each.num_parameters is None else f"{each.num_parameters:,}",
            f"{each.tuned_steps:,}", (each.trained_with or ABSENT).replace("_", " "),
            each.prompt_format.replace("_", " "), str(each.shots), each.choose_by,
            each.precision, each.suite or ABSENT,
            each.model_digest[:12], each.spec_digest[:12],
        )
        for each in report.columns
    ]  # fmt: skip
    header = (
        "column",
        "base",
        "parameters",
        "tuned for, steps",
        "tuned with",
        "asked with",
        "shots",
        "chosen by",
        "precision",
        "suite",
        "weights",
        "spec",
    )
    return Grid("Columns", header, tuple(rows), "Digests are cut to twelve characters.")


def _cells(report: Report) -> Iterator[tuple[TaskLine, str, TaskFigures]]:
    for line in report.tasks:
        for column, figures in zip(report.columns, line.figures, strict=True):
            if figures is not None:
                yield line, column.label, figures


def _first(line: TaskLine) -> TaskFigures:
    return next(each for each in line.figures if each is not None)


def _labels(report: Report) -> tuple[str, ...]:
    return tuple(column.label for column in report.columns)


def _named(line: TaskLine) -> str:
    return line.task if line.metric == "accuracy" else f"{line.task} ({line.metric})"


def _verdict(figures: TaskFigures) -> str:
    if figures.num_unclean is None:
        return figures.verdict
    without = (
        "" if figures.clean is None else f" ({_percent(figures.clean)} without, n {figures.clean_n or 0:,})"
    )
    return f"{figures.verdict}, {f'{figures.num_unclean:,} unclean' if figures.num_unclean else 'clean'}{without}"


def _same(texts: Sequence[str]) -> str:
    """What the columns say, once where they say the same."""
    said = [text for text in texts if text != ABSENT]
    return said[0] if len(set(said)) == 1 else " / ".join(texts)


def _percent(value: float | None) -> str:
    return ABSENT if value is None else f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _pm(mean: float, spread: float | None) -> str:
    return _percent(mean) + ("" if spread is None else f" ± {100 * spread:.1f}")
