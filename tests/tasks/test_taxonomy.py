"""Kinship of tasks: what a hold-out takes along, and what a zero-shot claim is worth."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.card import Lineage
from flan.errors import InvalidDocument
from flan.spec import HoldOut, parse
from flan.tasks.holdouts import excluded
from flan.tasks.task import Task, load_collection
from flan.tasks.taxonomy import Preset, Taxonomy, judge, load_taxonomy, relatives
from tests.tasks.samples import review_task

CLUSTERS = {"nli": "NLI", "para": "Paraphrase", "rc": "Reading", "cs": "Common sense"}
TAXONOMY = parse(
    Taxonomy,
    {
        "clusters": CLUSTERS | {"misc": "Other"},
        "adjacency": {"nli": ["para"]},
        "lineage": [{"a": "qnli", "b": "squad", "why": "QNLI's sentences are SQuAD's"}],
    },
)


def kin(name: str, cluster: str, family: str | None = None) -> Task:
    return review_task(name=name, cluster=cluster, family=family)


TASKS = {
    task.name: task
    for task in (
        kin("rte", "nli"),
        kin("qnli", "nli"),
        kin("mrpc", "para"),
        kin("squad", "rc", "squad"),
        kin("squad_v2", "rc", "squad"),
        kin("copa", "cs"),
    )
}


def lineage(tasks: tuple[str, ...] | None, clusters: tuple[str, ...] | None, **more: Any) -> Lineage:
    return Lineage(base="preset:nano", tasks_seen=tasks, clusters_seen=clusters, **more)


def test_holding_out_a_cluster_takes_its_neighbours_along() -> None:
    """The paper's rule, with each reason in plain words."""
    assert excluded(TASKS, HoldOut(clusters=("nli",)), TAXONOMY) == {
        "rte": "held out: cluster nli",
        "qnli": "held out: cluster nli",
        "mrpc": "adjacent to held-out cluster nli",
    }


def test_adjacency_holds_in_the_direction_that_was_not_written() -> None:
    """Written nli → para, it takes nli along when para is held out."""
    assert excluded(TASKS, HoldOut(clusters=("para",)), TAXONOMY).keys() == {"rte", "qnli", "mrpc"}


def test_adjacency_can_be_ignored() -> None:
    """Only the cluster itself goes."""
    assert excluded(TASKS, HoldOut(clusters=("nli",), adjacent="ignore"), TAXONOMY).keys() == {"rte", "qnli"}


def test_holding_out_a_task_takes_its_family_along() -> None:
    """Variants of one dataset are held out together; the rest of the cluster stays."""
    assert excluded(TASKS, HoldOut(tasks=("squad",)), TAXONOMY) == {
        "squad": "held out by name",
        "squad_v2": "of the same family (squad) as held-out squad",
    }


def test_every_unknown_name_is_listed_with_what_was_meant() -> None:
    """A misspelt hold-out would hold out nothing: it is an error, never silence."""
    with pytest.raises(InvalidDocument) as refused:
        excluded(TASKS, HoldOut(clusters=("cs", "nly"), tasks=("sqad",)), TAXONOMY)

    assert [problem["pointer"] for problem in refused.value.problems] == [
        "/mixture/hold_out/clusters/1",
        "/mixture/hold_out/tasks/0",
    ]
    assert "did you mean 'nli'?" in refused.value.problems[0]["message"]
    assert "did you mean 'squad'?" in refused.value.problems[1]["message"]


def test_a_cluster_of_an_uploaded_task_can_be_held_out() -> None:
    """A cluster exists when the taxonomy knows it or a task is in it."""
    tasks = TASKS | {"haiku": kin("haiku", "poetry")}

    assert excluded(tasks, HoldOut(clusters=("poetry",)), TAXONOMY) == {"haiku": "held out: cluster poetry"}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (lineage((), ()), "proven"),
        (lineage(("copa",), ("cs",)), "proven"),
        (lineage(None, None), "unknown"),
        (lineage(("qnli",), ("nli",)), "violated"),
        (lineage(("rte",), ("nli",)), "violated"),
        (lineage(("mrpc",), ("para",), adjacency={"nli": ("para",)}), "violated"),
        (lineage(("mrpc",), ("para",), adjacency={"para": ("nli",)}), "violated"),
        (lineage(("mrpc",), ("para",)), "proven"),
        (lineage(("squad",), ("rc",)), "violated"),
        (lineage(None, ("nli",)), "violated"),
        (lineage(("copa",), None), "unknown"),
    ],
)
def test_a_claim_is_only_as_good_as_the_record(seen: Lineage, expected: str) -> None:
    """Of qnli: what was seen violates, what is not recorded leaves it open, a whole clean record proves."""
    assert judge(seen, TASKS["qnli"], TAXONOMY, TASKS.values()).verdict == expected


@pytest.mark.parametrize("known", [TASKS, {}])
def test_a_relative_in_another_cluster_violates(known: dict[str, Task]) -> None:
    """Variants of one dataset are kin wherever they were put, and on record even when no one knows them now."""
    mine = kin("squad_rephrased", "misc", "squad")
    seen = lineage(("squad_v2",), ("rc",), families_seen=("squad",))

    assert relatives(mine, TASKS.values()) == {"squad", "squad_v2"}
    assert judge(seen, mine, TAXONOMY, known.values()).verdict == "violated"
    assert judge(lineage(("copa",), ("cs",)), mine, TAXONOMY, known.values()).verdict == "proven"


def test_a_task_without_a_family_is_its_own() -> None:
    """An extension of `rte` carries its name as a family: neither is unseen once the other was trained on."""
    mine = kin("my-rte", "misc", "rte")
    known = [*TASKS.values(), mine]

    assert relatives(TASKS["rte"], known) == {"my-rte"}
    assert excluded(
        TASKS | {"my-rte": mine}, HoldOut(tasks=("rte",), adjacent="ignore"), TAXONOMY
    ).keys() == {
        "rte",
        "my-rte",
    }
    assert judge(lineage(("my-rte",), ("misc",)), TASKS["rte"], TAXONOMY, known).verdict == "violated"


def test_a_shared_source_holds_for_the_whole_family() -> None:
    """The edge names qnli and squad; a variant of squad was made from the same texts."""
    seen = lineage(("squad_v2",), ("rc",))

    assert judge(seen, TASKS["qnli"], TAXONOMY, TASKS.values()).verdict == "violated"


@given(st.sets(st.sampled_from(sorted(CLUSTERS)), min_size=1))
def test_what_is_left_after_a_hold_out_proves_the_held_out(held: set[str]) -> None:
    """Training on all that `excluded` leaves gives every held-out task a verdict that only lineage can spoil."""
    taxonomy = TAXONOMY.model_copy(update={"lineage": ()})
    out = excluded(TASKS, HoldOut(clusters=tuple(sorted(held))), taxonomy)
    left = [task for name, task in TASKS.items() if name not in out]
    seen = lineage(
        tuple(task.name for task in left),
        tuple({task.cluster for task in left}),
        adjacency=taxonomy.neighbours,
    )

    held_tasks = [task for task in TASKS.values() if task.cluster in held]
    verdicts = {judge(seen, task, taxonomy, TASKS.values()).verdict for task in held_tasks}

    assert verdicts == {"proven"}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"clusters": CLUSTERS, "adjacency": {"nli": ["parra"]}}, "did you mean 'para'?"),
        ({"clusters": CLUSTERS, "adjacency": {"nli": ["nli"]}}, "adjacent to itself"),
        ({"clusters": CLUSTERS, "lineage": [{"a": "x", "b": "x", "why": "same"}]}, "with itself"),
        ({"clusters": {}}, "at least one"),
    ],
)
def test_a_taxonomy_that_contradicts_itself_is_refused(value: dict[str, Any], says: str) -> None:
    """Adjacency names clusters that there are, and joins two."""
    with pytest.raises(InvalidDocument) as refused:
        parse(Taxonomy, value)

    assert says in refused.value.message


@pytest.mark.parametrize("collection", ["flan", "synthetic"])
def test_each_collection_has_a_taxonomy_of_its_clusters(collection: Any) -> None:
    """Every task is in a cluster it names, and the paper's pair is adjacent."""
    taxonomy, tasks = load_taxonomy(collection), load_collection(collection)

    assert {task.cluster for task in tasks.values()} <= set(taxonomy.clusters)
    assert "paraphrase" in taxonomy.neighbours["entailment"]


PAPER = {
    "Natural Language Inference": 7,
    "Commonsense Reasoning": 4,
    "Sentiment": 4,
    "Paraphrase": 4,
    "Closed-Book QA": 3,
    "Struct-to-Text": 4,
    "Reading Comprehension": 5,
    "Reading Comprehension with Commonsense": 2,
    "Coreference": 3,
    "Translation": 9,  # printed as 8, with nine pairs named
    "Summarization": 11,
    "Miscellaneous": 7,
}
"""Datasets in each cluster of Wei et al. 2022, figure 3."""


def test_the_preset_of_the_paper_has_its_datasets() -> None:
    """12 clusters, with the 62 datasets of the paper and the ninth pair of languages."""
    taxonomy = load_taxonomy("flan")

    counts = taxonomy.presets["flan2021"].num_datasets(load_collection("flan").values(), taxonomy.clusters)

    assert counts == PAPER


def test_the_preset_of_the_code_has_its_tasks() -> None:
    """69 tasks in 17 clusters; WSC is trained on, and WSC273 is not there."""
    preset = load_taxonomy("flan").presets["flan2021-code"]

    tasks = [task for task in load_collection("flan").values() if preset.holds(task)]

    assert (len(tasks), len({task.cluster for task in tasks})) == (69, 17)
    assert {"wsc", "wmt14_enfr"} < {task.name for task in tasks}
    assert "wsc273" not in {task.name for task in tasks}


@pytest.mark.parametrize("preset", load_taxonomy("flan").presets.values())
def test_a_preset_leaves_out_what_there_is(preset: Preset) -> None:
    """A name with a slip would leave nothing out."""
    tasks = load_collection("flan").values()
    known = {task.name for task in tasks} | {f"cluster:{task.cluster}" for task in tasks}

    assert set(preset.without) <= known
    assert set(preset.counted_apart) <= {task.kin for task in tasks}
    assert {each for many in preset.counted.values() for each in many} <= {task.cluster for task in tasks}
