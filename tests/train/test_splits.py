"""The loss of a step is one sum over one count, however the step is split up."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from flan import rundir
from flan.model.load import load_model
from flan.train.checkpoint import names, verify
from tests.kit.runs import data_of, metrics
from tests.train.matrix import Matrix

FP32_RELATIVE, BF16_STEP, BF16_FINAL = 1e-5, 2e-3, 1e-2
QUICK_GRADIENTS = [("micro1", 1), ("zero0", 2), ("zero2", 2)]
QUICK_LOSSES = [("fp32-zero3", "fp32"), ("bf16-zero1", "bf16")]
SLOW_GRADIENTS = [("micro2", 2), ("micro4", 2), ("zero1", 2), ("zero3", 2)]
SLOW_LOSSES = [(f"{p}-zero{z}", p) for p in ("fp32", "bf16") for z in range(4)]
STEPS = 40
# Dropout: the random states of each rank must come back too.
RESUMED: dict[str, Any] = {"base": "tiny-t5-dropout", "precision": "bf16", "zero_stage": 2}
SLOW_RESUMED: dict[str, dict[str, Any]] = {
    "zero0": {"base": "tiny-t5-dropout", "precision": "fp32", "zero_stage": 0},
    "zero1": {"base": "tiny", "precision": "bf16", "zero_stage": 1},
    "zero3": {"base": "tiny-t5-dropout", "precision": "fp32", "zero_stage": 3},
    "adafactor": {"base": "tiny", "precision": "bf16", "optimizer": {"name": "adafactor"}},
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
    for precision in ("fp32", "bf16"):
        matrix.add(precision, 1, precision=precision, steps=STEPS, micro_batch=7, checkpoint_every=STEPS)
    matrix.add("fp32-zero3", 2, steps=STEPS, micro_batch=2, zero_stage=3, checkpoint_every=STEPS)
    matrix.add("bf16-zero1", 2, precision="bf16", steps=STEPS, zero_stage=1, checkpoint_every=STEPS)
    # Four micro-batches a step: calls 13 … 16 are step 4.
    matrix.add("loss_nan", 2, fault={"kind": "loss_nan", "calls": 14})
    matrix.add("gradient_inf", 2, fault={"kind": "gradient_inf", "calls": 14}, zero_stage=2)
    matrix.add("disk_full", 2, fault={"kind": "disk_full", "calls": 14}, zero_stage=1)
    _add_resumed(matrix, RESUMED, 2)
    matrix.add("cancelled", 2, wish="cancel")
    matrix.add("paused", 2, wish="pause")
    matrix.carry_out()
    return matrix


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """Every cell."""
    matrix = Matrix(tmp_path_factory.mktemp("full"))
    for base in ("tiny", "tiny-t5"):
        matrix.add(f"whole-{base}", 1, kind="gradient", base=base, micro_batch=7)
        for size in (2, 4):
            matrix.add(f"micro{size}-{base}", 2, kind="gradient", base=base, micro_batch=size)
        for stage in (1, 3):
            matrix.add(f"zero{stage}-{base}", 2, kind="gradient", base=base, zero_stage=stage)
    for precision in ("fp32", "bf16"):
        same: dict[str, Any] = {"precision": precision, "steps": STEPS, "checkpoint_every": STEPS}
        matrix.add(precision, 1, micro_batch=7, **same)
        for stage in range(4):
            matrix.add(f"{precision}-zero{stage}", 2, zero_stage=stage, micro_batch=2, **same)
    for name, layout in SLOW_RESUMED.items():
        _add_resumed(matrix, layout, 2, name)
    adafactor = {"name": "adafactor", "learning_rate": 1e-2}
    for num_ranks in (1, 2):
        matrix.add("adafactor", num_ranks, optimizer=adafactor, steps=STEPS, checkpoint_every=STEPS)
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
    full: Matrix, cell: str, num_ranks: int, base: str
) -> None:
    """The same, over the whole matrix."""
    _assert_same_gradient(full, cell, num_ranks, base)


@pytest.mark.parametrize(("cell", "precision"), QUICK_LOSSES)
def test_two_sharded_ranks_learn_what_one_process_learns(quick: Matrix, cell: str, precision: str) -> None:
    """ZeRO over two ranks follows a single process: every step's loss, and the weights after 40 steps."""
    _assert_same_run(quick, cell, precision)


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "precision"), SLOW_LOSSES)
def test_every_stage_learns_what_one_process_learns(full: Matrix, cell: str, precision: str) -> None:
    """The same, at every stage and precision."""
    _assert_same_run(full, cell, precision)


@pytest.mark.slow
def test_adafactor_over_two_ranks_is_adafactor(full: Matrix) -> None:
    """At stage 0 it factors whole matrices: two ranks follow one, and the loss falls."""
    one, two = (metrics(full.directory("adafactor", n)) for n in (1, 2))

    assert two == pytest.approx(one, rel=FP32_RELATIVE)
    assert one[STEPS] < one[1] - 0.1


def test_sharded_ranks_go_on_from_a_checkpoint_as_if_undisturbed(quick: Matrix) -> None:
    """From a checkpoint in the middle, every loss after it and every final weight is equal to the bit."""
    _assert_resumed_exactly(quick, "resumed")


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_RESUMED)
def test_every_layout_goes_on_from_a_checkpoint_as_if_undisturbed(full: Matrix, name: str) -> None:
    """The same, over the other stages, precisions and optimizers."""
    _assert_resumed_exactly(full, f"resumed-{name}")


@pytest.mark.parametrize("cell", ["loss_nan", "gradient_inf"])
def test_a_step_that_is_not_finite_leaves_the_weights_alone(quick: Matrix, cell: str) -> None:
    """One rank's NaN stops every rank with the step and its draws, before the update; the checkpoint stands."""
    directory = quick.directory(cell, 2)
    errors = [json.loads((directory / f"error-{rank}.json").read_text()) for rank in (0, 1)]
    checkpoints = directory.parent / "checkpoints"

    assert [(error["code"], error["blame"], error["values"]["step"]) for error in errors] == [
        ("loss_nan", "user", 4)
    ] * 2
    assert errors[0]["values"]["draws"]
    assert json.loads((directory / "touched.json").read_text()) == []
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


def test_learning_rate_and_drops_are_told_with_the_loss(quick: Matrix) -> None:
    """Each step says the rate it used and what was dropped or cut on the way."""
    directory = quick.directory("fp32", 1)

    assert set(metrics(directory, "train/learning_rate").values()) == {1e-3}
    assert metrics(directory, "data/dropped")[STEPS] > 0
    assert metrics(directory, "data/drawn")[STEPS] > 0
    warnings = [data for data in data_of(directory, "warning") if data["code"] == "examples_dropped"]
    assert warnings
    assert "target too long" in warnings[0]["message"]


def test_the_exported_model_knows_what_it_has_seen(quick: Matrix) -> None:
    """Tasks, clusters, steps and target tokens of the run are in the card, on top of the base's."""
    directory = quick.directory("fp32-zero3", 2)
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


def _add_resumed(matrix: Matrix, layout: dict[str, Any], num_ranks: int, name: str = "") -> None:
    name = f"resumed-{name}" if name else "resumed"
    matrix.add(name, num_ranks, steps=10, **layout)
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


def _assert_same_run(matrix: Matrix, cell: str, precision: str) -> None:
    one, two = matrix.directory(precision, 1), matrix.directory(cell, 2)
    step_bound, final_bound = (
        (FP32_RELATIVE, FP32_RELATIVE) if precision == "fp32" else (BF16_STEP, BF16_FINAL)
    )

    assert len(metrics(one)) == STEPS
    assert metrics(two)[1] == pytest.approx(metrics(one)[1], rel=step_bound)
    assert metrics(two)[STEPS] == pytest.approx(metrics(one)[STEPS], rel=final_bound)
    if precision == "fp32":
        assert metrics(two) == pytest.approx(metrics(one), rel=step_bound)
        ours, theirs = _tensors(one, "model/model"), _tensors(two, "model/model")
        assert all(torch.allclose(theirs[name], weight, atol=1e-4) for name, weight in ours.items())


def _tensors(directory: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(directory / f"{name}.safetensors")
