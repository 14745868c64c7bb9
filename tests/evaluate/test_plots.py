"""Pictures of a report: each of the paper's figures from our own results, equal for equal reports."""

from pathlib import Path

import pytest

from flan.card import Tuning
from flan.evaluate.plots import FIGURES, NothingToDraw, draw, save, telling
from flan.evaluate.publication import Report
from flan.evaluate.reporting import Run, report
from flan.reports import FIGURE_NAMES
from flan.spec import FewShot, PromptFormat
from tests.evaluate.test_report import results, task_result

MILLION = 10**6


def measured(
    verdict: str = "proven",
    *,
    level: float = 0.5,
    steps: int = 0,
    size: int = 10**6,
    seen: str = "ab",
    tuned_with: PromptFormat = "instructions",
    asked_with: PromptFormat = "instructions",
) -> Run:
    """Of a model that has seen the clusters `seen`, through as many templates each, where it was tuned."""
    tasks = [
        task_result(name, [level, level + 0.1], cluster=cluster)
        for cluster, names in (("entailment", ("rte", "cb")), ("open_domain_qa", ("arc_easy",)))
        for name in names
    ]
    one = results("m", verdict, *tasks)
    digest = "d" * 64
    tuning = Tuning(
        spec=digest, rows={}, draws=digest, steps=steps, tokens=1, target_tokens=1, ranks=1, device="cpu",
        wall_s=1.0, device_s=1.0, prompt_formats=(tuned_with,), templates_per_task=len(seen),
    )  # fmt: skip
    update = {"steps": steps, "clusters_seen": tuple(seen), "tunings": (tuning,) if steps else ()}
    lineage = one.lineage.model_copy(update=update)
    found = {"lineage": lineage, "num_parameters": size, "prompt_format": asked_with}
    return Run(one.model_copy(update=found))


def several() -> Report:
    """Tuned and untuned, of two sizes and numbers of clusters; one of them asked with solved rows."""
    few = measured(level=0.7, steps=5)
    few = few._replace(results=few.results.model_copy(update={"few_shot": FewShot(shots=2)}))
    others = [
        measured(),
        measured(level=0.4, size=4 * 10**6),
        measured("unknown", level=0.6, steps=5, size=4 * 10**6, seen="abc"),
    ]
    return report([*others, few])


def texts_of(name: str, of: Report) -> list[str]:
    [axes] = draw(name, of).axes
    return [text.get_text() for text in axes.texts]


def test_every_name_of_the_command_line_is_a_picture() -> None:
    """And none is left over."""
    assert set(FIGURE_NAMES) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_says_its_n_its_templates_and_its_verdicts(name: str) -> None:
    """Below it, whatever it shows."""
    note = texts_of(name, several())[-1]

    assert "3 tasks, n = 300 rows, 2 templates each" in note
    assert "one standard deviation over templates" in note
    assert "Zero-shot: proven, unknown" in note


def test_bars_have_their_value_and_the_published_one_its_trust() -> None:
    """Means of clusters in percent; a figure that was not read in its source has a mark."""
    texts = texts_of("clusters", report([measured()]))
    [axes] = draw("clusters", report([measured("unknown")])).axes

    assert {"55.0", "56.2", "42.9", "56.6*", "49.8"} <= set(texts)
    assert {bar.get_hatch() for bar in axes.patches if bar.get_height()} == {"////"}


def test_a_cluster_of_other_tasks_has_no_published_figure_beside_it() -> None:
    """What is made up in the same cluster is another thing."""
    made_up = Run(results("m", "proven", task_result("rule_pairs", [0.0, 0.0], cluster="entailment")))
    [axes] = draw("clusters", report([made_up])).axes

    assert [text.get_text() for text in axes.texts][:-1] == ["0.0"]
    assert axes.texts[0].get_color() != "white"


def test_lines_are_of_tuned_and_untuned_models() -> None:
    """In the order of their place on the axis."""
    [axes] = draw("scale", several()).axes
    lines = {
        line.get_label(): line.get_xdata() for line in axes.lines if not line.get_label().startswith("_")
    }

    assert {label: list(xs) for label, xs in lines.items()} == {
        "untuned": [MILLION, 4 * MILLION],
        "instruction tuned": [MILLION, 4 * MILLION],
    }


def test_the_role_of_instructions_is_told_from_the_results() -> None:
    """What a model was tuned with and asked with, whatever it is called; several alike keep their names."""
    runs = [
        measured(),
        measured(steps=5),
        measured(steps=5, tuned_with="dataset_name"),
        measured(steps=5, tuned_with="dataset_name", asked_with="dataset_name"),
    ]
    [axes] = draw("instructions", report(runs, ["a", "b", "c", "d"])).axes
    [alike] = draw("instructions", report([*runs, runs[0]], ["a", "b", "c", "d", "e"])).axes

    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "untuned → instructions", "instructions → instructions", "dataset name → instructions",
        "dataset name → dataset name",
    ]  # fmt: skip
    assert [text.get_text() for text in alike.get_legend().get_texts()] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("name", ["scale", "num-clusters", "templates-per-task"])
def test_one_point_is_no_line(name: str) -> None:
    """Nor is there a place for a model of which it is not known."""
    with pytest.raises(NothingToDraw):
        draw(name, report([measured()]))
    old = measured()
    lineage = old.results.lineage.model_copy(update={"clusters_seen": None})
    old = old._replace(results=old.results.model_copy(update={"num_parameters": None, "lineage": lineage}))
    with pytest.raises(NothingToDraw):
        draw(name, report([measured(), old]))


def test_no_cluster_in_common_is_no_picture() -> None:
    """Bars beside nothing would be no comparison."""
    other = Run(results("n", "proven", task_result("sst2", [0.5])))

    with pytest.raises(NothingToDraw, match="every column"):
        draw("clusters", report([measured(), other]))


def test_equal_reports_give_equal_files(tmp_path: Path) -> None:
    """SVG and PNG, byte by byte: no date, no names drawn at random."""
    for ending in ("svg", "png"):
        files = [tmp_path / f"{i}.{ending}" for i in range(2)]
        for file in files:
            save(draw("clusters", several()), file)

        assert files[0].read_bytes() == files[1].read_bytes()


def test_only_what_tells_columns_apart_is_drawn_unasked() -> None:
    """Of a base and a tuned model the clusters alone; another format or number of solved rows is a picture more."""
    pair = [measured(), measured(steps=5)]
    renamed = [*pair, measured(steps=5, tuned_with="dataset_name")]

    assert list(telling(report(pair, ["a", "b"]))) == ["clusters"]
    assert list(telling(report(renamed, ["a", "b", "c"]))) == ["clusters", "instructions"]
    assert {"clusters", "few-shot"} <= set(telling(several()))
