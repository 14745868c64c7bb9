"""A report: every figure of several evaluations, with what one needs to believe it."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from flan.errors import InvalidDocument, NotFound
from flan.evaluate.publication import Report, TaskFigures
from flan.evaluate.reporting import Run, read_run, report
from flan.evaluate.results import BestTemplate, Results, TaskFailure
from flan.evaluate.samples import SamplesWriter
from flan.evaluate.statistics import over_templates
from flan.evaluate.suite import RESULTS
from flan.evaluate.tables import csv_text, latex, markdown
from flan.spec import FewShot, parse
from tests.evaluate.test_report import results, task_result

RTE = {"cluster": "entailment", "split": "test", "num_rows": 277}


def two_columns(folder: Path) -> Report:
    """A base and a tuned model on two tasks of one cluster and one that writes; samples of one task."""
    best = BestTemplate(
        split="validation", on_dev=task_result("x", [0.3, 0.9, 0.5]).templates, index=1, metric_value=0.8,
        interval=(0.7, 0.9),
    )  # fmt: skip
    base = results(
        "m-base",
        "proven",
        task_result("rte", [0.5, 0.4, 0.6], **RTE),
        task_result("cb", [0.3, 0.3], **RTE),
        task_result(
            "tables", [0.1], metric="rouge_l", chance=None, majority=None, cluster="structure_to_text"
        ),
    )
    tuned = results(
        "m", "proven", task_result("rte", [0.9, 0.8, 0.7], **RTE), task_result("cb", [0.4, 0.6], **RTE)
    )
    first = tuned.tasks[0].model_copy(update={"best": best})
    tuned = tuned.model_copy(
        update={
            "tasks": (first, tuned.tasks[1]),
            "failed": {"tables": TaskFailure(code="no_choices", message="nothing | to rank")},
        }
    )
    runs = [Run(base, samples_of(folder / "a", 0.0)), Run(tuned, samples_of(folder / "b", 1.0))]
    return report(runs)


def samples_of(folder: Path, value: float) -> Path:
    folder.mkdir()
    # As many as the results say: 100 rows through three templates of rte, two of cb.
    with SamplesWriter(folder / "samples") as writer:
        for task, templates in (("rte", 3), ("cb", 2)):
            writer.write(
                {
                    "task": task, "split": "test", "template": template, "row": row,
                    "metrics": {"accuracy": value if row < 6 else 1.0}, "reply": {"text": ""},
                }
                for template in range(templates)
                for row in range(100)
            )  # fmt: skip
    return folder / "samples"


def figures(of: Report, task: str, column: int) -> TaskFigures:
    found = next(line for line in of.tasks if line.task == task).figures[column]
    assert found is not None
    return found


def test_over_templates_by_hand() -> None:
    """Of 0.5, 0.4, 0.6, 0.9: median 0.55, quartiles 0.475 and 0.675, the worst is the second."""
    found = over_templates(task_result("x", [0.5, 0.4, 0.6, 0.9]).templates)

    assert (found.num_templates, found.worst, found.worst_template) == (4, 0.4, 1)
    assert (found.mean, found.median) == (pytest.approx(0.6), pytest.approx(0.55))
    assert found.quartiles == (pytest.approx(0.475), pytest.approx(0.675))
    assert found.spread == pytest.approx((0.01 + 0.04 + 0 + 0.09) ** 0.5 / 3**0.5)
    assert over_templates(task_result("x", [0.5]).templates).spread is None


def test_a_report_has_everything_of_both_columns(tmp_path: Path) -> None:
    """Means over the tasks that both have, the paired test, the best template, the published figure, the failure."""
    made = two_columns(tmp_path)
    [entailment, writing] = made.clusters
    tuned = figures(made, "rte", 1)

    assert [column.label for column in made.columns] == ["m-base", "m"]
    assert entailment.tasks == ("rte", "cb")
    assert [each.mean for each in entailment.figures if each] == [pytest.approx(0.4), pytest.approx(0.65)]
    assert [each.verdict for each in entailment.figures if each] == ["proven", "proven"]
    assert writing.tasks == () and writing.figures == (None, None)
    assert (tuned.best, tuned.best_template) == (0.8, 1)
    assert tuned.paired is not None and figures(made, "rte", 0).paired is None
    assert tuned.paired.difference == pytest.approx(0.06) and tuned.paired.n == 100
    assert tuned.published is not None and tuned.published.value == pytest.approx(0.783)
    assert made.columns[1].failed["tables"].code == "no_choices"
    assert parse(Report, made.model_dump(mode="json")) == made


def test_columns_are_told_apart() -> None:
    """By how they were asked, then by number."""
    base = results("m", "proven", task_result("rte", [0.5], **RTE))
    few = base.model_copy(update={"few_shot": FewShot(shots=4), "prompt_format": "no_template"})
    made = report([Run(base), Run(few), Run(base)])

    assert [column.label for column in made.columns] == ["m", "m, 4-shot, no template", "m (2)"]
    assert [column.label for column in report([Run(base)], ["mine"]).columns] == ["mine"]


def test_what_was_asked_differently_is_not_compared(tmp_path: Path) -> None:
    """It stands beside it with a mark, and has no paired test."""
    one = results("m", "proven", task_result("rte", [0.5, 0.4, 0.6], **RTE))
    other = results("n", "proven", task_result("rte", [0.5, 0.4, 0.6], asked="b" * 64, **RTE))
    made = report([Run(one, samples_of(tmp_path / "a", 0)), Run(other, samples_of(tmp_path / "b", 1))])

    assert not made.tasks[0].is_alike
    assert figures(made, "rte", 1).paired is None
    assert "| rte * |" in markdown(made) and "asked differently" in markdown(made)


@pytest.mark.parametrize("verdicts", [("proven", "unknown"), ("violated", "unknown"), ("proven", "proven")])
def test_a_cluster_is_as_proven_as_its_least_proven_task(verdicts: tuple[str, str]) -> None:
    """One violated task makes it violated, one unknown task unknown."""
    one = results("m", "proven", task_result("rte", [0.5], **RTE), task_result("cb", [0.5], **RTE))
    one = one.model_copy(update={"verdicts": dict(zip(("rte", "cb"), verdicts, strict=True))})
    found = report([Run(one)]).clusters[0].figures[0]

    assert found is not None
    assert found.verdict == min(verdicts, key=("violated", "unknown", "proven").index)


def test_tables_have_spread_n_and_verdict_on_every_line(tmp_path: Path) -> None:
    """In Markdown; LaTeX has the same cells with its signs escaped; what failed is told with its reason."""
    made = two_columns(tmp_path)
    text, tex = markdown(made), latex(made)

    assert "| Natural Language Inference | 2 | 200 | 40.0 ± 5.0 | 65.0 ± 12.1 | proven |" in text
    assert "| rte | 100 | 50.0 | 55.0 | 50.0 ± 10.0 | 80.0 ± 10.0 | proven |" in text
    assert "| tables (rouge_l) | 100 | – | – | 10.0 | – | proven |" in text
    assert (
        "| rte | m | 100 | 3 | 40.0 to 60.0 | 80.0 (75.0 to 85.0) | 80.0 (template 1) | 70.0 (template 2) | proven |"
        in text
    )
    assert "| rte | m | 100 | +6.0 |" in text
    assert "| 78.3 ± 7.9 | cross-checked | Wei et al. 2022, results for each dataset, appendix |" in text
    assert "| tables | m | no_choices | nothing \\| to rank |" in text
    assert r"rte & 100 & 50.0 & 55.0 & 50.0 $\pm$ 10.0 & 80.0 $\pm$ 10.0 & proven \\" in tex
    assert r"no\_choices" in tex and tex.count(r"\begin{tabular}") == tex.count(r"\bottomrule") == 7


def test_csv_is_unrounded(tmp_path: Path) -> None:
    """A line for each task and column, numbers from 0 to 1, nothing where there is nothing."""
    lines = list(csv.DictReader(io.StringIO(csv_text(two_columns(tmp_path)))))

    assert [(line["task"], line["column"]) for line in lines] == [
        ("rte", "m-base"), ("rte", "m"), ("cb", "m-base"), ("cb", "m"), ("tables", "m-base")
    ]  # fmt: skip
    assert float(lines[1]["mean"]) == pytest.approx(0.8) and lines[1]["verdict"] == "proven"
    assert lines[4]["spread"] == "" and lines[4]["published"] == ""


def test_a_run_is_found_in_its_folder(tmp_path: Path) -> None:
    """The folder of `--out`, the run directory, or the file; what is none is an error that names it."""
    one = results("m", "proven", task_result("rte", [0.5], **RTE))
    directory = tmp_path / "out" / "run"
    directory.mkdir(parents=True)
    (directory / RESULTS).write_text(one.model_dump_json())

    for place in (tmp_path / "out", directory, directory / RESULTS):
        assert read_run(place) == Run(one, None)
    with pytest.raises(NotFound, match="empty"):
        read_run(tmp_path / "empty")
    (directory / RESULTS).write_text(json.dumps({"model": "m"}))
    with pytest.raises(InvalidDocument, match="out/run"):
        read_run(tmp_path / "out")


def test_results_of_before_still_parse() -> None:
    """What is new has a default: stored jobs keep their results."""
    old: dict[str, Any] = results("m", "proven", task_result("rte", [0.5], **RTE)).model_dump(mode="json")
    for name in ("failed", "samples", "num_parameters"):
        del old[name]
    del old["tasks"][0]["best"]

    assert parse(Results, old).samples is None


def test_super_natural_instructions_are_reported_as_by_their_authors() -> None:
    """ROUGE-L over the rows of all test categories; exact match of those where the benchmark says so."""

    def asked(name: str, cluster: str, exact: tuple[float, float], rouge: tuple[float, float], n: int) -> Any:
        templates = [
            {
                "index": i, "metric_value": exact[i], "n": n,
                "metrics": {"super_ni_exact_match": exact[i], "super_ni_rouge_l": rouge[i]},
            }
            for i in range(2)
        ]  # fmt: skip
        return task_result(name, list(exact), cluster=cluster, n=n, templates=templates)

    entails = asked("a", "textual_entailment", (0.2, 0.4), (0.4, 0.6), 100)
    titles = asked("b", "title_generation", (0.0, 0.0), (0.1, 0.3), 300)
    other = asked("c", "sentiment_analysis", (1.0, 1.0), (1.0, 1.0), 100)
    text = markdown(report([Run(results("m", "proven", entails, titles, other))]))

    [table] = [part for part in text.split("## ") if part.startswith("Super-NaturalInstructions")]
    assert [line for line in table.splitlines() if line.startswith("| ")][2:] == [
        "| all categories | ROUGE-L | 2 | 400 | 27.5 ± 14.1 | proven |",
        "| textual entailment | exact match | 1 | 100 | 30.0 ± 14.1 | proven |",
        "| title generation | ROUGE-L | 1 | 300 | 20.0 ± 14.1 | proven |",
    ]
