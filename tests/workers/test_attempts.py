"""Jobs carried out by a real worker, with a rank that only hashes. One worker serves the whole module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flan.errors import NotFound
from flan.spec import EvaluateSpec, Resources, ServeSpec
from tests.kit.machine import Machine, running_machine
from tests.kit.servers import Servers
from tests.kit.trainers import FakeTrainer, faults
from workers.ledger import checkpoints, jobs, journal, models

TRAINER = FakeTrainer()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Machine]:
    """A machine whose worker runs."""
    home = tmp_path_factory.mktemp("machine")
    with (
        servers.fresh_database() as database_url,
        running_machine(
            home, database_url, f"{servers.redis_url}?virtual_host=15", TRAINER.environment
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def undisturbed(machine: Machine) -> str:
    """Weights of a run in which nothing went wrong."""
    return weights(machine, finished(machine, machine.submit(TRAINER.spec(name="undisturbed"))))


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """Folder in which a test lets a waiting rank go."""
    return tmp_path


def finished(machine: Machine, job_id: str) -> str:
    """The job, which succeeded; its journal has no gap and its processes are gone."""
    job = machine.until_state(job_id, "succeeded", "failed", "cancelled")
    assert job.state == "succeeded", f"{job.error}\n{machine.logs()}"
    check_ended(machine, job_id)
    return job_id


def check_ended(machine: Machine, job_id: str) -> None:
    """What holds of every job that has ended, however it went."""
    events = machine.events(job_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert sum(event.type in ("job.succeeded", "job.failed", "job.cancelled") for event in events) == 1
    assert machine.processes(job_id) == []


def weights(machine: Machine, job_id: str) -> str:
    """What the run made."""
    return TRAINER.weights(machine.store, machine.models(job_id)["tuned"])


def test_job_runs_to_its_models(machine: Machine) -> None:
    """From the queue to registered weights: models, metrics once each, the newest checkpoints kept."""
    job_id = finished(machine, machine.submit(TRAINER.spec(name="plain", steps=50)))

    made = machine.models(job_id)
    assert {role: (model.name, model.version) for role, model in made.items()} == {
        "tuned": ("plain", 1),
        "base": ("plain-base", 1),
    }
    with machine.sessions.begin() as session:
        steps = [metric.step for metric in journal.metrics_after(session, job_id, limit=1000)]
        states = {row.step: row.state for row in checkpoints.all_checkpoints(session, job_id)}
    assert steps == list(range(1, 51))
    assert states == {10: "deleted", 20: "deleted", 30: "deleted", 40: "published", 50: "published"}
    kept = sorted(path.name for path in (machine.home / "runs" / job_id / "checkpoints").iterdir())
    assert kept == ["step-00000040-a1", "step-00000050-a1"]
    job = machine.job(job_id)
    assert (job.attempt, job.stage, job.checkpoint_step, job.progress) == (
        1,
        "finalize",
        50,
        {"step": 50, "total_steps": 50, "eta_s": 0.0},
    )


def test_ranks_end_together_when_all_is_done(machine: Machine, undisturbed: str) -> None:
    """Three ranks find each other and the result is that of one."""
    job_id = finished(machine, machine.submit(TRAINER.spec(name="three", resources={"ranks": 3})))

    assert weights(machine, job_id) == undisturbed


def test_evaluation_leaves_its_results_with_the_job(machine: Machine) -> None:
    """results.json is stored when the job succeeds."""
    job_id = finished(machine, machine.submit(EvaluateSpec(name="eval", model="m", tasks=("a",))))

    assert machine.job(job_id).results == {"model": "m", "tasks": []}


def test_deployment_is_found_until_it_is_cancelled(machine: Machine) -> None:
    """Address and token of a served model are there while it answers, and gone with it."""
    job_id = machine.submit(ServeSpec(name="live", model="m", resources=Resources(threads=3)))
    machine.until(lambda: machine.job(job_id).url)
    with machine.sessions.begin() as session:
        (served,) = models.find_served(session, "live")
    assert served.job_id == job_id
    assert len(served.token_path.read_text()) >= 32
    assert served.token_path.stat().st_mode & 0o777 == 0o600
    environment = Path(f"/proc/{machine.rank(job_id, 0).pid}/environ").read_text().split("\0")
    assert "OMP_NUM_THREADS=3" in environment

    machine.ask(jobs.cancel, job_id)
    machine.until_state(job_id, "cancelled")
    check_ended(machine, job_id)
    with machine.sessions.begin() as session, pytest.raises(NotFound):
        models.find_served(session, "live")


@pytest.mark.parametrize("rank", [0, 1])
def test_killed_rank_costs_no_step(machine: Machine, undisturbed: str, rank: int) -> None:
    """The others are ended, and the next attempt goes on from the last checkpoint to the same weights."""
    at = 0 if rank else 25
    wrong = faults(
        {"do": "kill9", "at": at, "attempt": 1, "rank": rank},
        {"do": "hang", "at": 26, "attempt": 1, "rank": 0},
    )
    job_id = finished(
        machine, machine.submit(TRAINER.spec(name=f"rank{rank}", resources={"ranks": 2}, **wrong))
    )

    first, second = machine.attempts(job_id)
    assert first.error is not None
    assert (first.ending, first.error["code"], first.error["rank"]) == ("fault", "rank_killed", rank)
    assert second.resumed_from == (20 if rank == 0 else second.resumed_from)
    assert weights(machine, job_id) == undisturbed
    with machine.sessions.begin() as session:
        steps = [metric.step for metric in journal.metrics_after(session, job_id, limit=1000)]
    assert steps == list(range(1, 41))


def test_half_a_checkpoint_is_no_checkpoint(machine: Machine, undisturbed: str) -> None:
    """A rank that dies while it writes leaves something that nobody resumes from, and that is swept away."""
    wrong = faults({"do": "halve", "at": 20, "attempt": 1})
    job_id = finished(machine, machine.submit(TRAINER.spec(name="halved", **wrong)))

    assert machine.attempts(job_id)[1].resumed_from == 10
    assert weights(machine, job_id) == undisturbed
    assert not list((machine.home / "runs" / job_id / "checkpoints").glob(".*"))


def test_checkpoint_with_other_bytes_than_announced_is_never_published(
    machine: Machine, undisturbed: str
) -> None:
    """Every byte is read again before a checkpoint counts."""
    wrong = faults({"do": "forge", "at": 20, "attempt": 1}, {"do": "kill9", "at": 25, "attempt": 1})
    job_id = finished(machine, machine.submit(TRAINER.spec(name="forged", **wrong)))

    machine.until_event(job_id, "checkpoint.corrupt", step=20)
    assert machine.attempts(job_id)[1].resumed_from == 10
    assert weights(machine, job_id) == undisturbed


def test_pause_and_resume_redo_nothing(machine: Machine, undisturbed: str, control: Path) -> None:
    """The step at which it rests is in a checkpoint, and the weights are those of a run that never rested."""
    wrong = faults({"do": "wait", "at": 24, "attempt": 1}, control=control)
    job_id = machine.submit(TRAINER.spec(name="paused", **wrong))
    machine.until_event(job_id, "progress", step=23)

    machine.ask(jobs.pause, job_id)
    job = machine.until_state(job_id, "paused")
    assert job.checkpoint_step == 23
    assert machine.processes(job_id) == []
    machine.ask(jobs.resume, job_id)
    finished(machine, job_id)
    assert [tried.ending for tried in machine.attempts(job_id)] == ["paused", "succeeded"]
    assert machine.attempts(job_id)[1].resumed_from == 23
    steps = [event.data["step"] for event in machine.events(job_id) if event.type == "metrics"]
    assert steps == list(range(1, 41))
    assert weights(machine, job_id) == undisturbed


def test_rotten_checkpoint_falls_back_to_an_older_one(
    machine: Machine, undisturbed: str, control: Path
) -> None:
    """A changed byte in a published checkpoint is found before anything is resumed from it."""
    wrong = faults({"do": "wait", "at": 24, "attempt": 1}, control=control)
    job_id = machine.submit(TRAINER.spec(name="rotten", **wrong))
    machine.until_event(job_id, "progress", step=23)
    machine.ask(jobs.pause, job_id)
    machine.until_state(job_id, "paused")
    state = machine.home / "runs" / job_id / "checkpoints" / "step-00000023-a1" / "state.json"
    state.write_text(state.read_text().replace('"step": 23', '"step": 24'))

    machine.ask(jobs.resume, job_id)
    finished(machine, job_id)
    assert machine.attempts(job_id)[1].resumed_from == 20
    assert machine.until_event(job_id, "checkpoint.corrupt").data["step"] == 23
    assert weights(machine, job_id) == undisturbed


def test_cancel_leaves_no_process_even_of_ranks_that_will_not_go(machine: Machine) -> None:
    """Deaf to wish and SIGTERM, with a grandchild in a session of its own: gone within the grace time."""
    job_id = machine.submit(
        TRAINER.spec(name="deaf", **faults({"do": "deaf", "at": 5}, {"do": "hang", "at": 6}))
    )
    machine.until_event(job_id, "progress", step=5)
    machine.until(lambda: len(machine.processes(job_id)) == 2)

    machine.ask(jobs.cancel, job_id)
    assert machine.until_state(job_id, "cancelled").wish == "cancel"
    check_ended(machine, job_id)


def test_cancelled_run_does_not_wait_out_the_grace(machine: Machine, control: Path) -> None:
    """A rank that hears the wish stops, and the job is cancelled as soon as it has."""
    job_id = machine.submit(TRAINER.spec(name="willing", **faults({"do": "wait", "at": 5}, control=control)))
    machine.until_event(job_id, "progress", step=4)

    machine.ask(jobs.cancel, job_id)
    machine.until_state(job_id, "cancelled")
    check_ended(machine, job_id)
    assert machine.until_event(job_id, "run.stopped").data["wish"] in ("cancel", "pause")


def test_failure_says_whose_it_is_and_what_to_do(machine: Machine, undisturbed: str) -> None:
    """A fault of the request is not tried again by itself; once retried it goes on from its checkpoint."""
    wrong = faults({"do": "fail", "at": 15, "attempt": 1, "by": "user"})
    job_id = machine.submit(TRAINER.spec(name="mended", **wrong))
    job = machine.until_state(job_id, "failed")
    error = job.error
    assert error is not None
    assert (error["code"], error["blame"], error["hint"], error["rank"]) == (
        "told_to_fail",
        "user",
        "do not ask for it",
        0,
    )
    assert error["log"] == ["Told: told to"]
    assert job.attempt == 1

    machine.ask(jobs.retry, job_id)
    machine.until_state(job_id, "succeeded")
    assert machine.attempts(job_id)[1].resumed_from == 10
    assert weights(machine, job_id) == undisturbed
    assert machine.job(job_id).error is None


def test_rank_that_leaves_without_a_word_is_quoted(machine: Machine) -> None:
    """No outcome was written: the last line of its log is the best there is."""
    job_id = machine.submit(TRAINER.spec(name="wordless", **faults({"do": "exit3", "at": 2})))

    error = machine.until_state(job_id, "failed").error
    assert error is not None
    assert error["code"] == "rank_failed"
    assert error["message"] == "rank 0 ended with status 3: leaving without a word"


def test_crash_loop_ends(machine: Machine) -> None:
    """Dying at the same step each time, without a checkpoint between: three attempts, then it is over."""
    job_id = machine.submit(TRAINER.spec(name="loop", max_retries=100, **faults({"do": "kill9", "at": 5})))

    error = machine.until_state(job_id, "failed").error
    assert error is not None
    assert error["code"] == "no_progress"
    assert [tried.ending for tried in machine.attempts(job_id)] == ["fault", "fault", "fault"]
    check_ended(machine, job_id)


def test_ranks_know_no_address_and_no_key(machine: Machine, control: Path) -> None:
    """The environment of a rank has no way to the platform in it."""
    job_id = machine.submit(TRAINER.spec(name="curious", **faults({"do": "wait", "at": 2}, control=control)))
    machine.until_event(job_id, "progress", step=1)

    environment = Path(f"/proc/{machine.rank(job_id, 0).pid}/environ").read_text()
    machine.ask(jobs.cancel, job_id)
    machine.until_state(job_id, "cancelled")
    names = {entry.partition("=")[0] for entry in environment.split("\0")}
    assert not names & {"DATABASE_URL", "REDIS_URL", "FLAN_HOME"}
    assert {"RANK", "WORLD_SIZE", "MASTER_PORT", "DS_ACCELERATOR", "HF_HUB_OFFLINE"} <= names
    assert {"OMP_NUM_THREADS=1", "OMP_WAIT_POLICY=PASSIVE"} <= {*environment.split("\0")}
