"""The loss of a step is one sum over one count, however the step is split up."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from flan import rundir
from flan.data.examples import Examples
from flan.data.resolve import open_pinned_rows, pinned_tasks
from flan.data.rows import Places
from flan.data.stream import Stream
from flan.model.load import load_model
from flan.spec import TuneSpec
from flan.store import Store
from flan.train.base import load_base
from flan.train.checkpoint import names, read_state, verify
from tests.kit.runs import TINY, data_of, metrics
from tests.train.adafactor_rule import UPDATES, Weights, assert_close, expected_weights
from tests.train.matrix import Matrix

# A fixture carries out a whole matrix.
pytestmark = pytest.mark.timeout(900)
FP32_RELATIVE, BF16_STEP, BF16_FINAL = 1e-5, 2e-3, 1e-2
STEPS = 40
# Matrices of the tiny networks have sides of 32: they are to be factored.
ADAFACTOR: dict[str, Any] = {"name": "adafactor", "learning_rate": 1e-2, "factored_from": 16}
OPTIMIZERS: dict[str, dict[str, Any]] = {"adamw": TINY["optimizer"], "adafactor": ADAFACTOR}
KNOWN: dict[str, Any] = {
    "kind": "updates",
    "micro_batch": 7,
    "optimizer": {"name": "adafactor", "weight_decay": 0.1},
}
"""Updates by gradients that are known."""


class Layout(NamedTuple):
    """A run of 40 steps that is compared with one process that takes each step as a whole."""

    optimizer: str
    precision: str
    num_ranks: int = 2
    stage: int = 0
    micro_batch: int = 2

    @property
    def name(self) -> str:
        """Of its cell."""
        return f"{self.optimizer}-{self.precision}-zero{self.stage}-micro{self.micro_batch}"

    @property
    def whole(self) -> "Layout":
        """What it is compared with: seven packs are a step."""
        return Layout(self.optimizer, self.precision, num_ranks=1, micro_batch=7)


QUICK_GRADIENTS = [("micro1", 1), ("zero0", 2), ("zero2", 2)]
QUICK_LAYOUTS = [
    Layout("adamw", "fp32", stage=3),
    Layout("adafactor", "fp32", stage=2),
    Layout("adafactor", "bf16", stage=1, micro_batch=1),
]
SLOW_GRADIENTS = [("micro2", 2), ("micro4", 2), ("zero1", 2), ("zero3", 2)]
SLOW_LAYOUTS = [
    layout
    for optimizer in OPTIMIZERS
    for precision in ("fp32", "bf16")
    for layout in (
        *(Layout(optimizer, precision, stage=stage) for stage in range(4)),
        Layout(optimizer, precision, num_ranks=1, micro_batch=1),
        Layout(optimizer, precision, stage=2, micro_batch=4),
        Layout(optimizer, precision, stage=3, micro_batch=1),
    )
]
# Dropout: the random states of each rank must come back too.
RESUMED: dict[str, Any] = {
    "base": "tiny-t5-dropout",
    "precision": "bf16",
    "zero_stage": 2,
    "optimizer": ADAFACTOR,
}
SLOW_RESUMED: dict[str, dict[str, Any]] = {
    "zero0": {"base": "tiny-t5-dropout", "precision": "fp32", "zero_stage": 0},
    "zero1": {"base": "tiny", "precision": "bf16", "zero_stage": 1},
    "zero2": {"base": "tiny-t5-dropout", "precision": "bf16", "zero_stage": 2},
    "zero3": {"base": "tiny-t5-dropout", "precision": "fp32", "zero_stage": 3},
    "adafactor-zero0": {"base": "tiny", "precision": "bf16", "zero_stage": 0, "optimizer": ADAFACTOR},
    "adafactor-zero1": {"base": "tiny", "precision": "fp32", "zero_stage": 1, "optimizer": ADAFACTOR},
    "adafactor-zero3": {
        "base": "tiny-t5-dropout",
        "precision": "bf16",
        "zero_stage": 3,
        "optimizer": ADAFACTOR,
    },
}
MIDDLE = "step-00000006-a1"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """One cell of each axis."""
    matrix = Matrix(tmp_path_factory.mktemp("quick"))
    for base in ("tiny", "tiny-t5"):
        matrix.add(f"whole-{base}", 1, kind="gradient", base=base, micro_batch=7)
        matrix.add(f"micro1-{base}", 1, kind="gradient", base=base, micro_batch=1)
        matrix.add(f"zero0-{base}", 2, kind="gradient", base=base, micro_batch=2)
        matrix.add(f"zero2-{base}", 2, kind="gradient", base=base, zero_stage=2)
    for stage in range(4):
        matrix.add(f"known-zero{stage}", 2, zero_stage=stage, **KNOWN)
    _add_layouts(matrix, QUICK_LAYOUTS)
    # Four micro-batches a step: calls 13 … 16 are step 4.
    matrix.add("loss_nan", 2, fault={"kind": "loss_nan", "calls": 14})
    matrix.add("gradient_inf", 2, fault={"kind": "gradient_inf", "calls": 14}, zero_stage=2)
    matrix.add("disk_full", 2, fault={"kind": "disk_full", "calls": 14}, zero_stage=1)
    _add_resumed(matrix, RESUMED, 2)
    matrix.add("cancelled", 2, wish="cancel")
    matrix.add("paused", 2, wish="pause", micro_batch="auto")
    matrix.carry_out()
    return matrix


@pytest.fixture(scope="module")
def all_gradients(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """Single steps, at every split."""
    matrix = Matrix(tmp_path_factory.mktemp("gradients"))
    for base in ("tiny", "tiny-t5"):
        matrix.add(f"whole-{base}", 1, kind="gradient", base=base, micro_batch=7)
        for size in (2, 4):
            matrix.add(f"micro{size}-{base}", 2, kind="gradient", base=base, micro_batch=size)
        for stage in (1, 3):
            matrix.add(f"zero{stage}-{base}", 2, kind="gradient", base=base, zero_stage=stage)
    # A rank in the middle has neither the beginning of the weights nor their end.
    for stage in (1, 3):
        matrix.add(f"known-zero{stage}", 3, zero_stage=stage, **KNOWN)
    matrix.carry_out()
    return matrix


@pytest.fixture(scope="module")
def all_layouts(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """Whole runs, at every split."""
    matrix = Matrix(tmp_path_factory.mktemp("layouts"))
    _add_layouts(matrix, SLOW_LAYOUTS)
    matrix.carry_out()
    return matrix


@pytest.fixture(scope="module")
def all_resumed(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """Runs from their beginning and from their middle."""
    matrix = Matrix(tmp_path_factory.mktemp("resumed"))
    for name, layout in SLOW_RESUMED.items():
        _add_resumed(matrix, layout, 2, name)
    matrix.carry_out()
    return matrix


@pytest.mark.parametrize("base", ["tiny", "tiny-t5"])
@pytest.mark.parametrize(("cell", "num_ranks"), QUICK_GRADIENTS)
def test_gradient_of_a_step_is_the_same_however_it_is_split(
    quick: Matrix, cell: str, num_ranks: int, base: str
) -> None:
    """Micro-batches, ranks and ZeRO stages change the gradient, its norm and the loss by rounding alone."""
    _assert_same_gradient(quick, cell, num_ranks, base)


@pytest.mark.slow
@pytest.mark.parametrize("base", ["tiny", "tiny-t5"])
@pytest.mark.parametrize(("cell", "num_ranks"), SLOW_GRADIENTS)
def test_gradient_of_a_step_is_the_same_at_every_split(
    all_gradients: Matrix, cell: str, num_ranks: int, base: str
) -> None:
    """The same, over the whole matrix."""
    _assert_same_gradient(all_gradients, cell, num_ranks, base)


@pytest.mark.parametrize("stage", range(4))
def test_adafactor_on_partitions_is_adafactor(quick: Matrix, stage: int) -> None:
    """Two ranks make of known gradients the weights that the rule makes, whatever ZeRO shards."""
    _assert_known_weights(quick, stage, 2)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 3])
def test_adafactor_on_three_partitions_is_adafactor(all_gradients: Matrix, stage: int) -> None:
    """The same where a rank has the middle of a matrix."""
    _assert_known_weights(all_gradients, stage, 3)


@pytest.mark.parametrize("layout", QUICK_LAYOUTS, ids=lambda layout: layout.name)
def test_a_split_run_learns_what_one_process_learns(quick: Matrix, layout: Layout) -> None:
    """ZeRO over two ranks follows a single process: every step's loss, and the weights after 40 steps."""
    _assert_same_run(quick, layout)


@pytest.mark.slow
@pytest.mark.parametrize("layout", SLOW_LAYOUTS, ids=lambda layout: f"{layout.num_ranks}-{layout.name}")
def test_every_split_learns_what_one_process_learns(all_layouts: Matrix, layout: Layout) -> None:
    """The same, at every stage, precision, optimizer and size of micro-batches."""
    _assert_same_run(all_layouts, layout)


def test_sharded_ranks_go_on_from_a_checkpoint_as_if_undisturbed(quick: Matrix) -> None:
    """From a checkpoint in the middle, every loss after it and every final weight is equal to the bit."""
    _assert_resumed_exactly(quick, "resumed")


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_RESUMED)
def test_every_layout_goes_on_from_a_checkpoint_as_if_undisturbed(all_resumed: Matrix, name: str) -> None:
    """The same, over the other stages, precisions and optimizers."""
    _assert_resumed_exactly(all_resumed, f"resumed-{name}")


@pytest.mark.parametrize("cell", ["loss_nan", "gradient_inf"])
def test_a_step_that_is_not_finite_leaves_the_weights_alone(quick: Matrix, cell: str) -> None:
    """One rank's NaN stops every rank with the step and its draws, before the update; the checkpoint stands."""
    directory = quick.directory(cell, 2)
    errors = [json.loads((directory / f"error-{rank}.json").read_text()) for rank in (0, 1)]
    checkpoints = directory.parent / "checkpoints"

    assert [(error["code"], error["blame"], error["values"]["step"]) for error in errors] == [
        ("loss_nan", "user", 4)
    ] * 2
    # Of losses that are not finite it is known whose they are; of a gradient it is not.
    suspects = {"topic"} if cell == "loss_nan" else {"mood", "topic"}
    rows = errors[0]["values"]["rows"]
    assert {row["task"] for row in rows} == suspects
    assert _draws_of_step(directory, 4, suspects) == [row["draw"] for row in rows]
    assert json.loads((directory / "touched-1.json").read_text()) == []
    assert max(metrics(directory)) == 3
    assert names(checkpoints) == ["step-00000003-a1"]
    verify(checkpoints / "step-00000003-a1")


def test_a_checkpoint_that_does_not_fit_leaves_the_others_whole(quick: Matrix) -> None:
    """A full disk at one rank is disk_full at all; nothing of the checkpoint is left, and the last one stands."""
    directory = quick.directory("disk_full", 2)
    errors = [json.loads((directory / f"error-{rank}.json").read_text()) for rank in (0, 1)]
    checkpoints = directory.parent / "checkpoints"

    assert [error["code"] for error in errors] == ["disk_full"] * 2
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000003-a1"]
    verify(checkpoints / "step-00000003-a1")


def test_cancel_stops_at_a_step_without_a_checkpoint(quick: Matrix) -> None:
    """What is cancelled is not wanted: no checkpoint, no model."""
    directory = quick.directory("cancelled", 2)

    assert data_of(directory, "run.stopped") == [{"wish": "cancel", "step": 1}]
    assert names(directory.parent / "checkpoints") == []
    assert not (directory / "model").exists()


def test_pause_leaves_a_checkpoint_of_the_step_it_stops_at(quick: Matrix) -> None:
    """What is paused can go on from exactly there."""
    directory = quick.directory("paused", 2)

    assert data_of(directory, "run.stopped") == [{"wish": "pause", "step": 1}]
    assert names(directory.parent / "checkpoints") == ["step-00000001-a1"]
    (written,) = data_of(directory, "checkpoint.written")
    assert (written["step"], written["path"]) == (1, "step-00000001-a1")
    # Four packs a rank, and the room for them: what auto chose is on record, for whoever goes on.
    (planned,) = data_of(directory, "memory.planned")
    state = read_state(directory.parent / "checkpoints" / "step-00000001-a1")
    assert (planned["is_auto"], planned["micro_batch"], state.micro_batch) == (True, 4, 4)


def test_a_checkpoint_holds_the_state_of_its_step_whenever_it_is_written(quick: Matrix) -> None:
    """Written after two more updates, as `slow_disk` sees to; resuming from it equals not resuming."""
    directory = quick.directory("resumed", 2)
    lines = list(rundir.read_events(directory / rundir.EVENTS, after=0))
    written = [line.data["step"] if line.type == "checkpoint.written" else -1 for line in lines]
    before = lines[: written.index(6)]

    assert max(line.data["step"] for line in before if line.type == "metrics") >= 8
    assert json.loads((directory / "touched-0.json").read_text()) != []


@pytest.mark.parametrize(
    ("cell", "num_ranks"), [("adamw-fp32-zero0-micro7", 1), ("adamw-fp32-zero3-micro2", 2)]
)
def test_losses_of_tasks_and_clusters_add_up_to_the_loss(quick: Matrix, cell: str, num_ranks: int) -> None:
    """Each is a mean over supervised tokens: weighted by their number they give the loss of the step."""
    directory = quick.directory(cell, num_ranks)
    for kind, names_ in (("task", ("mood", "topic")), ("cluster", ("sentiment", "topics"))):
        nats: dict[int, float] = dict.fromkeys(metrics(directory), 0.0)
        tokens = dict.fromkeys(nats, 0.0)
        for name in names_:
            for step, count in metrics(directory, f"{kind}/{name}/target_tokens").items():
                nats[step] += count * metrics(directory, f"{kind}/{name}/loss")[step]
                tokens[step] += count
        assert {step: nats[step] / tokens[step] for step in nats} == pytest.approx(
            metrics(directory), rel=1e-6
        )


def test_numbers_of_a_run_are_told_with_the_loss(quick: Matrix) -> None:
    """Speed, waiting, memory, packing and the realised mixture."""
    directory = quick.directory("adamw-fp32-zero0-micro7", 1)
    events = rundir.read_events(directory / rundir.EVENTS, after=0)
    *_, told = (event.data["values"] for event in events if event.type == "metrics")

    assert 0.5 < told["train/packing_fill"] <= 1
    assert told["train/tokens_per_s"] > told["train/target_tokens_per_s"] > 0
    assert min(told["train/data_wait_s"], told["train/save_wait_s"], told["train/smoothed_loss"]) >= 0
    assert 0 < told["train/mfu"] < 1
    assert told["memory/rss_bytes"] > 2**27
    for kind in ("task", "cluster"):
        for share in ("share", "token_share"):
            shares = [value for name, value in told.items() if name.split("/")[::2] == [kind, share]]
            assert len(shares) == 2
            assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_learning_rate_and_drops_are_told_with_the_loss(quick: Matrix) -> None:
    """Each step says the rate it used and what was dropped or cut on the way."""
    directory = quick.directory("adamw-fp32-zero0-micro7", 1)

    assert set(metrics(directory, "train/learning_rate").values()) == {1e-3}
    assert metrics(directory, "data/dropped")[STEPS] > 0
    assert metrics(directory, "data/drawn")[STEPS] > 0
    warnings = [data for data in data_of(directory, "warning") if data["code"] == "examples_dropped"]
    assert warnings
    assert "target too long" in warnings[0]["message"]


def test_the_exported_model_knows_what_it_has_seen(quick: Matrix) -> None:
    """Tasks, clusters, steps and target tokens of the run are in the card, on top of the base's."""
    directory = quick.directory("adamw-fp32-zero3-micro2", 2)
    spec = rundir.read_spec(directory)
    card = load_model(directory / "model").card

    assert card.name == "tiny"
    assert card.lineage.base == "tiny-decoder"
    assert (card.lineage.tasks_seen, card.lineage.clusters_seen) == (
        ("mood", "topic"),
        ("sentiment", "topics"),
    )
    assert (card.lineage.spec, card.lineage.steps) == (spec.digest(), STEPS)
    assert card.lineage.target_tokens == metrics(directory, "train/target_tokens")[STEPS]
    (tuning,) = card.lineage.tunings
    assert tuning.rows == {task: spec.pins.tasks[task].rows["train"] for task in ("mood", "topic")}
    assert (tuning.ranks, tuning.steps, tuning.device_s) == (2, STEPS, round(2 * tuning.wall_s, 1))
    assert tuning.tokens > tuning.target_tokens == card.lineage.target_tokens


def _draws_of_step(directory: Path, step: int, of_tasks: set[str]) -> list[int]:
    """Which draws of these tasks are in a step of the run in `directory`."""
    spec, settings = rundir.read_spec(directory), rundir.read_settings(directory)
    assert isinstance(spec, TuneSpec)
    store = Store(Path(settings.store))
    tasks = pinned_tasks(spec, store)
    rows = open_pinned_rows(spec, tasks, "train", Places(Path(settings.data or ""), store))
    base, examples = load_base(spec, store, None), Examples(spec, tasks, rows)
    with Stream.open(spec, tasks, rows, base.tokenizer, base.card.contract) as stream:
        *_, last = (stream.next_step() for _ in range(step))
    return sorted(draw for pack in last.draws for draw in pack if examples.draw(draw).task in of_tasks)


def _add_layouts(matrix: Matrix, layouts: Sequence[Layout]) -> None:
    for each in dict.fromkeys([*layouts, *(layout.whole for layout in layouts)]):
        matrix.add(
            each.name,
            each.num_ranks,
            optimizer=OPTIMIZERS[each.optimizer],
            precision=each.precision,
            zero_stage=each.stage,
            micro_batch=each.micro_batch,
            steps=STEPS,
            checkpoint_every=STEPS,
        )


def _add_resumed(matrix: Matrix, layout: dict[str, Any], num_ranks: int, name: str = "") -> None:
    name = f"resumed-{name}" if name else "resumed"
    # Four micro-batches a step: what is saved after step 6 is written when steps 7 and 8 have been taken.
    slow_disk = {"kind": "slow_disk", "calls": 24, "until": 33}
    matrix.add(name, num_ranks, steps=10, fault=slow_disk, **layout)
    matrix.add(name, num_ranks, steps=10, resume_from=MIDDLE, **layout)


def _assert_resumed_exactly(matrix: Matrix, name: str) -> None:
    undisturbed, resumed = matrix.directory(name, 2), matrix.directory(name, 2, attempt=2)

    assert data_of(resumed, "run.started")[0]["resumed_from"] == 6
    assert metrics(resumed) == {step: loss for step, loss in metrics(undisturbed).items() if step > 6}
    ours, theirs = _tensors(undisturbed, "model/model"), _tensors(resumed, "model/model")
    assert [weight for weight in ours if not torch.equal(ours[weight], theirs[weight])] == []


def _assert_same_gradient(matrix: Matrix, cell: str, num_ranks: int, base: str) -> None:
    whole, split = matrix.directory(f"whole-{base}", 1), matrix.directory(f"{cell}-{base}", num_ranks)
    expected, found = _tensors(whole, "gradient"), _tensors(split, "gradient")

    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= FP32_RELATIVE * gradient.norm(), name
    assert metrics(split) == pytest.approx(metrics(whole), rel=FP32_RELATIVE)
    norm = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    assert metrics(split, "train/gradient_norm")[1] == pytest.approx(float(norm), rel=FP32_RELATIVE)


def _assert_same_run(matrix: Matrix, layout: Layout) -> None:
    whole = layout.whole
    one, split = (matrix.directory(each.name, each.num_ranks) for each in (whole, layout))
    is_fp32 = layout.precision == "fp32"
    step_bound, final_bound = (FP32_RELATIVE,) * 2 if is_fp32 else (BF16_STEP, BF16_FINAL)

    assert len(metrics(one)) == STEPS
    assert metrics(one)[STEPS] < metrics(one)[1] - 0.1
    assert metrics(split)[1] == pytest.approx(metrics(one)[1], rel=step_bound)
    assert metrics(split)[STEPS] == pytest.approx(metrics(one)[STEPS], rel=final_bound)
    if is_fp32:
        assert metrics(split) == pytest.approx(metrics(one), rel=step_bound)
        ours, theirs = _tensors(one, "model/model"), _tensors(split, "model/model")
        assert all(torch.allclose(theirs[name], weight, atol=1e-4) for name, weight in ours.items())


def _assert_known_weights(matrix: Matrix, stage: int, num_ranks: int) -> None:
    found = _tensors(matrix.directory(f"known-zero{stage}", num_ranks), "weights")

    assert_close({name: weight.numpy() for name, weight in found.items()}, known_weights())


@cache
def known_weights() -> Weights:
    """What the gradients of an "updates" cell make of its weights."""
    return expected_weights(UPDATES, KNOWN["optimizer"])


def _tensors(directory: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(directory / f"{name}.safetensors")
