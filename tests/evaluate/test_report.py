"""Models side by side."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from flan.errors import InvalidDocument
from flan.evaluate.report import NotComparable, compare, results_markdown, results_table
from flan.evaluate.results import CleanResult, Results, TaskResult, TemplateResult
from flan.spec import parse


def task_result(name: str, figures: list[float], **fields: Any) -> TaskResult:
    defaults = {
        "task": name, "cluster": "sentiment", "metric": "accuracy", "scoring": "rank", "split": "validation",
        "n": 100, "asked": "a" * 64, "num_rows": 200, "chance": 0.5, "majority": 0.55,
        "templates": [{"index": i, "metric_value": f, "n": 100, "metrics": {}} for i, f in enumerate(figures)],
        "mean": sum(figures) / len(figures), "spread": 0.1 if len(figures) > 1 else None, "interval": [0.4, 0.6],
    }  # fmt: skip
    return parse(TaskResult, defaults | fields)


def results(model: str, verdict: str, *tasks: TaskResult) -> Results:
    return parse(
        Results,
        {
            "model": model, "model_digest": "d" * 64, "verdicts": {one.task: verdict for one in tasks},
            "lineage": {"base": "preset:nano", "tasks_seen": None, "clusters_seen": None},
            "tasks": [one.model_dump(mode="json") for one in tasks], "spec_digest": "e" * 64,
            "contract_digest": "c" * 64, "seed": 0, "options": "flan2021",
        },
    )  # fmt: skip


BASE = results(
    "m-base",
    "proven",
    task_result("reviews", [0.4, 0.6]),
    task_result("tables", [0.1], metric="rouge_l", chance=None, majority=None),
)
TUNED = results("m", "violated", task_result("reviews", [0.8, 1.0]))


def test_every_cell_has_its_spread_and_every_line_its_n() -> None:
    """Base and tuned stand beside chance and majority; what was not measured is a dash, not a zero."""
    assert results_markdown([BASE.model_dump(mode="json"), TUNED.model_dump(mode="json")]).splitlines()[
        2:
    ] == [
        "| task | n | chance | majority | m-base | m | zero-shot |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
        "| reviews | 100 | 50.0 | 55.0 | 50.0 ± 10.0 | 90.0 ± 10.0 | violated |",
        "| tables (rouge_l) | 100 | – | – | 10.0 | – | proven |",
    ]


def test_a_line_says_how_many_rows_are_unclean() -> None:
    """Where training rows were compared with these: clean, or how many share text; else the verdict alone."""
    unclean = TUNED.model_copy(update={"unclean": {"reviews": 1_200}})
    clean = BASE.model_copy(update={"unclean": {"reviews": 0, "tables": None}})

    shown = results_markdown([clean.model_dump(mode="json")]).splitlines()[-2:]
    last = [line.split("|")[-2].strip() for line in shown]
    assert last == ["proven, clean", "proven"]
    line = results_markdown([unclean.model_dump(mode="json")]).splitlines()[-1]
    assert line.endswith("| violated, 1,200 unclean |")
    known = TUNED.tasks[0].model_copy(update={"clean": CleanResult(n=80, mean=0.625)})
    line = results_markdown(
        [unclean.model_copy(update={"tasks": (known,)}).model_dump(mode="json")]
    ).splitlines()[-1]
    assert line.endswith("| violated, 1,200 unclean (62.5 without) |")


def test_comparison_is_data() -> None:
    """Interval and verdict of each cell are there for whoever draws another table."""
    comparison = compare([BASE, TUNED], labels=("base", "tuned"))

    assert comparison.models == ("base", "tuned")
    [first, second] = comparison.lines
    assert first.cells[1] is not None and first.cells[1].interval == (0.4, 0.6)
    assert second.cells[1] is None


@pytest.mark.parametrize(
    "fields",
    [{"asked": "b" * 64}, {"metric": "exact_match"}, {"scoring": "generate"}, {"n": 99}, {"split": "test"}],
)
def test_what_was_measured_otherwise_does_not_stand_beside_it(fields: dict[str, Any]) -> None:
    """Other rows, templates, metrics or ways of scoring are no comparison."""
    other = results("m", "violated", task_result("reviews", [0.8, 1.0], **fields))

    with pytest.raises(NotComparable, match="reviews"):
        compare([BASE, other])


def test_terminal_table_fits_eighty_columns() -> None:
    """With two models no figure is cut off."""
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(results_table([BASE.model_dump(mode="json"), TUNED.model_dump(mode="json")]))
    text = console.export_text()

    assert "50.0 ± 10.0" in text and "90.0 ± 10.0" in text
    assert "…" not in text


def test_a_file_that_is_no_result_is_refused() -> None:
    """Unknown or missing fields are named."""
    with pytest.raises(InvalidDocument):
        results_table([json.loads('{"model": "m"}')])


def test_template_figures_are_shares() -> None:
    """A metric in percent by mistake is refused."""
    with pytest.raises(InvalidDocument):
        parse(TemplateResult, {"index": 0, "metric_value": 55.0, "n": 3, "metrics": {}})
