"""What resolving makes of mixtures of mixtures: who is in which part, what is missing, what overlaps."""

from pathlib import Path
from typing import Any

import pytest

from flan.data.composition import composition, words
from flan.data.examples import Examples
from flan.data.members import Overlap
from flan.data.mixture import mixer_of
from flan.data.pinning import pin_mixture
from flan.data.presets import UnknownMixture
from flan.data.rates import EmptyMixture
from flan.data.resolve import HeldOutTask, Resolved, open_pinned_rows, pinned_tasks, resolve
from flan.data.rows import MissingRows, Places
from flan.data.selectors import UnknownCluster, UnknownTask
from flan.errors import Conflict, InvalidDocument
from flan.spec import Mixture, TuneSpec, parse_spec
from flan.store import Store
from tests.kit.tasks import KitLibrary, make_rows, make_task, write_hub

# Clusters of the taxonomy of the synthetic collection; entailment and paraphrase are adjacent in it.
HERE = {
    "mood": make_task("mood", cluster="sentiment"),
    "taste": make_task("taste", cluster="sentiment", family="food"),
    "cook": make_task("cook", cluster="misc", family="food"),
    "nli": make_task("nli", cluster="entailment"),
    "twins": make_task("twins", cluster="paraphrase"),
    "gone": make_task(
        "gone",
        cluster="sentiment",
        source={"kind": "hub", "id": "x", "splits": {"train": "train[:-10]"}, "rows": {"train": 70}},
    ),
}
BROUGHT = {
    name: make_task(name, cluster=kind) for name, kind in (("task1_a", "poetry"), ("task2_b", "prose"))
}


class Desk:
    """20 rows of every task but `gone`, and a library that knows all of them."""

    def __init__(self, root: Path) -> None:
        self.places = Places(root / "data", Store(root / "store"))
        self.library = KitLibrary(HERE.values(), BROUGHT)
        for name in {*HERE, *BROUGHT} - {"gone"}:
            write_hub(root / "data", name, {"train": make_rows(20)})

    def resolve(self, **mixture: Any) -> Resolved:
        return resolve(self.spec(**mixture), self.library, self.places)

    def spec(self, **mixture: Any) -> TuneSpec:
        document = {"kind": "tune", "name": "x", "base": "preset:nano", "mixture": _synthetic(mixture)}
        return parse_spec(document)


def _synthetic(mixture: dict[str, Any]) -> dict[str, Any]:
    parts = [_synthetic(part) for part in mixture.get("parts", ())]
    return {"collection": "synthetic"} | mixture | ({"parts": parts} if parts else {})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_each_part_pins_its_own_tasks(desk: Desk) -> None:
    """A task may be in two parts; a hold-out around them holds for both, one inside for its part alone."""
    spec, plan = desk.resolve(
        hold_out={"clusters": ["entailment"]},
        parts=[
            {"name": "a", "weight": 3, "tasks": ["mood", "taste", "nli"], "hold_out": {"tasks": ["mood"]}},
            {"name": "b", "weight": 1, "tasks": ["mood", "twins"]},
        ],
    )

    assert spec.pins.leaves == (("taste",), ("mood",))
    assert spec.pins.train == ("mood", "taste")
    assert [(task.part, task.name, task.rate) for task in plan.tasks] == [
        ("a", "taste", 0.75),
        ("b", "mood", 0.25),
    ]
    assert spec.pins.excluded == {
        "mood": "in a alone: held out by name",
        "nli": "held out: cluster entailment",
        "twins": "adjacent to held-out cluster entailment",
    }


def test_a_resolved_mixture_resolves_to_itself(desk: Desk) -> None:
    """Presets are gone from it; its pins are checked against its hold-outs, part by part."""
    spec, plan = desk.resolve(parts=[{"tasks": ["mood"]}, {"weight": 2, "tasks": ["nli", "mood"]}])
    again = resolve(spec, desk.library, desk.places)
    swapped = spec.model_copy(update={"pins": spec.pins.model_copy(update={"leaves": (("mood",),)})})
    held_out = Mixture.parse(
        spec.mixture.model_dump(mode="json") | {"hold_out": {"clusters": ["entailment"]}}
    )

    assert again == Resolved(spec, plan)
    with pytest.raises(Conflict, match="not those of this mixture"):
        resolve(swapped, desk.library, desk.places)
    with pytest.raises(HeldOutTask, match="nli would be trained on"):
        resolve(spec.model_copy(update={"mixture": held_out}), desk.library, desk.places)


def test_what_is_missing_is_refused_with_its_share(desk: Desk) -> None:
    """The share it would have, were everything here as published: 60 of 60 + 20 + 20 rows, and 30 of them all."""
    published = {"lost": {"rows": 30}, "unsized": {}}
    asked = {"tasks": ["mood", "nli", "gone", "lost", "unsized"], "published": published}
    with pytest.raises(MissingRows) as refused:
        desk.resolve(**asked)
    spec, plan = desk.resolve(**asked, missing="drop")

    with pytest.raises(MissingRows, match=r"\(and 1 more task\);"):
        desk.resolve(tasks=["mood", "gone", "lost"], published=published)
    assert "(and 2 more tasks); 69.2% of the examples" in refused.value.message
    assert refused.value.values["tasks"] == ["gone", "lost", "unsized"]
    assert plan.missing == {"gone": pytest.approx(60 / 130), "lost": pytest.approx(30 / 130), "unsized": None}
    assert spec.pins.train == ("mood", "nli")
    assert set(plan.excluded) == {"gone", "lost", "unsized"}


def test_what_is_held_out_is_not_missing(desk: Desk) -> None:
    """Nobody misses what would not be trained on."""
    spec, _ = desk.resolve(tasks=["nli", "gone"], hold_out={"clusters": ["sentiment"]})

    assert spec.pins.missing == {}
    assert spec.pins.excluded == {"gone": "held out: cluster sentiment"}


def test_patterns_take_what_was_brought(desk: Desk) -> None:
    """Names with a star are of every task; what a publication has besides is said in one line."""
    spec, plan = desk.resolve(
        tasks=["task[0-9]*", "-cluster:poetry", "-cluster:drama"], num_published=4, missing="drop"
    )

    assert spec.pins.train == ("task2_b",)
    # What is left out is not missing: of the four, one is trained on and two are not here.
    held = desk.resolve(
        tasks=["task[0-9]*"], num_published=4, missing="drop", hold_out={"clusters": ["poetry"]}
    )
    assert held.plan.missing == {"part-0: 2 more tasks": pytest.approx(2 / 3)}
    assert plan.missing == {"part-0: 3 more tasks": pytest.approx(0.75)}
    with pytest.raises(MissingRows, match=r"part-0: 3 more tasks; 75\.0%"):
        desk.resolve(tasks=["task[0-9]*", "-cluster:poetry"], num_published=4)
    with pytest.raises(UnknownTask, match="no task is called like 'tusk"):
        desk.resolve(tasks=["tusk*"])


def test_what_is_akin_elsewhere_is_held_out_or_on_record(tmp_path: Path) -> None:
    """Documents of others go with the cluster that they join; what of the rest is of unknown kin, the pins say."""
    desk = Desk(tmp_path)
    foreign = {
        "task3_c": make_task("task3_c", cluster="textual_entailment", origins=["babi"]),
        "task4_d": make_task("task4_d", cluster="style_transfer", origins=["dualrl"]),
        "task5_e": make_task("task5_e", cluster="misc", origins=["babi"]),
    }
    desk.library = KitLibrary(HERE.values(), foreign)
    for name in foreign:
        write_hub(tmp_path / "data", name, {"train": make_rows(20)})

    spec, plan = desk.resolve(tasks=["mood", "task*"], hold_out={"clusters": ["entailment"]})

    why = "its category textual_entailment has tasks like those of held-out cluster entailment"
    assert spec.pins.excluded == {"task3_c": why}
    assert spec.pins.texts_of == {"task4_d": ("yelp_polarity_reviews",)}
    assert spec.pins.unplaced.keys() == {"task5_e"}
    assert any("cannot be proven unseen: task5_e is trained on" in warning for warning in plan.warnings)
    with pytest.raises(Overlap, match="task3_c would be trained on"):
        desk.resolve(tasks=["mood", "task*"], hold_out={"evaluation": ["nli"]})


def test_a_minus_takes_away_what_stands_before_it(desk: Desk) -> None:
    """Tasks, clusters and patterns; what is misspelt is an error."""
    spec, _ = desk.resolve(tasks=["*", "-gone", "-cluster:sentiment", "-tw*"])

    assert spec.pins.train == ("cook", "nli")
    for selector, error in (("-cluster:sentimant", UnknownCluster), ("-moood", UnknownTask)):
        with pytest.raises(error) as refused:
            desk.resolve(tasks=["*", selector])
        assert refused.value.pointer == "/mixture/tasks/1"


@pytest.mark.parametrize(
    ("rule", "tasks", "why"),
    [
        ({}, ["mood", "nli"], "nli would be trained on"),
        ({}, ["mood", "twins"], "adjacent to evaluated cluster entailment"),
        ({"overlap": "same_cluster"}, ["mood", "nli"], "evaluated by name"),
    ],
)
def test_a_mixture_that_overlaps_its_evaluation_is_refused(
    desk: Desk, rule: dict[str, str], tasks: list[str], why: str
) -> None:
    """By name, by cluster, by a neighbour of it; with the place that says what is evaluated."""
    with pytest.raises(Overlap) as refused:
        desk.resolve(tasks=tasks, hold_out={"evaluation": ["nli"], **rule})

    assert why in refused.value.message
    assert refused.value.pointer == "/mixture/hold_out/evaluation"


def test_an_overlap_can_be_allowed(desk: Desk) -> None:
    """It is then a warning; same_cluster lets relatives by cluster pass, but not by family."""
    _, allowed = desk.resolve(tasks=["nli"], hold_out={"evaluation": ["nli"], "overlap": "allow"})
    _, same = desk.resolve(tasks=["mood"], hold_out={"evaluation": ["taste"], "overlap": "same_cluster"})
    with pytest.raises(Overlap, match="of the same family"):
        desk.resolve(tasks=["cook"], hold_out={"evaluation": ["taste"], "overlap": "same_cluster"})

    assert any(said.startswith("trained on, and measured on: nli") for said in allowed.warnings)
    assert not any("measured on" in said for said in same.warnings)


@pytest.mark.parametrize(
    ("mixture", "error", "pointer"),
    [
        ({"tasks": ["mood"], "hold_out": {"tasks": ["mood"]}}, EmptyMixture, "/mixture"),
        ({"tasks": ["mood"], "weights": {"mood": 0}}, EmptyMixture, "/mixture"),
        ({"tasks": ["mood"], "weights": {"mod": 1}}, UnknownTask, "/mixture/weights/mod"),
        ({"preset": "flan2023"}, UnknownMixture, "/mixture/preset"),
        (
            {"parts": [{"tasks": ["mood"]}, {"tasks": ["mooood"]}]},
            UnknownTask,
            "/mixture/parts/1/tasks/0",
        ),
        (
            {"parts": [{"tasks": ["mood"], "hold_out": {"clusters": ["x"]}}]},
            InvalidDocument,
            "/mixture/parts/0/hold_out/clusters/0",
        ),
    ],
)
def test_a_faulty_mixture_is_refused_in_its_place(
    desk: Desk, mixture: dict[str, Any], error: type[Exception], pointer: str
) -> None:
    """Each with the pointer of what is at fault, however deep."""
    with pytest.raises(error) as refused:
        desk.resolve(**mixture)

    assert refused.value.pointer == pointer


def test_a_part_without_weight_is_left_out(desk: Desk) -> None:
    """With its reason, and without its rows being looked for."""
    spec, _ = desk.resolve(parts=[{"tasks": ["mood"]}, {"name": "off", "weight": 0, "tasks": ["gone"]}])

    assert spec.pins.excluded == {"gone": "the weight of off is 0"}
    assert spec.pins.missing == {}


def test_a_composition_sums_to_one_and_tells_long_tasks(desk: Desk) -> None:
    """Shares of examples are the rates; those of tokens follow the lengths, by template, task, cluster and part."""
    write_hub(desk.places.data, "taste", {"train": make_rows(20, words=60)})
    spec, _ = desk.resolve(
        parts=[{"name": "a", "tasks": ["mood", "taste"]}, {"name": "b", "weight": 3, "tasks": ["nli"]}]
    )
    tasks = pinned_tasks(spec, desk.places.store)
    rows = open_pinned_rows(spec, tasks, "train", desk.places)
    examples = Examples(spec, tasks, rows)
    found = composition(examples, spec.pins.clusters, words())
    shares = {task.name: task for task in found.tasks}

    assert found.unit == "words"
    assert found.sampled == 3 * 3 * 4
    assert {name: each.examples for name, each in found.parts.items()} == {"a": 0.25, "b": 0.75}
    for group in (found.parts.values(), found.clusters.values(), found.tasks):
        assert sum(each.examples for each in group) == pytest.approx(1)
        assert sum(each.tokens for each in group) == pytest.approx(1)
    assert shares["mood"].examples == shares["taste"].examples == 0.125
    assert shares["taste"].tokens > 4 * shares["mood"].tokens
    assert shares["taste"].mean_length > 60 > shares["mood"].mean_length
    assert sum(each.tokens for each in shares["taste"].templates) == pytest.approx(shares["taste"].tokens)
    assert composition(examples, spec.pins.clusters).tasks[0].tokens is None


def test_the_mixer_of_a_resolved_mixture_draws_by_its_parts(desk: Desk) -> None:
    """What was planned is what is drawn."""
    whole, pinned = pin_mixture(
        desk.spec(parts=[{"tasks": ["mood"]}, {"tasks": ["nli", "mood"], "weight": 4}]).mixture,
        desk.library,
        desk.places,
        desk.places.store,
    )
    spec = desk.spec().model_copy(update={"mixture": whole, "pins": pinned.pins})
    mixer = mixer_of(spec, HERE, {"mood": 20, "nli": 20})

    assert mixer.rates() == {(0, "mood"): 0.2, (1, "mood"): 0.4, (1, "nli"): 0.4}
