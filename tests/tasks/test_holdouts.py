"""What hold-outs leave out of the paper's tasks, against the figures of the paper and its released code."""

import pytest

from flan.errors import InvalidDocument
from flan.spec import HoldOut
from flan.tasks.holdouts import excluded, held_out_within
from flan.tasks.task import load_collection
from flan.tasks.taxonomy import load_taxonomy
from tests.tasks.samples import review_task

TAXONOMY = load_taxonomy("flan")
FLAN = load_collection("flan")
PAPER, CODE = (
    {name: task for name, task in FLAN.items() if TAXONOMY.presets[preset].holds(task)}
    for preset in ("flan2021", "flan2021-code")
)


@pytest.mark.parametrize(("clusters", "datasets"), list(enumerate((11, 20, 26, 30, 34, 37, 39), start=1)))
def test_clusters_are_added_in_the_order_of_the_ablation(clusters: int, datasets: int) -> None:
    """Figure 6 of Wei et al. 2022, with entailment, commonsense and closed-book QA held out."""
    held_out = ("entailment", "common_sense", "open_domain_qa")
    reasons = excluded(PAPER, HoldOut(clusters=held_out, first_clusters=clusters), TAXONOMY)

    assert len(PAPER) - len(reasons) == datasets
    assert reasons["rte"] == "held out: cluster entailment"
    assert reasons["glue_mrpc"] == "adjacent to held-out cluster entailment"
    assert reasons["cola"].startswith(f"not of the first {clusters} clusters: summarization")


def test_more_clusters_than_the_ablation_has_are_refused() -> None:
    """In the self-made collection too, whose clusters are added in the same order."""
    for taxonomy, tasks in ((TAXONOMY, FLAN), (load_taxonomy("synthetic"), load_collection("synthetic"))):
        with pytest.raises(InvalidDocument) as refused:
            excluded(tasks, HoldOut(first_clusters=8), taxonomy)
        assert refused.value.problems[0]["pointer"] == "/mixture/hold_out/first_clusters"


def test_a_split_within_clusters_holds_out_one_dataset_of_each() -> None:
    """13 of the 17 clusters of the code have several; variants go together, and each comes up in turn."""
    splits = [held_out_within(CODE, number, TAXONOMY) for number in range(10)]
    groups = {name: group for each in TAXONOMY.intra_cluster for group in each.groups for name in group}

    for held in splits:
        assert {name for held_name in held for name in groups[held_name]} == set(held)
        found = [CODE[group[0]].cluster for group in {groups[name] for name in held}]
        assert len(found) == len(set(found)) == 13
    assert {name for held in splits for name in held} == set(groups)
    assert splits[0] == (
        "dart",
        "gigaword",
        "glue_mrpc",
        "imdb_reviews",
        "natural_questions",
        "openbookqa",
        "qnli",
        "quac",
        "record",
        "story_cloze",
        "true_case",
        "winogrande",
        "wmt16_translate_ruen",
    )


def test_the_reason_says_which_split() -> None:
    """And nothing else of the cluster goes: neither neighbours nor relatives in other groups."""
    reasons = excluded(CODE, HoldOut(intra_cluster=0), TAXONOMY)

    assert set(reasons) == set(held_out_within(CODE, 0, TAXONOMY))
    assert all(why == f"held out: split 0 within cluster {CODE[n].cluster}" for n, why in reasons.items())


def test_a_variant_that_the_code_has_not_goes_with_its_family() -> None:
    """ParaCrawl's other languages go with English–Spanish."""
    held = next(
        held for held in (held_out_within(FLAN, i, TAXONOMY) for i in range(10)) if "para_crawl_enes" in held
    )

    assert {"para_crawl_ende", "para_crawl_enfr"} < set(held)
    assert not any(name.startswith("wmt16") for name in held)


def test_lineage_goes_where_it_is_asked_for() -> None:
    """The paper's rule leaves SQuAD in when entailment is held out, though QNLI is made of it."""
    paper = excluded(FLAN, HoldOut(clusters=("entailment",)), TAXONOMY)
    strict = excluded(FLAN, HoldOut(clusters=("entailment",), lineage="exclude"), TAXONOMY)

    assert "squad_v1" not in paper
    assert strict["squad_v1"] == "made from the same texts as held-out qnli"
    assert strict["wsc273"] == "made from the same texts as held-out wnli"
    assert set(paper) < set(strict)


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_a_cluster_can_be_trained_on_in_part(most: int) -> None:
    """So many datasets of each cluster, all variants of one together, the first in the order of the released code."""
    reasons = excluded(CODE, HoldOut(datasets_per_cluster=most), TAXONOMY)
    groups = {each.cluster: each.groups for each in TAXONOMY.intra_cluster}

    for cluster, datasets in groups.items():
        left = {name for name, task in CODE.items() if task.cluster == cluster and name not in reasons}
        assert left == {name for group in datasets[:most] for name in group}, cluster
    assert "math_dataset" not in reasons
    if most == 2:
        assert reasons["gigaword"] == "not of the first 2 datasets of cluster summarization"


def test_variants_that_no_split_names_go_with_their_dataset() -> None:
    """The other pairs of ParaCrawl are of its first; what is of no dataset there comes last."""
    mine = review_task(name="mine", cluster="translation")

    reasons = excluded(FLAN | {"mine": mine}, HoldOut(datasets_per_cluster=1), TAXONOMY)

    left = {name for name, task in FLAN.items() if task.cluster == "translation" and name not in reasons}
    assert left == {"para_crawl_ende", "para_crawl_enes", "para_crawl_enfr"}
    assert "mine" in reasons
