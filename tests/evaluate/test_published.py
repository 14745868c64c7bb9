"""Published figures: a document with source and confidence; and why ours are not comparable with them."""

import pytest

from flan.evaluate.metrics import METRICS
from flan.evaluate.published import Cited, beside, caveats, cited, load_published
from flan.evaluate.results import Results, TaskResult
from flan.spec import FewShot, parse
from flan.tasks.task import load_collection
from flan.tasks.taxonomy import load_taxonomy
from tests.evaluate.test_report import results, task_result


def figures(table: str) -> list[Cited]:
    return [each for each in cited() if each.id.startswith(f"{table}-")]


def mean(
    table: str, names: set[str], system: str, setting: str, statistic: str, *, variant: bool = True
) -> float:
    values = [
        each.figure.value
        for each in figures(table)
        if each.figure.task in names
        and (each.figure.system, each.figure.setting, each.figure.statistic) == (system, setting, statistic)
        and (variant or each.figure.variant != "development rows of version 1")
    ]
    return sum(values) / len(values)


def test_every_figure_speaks_of_what_there_is() -> None:
    """Tasks and clusters of the collection, metrics of ours; sources that are named; ids that stand once."""
    tasks, clusters = load_collection("flan"), load_taxonomy("flan").clusters
    for each in cited():
        assert each.figure.task is None or each.figure.task in tasks, each
        assert each.figure.cluster is None or each.figure.cluster in clusters, each
        assert each.figure.metric in METRICS or each.figure.metric.startswith("mean_of_"), each
    assert len({each.id for each in cited()}) == sum(
        len(one.figures) for one in load_published().tables.values()
    )
    assert {one.source for one in load_published().tables.values()} == set(load_published().sources)


NLI = {"anli_r1", "anli_r2", "anli_r3", "cb", "rte"}
READING = {"bool_q", "multirc", "openbookqa"}
CLOSED_BOOK = {"arc_challenge", "arc_easy", "natural_questions", "trivia_qa"}


@pytest.mark.parametrize(
    ("names", "system", "statistic", "setting", "printed"),
    [
        (NLI, "GPT-3 175B", "single", "zero_shot", 42.9),
        (NLI, "GPT-3 175B", "single", "few_shot", 53.2),
        (NLI, "FLAN 137B", "mean", "zero_shot", 56.2),
        (READING, "GPT-3 175B", "single", "zero_shot", 63.7),
        (READING, "FLAN 137B", "mean", "zero_shot", 77.4),
        (CLOSED_BOOK, "GPT-3 175B", "single", "zero_shot", 49.8),
        (CLOSED_BOOK, "FLAN 137B", "mean", "zero_shot", 56.6),
    ],
)
def test_cells_add_up_to_the_bars_that_are_printed(
    names: set[str], system: str, statistic: str, setting: str, printed: float
) -> None:
    """The check behind `cross_checked`: the mean of the cells is the bar of figure 1."""
    found = mean("wei2022-datasets", names, system, setting, statistic, variant=False)

    # GPT-3 was measured on the wiki rows of TriviaQA alone.
    assert found == pytest.approx(printed, abs=0.051)


def test_only_what_a_source_prints_is_called_published() -> None:
    """Neither supervised references nor spreads, which nothing at hand prints; of NLI the means of ANLI and CB."""
    published = [each.figure for each in figures("wei2022-datasets") if each.figure.confidence == "published"]

    assert len(published) == 22
    assert "supervised" not in {each.setting for each in published}
    zero_shot = {
        each.task for each in published
        if (each.system, each.statistic, each.setting) == ("FLAN 137B", "mean", "zero_shot")
    }  # fmt: skip
    assert zero_shot == {"anli_r1", "anli_r2", "anli_r3", "cb"}


def rte(**changes: object) -> tuple[TaskResult, Results]:
    one = task_result("rte", [0.5, 0.6], split="test", num_rows=277, n=277, cluster="entailment")
    of = results("mine", "proven", one.model_copy(update=changes))
    return of.tasks[0], of


def test_ours_stands_beside_the_figure_of_the_same_setting() -> None:
    """Mean over templates beside mean over templates, few-shot beside few-shot; the whole before a part of it."""
    one, of = rte()
    zero = beside(one, of)
    few = beside(one, of.model_copy(update={"few_shot": FewShot(shots=8)}))
    trivia = one.model_copy(update={"task": "trivia_qa"})

    assert zero is not None and zero.figure.value == 78.3
    assert few is not None and few.figure.value == 79.9
    assert beside(one.model_copy(update={"task": "shop_reviews"}), of) is None
    found = beside(trivia, of)
    assert found is not None and found.figure.variant == "wiki"


def test_caveats_say_why_they_are_not_comparable() -> None:
    """Base model always; split, subset, metric, verdict and confidence where they differ."""
    one, of = rte()
    cited_ = beside(one, of)
    assert cited_ is not None
    least = caveats(one, of, cited_)
    worse, of_worse = rte(split="validation", n=50, metric="exact_match", scoring="generate")
    most = caveats(worse, of_worse.model_copy(update={"verdicts": {"rte": "unknown"}}), cited_)

    assert least[0].startswith("another base model: ours comes from preset:nano, theirs is FLAN 137B")
    assert not any("rows" in each or "metric" in each or "zero-shot" in each for each in least)
    assert any("cross-checked" in each for each in least)
    for said in ("not proven zero-shot (unknown)", "50 of 277 rows", "exact_match", "split validation"):
        assert any(said in each for each in most), said
    assert parse(TaskResult, one.model_dump(mode="json")) == one
