"""What a step needs is measured before step 1; too little memory is answered with a plan."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flan.data.batches import StreamState
from flan.data.examples import Examples
from flan.data.packing import pack_lengths
from flan.data.sides import with_measured_sides
from flan.data.window import Lengths
from flan.model.load import Architecture
from flan.model.room import InsufficientMemory
from flan.rundir import EVENTS, EventWriter, RunSettings, read_events
from flan.spec import TuneSpec, parse
from flan.train import memory
from flan.train.checkpoint import CheckpointState, names
from flan.train.memory import OutOfMemory, out_of_memory_is_told, plan_memory, ways_out, worst_packs
from flan.train.prepare import Run, plan_steps, with_sides
from flan.train.progress import Progress
from flan.train.ranks import Ranks, meet
from tests.kit.models import tiny_model
from tests.kit.ranks import PATIENCE_S, ranks
from tests.kit.runs import TinyRuns, metrics, outcome
from tests.kit.streams import ROWS, SPEC, TASKS


def _spec(**changes: Any) -> TuneSpec:
    asked = {"kind": "tune", "name": "t", "base": "b", "input_length": 48, "target_length": 16}
    return parse(TuneSpec, asked | {"tokens_per_step": 32 * 64, "precision": "fp32"} | changes)


def _plan(spec: TuneSpec, architecture: Architecture = "decoder") -> memory.MemoryPlan:
    model = tiny_model(architecture)
    lengths = pack_lengths(model.card.contract, spec)
    return plan_memory(spec, model, lengths, _alone(), "test")


def _state(spec: TuneSpec) -> CheckpointState:
    return CheckpointState(
        progress=Progress(step=5),
        spec=spec,
        world_size=1,
        micro_batch=2,
        accumulation="float32",
        environment={},
        stream=StreamState(),
    )


def _alone() -> Ranks:
    return meet("cpu")


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_the_worst_batch_has_no_padding_and_the_most_targets(architecture: Architecture) -> None:
    """Every place is taken, by the longest targets that fit."""
    contract = tiny_model(architecture).card.contract
    packs = worst_packs(contract, pack_lengths(contract, _spec(pack_length=70)), 16, 3)
    segments = [array for name, array in packs._asdict().items() if name.endswith("segment_ids")]

    assert all((array > 0).mean() > 0.9 for array in segments)
    assert np.sum(packs.loss_weights) == 3 * (48 if architecture == "decoder" else 16)


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_what_was_asked_for_is_kept_and_measured(architecture: Architecture) -> None:
    """A number in the spec is taken as it is; nothing of the dry run stays behind."""
    plan = _plan(_spec(micro_batch=3), architecture)

    assert (plan.micro_batch, plan.is_auto) == (3, False)
    assert plan.states_bytes > 0
    assert all(weight.grad is None for weight in tiny_model(architecture).network.parameters())


def test_auto_takes_as_many_packs_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest power of two whose worst batch fits into the room; never more than a rank has."""
    monkeypatch.setattr(memory, "_peak_bytes", lambda work, device: 1_000)
    for room, expected in ((1_500, 1), (4_100, 4), (10**9, 32)):
        monkeypatch.setattr(memory, "_room", lambda *_, room=room: room)
        assert _plan(_spec(micro_batch="auto")).micro_batch == expected


def test_auto_keeps_to_what_the_smallest_rank_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """All ranks take the same number of packs, or their collectives would not meet."""
    monkeypatch.setattr(memory, "_peak_bytes", lambda work, device: 1_000)
    monkeypatch.setattr(memory, "_room", lambda *_: 10**9)
    ranks = _alone()
    ranks.store.set("test micro-batch 1", "2")
    two = Ranks(0, 2, torch.device("cpu"), ranks.store)
    model = tiny_model("decoder")

    assert plan_memory(_spec(micro_batch="auto"), model, Lengths(64, 0), two, "test").micro_batch == 2


def test_a_run_that_goes_on_takes_as_many_as_before(tmp_path: Path) -> None:
    """The choice lies in the checkpoint: another one would sum in another order."""
    spec = _spec(micro_batch="auto")
    state = _state(spec)
    settings = RunSettings(attempt=2, store=str(tmp_path), checkpoints=str(tmp_path))
    events = EventWriter(tmp_path)
    run = Run(spec, tmp_path, settings, _alone(), events)

    assert plan_steps(run, spec, tiny_model("decoder"), state).micro_batch == 2
    assert plan_steps(run, spec, tiny_model("decoder"), None).micro_batch == 32
    told = [event.data for event in read_events(tmp_path / EVENTS, after=0)]
    assert [(data["micro_batch"], data["is_auto"]) for data in told] == [(2, True), (32, True)]
    events.close()


def test_a_step_that_cannot_fit_is_refused_with_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations and states in bytes, the room there is, and what would help."""
    monkeypatch.setattr(memory, "_room", lambda *_: 0)
    monkeypatch.setattr(memory, "_peak_bytes", lambda work, device: 3 * 2**30)

    with pytest.raises(InsufficientMemory, match=r"needs 6.00 GiB besides .* of weights") as refused:
        _plan(_spec(micro_batch=2))
    assert refused.value.values["activations_bytes"] == 6 * 2**30
    assert "gradient_checkpointing" in str(refused.value.hint)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
        ),
    ],
)
def test_a_failed_allocation_becomes_a_plan(error: Exception) -> None:
    """Whatever raised it: a code, the allocator's own words, and what to change."""
    spec = _spec(micro_batch=8, resources={"ranks": 2}, optimizer={"name": "adamw"})

    with pytest.raises(OutOfMemory) as refused, out_of_memory_is_told(spec):
        raise error
    assert (refused.value.code, refused.value.blame) == ("out_of_memory", "user")
    assert refused.value.hint == ways_out(spec)
    assert refused.value.hint.startswith("try, the cheapest first: micro_batch 1 instead of 8")


def test_an_allocation_that_really_fails_becomes_a_plan() -> None:
    """The CPU's allocator refuses a tensor larger than any machine."""
    with pytest.raises(OutOfMemory, match="DefaultCPUAllocator"), out_of_memory_is_told(_spec()):
        torch.empty(2**60)


@pytest.mark.slow
def test_a_rank_that_runs_out_of_memory_leaves_a_plan(tmp_path: Path) -> None:
    """In step 7, of four micro-batches each: it says what to change, and the checkpoint of step 3 stands."""
    runs = TinyRuns(tmp_path)
    spec = runs.resolve(micro_batch=2)
    directory = runs.prepare(spec, "starved")
    with ranks(["tests.train.starved", str(directory)], 1, directory / "logs" / "ranks.log") as (process,):
        assert process.wait(PATIENCE_S) == 1

    told = outcome(directory)
    assert (told["status"], told["code"], told["blame"]) == ("failed", "out_of_memory", "user")
    assert told["hint"] == ways_out(spec)
    assert max(metrics(directory)) == 6
    assert "step-00000003-a1" in names(directory.parent / "checkpoints")


def test_other_errors_stay_what_they_are() -> None:
    """Only allocations are translated."""
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory_is_told(_spec()):
        raise RuntimeError("shapes do not match")


def test_sides_of_packs_are_measured_once(tmp_path: Path) -> None:
    """Rank 0 measures, the others hear of it, and a run that goes on has the sides of its checkpoint."""
    model, examples = tiny_model("encoder_decoder"), Examples(SPEC, TASKS, ROWS)
    store = _alone().store
    settings = RunSettings(attempt=1, store=str(tmp_path), checkpoints=str(tmp_path))
    first, second = (
        Run(SPEC, tmp_path, settings, Ranks(rank, 2, torch.device("cpu"), store), None) for rank in (0, 1)
    )
    measured = with_sides(first, model, examples, None)
    state = _state(SPEC).model_copy(update={"pack_lengths": (90, 22)})

    assert measured == with_measured_sides(SPEC, examples, model.tokenizer, model.card.contract) != SPEC
    assert with_sides(second, model, examples, None) == measured
    assert pack_lengths(model.card.contract, with_sides(second, model, examples, state)) == (90, 22)
    assert with_sides(first, tiny_model("decoder"), examples, None) == SPEC
