"""A resolved spec is fixed to bytes; what cannot be resolved is refused with its place and the way out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flan.card import CARD_FILE, Contract, Lineage, ModelCard
from flan.data.pinning import NothingToEvaluate
from flan.data.plan import ContextTooShort
from flan.data.rates import EmptyMixture
from flan.data.resolve import (
    DatasetChanged,
    HeldOutTask,
    NotProven,
    Resolved,
    open_pinned_rows,
    pinned_tasks,
    resolve,
)
from flan.data.rows import EmptyDataset, MissingRows, MissingSplit, Places
from flan.data.selectors import UnknownCluster, UnknownPreset, UnknownTask, select_tasks
from flan.errors import Conflict, InvalidDocument, NotFound, StoreCorrupt
from flan.spec import EvaluateSpec, Lora, ServeSpec, Spec, TuneSpec, parse_spec
from flan.store import Store
from flan.tasks.task import load_collection
from flan.tasks.taxonomy import load_taxonomy
from flan.tasks.template import RowError
from tests.kit.tasks import KitLibrary, make_rows, make_task, write_hub

# Clusters of the taxonomy of the synthetic collection; entailment and paraphrase are adjacent in it.
MOOD, TASTE = make_task("mood", cluster="sentiment"), make_task("taste", cluster="sentiment")
NLI, TWINS = make_task("nli", cluster="entailment"), make_task("twins", cluster="paraphrase")
EXAM = make_task("exam", cluster="sentiment", source={"kind": "hub", "id": "x", "splits": {"test": "test"}})
FREE = make_task("free", cluster="sentiment", answer={"column": "label"}, templates=[{"input": "{text}"}])
LIBRARY_TASKS = (MOOD, TASTE, NLI, TWINS, EXAM)


def card(
    context: int = 2_048, tasks_seen: tuple[str, ...] | None = (), architecture: str = "decoder"
) -> ModelCard:
    contract = Contract(
        architecture=architecture, tokenizer="0" * 64, prefix_ids=(0,), separator_ids=(1,), end_ids=(1,)
    )
    lineage = Lineage(
        base="preset:nano", tasks_seen=tasks_seen, clusters_seen=None if tasks_seen is None else ()
    )
    return ModelCard(
        name="base", contract=contract, context_length=context, num_parameters=1_000_000, lineage=lineage
    )


class Desk:
    """A data folder, a store and a library in which specs are resolved."""

    def __init__(self, root: Path) -> None:
        self.places = Places(root / "data", Store(root / "store"))
        for task in LIBRARY_TASKS:
            splits = task.source.splits.values()
            write_hub(root / "data", task.name, {split: make_rows(20) for split in splits})
        write_hub(root / "data", "free", {"train": make_rows(20), "validation": make_rows(20)})
        self.models: dict[str, tuple[str | None, ModelCard | None]] = {}
        self.uploaded: dict[str, Any] = {
            "free@1": FREE,
            "other-mood@1": make_task("mood", description="mine"),
        }

    def resolve(self, spec: Spec) -> Resolved:
        return resolve(spec, KitLibrary(LIBRARY_TASKS, self.uploaded, self.models), self.places)

    def add_model(self, name: str, of: ModelCard) -> str:
        folder = self.places.data / name
        folder.mkdir()
        (folder / CARD_FILE).write_text(of.model_dump_json())
        digest = self.places.store.put_tree(folder)
        self.models[name] = (digest, of)
        return digest


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def tune(
    *tasks: str, base: str = "preset:nano", hold_out: dict[str, Any] | None = None, **mixture: Any
) -> TuneSpec:
    document = {"collection": "synthetic", "tasks": tasks or ("*",), "hold_out": hold_out or {}, **mixture}
    return parse_spec({"kind": "tune", "name": "x", "base": base, "mixture": document})


def evaluate(*tasks: str, model: str = "base", **fields: Any) -> EvaluateSpec:
    document = {"kind": "evaluate", "name": "x", "model": model, "collection": "synthetic", "tasks": tasks}
    return parse_spec(document | fields)


def test_tune_pins_every_task_it_trains_on(desk: Desk) -> None:
    """Documents and rows by digest, with counts; the task documents are in the store."""
    spec = desk.resolve(tune("mood", "cluster:entailment")).spec
    pins = spec.pins

    assert pins.train == ("mood", "nli")
    assert pins.tasks["mood"].document == MOOD.digest()
    assert pins.tasks["mood"].num_rows == {"train": 20}
    assert pins.clusters == {"mood": "sentiment", "nli": "entailment"}
    assert pins.adjacency["entailment"] == ("paraphrase",)
    assert pinned_tasks(spec, desk.places.store) == {"mood": MOOD, "nli": NLI}
    rows = open_pinned_rows(spec, {"mood": MOOD}, "train", desk.places)
    assert rows["mood"][3] == make_rows(20)[3]


def test_hold_out_takes_cluster_and_neighbours_out(desk: Desk) -> None:
    """Nothing of a held-out cluster or of its neighbours is pinned; each exclusion has its reason."""
    pins = desk.resolve(tune(hold_out={"clusters": ["entailment"]})).spec.pins
    alone = desk.resolve(tune(hold_out={"clusters": ["entailment"], "adjacent": "ignore"})).spec.pins

    assert pins.train == tuple(pins.tasks) == ("mood", "taste")
    assert pins.excluded["nli"] == "held out: cluster entailment"
    assert "adjacent" in pins.excluded["twins"]
    assert pins.clusters["nli"] == "entailment"
    assert alone.train == ("mood", "taste", "twins")


def test_task_without_train_split_is_passed_over_unless_named(desk: Desk) -> None:
    """`*` and clusters leave evaluation-only tasks aside and say so; by name they are an error."""
    resolved = desk.resolve(tune("cluster:sentiment"))

    assert resolved.spec.pins.train == ("mood", "taste")
    assert "evaluation only" in resolved.plan.excluded["exam"]
    with pytest.raises(MissingSplit) as caught:
        desk.resolve(tune("mood", "exam"))
    assert caught.value.pointer == "/mixture/tasks/1"


@pytest.mark.parametrize("spec", [tune(hold_out={"clusters": ["paraphrase"]}), evaluate("*", missing="drop")])
def test_resolved_spec_resolves_to_itself(desk: Desk, spec: Spec) -> None:
    """Also after a journey through JSON."""
    desk.add_model("base", card())
    resolved = desk.resolve(spec)
    travelled = parse_spec(json.loads(resolved.spec.model_dump_json()))

    assert travelled == resolved.spec
    assert desk.resolve(travelled) == resolved


def test_pins_outlive_the_names(desk: Desk) -> None:
    """A template set changed after acceptance does not reach the job."""
    resolved = desk.resolve(tune("free@1"))
    desk.uploaded["free@1"] = make_task("free", templates=[{"input": "changed {text}"}])

    again = desk.resolve(resolved.spec)

    assert pinned_tasks(again.spec, desk.places.store)["free"] == FREE


def test_changed_rows_are_refused(desk: Desk) -> None:
    """A job accepted with other rows than those on this machine does not run."""
    spec = desk.resolve(tune("mood", "taste")).spec
    write_hub(desk.places.data, "taste", {"train": make_rows(21)})

    with pytest.raises(DatasetChanged, match="rows of taste"):
        desk.resolve(spec)
    with pytest.raises(DatasetChanged):
        open_pinned_rows(spec, pinned_tasks(spec, desk.places.store), "train", desk.places)


def test_changed_document_is_refused(desk: Desk) -> None:
    """A pinned document that is another task's, or has other bytes, is never used."""
    spec = desk.resolve(tune("mood", "taste")).spec
    tasks = spec.pins.tasks
    swapped = spec.pins.model_copy(update={"tasks": {**tasks, "mood": tasks["taste"]}})

    with pytest.raises(StoreCorrupt, match="pinned for task mood"):
        desk.resolve(spec.model_copy(update={"pins": swapped}))
    desk.places.store.path(tasks["mood"].document).write_bytes(b"{}")
    with pytest.raises(StoreCorrupt):
        desk.resolve(spec)


def test_pins_cannot_smuggle_a_held_out_task_in(desk: Desk) -> None:
    """Whatever pins say, a task that the spec holds out is not trained on."""
    spec = desk.resolve(tune("mood", "nli")).spec
    held_out = tune("mood", "nli", hold_out={"clusters": ["entailment"]})

    with pytest.raises(HeldOutTask, match="nli"):
        desk.resolve(held_out.model_copy(update={"pins": spec.pins}))


@pytest.mark.parametrize(
    ("spec", "error", "pointer", "said"),
    [
        (tune("mood", "moood"), UnknownTask, "/mixture/tasks/1", "'mood'"),
        (tune("sentiment"), UnknownTask, "/mixture/tasks/0", "'cluster:sentiment'"),
        (tune("Entailmant"), UnknownTask, "/mixture/tasks/0", "'cluster:entailment'"),
        (tune("cluster:sentimant"), UnknownCluster, "/mixture/tasks/0", "'sentiment'"),
        (tune("preset:flan2021"), UnknownPreset, "/mixture/tasks/0", "no preset 'flan2021'"),
        (tune("cluster:translation"), UnknownCluster, "/mixture/tasks/0", "has no task"),
        (tune(hold_out={"clusters": ["entailmant"]}), InvalidDocument, "/mixture/hold_out/clusters/0", "entailment"),
        (tune(hold_out={"tasks": ["moood"]}), InvalidDocument, "/mixture/hold_out/tasks/0", "mood"),
        (tune("mood", hold_out={"tasks": ["mood"]}), EmptyMixture, "/mixture", "held out by name"),
        (tune("mood", "other-mood@1"), Conflict, "/mixture/tasks/1", "another task called 'mood'"),
        (tune(base="nothing"), NotFound, "/base", "nothing"),
        (evaluate("mood", model="nothing"), NotFound, "/model", "nothing"),
        (evaluate("mood", model="preset:nano"), NotFound, "/model", "tune it first"),
        (parse_spec({"kind": "serve", "name": "x", "model": "preset:nano"}), NotFound, "/model", "tune it first"),
        (evaluate("*"), MissingSplit, "/tasks/0", "missing: drop"),
        (evaluate("exam", missing="drop"), NothingToEvaluate, "/tasks", "no split 'validation'"),
    ],
)  # fmt: skip
def test_what_cannot_be_resolved_has_its_place_and_the_way_out(
    desk: Desk, spec: Spec, error: type[Exception], pointer: str, said: str
) -> None:
    """Each refusal names the JSON pointer and what was meant or missing."""
    desk.add_model("base", card())

    with pytest.raises(error) as caught:
        desk.resolve(spec)

    assert caught.value.pointer == pointer
    assert said in f"{caught.value.message} {caught.value.hint} {caught.value.values}"


def test_missing_rows_fail_together_or_are_dropped(desk: Desk, tmp_path: Path) -> None:
    """One error lists every task without rows; with missing: drop they are left out and shown."""
    for name in ("mood", "nli"):
        (desk.places.data / "hub" / name / "train.jsonl.gz").unlink()

    with pytest.raises(MissingRows, match="and 1 more") as caught:
        desk.resolve(tune())
    dropped = desk.resolve(tune(missing="drop"))

    assert caught.value.values["tasks"] == ["mood", "nli"]
    assert "flan data pull mood" in caught.value.hint
    assert dropped.spec.pins.train == ("taste", "twins")
    assert "no rows for mood" in dropped.plan.excluded["mood"]


def test_rows_that_do_not_fit_the_task_are_refused_at_once(desk: Desk) -> None:
    """A job whose rows lack a column, hold strange labels or are none fails before it is accepted."""
    write_hub(desk.places.data, "mood", {"train": [{"text": "x", "label": "strange"}] * 30})
    with pytest.raises(RowError, match="mood: label 'strange'"):
        desk.resolve(tune("mood"))
    write_hub(desk.places.data, "mood", {"train": [{"text": "x", "label": None}, *make_rows(3)]})
    assert desk.resolve(tune("mood")).plan.tasks[0].num_rows == 4
    write_hub(desk.places.data, "mood", {"train": []})
    with pytest.raises(EmptyDataset) as caught:
        desk.resolve(tune("mood"))
    assert caught.value.pointer == "/mixture/tasks/0"
    assert caught.value.hint == "set missing: drop to go on without"


def test_a_split_without_a_row_is_as_good_as_missing(desk: Desk) -> None:
    """`missing: drop` goes on without it, and says why."""
    write_hub(desk.places.data, "mood", {"train": []})

    dropped = desk.resolve(tune("mood", "taste", missing="drop"))

    assert dropped.spec.pins is not None
    assert dropped.spec.pins.train == ("taste",)
    assert "has no row" in dropped.plan.excluded["mood"]


def test_plan_counts_the_rows_of_a_sample_that_cannot_be_used(desk: Desk) -> None:
    """With the first of them, wherever in the split they are; a resolved spec is told the same."""
    bad = {"text": "x", "label": "strange"}
    write_hub(desk.places.data, "mood", {"train": [*make_rows(150), *[bad] * 50]})
    write_hub(desk.places.data, "taste", {"train": [bad, *make_rows(3)], "validation": [*make_rows(9), bad]})
    desk.add_model("base", card())

    trained = desk.resolve(tune("mood", "taste"))
    evaluated = desk.resolve(evaluate("taste"))

    said = "rows that were tried cannot be used; row"
    assert trained.plan.warnings[0].startswith(f"mood (train): 25 of 100 {said} 150: label 'strange'")
    assert trained.plan.warnings[1].startswith(f"taste (train): 1 of 4 {said} 0: label 'strange'")
    assert desk.resolve(trained.spec).plan == trained.plan
    assert evaluated.plan.warnings[0].startswith(f"taste (validation): 1 of 10 {said} 9: label 'strange'")


def test_lengths_beyond_the_context_are_refused_with_both_numbers(desk: Desk) -> None:
    """Input and target together for a decoder, each alone for an encoder-decoder."""
    desk.add_model("base", card(context=1_279))
    desk.add_model("pair", card(context=1_024, architecture="encoder_decoder"))

    with pytest.raises(ContextTooShort, match="needs 1280 tokens; the context of base has 1279") as caught:
        desk.resolve(tune("mood", base="base"))
    assert caught.value.values == {"needed": 1280, "context_length": 1279}
    assert desk.resolve(tune("mood", base="pair")).plan.steps == 30_000
    with pytest.raises(ContextTooShort):
        desk.resolve(evaluate("free@1"))
    assert desk.resolve(evaluate("mood")).plan.tasks[0].num_templates == 2


def test_plan_says_what_a_tune_will_do(desk: Desk) -> None:
    """Rates sum to 1 over tasks and clusters; slots, packs and disk follow from the spec."""
    desk.add_model("base", card())
    spec = tune("mood", "taste", "nli", base="base", examples_cap=5, templates_per_task=1)
    plan = desk.resolve(spec.model_copy(update={"steps": 10, "tokens_per_step": 2_560})).plan

    assert [(task.name, task.num_rows, task.num_used, task.num_templates) for task in plan.tasks] == [
        ("mood", 20, 5, 1), ("nli", 20, 5, 1), ("taste", 20, 5, 1),
    ]  # fmt: skip
    assert plan.cluster_rates == pytest.approx({"entailment": 1 / 3, "sentiment": 2 / 3})
    assert (plan.packs_per_step, plan.token_slots_per_step, plan.token_slots) == (2, 2_560, 25_600)
    assert plan.disk_bytes == 1_000_000 * (4 + 4)
    assert plan.warnings == ()
    lora = spec.model_copy(update={"steps": 10, "method": Lora()})
    assert desk.resolve(lora).plan.disk_bytes == 1_000_000 * 4


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 4_000_000),
        ({"precision": "bf16"}, 2_000_000),
        ({"resources": {"ranks": 4}}, 4_000_000),
        ({"resources": {"ranks": 4}, "zero_stage": 3}, 1_000_000),
    ],
)
def test_plan_says_what_weights_an_evaluation_has_on_each_device(
    desk: Desk, fields: dict[str, Any], expected: int
) -> None:
    """All of them, unless the ranks share them."""
    desk.add_model("base", card())

    assert desk.resolve(evaluate("mood", **fields)).plan.weight_bytes_per_rank == expected


@pytest.mark.parametrize(
    ("changes", "seen", "said"),
    [
        ({"tokens_per_step": 8_192}, (), "a step has 7,680 token slots, not 8,192: 6 packs of 1,280"),
        ({"resources": {"ranks": 4}, "tokens_per_step": 7_680}, (), "2 a step are empty"),
        ({"tokens_per_step": 7_680}, None, "not on record"),
        ({"tokens_per_step": 7_680}, ("nli",), "already been trained on nli"),
    ],
)
def test_plan_warns(desk: Desk, changes: dict[str, Any], seen: tuple[str, ...] | None, said: str) -> None:
    """Rounding, empty packs, and a base that has seen or may have seen what is held out."""
    desk.add_model("base", card(tasks_seen=seen))
    document = tune("mood", "taste", base="base", hold_out={"tasks": ["nli"]}).model_dump(mode="json")

    warnings = desk.resolve(parse_spec(document | changes)).plan.warnings

    assert any(said in warning for warning in warnings)


def test_evaluate_pins_the_split_that_is_asked_for(desk: Desk) -> None:
    """Only that split is read; limit and templates show in the plan."""
    digest = desk.add_model("base", card())
    resolved = desk.resolve(evaluate("mood", "exam", split="test", missing="drop", limit=7))

    assert resolved.spec.pins.model == digest
    assert resolved.spec.pins.train == ()
    assert resolved.spec.pins.tasks.keys() == {"exam"}
    assert resolved.plan.tasks[0].num_used == 7
    assert "no split 'test'" in resolved.plan.excluded["mood"]


def test_serve_pins_its_model(desk: Desk) -> None:
    """A served model is fixed to bytes too, whatever its alias means later."""
    digest = desk.add_model("base", card())
    resolved = desk.resolve(ServeSpec(name="x", model="base"))
    desk.models.clear()

    assert resolved.spec.pins.model == digest
    assert desk.resolve(resolved.spec) == resolved


def test_template_set_of_inverted_templates_cannot_be_evaluated() -> None:
    """There is no such task: its document is refused."""
    inverted = {"input": "{answer}?", "target": "{text}", "role": "inverted"}
    with pytest.raises(InvalidDocument, match="none asks for the answer"):
        make_task(templates=[inverted])


def test_resolving_needs_no_torch() -> None:
    """A server that accepts jobs never loads the training stack."""
    heavy = "('torch', 'transformers', 'datasets')"
    code = f"import sys, flan.data.resolve; sys.exit(any(name in sys.modules for name in {heavy}))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_few_shot_pins_the_rows_it_solves_too(desk: Desk) -> None:
    """Solved rows are as much a part of the figure as the questions; a task without them cannot be asked."""
    desk.add_model("base", card())

    pins = desk.resolve(evaluate("mood", few_shot={"shots": 2})).spec.pins

    assert pins is not None
    assert set(pins.tasks["mood"].rows) == {"validation", "train"} == set(pins.tasks["mood"].num_rows)
    with pytest.raises(MissingSplit, match="exam"):
        desk.resolve(evaluate("exam", split="test", few_shot={"shots": 2}))


def test_a_preset_selects_its_tasks() -> None:
    """What the preset leaves out is not selected, and what it holds was not asked for by name."""
    collection = load_collection("flan")

    selection = select_tasks(
        ["preset:flan2021-code"], "/mixture/tasks", collection, KitLibrary([]), load_taxonomy("flan")
    )

    left_out = {name for name, task in collection.items() if task.cluster == "chain_of_thought"}
    assert collection.keys() - selection.tasks.keys() == left_out | {
        "wsc273",
        "para_crawl_ende",
        "para_crawl_enfr",
    }
    assert selection.named == frozenset()


@pytest.mark.parametrize(
    ("tasks_seen", "tasks", "verdicts"),
    [
        (("mood",), ("nli", "mood"), {"mood": "violated"}),
        (None, ("nli",), {"nli": "unknown"}),
        (("mood",), ("nli",), None),
    ],
)
def test_what_must_be_proven_is_refused_where_it_is_not(
    desk: Desk, tasks_seen: tuple[str, ...] | None, tasks: tuple[str, ...], verdicts: dict[str, str] | None
) -> None:
    """Before a row is asked, and again for a spec that brings its pins; without the wish it is only labelled."""
    desk.add_model("seen", card(tasks_seen=tasks_seen))
    pinned = desk.resolve(evaluate(*tasks, model="seen")).spec
    if verdicts is None:
        assert desk.resolve(evaluate(*tasks, model="seen", require="proven")).spec.pins == pinned.pins
        return

    for spec in (
        evaluate(*tasks, model="seen", require="proven"),
        pinned.model_copy(update={"require": "proven"}),
    ):
        with pytest.raises(NotProven) as refused:
            desk.resolve(spec)
        assert (refused.value.pointer, refused.value.values["verdicts"]) == ("/require", verdicts)


def test_a_task_without_dev_rows_is_measured_all_the_same(desk: Desk) -> None:
    """WSC273 has one split: no template of it is the best. Rows of dev are pinned where they are."""
    desk.add_model("seen", card())
    for task, split, pinned in (("exam", "test", {"test"}), ("mood", "train", {"train", "validation"})):
        spec = desk.resolve(evaluate(task, model="seen", split=split, dev={"split": "validation"})).spec

        assert spec.pins is not None
        assert set(spec.pins.tasks[task].rows) == pinned


def test_a_template_is_not_chosen_on_the_rows_it_is_reported_on() -> None:
    """The paper's best dev template; on the reported rows it would be the best of ten draws."""
    with pytest.raises(InvalidDocument, match="flattered"):
        evaluate("mood", split="validation", dev={"split": "validation"})
