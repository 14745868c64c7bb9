"""A report as Markdown for pages, LaTeX for papers, CSV for spreadsheets.

Markdown and LaTeX hold the tables of flan/evaluate/grids.py. CSV has a line for each task and column, unrounded,
from 0 to 1.
"""

import csv
import io
import re

from flan.evaluate.grids import ABSENT, Grid, grids
from flan.evaluate.publication import Report, TaskFigures, TaskLine

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
        "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
        "−": "$-$", "→": r"$\rightarrow$",
    }
)  # fmt: skip


def markdown(report: Report) -> str:
    """Every table with its title and note."""
    return "\n".join(_markdown(grid) for grid in grids(report))


def latex(report: Report) -> str:
    """Every table as a `table` with booktabs rules."""
    return "\n".join(_latex(grid) for grid in grids(report))


def csv_text(report: Report) -> str:
    """A line for each task and column."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _CSV, lineterminator="\n")
    writer.writeheader()
    for line in report.tasks:
        for column, figures in zip(report.columns, line.figures, strict=True):
            if figures is not None:
                writer.writerow({"column": column.label} | _flat(line, figures))
    return file.getvalue()


_CSV = (
    "column", "task", "cluster", "metric", "split", "scoring", "n", "num_rows", "num_templates", "mean", "spread",
    "interval_low", "interval_high", "median", "first_quartile", "third_quartile", "worst", "worst_template", "best",
    "best_template", "chance", "majority", "verdict", "num_unclean", "clean", "clean_n", "difference",
    "difference_low", "difference_high", "p_value", "published", "published_confidence", "signature",
)  # fmt: skip


def _flat(line: TaskLine, figures: TaskFigures) -> dict[str, object]:
    over, against = figures.over_templates, figures.paired
    low, high = against.interval if against else (None, None)
    return {
        "task": line.task, "cluster": line.cluster, "metric": line.metric, "split": line.split,
        "scoring": line.scoring, "n": figures.n, "num_rows": figures.num_rows,
        "num_templates": over.num_templates, "mean": over.mean, "spread": over.spread,
        "interval_low": figures.interval[0], "interval_high": figures.interval[1], "median": over.median,
        "first_quartile": over.quartiles[0], "third_quartile": over.quartiles[1], "worst": over.worst,
        "worst_template": over.worst_template, "best": figures.best, "best_template": figures.best_template,
        "chance": line.chance, "majority": line.majority, "verdict": figures.verdict,
        "num_unclean": figures.num_unclean, "clean": figures.clean, "clean_n": figures.clean_n,
        "difference": against.difference if against else None, "difference_low": low, "difference_high": high,
        "p_value": against.p_value if against else None,
        "published": figures.published.value if figures.published else None,
        "published_confidence": figures.published.confidence if figures.published else None,
        "signature": line.signature,
    }  # fmt: skip


def _markdown(grid: Grid) -> str:
    rule = ["---", *["---:" if _is_figure(grid, i) else "---" for i in range(1, len(grid.header))]]
    lines = [grid.header, rule, *grid.rows]
    table = "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )
    return f"## {grid.title}\n\n" + (f"{grid.note}\n\n" if grid.note else "") + table


def _latex(grid: Grid) -> str:
    columns = "l" + "".join("r" if _is_figure(grid, i) else "l" for i in range(1, len(grid.header)))
    lines = [" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in (grid.header, *grid.rows)]
    caption = f"{grid.title}. {grid.note}".strip().translate(_LATEX)
    return "\n".join(
        (
            r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        )
    )  # fmt: skip


def _is_figure(grid: Grid, column: int) -> bool:
    cells = [row[column] for row in grid.rows if row[column] != ABSENT]
    return bool(cells) and all(re.match(r"[<+−\d]", cell) for cell in cells)
