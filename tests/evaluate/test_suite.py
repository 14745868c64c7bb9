"""A whole evaluation, from the run directory to results.json, by real tiny models."""

import hashlib
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from flan import rundir
from flan.card import ComparedRows, LeakageCheck, Lineage
from flan.data.leakage import LeakageReport
from flan.data.resolve import DatasetChanged
from flan.evaluate import parts
from flan.evaluate.kept import FOLDER, key_of
from flan.evaluate.questions import NoChoices, rows_of
from flan.evaluate.results import Results
from flan.evaluate.samples import LINES, SAMPLES
from flan.evaluate.suite import RESULTS
from flan.model.choosing import Options, choose
from flan.model.export import export
from flan.model.load import Architecture
from flan.spec import ChoiceRule, parse
from flan.store import Store, tree_digest
from flan.tasks.task import load_collection
from tests.evaluate.asking import carried_out, events_of, prepared, results_of, run, samples_of
from tests.kit.models import tiny_model
from tests.model.naive import target_logprobs

TASKS = ["shop_reviews", "marble_counts", "weather_tables"]
"""Two classifications, the second with inverted templates, and one that writes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluations")


@pytest.fixture(scope="module")
def measured(folder: Path) -> Path:
    """One evaluation that several tests look at."""
    return carried_out(folder, tasks=TASKS)


def test_results_say_what_was_measured(measured: Path) -> None:
    """Every task has its templates, n, spread, interval, guesses and verdict, and the digests to do it again."""
    results = results_of(measured)
    by_task = {one.task: one for one in results.tasks}
    spec = rundir.read_spec(measured)

    assert set(by_task) == set(TASKS) == set(results.verdicts)
    assert results.spec_digest == spec.digest()
    assert results.contract_digest == tiny_model().card.contract.digest()
    for one in results.tasks:
        assert one.n == 6
        assert all(template.n == 6 for template in one.templates)
        assert one.spread is not None
        assert one.interval[0] <= one.mean <= one.interval[1]
    assert by_task["shop_reviews"].chance == 0.5
    assert by_task["marble_counts"].scoring == "rank"
    assert by_task["weather_tables"].scoring == "generate"
    assert by_task["weather_tables"].chance is None
    assert by_task["weather_tables"].templates[0].metrics.keys() == {"rouge_l", "exact_match"}


def test_samples_add_up_to_the_results(measured: Path) -> None:
    """Each figure is the mean of its samples, in order of template and row."""
    samples = samples_of(measured)
    for one in results_of(measured).tasks:
        own = [sample for sample in samples if sample["task"] == one.task]
        assert [(s["template"], s["row"]) for s in own] == sorted((s["template"], s["row"]) for s in own)
        for template in one.templates:
            values = [s["metrics"][one.metric] for s in own if s["template"] == template.index]
            assert len(values) == template.n
            assert np.mean(values) == pytest.approx(template.metric_value)


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_the_option_chosen_is_the_most_probable(folder: Path, architecture: Architecture) -> None:
    """Log-probabilities of the samples are those of the naive path, and the choice is their first maximum."""
    model = tiny_model(architecture)
    samples = samples_of(carried_out(folder, architecture, limit=2, batch_tokens=900))

    assert samples
    for sample in samples:
        prompt = np.array([*model.tokenizer.encode(sample["prompt"]), *model.card.contract.separator_ids])
        for option, found in zip(sample["options"], sample["logprobs"], strict=True):
            tokens = np.array([*model.tokenizer.encode(option), *model.card.contract.end_ids])
            assert found == pytest.approx(float(target_logprobs(model, prompt, tokens).sum()), abs=1e-4)
        assert sample["choice"] == sample["options"][int(np.argmax(sample["logprobs"]))]
        assert sample["metrics"]["accuracy"] == float(sample["choice"] in sample["references"])


def test_the_same_spec_gives_the_same_bytes(folder: Path, measured: Path, tmp_path: Path) -> None:
    """Results and samples, in another folder."""
    spec, again = prepared(folder, tasks=TASKS)
    (again / RESULTS).unlink(missing_ok=True)
    samples = (measured / SAMPLES / LINES).read_bytes()

    assert run(spec, again) == "done"
    assert results_of(again) == results_of(measured)
    assert (again / SAMPLES / LINES).read_bytes() == samples


def test_batches_change_nothing_but_rounding(folder: Path, measured: Path) -> None:
    """One question a forward pass or all: the same choices, texts and figures."""
    alone = carried_out(folder, tasks=TASKS, batch_tokens=8)

    assert [one.model_dump(exclude={"asked"}) for one in results_of(alone).tasks] == [
        one.model_dump(exclude={"asked"}) for one in results_of(measured).tasks
    ]
    for a, b in zip(samples_of(alone), samples_of(measured), strict=True):
        assert a.get("choice", a.get("output")) == b.get("choice", b.get("output"))


def test_events_tell_how_far_it_is(measured: Path) -> None:
    """Stages in order, progress up to the whole, and where the results are."""
    events = events_of(measured)
    types = [event.type for event in events]
    progress = [event.data for event in events if event.type == "progress"]

    assert types[0] == "run.started"
    assert [e.data["stage"] for e in events if e.type == "stage.changed"] == [
        "prepare",
        "evaluate",
        "finalize",
    ]
    assert progress[-1]["done"] == progress[-1]["total"] == len(samples_of(measured))
    assert events[-1].type == "results.written"
    assert events[-1].data["summary"] == {one.task: one.mean for one in results_of(measured).tasks}


@pytest.mark.parametrize("wish", ["pause", "cancel"])
def test_a_wish_ends_it_between_two_batches(tmp_path: Path, wish: rundir.Wish) -> None:
    """It stops, says so, and leaves no file that could be taken for results."""
    spec, directory = prepared(tmp_path)
    rundir.write_wish(directory, wish)

    assert run(spec, directory) == "stopped"
    assert events_of(directory)[-1].type == "run.stopped"
    assert events_of(directory)[-1].data["wish"] == wish
    assert not (directory / RESULTS).exists()
    assert not (directory / SAMPLES).exists()

    rundir.write_wish(directory, "run")
    assert run(spec, directory) == "done"


def test_sigterm_means_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal in the middle of a batch lets the batch end, and then stops the run."""
    spec, directory = prepared(tmp_path, batch_tokens=8)
    answer = parts.answer
    num_batches = []

    def answer_with_signal(*given, **more):
        for batch in answer(*given, **more):
            num_batches.append(len(batch[0]))
            os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    monkeypatch.setattr(parts, "answer", answer_with_signal)

    assert run(spec, directory) == "stopped"
    assert len(num_batches) == 1
    assert events_of(directory)[-1].data == {"wish": "pause", "step": 1}


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_it_goes_on_where_it_was_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Architecture
) -> None:
    """No batch is answered twice, a line that was cut by a kill is answered anew, and the files have equal bytes."""
    fields = {"tasks": ["shop_reviews", "weather_tables"], "limit": 3, "batch_tokens": 900}
    undisturbed = carried_out(folder, architecture, **fields)
    spec, directory = prepared(tmp_path, architecture, **fields)
    answer, answered = parts.answer, []

    def answer_some(*given, **more):
        for batch in answer(*given, **more):
            answered.extend(map(key_of, batch[0]))
            rundir.write_wish(directory, "pause")
            yield batch

    def answer_on(*given, **more):
        for batch in answer(*given, **more):
            answered.extend(map(key_of, batch[0]))
            yield batch

    monkeypatch.setattr(parts, "answer", answer_some)
    assert run(spec, directory) == "stopped"
    num_before = len(answered)
    kept = next((directory.parent / FOLDER).glob("*/*/*.jsonl"))
    with kept.open("ab") as file:
        file.write(kept.read_bytes()[:40])
    rundir.write_wish(directory, "run")
    monkeypatch.setattr(parts, "answer", answer_on)
    assert run(spec, directory) == "done"

    assert num_before > 0
    assert num_before < len(answered) == len(samples_of(undisturbed))
    assert results_of(directory).tasks == results_of(undisturbed).tasks
    assert tree_digest(directory / SAMPLES) == tree_digest(undisturbed / SAMPLES)
    assert not list((directory.parent / FOLDER).iterdir())


@pytest.mark.parametrize("rule", ["per_token", "per_byte", "pmi"])
def test_records_hold_what_every_rule_needs(folder: Path, measured: Path, rule: ChoiceRule) -> None:
    """The choices under another rule are those that follow from the records of the first."""
    fields = {"tasks": ["marble_counts"], "limit": 6}
    plain = [each for each in samples_of(measured) if each["task"] == "marble_counts"]

    by_rule = samples_of(carried_out(folder, **fields, choose_by=rule))

    for mine, theirs in zip(by_rule, plain, strict=True):
        options = Options(*(tuple(theirs[name]) for name in Options._fields))
        assert mine["choice"] == theirs["options"][choose(options.values(rule)).option]


def test_the_cue_is_what_stands_before_every_answer(folder: Path, measured: Path) -> None:
    """Its log-probabilities are those of an option after no input."""
    model = tiny_model()
    cue = np.array(model.card.contract.separator_ids)

    for sample in (each for each in samples_of(measured) if "options" in each):
        for option, found in zip(sample["options"], sample["cue_logprobs"], strict=True):
            tokens = np.array([*model.tokenizer.encode(option), *model.card.contract.end_ids])
            assert found == pytest.approx(float(target_logprobs(model, cue, tokens).sum()), abs=1e-4)
        assert sample["num_bytes"] == [len(option.encode()) for option in sample["options"]]
        assert sample["option_mass"] == pytest.approx(sum(map(math.exp, sample["logprobs"])))


def test_half_precision_is_said_and_changes_little(folder: Path, measured: Path) -> None:
    """bf16 weights give nearby scores."""
    half = carried_out(folder, tasks=["shop_reviews"], precision="bf16")
    plain = [each for each in samples_of(measured) if each["task"] == "shop_reviews"]

    assert results_of(half).precision == "bf16"
    for mine, theirs in zip(samples_of(half), plain, strict=True):
        assert mine["logprobs"] == pytest.approx(theirs["logprobs"], rel=0.05)
        assert mine["logprobs"] != theirs["logprobs"]


@pytest.mark.parametrize(
    ("tasks_seen", "clusters_seen", "expected"),
    [((), (), "proven"), (("diary_moods",), ("sentiment",), "violated"), (None, None, "unknown")],
)
def test_results_say_whether_the_task_was_met_before(
    tmp_path: Path, tasks_seen: tuple[str, ...] | None, clusters_seen: tuple[str, ...] | None, expected: str
) -> None:
    """The verdict follows from the lineage in the model's card."""
    network, tokenizer, card = tiny_model()
    lineage = Lineage(base="preset:tiny", tasks_seen=tasks_seen, clusters_seen=clusters_seen)
    export(network, tokenizer, card.model_copy(update={"lineage": lineage}), tmp_path / "decoder")

    assert results_of(carried_out(tmp_path, limit=1)).verdicts == {"shop_reviews": expected}


def test_a_figure_without_unclean_rows_stands_beside_the_whole(tmp_path: Path) -> None:
    """Which rows are unclean is in the report that the card names; where that is not here, only their number is."""
    network, tokenizer, card = tiny_model()
    first, _ = prepared(tmp_path / "plain")
    assert first.pins is not None
    digest = first.pins.tasks["shop_reviews"].rows["validation"]
    asked = sorted(rows_of(first, load_collection("synthetic")["shop_reviews"], 200))
    report = LeakageReport(
        words=13, short_words=8, train={}, held_out={}, shared=(), train_rows={},
        held_out_rows={"shop_reviews/validation": (asked[0], asked[3])},
    ).canonical().encode()  # fmt: skip
    compared = ComparedRows(rows=digest, num_rows=200, num_shared=2)
    check = LeakageCheck(
        policy="allow", words=13, short_words=8, held_out={"shop_reviews/validation": compared},
        report=hashlib.sha256(report).hexdigest(),
    )  # fmt: skip
    lineage = Lineage(base="b", tasks_seen=("t",), clusters_seen=("c",), leakage=(check,))
    export(network, tokenizer, card.model_copy(update={"lineage": lineage}), tmp_path / "decoder")
    spec, directory = prepared(tmp_path)

    run(spec, directory)
    without = results_of(directory)
    Store(Path(rundir.read_settings(directory).store)).put_bytes(report)
    run(spec, directory)
    results = results_of(directory)

    assert without.unclean == results.unclean == {"shop_reviews": 2}
    assert without.tasks[0].clean is None
    clean = results.tasks[0].clean
    assert clean is not None and clean.n == 4
    kept = [each for each in samples_of(directory) if each["row"] not in (asked[0], asked[3])]
    by_template = [
        np.mean([each["metrics"]["accuracy"] for each in kept if each["template"] == one.index])
        for one in results.tasks[0].templates
    ]
    assert clean.mean == pytest.approx(np.mean(by_template))
    assert results.tasks[0].mean == without.tasks[0].mean


def test_other_rows_than_those_pinned_are_refused(tmp_path: Path) -> None:
    """A result is never reported for rows that the spec does not name."""
    spec, directory = prepared(tmp_path)
    assert spec.pins is not None
    pin = spec.pins.tasks["shop_reviews"]
    moved = pin.model_copy(update={"rows": {"validation": "0" * 64}})
    changed = spec.model_copy(
        update={"pins": spec.pins.model_copy(update={"tasks": {"shop_reviews": moved}})}
    )

    with pytest.raises(DatasetChanged):
        run(changed, directory)


def test_results_parse_back(measured: Path) -> None:
    """results.json is a document: unknown fields in it would be refused."""
    results = results_of(measured)

    assert parse(Results, results.model_dump(mode="json")) == results


def test_few_shot_is_carried_out_and_said(folder: Path) -> None:
    """Solved rows stand before the question in the samples; the result says how they were asked for."""
    directory = carried_out(folder, tasks=["shop_reviews"], limit=2, few_shot={"shots": 1, "max_tokens": 400})
    results, samples = results_of(directory), samples_of(directory)

    assert results.few_shot is not None and results.few_shot.shots == 1
    assert {sample["num_exemplars"] for sample in samples} == {1}
    assert {template.num_pruned for template in results.tasks[0].templates} == {0}
    assert all("\n\n" in sample["prompt"] for sample in samples)


def test_instructions_can_be_left_out(folder: Path) -> None:
    """The ablation asks the bare row through one template, and its figures do not pass for another's."""
    directory = carried_out(folder, tasks=["shop_reviews"], limit=3, prompt_format="no_template")
    results, samples = results_of(directory), samples_of(directory)

    assert results.prompt_format == "no_template"
    assert {sample["template"] for sample in samples} == {0}
    assert not any("OPTIONS:" in sample["prompt"] or "?" in sample["prompt"] for sample in samples)
    asked = [each.asked for each in results_of(carried_out(folder, tasks=["shop_reviews"], limit=3)).tasks]
    assert asked != [each.asked for each in results.tasks]


def test_a_failing_task_leaves_the_others_their_results(folder: Path) -> None:
    """One that has no options to rank is named with the reason; where every task fails the run does."""
    directory = carried_out(folder, tasks=["shop_reviews", "weather_tables"], limit=2, scoring="rank")
    results = results_of(directory)

    assert [one.task for one in results.tasks] == ["shop_reviews"]
    assert {name: each.code for name, each in results.failed.items()} == {"weather_tables": "no_choices"}
    assert results.failed["weather_tables"].hint is not None
    assert {sample["task"] for sample in samples_of(directory)} == {"shop_reviews"}
    warnings = [event.data for event in events_of(directory) if event.type == "warning"]
    assert [each["code"] for each in warnings] == ["task_failed"]
    spec, alone = prepared(folder, tasks=["weather_tables"], limit=2, scoring="rank")
    with pytest.raises(NoChoices):
        run(spec, alone)


def test_the_best_template_is_chosen_on_dev_and_reported_on_test(folder: Path) -> None:
    """Its choice follows from the samples of the one split, its figure from those of the other."""
    fields = {"tasks": ["shop_reviews"], "split": "validation", "limit": 6}
    directory = carried_out(folder, **fields, dev={"split": "train", "limit": 9})
    [one] = results_of(directory).tasks
    by_part: dict[tuple[str, int], list[float]] = {}
    for sample in samples_of(directory):
        by_part.setdefault((sample["split"], sample["template"]), []).append(sample["metrics"]["accuracy"])

    assert one.best is not None
    templates = [each.index for each in one.templates]
    assert {len(by_part["train", index]) for index in templates} == {9}
    on_dev = [float(np.mean(by_part["train", index])) for index in templates]
    assert [each.metric_value for each in one.best.on_dev] == pytest.approx(on_dev)
    assert one.best.index == templates[int(np.argmax(on_dev))]
    assert one.best.metric_value == pytest.approx(np.mean(by_part["validation", one.best.index]))
    assert one.best.interval[0] <= one.best.metric_value <= one.best.interval[1]
    [without] = results_of(carried_out(folder, **fields)).tasks
    assert without == one.model_copy(update={"best": None})


def test_samples_are_named_by_the_results(measured: Path, tmp_path: Path) -> None:
    """By the digest that their folder has in a store."""
    assert results_of(measured).samples == Store(tmp_path).put_tree(measured / SAMPLES)
