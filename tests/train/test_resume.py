"""Whatever ends a run, the next attempt goes on as if nothing had happened."""

import random
import signal
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file

from flan.rundir import EXIT_STOPPED
from flan.train.checkpoint import names, read_state
from tests.kit.ranks import PATIENCE_S, kill, ranks, run_ranks, wait_until
from tests.kit.runs import TinyRuns, data_of, metrics, outcome
from tests.train.matrix import Matrix

pytestmark = pytest.mark.timeout(900)

STEPS, EVERY = 60, 7
Stop = Literal["terminate", "kill"]
# Dropout: the random states of each rank must come back too.
SHARDED = {"base": "tiny-t5-dropout", "precision": "bf16", "zero_stage": 2, "ranks": 2}
PRESET = {"base": "preset:nano", "precision": "fp32", "zero_stage": 0, "ranks": 1}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "rank": 4, "dropout": 0.1},
    "prompt": {"kind": "soft_prompt", "length": 4},
}
BASES = {"decoder": "tiny", "encoder-decoder": "tiny-t5-dropout"}
CELLS = [(method, base) for method in METHODS for base in BASES]
# With warm-up and decay no two steps have one rate.
CURVED = {"name": "adamw", "learning_rate": 1e-2, "schedule": "cosine", "warmup_steps": 5}
ALONE = {"base": "tiny", "precision": "fp32", "zero_stage": 0, "ranks": 1, "optimizer": CURVED}


class Job:
    """A run and its attempts, each a folder of its own, sharing checkpoints."""

    def __init__(self, folder: Path, layout: dict[str, Any]) -> None:
        self._runs = TinyRuns(folder)
        changes = {key: value for key, value in layout.items() if key != "ranks"}
        self.num_ranks: int = layout["ranks"]
        resources = {"ranks": self.num_ranks, "device": "cpu"}
        self.spec = self._runs.resolve(
            **{"steps": STEPS, "checkpoint_every": EVERY, "resources": resources} | changes
        )

    def attempt(self, number: int, name: str = "job", resume_from: str | None = None) -> Path:
        """The run directory of an attempt; from the second on it resumes from the latest checkpoint, or one named."""
        resume_from = "latest" if number > 1 and resume_from is None else resume_from
        return self._runs.prepare(self.spec, name, number, resume_from)

    def started(self, directory: Path) -> AbstractContextManager[list[subprocess.Popen[bytes]]]:
        """Its ranks, while they run."""
        return ranks(["flan", "run", str(directory)], self.num_ranks, directory / "logs" / "ranks.log")

    def carry_out(self, directory: Path) -> None:
        """From where it stands to the end."""
        run_ranks(["flan", "run", str(directory)], self.num_ranks, directory / "logs" / "ranks.log")

    def stop(self, directory: Path, step: int, how: Stop) -> None:
        """Start an attempt and stop it once it has told of `step`, through its last rank."""
        with self.started(directory) as processes:
            wait_until(lambda: max(metrics(directory), default=0) >= step, f"step {step}", processes)
            if how == "kill":
                kill(processes, self.num_ranks - 1)
                return
            processes[-1].send_signal(signal.SIGTERM)
            assert [process.wait(PATIENCE_S) for process in processes] == [EXIT_STOPPED] * self.num_ranks
        assert outcome(directory)["status"] == "stopped"


def _assert_resumes_exactly(folder: Path, layout: dict[str, Any], stops: Sequence[Stop]) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    job = Job(folder, layout)
    undisturbed = job.attempt(1, "undisturbed")
    attempts = [job.attempt(number) for number in range(1, len(stops) + 2)]

    with job.started(undisturbed) as reference:
        for number, (directory, stop) in enumerate(zip(attempts, stops, strict=False), start=1):
            job.stop(directory, dice.randrange(20 * number - 10, 20 * number), stop)
        job.carry_out(attempts[-1])
        assert [process.wait(PATIENCE_S) for process in reference] == [0] * job.num_ranks

    resumed_from = [data_of(directory, "run.started")[0]["resumed_from"] for directory in attempts]
    for directory, stop, next_start in zip(attempts, stops, resumed_from[1:], strict=False):
        reached = max(metrics(directory))
        # A pause loses nothing; a kill at most what came after the last checkpoint, or what was being written.
        lost = 0 if stop == "terminate" else reached % EVERY + EVERY
        assert reached - lost <= next_start <= reached
    for name in ("train/loss", "train/learning_rate"):
        told = {step: value for directory in attempts for step, value in metrics(directory, name).items()}
        assert told == metrics(undisturbed, name)
    assert sorted(metrics(attempts[-1])) == list(range(resumed_from[-1] + 1, STEPS + 1))
    _assert_equal_weights(attempts[-1] / "model", undisturbed / "model")


def test_a_run_that_was_paused_and_then_killed_ends_as_if_undisturbed(tmp_path: Path) -> None:
    """SIGTERM, resume, SIGKILL, resume: every loss and every final weight is equal to the bit."""
    _assert_resumes_exactly(tmp_path, ALONE, ["terminate", "kill"])


@pytest.mark.slow
@pytest.mark.parametrize("layout", [SHARDED, PRESET], ids=["sharded", "preset"])
def test_a_run_whose_last_rank_was_killed_ends_as_if_undisturbed(
    tmp_path: Path, layout: dict[str, Any]
) -> None:
    """The same with shards, dropout and a dying peer, and with a tokenizer that was trained by the first attempt."""
    _assert_resumes_exactly(tmp_path, layout, ["kill"])


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """Every cell twice: undisturbed, and from step 17 on, where the attempt before it was killed."""
    matrix = Matrix(tmp_path_factory.mktemp("forty"))
    for cell in CELLS:
        method, base = cell
        changes = {"base": BASES[base], "method": METHODS[method], "optimizer": CURVED}
        changes |= {"steps": 40, "checkpoint_every": 17}
        matrix.add(_name(cell), 1, **changes)
        matrix.add(f"killed-{_name(cell)}", 1, resume_from="step-00000017-a1", **changes)
        _kill_at_a_checkpoint(matrix.prepare(f"killed-{_name(cell)}", 1, **changes))
    matrix.carry_out()
    return matrix


def _kill_at_a_checkpoint(directory: Path) -> None:
    with ranks(["flan", "run", str(directory)], 1, directory / "logs" / "ranks.log") as processes:
        wait_until(lambda: bool(data_of(directory, "checkpoint.written")), "a checkpoint", processes)
        kill(processes, 0)


def _name(cell: tuple[str, str]) -> str:
    return "-".join(cell)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=_name)
def test_forty_steps_are_seventeen_a_kill_and_twenty_three(forty: Matrix, cell: tuple[str, str]) -> None:
    """Losses, learning rates, rows and weights of every method on both architectures are equal to the bit."""
    undisturbed = forty.directory(_name(cell), 1)
    resumed = forty.directory(f"killed-{_name(cell)}", 1, attempt=2)

    for name in ("train/loss", "train/learning_rate", "train/gradient_norm", "data/drawn"):
        expected, found = metrics(undisturbed, name), metrics(resumed, name)
        assert list(found) == list(range(18, 41))
        assert {step: value for step, value in expected.items() if step > 17} == found
    ends = [names(folder.parent / "checkpoints")[0] for folder in (undisturbed, resumed)]
    ours, theirs = (
        read_state(folder.parent / "checkpoints" / name)
        for folder, name in zip((undisturbed, resumed), ends, strict=True)
    )
    assert (ours.step, ours.stream) == (theirs.step, theirs.stream)
    files = {path.relative_to(undisturbed) for path in (undisturbed / "model").rglob("*.safetensors")}
    for file in files:
        one, other = load_file(undisturbed / file), load_file(resumed / file)
        assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.slow
def test_a_kill_while_a_checkpoint_is_written_costs_only_that_one(tmp_path: Path) -> None:
    """Half of it has no name to be found by: the run goes on from the one before, to the same end."""
    job = Job(tmp_path, ALONE)
    undisturbed, first, second = job.attempt(1, "undisturbed"), job.attempt(1), job.attempt(2)
    job.carry_out(undisturbed)
    folder = first.parent / "checkpoints"
    with job.started(first) as processes:
        wait_until(lambda: bool(names(folder)), "a checkpoint", processes)
        wait_until(lambda: _stopped_while_writing(processes, folder), "a checkpoint half-written", processes)
        for process in processes:
            process.kill()
    (torn,) = folder.glob("*.tmp")
    last = names(folder)[0]

    job.carry_out(second)

    assert data_of(second, "run.started")[0]["resumed_from"] == int(last.split("-")[1])
    assert not torn.exists()
    assert metrics(first) | metrics(second) == metrics(undisturbed)
    _assert_equal_weights(second / "model", undisturbed / "model")


@pytest.mark.slow
def test_a_broken_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """Resuming from the latest falls back to the one before when bytes have changed, says so, and ends well."""
    job = Job(tmp_path, ALONE)
    first, second = job.attempt(1), job.attempt(2)
    job.stop(first, 30, "terminate")
    newest, before, *_ = names(first.parent / "checkpoints")
    (states,) = (first.parent / "checkpoints" / newest / "engine").glob("*model_states.pt")
    content = bytearray(states.read_bytes())
    content[len(content) // 2] ^= 1
    states.write_bytes(content)

    job.carry_out(second)

    warning = data_of(second, "warning")[0]
    assert warning["code"] == "checkpoint_corrupt"
    assert newest in warning["message"]
    assert data_of(second, "run.started")[0]["resumed_from"] == int(before.split("-")[1])


@pytest.mark.slow
def test_what_rank_0_refuses_ends_every_rank(tmp_path: Path) -> None:
    """The others wait for rank 0 to prepare; when it fails they end at once, and the reason is its own."""
    job = Job(tmp_path, SHARDED)
    directory = job.attempt(1, resume_from="step-00000009-a1")
    with job.started(directory) as processes:
        assert [process.wait(PATIENCE_S) for process in processes] == [1, 1]

    assert outcome(directory)["code"] == "checkpoint_corrupt"


def _stopped_while_writing(processes: Sequence[subprocess.Popen[bytes]], folder: Path) -> bool:
    """Stops the ranks when a checkpoint is being written; whether it still is when they have stopped."""
    if not any(folder.glob("*.tmp")):
        return False
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    if any(folder.glob("*.tmp")):
        return True
    for process in processes:
        process.send_signal(signal.SIGCONT)
    return False


def _assert_equal_weights(ours: Path, theirs: Path) -> None:
    one, other = (load_file(directory / "model.safetensors") for directory in (ours, theirs))
    assert one.keys() == other.keys()
    assert [name for name, weight in one.items() if not torch.equal(weight, other[name])] == []
