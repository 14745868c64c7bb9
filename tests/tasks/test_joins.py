"""Documents of other projects under a hold-out: they join our clusters by category, our families by dataset."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.card import Lineage
from flan.errors import InvalidDocument
from flan.spec import HoldOut, parse
from flan.tasks.holdouts import excluded, held_out
from flan.tasks.importers.natural_instructions import read_natural_instructions
from flan.tasks.importers.promptsource import read_promptsource
from flan.tasks.joins import UNKNOWN, Joins, hub_name, load_joins
from flan.tasks.task import Task, load_collection
from flan.tasks.taxonomy import judge, load_taxonomy
from tests.tasks.importers.test_natural_instructions import FILE
from tests.tasks.samples import review_task

DATA = Path(os.environ.get("FLAN_DATA", "/none"))
FLAN, TAXONOMY, JOINS = load_collection("flan"), load_taxonomy("flan"), load_joins()
OFFICIAL_CATEGORIES = 76


def brought(name: str, cluster: str, *origins: str, **more: Any) -> Task:
    return review_task(name=name, cluster=cluster, origins=list(origins), **more)


def after_training_on(*tasks: Task) -> Lineage:
    """The record of a model that was tuned on `tasks` from nothing."""
    return Lineage(
        base="preset:nano",
        tasks_seen=tuple(task.name for task in tasks),
        clusters_seen=tuple({task.cluster for task in tasks}),
        families_seen=tuple({family for task in tasks for family in TAXONOMY.families(task)}),
        unplaced={task.name: why for task in tasks if (why := TAXONOMY.unplaced(task)) is not None},
        adjacency=TAXONOMY.neighbours,
    )


def test_the_table_names_what_there_is() -> None:
    """Every category of the publication stands in it once; it joins clusters and families of the collection."""
    assert len(JOINS.clusters_of.keys() - {"basic_sentiment_analysis", "misc"}) == OFFICIAL_CATEGORIES - 1
    assert JOINS.clusters.keys() == TAXONOMY.clusters.keys()
    assert JOINS.families.keys() <= {task.kin for task in FLAN.values()}


@pytest.mark.parametrize("name", FLAN)
def test_a_task_of_the_collection_is_of_its_own_family_alone(name: str) -> None:
    """The paper's tasks are told apart as in the paper, and the kin of each is on record."""
    assert TAXONOMY.families(FLAN[name]) == {FLAN[name].kin}
    assert TAXONOMY.unplaced(FLAN[name]) is None


def test_a_name_cannot_be_joined_and_apart() -> None:
    """One of the two would count, and nobody would know which."""
    with pytest.raises(InvalidDocument, match="'gap' is joined, and said to be apart"):
        parse(Joins, {"families": {"wsc": ["gap"]}, "no_family": ["gap"]})


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (
            brought("task1_a", "textual_entailment", "babi"),
            "its category textual_entailment has tasks like those of held-out cluster entailment",
        ),
        (brought("task2_b", "paraphrasing", "babi"), "adjacent to held-out cluster entailment"),
        (
            brought("task3_c", "style_transfer", "multinli"),
            "made from texts of mnli, as held-out mnli_matched",
        ),
        (
            brought("p3_rte", "reading_comprehension", "super_glue/rte"),
            "made from texts of rte, as held-out rte",
        ),
        (brought("task4_d", "style_transfer", "babi"), None),
        (brought("p3_squad", "reading_comprehension", "squad"), None),
    ],
)
def test_a_held_out_cluster_takes_documents_of_others_along(task: Task, why: str | None) -> None:
    """By its category, by a neighbour's, or by its dataset: each with its reason, and no task of ours by theirs."""
    out = excluded(FLAN | {task.name: task}, HoldOut(clusters=("entailment",)), TAXONOMY)

    assert out.pop(task.name, None) == why
    assert out == excluded(FLAN, HoldOut(clusters=("entailment",)), TAXONOMY)


def test_lineage_reaches_documents_of_others() -> None:
    """QNLI was made from SQuAD: where that counts, so do templates of others over SQuAD."""
    task = brought("p3_squad", "reading_comprehension", "squad")

    out = excluded(FLAN | {"p3_squad": task}, HoldOut(clusters=("entailment",), lineage="exclude"), TAXONOMY)

    assert out["p3_squad"] == "made from the same texts as held-out qnli"


def test_a_held_out_task_takes_its_dataset_along() -> None:
    """Held out by name, `trec` goes with every task made from it; those of its category stay."""
    tasks = [
        brought("task1289_trec_classification", "question_understanding", "trec"),
        brought("p3_trec", "sentiment", "trec"),
        brought("task900_freebase_qa", "question_understanding", "freebase_qa"),
    ]

    out = excluded(FLAN | {task.name: task for task in tasks}, HoldOut(tasks=("trec",)), TAXONOMY)

    assert out.keys() == {"trec", "task1289_trec_classification", "p3_trec"}


def test_rows_are_compared_with_those_of_tasks_that_are_asked() -> None:
    """What goes for being akin to them is left out of training, and is no test set."""
    task = brought("task1_a", "textual_entailment", "snli")
    tasks = FLAN | {task.name: task}

    asked = held_out(tasks, HoldOut(clusters=("entailment",)), TAXONOMY)

    assert {FLAN[name].cluster for name in asked} == {"entailment"}
    assert task.name not in asked


@pytest.mark.parametrize(
    ("asked", "seen", "expected"),
    [
        ("rte", brought("t", "textual_entailment", "babi"), "violated"),
        ("rte", brought("t", "text_matching", "babi"), "violated"),  # joins paraphrase, which is adjacent
        ("snli", brought("t", "style_transfer", "esnli"), "violated"),
        ("rte", brought("t", "style_transfer", "glue/rte"), "violated"),
        ("qnli", brought("t", "style_transfer", "squad2.0"), "violated"),  # QNLI was made from it
        ("mnli_matched", brought("t", "style_transfer", family="multinli"), "violated"),
        ("rte", brought("t", "misc", "babi"), "unknown"),
        ("rte", brought("t", "of_no_one", "babi"), "unknown"),
        ("rte", brought("t", "style_transfer", UNKNOWN), "unknown"),
        ("rte", brought("t", "style_transfer", "a_new_dataset"), "unknown"),
        ("rte", brought("t", "style_transfer", "babi", "a_new_dataset"), "unknown"),
        ("rte", brought("t", "style_transfer", "babi"), "proven"),
        ("rte", brought("t", "style_transfer", "snli"), "proven"),
        ("rte", brought("t", "sentiment"), "proven"),
    ],
)
def test_a_verdict_counts_what_documents_of_others_are_akin_to(asked: str, seen: Task, expected: str) -> None:
    """What joins the task's cluster, its neighbour or its texts violates; what is not on record is never proven."""
    assert judge(after_training_on(seen), FLAN[asked], TAXONOMY, FLAN.values()).verdict == expected


def test_a_question_of_others_is_asked_after_training_on_ours() -> None:
    """It holds in the other direction too; who has seen nothing has not seen it, whatever it is."""
    nli, misc = brought("t1", "textual_entailment", "babi"), brought("t2", "misc", "babi")
    empty = Lineage(base="preset:nano", tasks_seen=(), clusters_seen=())

    assert judge(after_training_on(FLAN["rte"]), nli, TAXONOMY, FLAN.values()).verdict == "violated"
    assert judge(after_training_on(FLAN["trec"]), nli, TAXONOMY, FLAN.values()).verdict == "proven"
    assert judge(after_training_on(FLAN["trec"]), misc, TAXONOMY, FLAN.values()).verdict == "unknown"
    assert judge(empty, misc, TAXONOMY, FLAN.values()).verdict == "proven"


def test_two_categories_of_others_are_told_apart_as_by_their_makers() -> None:
    """Answering and verifying answers both join reading comprehension; of each other they are not akin by that."""
    asked, seen = brought("t1", "answer_verification", "babi"), brought("t2", "question_answering", "ropes")

    assert judge(after_training_on(seen), asked, TAXONOMY, FLAN.values()).verdict == "proven"


FOREIGN = st.builds(
    brought,
    st.just("theirs"),
    st.sampled_from([*JOINS.clusters_of, "misc", "poetry"]),
    st.sampled_from([*JOINS.families_of, UNKNOWN]),
    st.sampled_from([*JOINS.families_of]),
)


@settings(max_examples=40, deadline=None)
@given(task=FOREIGN, held=st.sets(st.sampled_from(sorted(TAXONOMY.clusters)), min_size=1, max_size=3))
def test_what_a_hold_out_leaves_never_violates_it(task: Task, held: set[str]) -> None:
    """Trained on all that is left, the held-out tasks are unseen, or unknown where a document's kin is."""
    rule = HoldOut(clusters=tuple(sorted(held)), lineage="exclude")
    everything = FLAN | {task.name: task}
    out = excluded(everything, rule, TAXONOMY)
    lineage = after_training_on(*(each for name, each in everything.items() if name not in out))

    expected = "unknown" if task.name not in out and TAXONOMY.unplaced(task) else "proven"

    verdicts = {
        judge(lineage, FLAN[name], TAXONOMY, FLAN.values()) for name in FLAN if FLAN[name].cluster in held
    }
    assert {each.verdict for each in verdicts} == {expected}, verdicts


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["SNLI"], ("snli",)),
        (["wsc; enhanced_wsc"], ("wsc", "enhanced_wsc")),
        (["question_&_answer_zre", "squad2.0"], ("question_answer_zre", "squad2.0")),
        ([], (UNKNOWN,)),
        (None, (UNKNOWN,)),
    ],
)
def test_sources_of_a_file_are_origins(sources: list[str] | None, expected: tuple[str, ...]) -> None:
    """Every one that it names; where it names none, nobody knows."""
    imported = read_natural_instructions(json.dumps(FILE | {"Source": sources}), "task1_a.json")

    assert imported.task.origins == expected


def test_a_dataset_of_the_hub_is_an_origin() -> None:
    """Known by its own name and its configuration, whoever keeps it, imported or written by hand."""
    source = {"kind": "hub", "id": "acme/SUPER_GLUE", "config": "rte", "splits": {"train": "train"}}
    mine = review_task(source=source)

    assert hub_name("acme/SUPER_GLUE", "rte") == "super_glue/rte"
    assert TAXONOMY.families(mine) == {"reviews", "rte"}
    assert TAXONOMY.unplaced(review_task(source=source | {"id": "acme/letters"})) is not None


@pytest.mark.data
def test_files_at_hand_are_joined() -> None:
    """Of 123 task files and 76 template files, only what names no source or no kind is of unknown kin."""
    files = sorted((DATA / "natural-instructions" / "tasks").glob("*.json"))
    tasks = [read_natural_instructions(path.read_text(), path.name).task for path in files]
    sets = [
        read_promptsource(path.read_text())
        for path in sorted((DATA / "promptsource").rglob("templates.yaml"))
    ]
    unknown = [
        each.dataset for each in sets if JOINS.families_in(hub_name(each.dataset, each.subset)) is None
    ]

    unplaced = {task.name for task in tasks if TAXONOMY.unplaced(task) is not None}
    left = {task.name for task in tasks} - excluded(
        FLAN | {task.name: task for task in tasks}, HoldOut(clusters=("entailment",)), TAXONOMY
    ).keys()

    assert len(files) == 123 and len(sets) == 76
    assert unplaced == {
        *("task1146_country_capital", "task1147_country_currency", "task924_event2mind_word_generation"),
        *("task363_sst2_polarity_classification", "task875_emotion_classification"),
        "task1687_sentiment140_classification",
    }
    assert not unknown
    assert len(left) == 123 - 15
    assert not [name for name in left if "snli" in name or "mnli" in name]
