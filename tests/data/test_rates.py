"""Rates are seqio's: of tasks, of templates, of mixtures of mixtures; the presets have the published figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.data.members import leaves_of, members_of, missing_shares
from flan.data.presets import CircularMixture, MixturePreset, UnknownMixture, expanded, load_presets
from flan.data.rates import EmptyMixture, Size, mixing_rates, row_rate
from flan.errors import InvalidDocument
from flan.spec import HoldOut, Mixture, parse
from flan.tasks.task import load_collection
from tests.kit.tasks import KitLibrary

FLAN = KitLibrary(load_collection("flan").values())
UNSIZED = {"wiki_lingua_english_en"}
"""Of which the hub's number of rows is not on record; above every maximum."""


def seqio_rate(num_examples: int, maximum: int, temperature: float = 1.0) -> float:
    """seqio.mixing_rate_num_examples, with scale 1: the reference."""
    return float(min(num_examples, maximum)) ** (1.0 / temperature)


def seqio_mixture(parts: Sequence[tuple[Mapping[str, float], float]]) -> dict[str, float]:
    """The rates of seqio's mixture of (tasks, weight): each task's, in a part, is weight × rate ÷ total of the part."""
    found: dict[str, float] = {}
    for rates, weight in parts:
        for task, rate in rates.items():
            found[task] = found.get(task, 0.0) + weight * rate / sum(rates.values())
    total = sum(found.values())
    return {task: rate / total for task, rate in found.items()}


def asked(mixture: dict[str, Any]) -> dict[str, float]:
    """Task → share of the examples, were all of the mixture here with the rows it was published with."""
    written = Mixture.parse(mixture)
    whole = expanded(written, load_presets())
    members = [members_of(leaf, FLAN) for leaf in leaves_of(written, whole)]
    known = {
        name: task for each in members for name, task in each.wanted.items() if "train" in task.source.splits
    }
    lacking = dict(known) | {name: None for each in members for name in each.selection.lacking}
    for each in members:
        each.excluded.update({name: "no train" for name in each.wanted if name not in known})
    sized = {name: 30_000 for name in known if name in UNSIZED}
    shares = missing_shares(whole, members, {n: t for n, t in lacking.items() if n not in sized}, sized)
    found = {name: share for name, share in shares.items() if share}
    return found | {name: 1 - sum(found.values()) for name in sized}


def test_flan_2021_has_the_published_total() -> None:
    """188,371 over the 69 tasks of the code: a task of 3,000 rows or more has 3,000 of them."""
    shares = asked({"preset": "flan2021-code"})

    assert len(shares) == 69
    assert shares["sst2"] == pytest.approx(3_000 / 188_371)
    assert shares["copa"] == pytest.approx(350 / 188_371)
    assert sum(shares.values()) == pytest.approx(1)


def test_flan_2021_without_entailment_has_the_published_shares() -> None:
    """152,276 over 55 tasks; by cluster the percentages that follow from the released code."""
    shares = asked({"preset": "flan2021-code", "hold_out": {"clusters": ["entailment"]}})
    clusters: dict[str, float] = {}
    for name, share in shares.items():
        cluster = load_collection("flan")[name].cluster
        clusters[cluster] = clusters.get(cluster, 0) + share

    assert len(shares) == 55
    assert shares["copa"] == pytest.approx(350 / 152_276)
    assert {name: round(100 * share, 1) for name, share in clusters.items()} == {
        "summarization": 20.8,
        "translation": 15.8,
        "reading_comprehension": 11.8,
        "structure_to_text": 7.9,
        "sentiment": 7.9,
        "open_domain_qa": 5.9,
        "text_formatting": 5.9,
        "common_sense": 5.3,
        "conversational_qa": 3.9,
        "read_comp_and_common_sense": 3.9,
        "coreference": 3.0,
        "math": 2.0,
        "word_disambiguation": 2.0,
        "linguistic_acceptability": 2.0,
        "question_classification": 2.0,
    }


@pytest.mark.parametrize(
    ("preset", "datasets", "templates"), [("t0", 38, 313), ("t0p", 48, 392), ("t0pp", 54, 464)]
)
def test_t0_mixes_so_many_datasets_and_templates(preset: str, datasets: int, templates: int) -> None:
    """As many as promptsource has for the three training mixtures of T0."""
    mixture = load_presets()[preset].mixture

    assert set(mixture.tasks) == set(mixture.published)
    assert len(mixture.published) == datasets
    assert sum(known.templates for known in mixture.published.values()) == templates


def test_t0_has_the_published_total_and_shares() -> None:
    """Every template a task of its own, at rows or 500,000 ÷ templates: 17.28 million in all."""
    mixture = load_presets()["t0"].mixture
    sizes = {name: Size(known.rows, known.templates) for name, known in mixture.published.items()}
    total = sum(size.templates * row_rate(size, mixture) for size in sizes.values())
    shares = asked({"preset": "t0"})
    each = {
        f"{name} {place}": seqio_rate(size.rows if size.rows <= 500_000 else 500_000 // size.templates, 10**9)
        for name, size in sizes.items()
        for place in range(size.templates)
    }

    assert total == 17_277_798
    assert {name: round(100 * share, 1) for name, share in shares.items() if share > 0.06} == {
        "p3_cnn_dailymail_3.0.0": 15.0,
        "p3_glue_qqp": 12.6,
        "p3_xsum": 11.8,
        "p3_app_reviews": 6.7,
    }
    assert round(100 * shares["p3_gigaword"], 1) == round(100 * shares["p3_wiki_bio"], 1) == 2.9
    assert round(100 * shares["p3_quarel"], 2) == 0.06
    reference = seqio_mixture([(each, 1.0)])
    for name in sizes:
        expected = sum(rate for key, rate in reference.items() if key.startswith(f"{name} "))
        assert shares[name] == pytest.approx(expected)


@pytest.mark.parametrize(("rows", "rate"), [(499_999, 499_999), (500_000, 500_000), (500_001, 50_000)])
def test_t0_has_a_step_where_the_maximum_is_divided(rows: int, rate: int) -> None:
    """A row more than the maximum, and each of ten templates weighs a tenth; t0_divided always divides."""
    big = {"rate_maximum": 500_000, "examples_cap": 10**7}

    assert row_rate(Size(rows, 10), Mixture(rates="t0", **big)) == rate
    assert row_rate(Size(rows, 10), Mixture(rates="t0_divided", **big)) == 50_000
    assert row_rate(Size(40_000, 10), Mixture(rates="t0_divided", **big)) == 40_000


def test_super_ni_mixes_all_tasks_alike() -> None:
    """At most 100 rows of each; what has fewer weighs less; 757 tasks where not all can be named."""
    mixture = load_presets()["super-ni"].mixture
    (rates,) = mixing_rates(mixture, [{"a": Size(6_500, 1), "b": Size(100, 1), "c": Size(50, 1)}])

    assert rates == pytest.approx({"a": 0.4, "b": 0.4, "c": 0.2})
    assert asked({"preset": "super-ni"}) == {"super-ni: 757 more tasks": pytest.approx(1)}


def test_flan_2022_has_the_released_weights() -> None:
    """0.40/0.32/0.20/0.05/0.03 by part; within each, min(rows, cap) of each task, or of each of its templates."""
    shares = asked({"preset": "flan2022"})
    parts = load_presets()["flan2022"].mixture.parts
    t0 = {n: k.templates * seqio_rate(k.rows, 20_000) for n, k in parts[1].published.items()}
    cot = {"cot_creak": 6_915, "cot_esnli": 36_174, "cot_qed": 5_154, "cot_gsm8k": 7_473, "aqua_rat": 2_728}

    assert [part.weight for part in parts] == [0.40, 0.32, 0.20, 0.05, 0.03]
    assert sum(shares[name] for name in t0) == pytest.approx(0.32)
    for name, share in seqio_mixture([(t0, 1.0)]).items():
        assert shares[name] == pytest.approx(0.32 * share)
    assert shares["niv2: 1554 more tasks"] == pytest.approx(0.20)
    assert shares["wiki_dialog"] == pytest.approx(0.03 * 200_000 / 263_501)
    for name, rows in cot.items():
        assert shares[name] / shares["cot_creak"] == pytest.approx(rows / 6_915)
    assert shares["sst2"] / shares["copa"] == pytest.approx(30_000 / 350)


SIZES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2), st.integers(1, 10**6), min_size=1, max_size=6
)


@given(
    st.lists(st.tuples(SIZES, st.floats(0.01, 9)), min_size=1, max_size=4),
    st.integers(1, 10_000),
    st.floats(0.5, 8),
)
def test_parts_have_the_rates_of_seqio(
    parts: list[tuple[dict[str, int], float]], maximum: int, temperature: float
) -> None:
    """R × rate_M(t) ÷ Σ rate_M, summed over the parts that have the task."""
    leaves = tuple(
        Mixture(weight=weight, rate_maximum=maximum, temperature=temperature, examples_cap=10**7)
        for _, weight in parts
    )
    members = [{name: Size(rows, 10) for name, rows in sizes.items()} for sizes, _ in parts]
    found: dict[str, float] = {}
    for leaf in mixing_rates(Mixture(parts=leaves), members):
        for name, rate in leaf.items():
            found[name] = found.get(name, 0.0) + rate
    expected = seqio_mixture(
        [({n: seqio_rate(rows, maximum, temperature) for n, rows in sizes.items()}, w) for sizes, w in parts]
    )

    assert found == pytest.approx(expected)


def test_explicit_weights_stand_for_rates() -> None:
    """In the unit of rates, whatever the rows; 0 draws none; what is not named keeps its own."""
    sizes = {"a": Size(5_000, 3), "b": Size(100, 3), "c": Size(100, 3)}
    (rates,) = mixing_rates(Mixture(weights={"a": 300.0, "c": 0.0}), [sizes])

    assert rates == pytest.approx({"a": 0.75, "b": 0.25})


def test_a_part_of_which_nothing_is_left_gives_its_share_away() -> None:
    """The others keep their proportion."""
    mixture = Mixture(parts=(Mixture(weight=0.4), Mixture(weight=0.5), Mixture(weight=0.1)))
    size = {"a": Size(10, 1)}

    assert mixing_rates(mixture, [size, {}, size]) == [
        {"a": pytest.approx(0.8)},
        {},
        {"a": pytest.approx(0.2)},
    ]


def test_what_cannot_be_drawn_from_is_refused() -> None:
    """No task, no row, and nothing but zero rates are different faults."""
    for members, said in (([{}], "no task is left"), ([{"a": Size(0, 1)}], "no rows for a")):
        with pytest.raises(EmptyMixture, match=said):
            mixing_rates(Mixture(), members)
    with pytest.raises(EmptyMixture, match="rate 0"):
        mixing_rates(Mixture(weights={"a": 0.0}), [{"a": Size(5, 1)}])


@pytest.mark.parametrize(
    ("document", "pointer", "said"),
    [
        ({"parts": [{"weight": 0}, {"weight": 0}]}, "/parts", "weight 0"),
        ({"parts": [{}], "options": "none"}, "/options", "parts instead of tasks"),
        ({"preset": "t0", "parts": [{}]}, "/parts", "not both"),
        ({"preset": "t0", "templates_per_task": 3}, "/templates_per_task", "preset instead"),
        ({"parts": [{"parts": [{"tasks": []}]}]}, "/parts/0/parts/0/tasks", "at least one"),
        ({"weights": {"a": -1}}, "/weights/a", "at least 0"),
        ({"few_shot": {"shots": 2}}, "/few_shot/share", "needed"),
        ({"options": "none", "no_options_share": 0.1}, "/no_options_share", "already"),
    ],
)
def test_a_mixture_that_says_two_things_is_refused(document: dict[str, Any], pointer: str, said: str) -> None:
    """Nothing that is written is silently passed over."""
    with pytest.raises(InvalidDocument) as refused:
        Mixture.parse(document)

    assert refused.value.problems[0]["pointer"] == pointer
    assert said in refused.value.problems[0]["message"]


def test_presets_that_name_each_other_are_refused() -> None:
    """The chain is told; an unknown name is told with the nearest."""
    presets = {
        "a": MixturePreset(description="a", mixture=Mixture(parts=(Mixture(preset="b"),))),
        "b": MixturePreset(description="b", mixture=Mixture(parts=(Mixture(), Mixture(preset="a")))),
    }
    with pytest.raises(CircularMixture, match="a → b → a") as circular:
        expanded(Mixture(preset="a"), presets)
    with pytest.raises(UnknownMixture) as unknown:
        expanded(Mixture(parts=(Mixture(), Mixture(preset="flan2032"))), load_presets())

    assert circular.value.code == "circular_mixture"
    assert unknown.value.pointer == "/mixture/parts/1/preset"
    assert "flan202" in (unknown.value.hint or "")


@pytest.mark.parametrize("name", load_presets())
def test_a_preset_is_a_document_that_expands_to_itself(name: str) -> None:
    """Written into a spec, it parses again to the same; what is said beside its name holds for it."""
    whole = expanded(
        Mixture(preset=name, weight=0.5, missing="drop", hold_out=HoldOut(clusters=("sentiment",))),
        load_presets(),
    )

    assert parse(Mixture, whole.model_dump(mode="json")) == whole
    assert (whole.name, whole.weight, whole.missing) == (name, 0.5, "drop")
    assert whole.hold_out.clusters == ("sentiment",)
    assert expanded(whole, {}) == whole
