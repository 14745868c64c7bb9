"""SIGKILL of everything that can be killed, at a known step: the result is that of an undisturbed run."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from flan.spec import TuneSpec
from tests.kit.killing import PROCESS_KILLS, Outcome, outcome, survived
from tests.kit.machine import Machine, running_machine
from tests.kit.servers import Servers
from tests.kit.trainers import Trainer, faults
from workers.ledger import leases

STEPS = 40


def held_at(step: int, control: Path, trainer: Trainer, **fields: object) -> TuneSpec:
    """A spec whose first attempt waits before `step`, so that it can be struck there."""
    return trainer.spec(**fields, **faults({"do": "wait", "at": step, "attempt": 1}, control=control))


def expired(machine: Machine, job_id: str) -> bool:
    """Let the lease of a job run out now; whether it was ended."""
    with machine.sessions.begin() as session:
        session.execute(
            text("UPDATE jobs SET lease_ends = now() - interval '1 s' WHERE id = :id"), {"id": job_id}
        )
        return [lease.job_id for lease in leases.reap(session, lease_s=1e-6, retry_base_s=1e-6)] == [job_id]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, servers: Servers, trainer: Trainer) -> Outcome:
    """What comes out when nothing goes wrong."""
    home = tmp_path_factory.mktemp("quiet")
    with (
        servers.fresh_database() as database_url,
        running_machine(home, database_url, servers.redis_url, trainer.environment) as quiet,
    ):
        return outcome(quiet, trainer, quiet.submit(trainer.spec()))


@pytest.mark.parametrize("victim", PROCESS_KILLS)
def test_job_survives_the_kill_of(
    machine: Machine, trainer: Trainer, undisturbed: Outcome, tmp_path: Path, victim: str
) -> None:
    """Worker, supervisor or rank: another attempt goes on from the last checkpoint to the same end."""
    job_id = machine.submit(held_at(26, tmp_path, trainer))
    machine.until_event(job_id, "progress", step=25)
    machine.until(lambda: machine.job(job_id).checkpoint_step == 20)

    PROCESS_KILLS[victim](machine, job_id)

    attempts = survived(machine, trainer, job_id, undisturbed)
    assert len(attempts) == 2
    assert attempts[1].resumed_from == 20


@pytest.mark.slow
def test_job_survives_the_kill_of_everything_in_turn(
    machine: Machine, trainer: Trainer, undisturbed: Outcome, tmp_path: Path
) -> None:
    """Three kills of three kinds in one run: it goes on each time from where it was."""
    waits = [{"do": "wait", "at": 13 + 10 * n, "attempt": n + 1} for n in range(3)]
    job_id = machine.submit(trainer.spec(**faults(*waits, control=tmp_path)))

    for number, kill in enumerate(PROCESS_KILLS.values()):
        machine.until_event(job_id, "progress", step=12 + 10 * number)
        machine.until(lambda wanted=10 * (number + 1): machine.job(job_id).checkpoint_step == wanted)
        kill(machine, job_id)

    attempts = survived(machine, trainer, job_id, undisturbed)
    assert [tried.resumed_from for tried in attempts] == [None, 10, 20, 30]


def test_events_that_nobody_lived_to_read_are_not_lost(
    machine: Machine, trainer: Trainer, tmp_path: Path
) -> None:
    """A checkpoint announced while the supervisor was stopped counts for the next attempt."""
    job_id = machine.submit(held_at(5, tmp_path, trainer))
    machine.until_event(job_id, "progress", step=4)
    supervisor, rank = machine.supervisor(job_id), machine.rank(job_id, 0)
    supervisor.suspend()
    run = machine.home / "runs" / job_id
    (tmp_path / "go").touch()
    machine.until(lambda: (run / "attempt-1" / "outcome.json").exists(), "the rank to end unseen")
    assert machine.job(job_id).checkpoint_step is None

    supervisor.kill()

    machine.until_state(job_id, "succeeded")
    assert machine.attempts(job_id)[1].resumed_from == STEPS
    steps = [event.data["step"] for event in machine.events(job_id) if event.type == "metrics"]
    assert steps == list(range(1, STEPS + 1))
    assert not rank.is_running() or rank.status() == "zombie"


def suspended_outside_a_transaction(machine: Machine, supervisor: psutil.Process, job_id: str) -> None:
    """Stop a supervisor while it holds no lock: with its job locked, nobody could take it over."""
    for _ in range(1_000):
        supervisor.suspend()
        with machine.sessions.begin() as session:
            query = "SELECT id FROM jobs WHERE id = :id FOR UPDATE SKIP LOCKED"
            if session.execute(text(query), {"id": job_id}).first():
                return
        supervisor.resume()
    raise AssertionError(f"the supervisor of {job_id} never lets go of it")


def test_zombie_supervisor_writes_nothing(
    machine: Machine, trainer: Trainer, undisturbed: Outcome, tmp_path: Path
) -> None:
    """Stopped beyond its lease and continued when another owns the job: refused, its ranks killed."""
    job_id = machine.submit(held_at(16, tmp_path, trainer))
    machine.until_event(job_id, "progress", step=15)
    zombie, its_rank = machine.supervisor(job_id), machine.rank(job_id, 0)
    suspended_outside_a_transaction(machine, zombie, job_id)
    with machine.sessions.begin() as session:
        session.execute(
            text("UPDATE jobs SET lease_ends = now() - interval '1 s' WHERE id = :id"), {"id": job_id}
        )
        assert [lease.job_id for lease in leases.reap(session, lease_s=1e-6, retry_base_s=1e-6)] == [job_id]
    machine.doorbell.ring()
    machine.until_state(job_id, "succeeded")
    before = len(machine.events(job_id))

    (tmp_path / "go").touch()  # the zombie's rank goes on to the end and has much to tell
    psutil.wait_procs([its_rank], timeout=30)
    zombie.resume()

    psutil.wait_procs([zombie], timeout=30)
    assert not zombie.is_running() or zombie.status() == "zombie"
    assert len(machine.events(job_id)) == before
    attempts = survived(machine, trainer, job_id, undisturbed)
    assert [tried.ending for tried in attempts] == ["lost", "succeeded"]
    log = (machine.home / "runs" / job_id / "supervisor.log").read_text()
    assert "fenced: the job changed hands" in log


def test_five_messages_start_one_attempt(machine: Machine, trainer: Trainer, tmp_path: Path) -> None:
    """A message carries nothing: the claim is by row, and there is one row."""
    job_id = machine.submit(held_at(5, tmp_path, trainer))
    for _ in range(5):
        assert machine.doorbell.ring()
    machine.until_event(job_id, "progress", step=4)
    for _ in range(5):
        assert machine.doorbell.ring()
    (tmp_path / "go").touch()

    machine.until_state(job_id, "succeeded")
    assert [tried.number for tried in machine.attempts(job_id)] == [1]
    assert sum(event.type == "job.started" for event in machine.events(job_id)) == 1


def test_worker_that_is_told_to_stop_loses_no_step(
    machine: Machine, trainer: Trainer, undisturbed: Outcome, tmp_path: Path
) -> None:
    """SIGTERM: the ranks save and stop, the job waits, and the next worker redoes nothing."""
    job_id = machine.submit(held_at(16, tmp_path, trainer))
    machine.until_event(job_id, "progress", step=15)

    assert machine.stop_worker() == 0
    assert machine.job(job_id).state == "queued"
    assert machine.processes(job_id) == []
    machine.start_worker()

    attempts = survived(machine, trainer, job_id, undisturbed)
    assert [tried.ending for tried in attempts] == ["preempted", "succeeded"]
    assert attempts[1].resumed_from == 15
    steps = [event.data["step"] for event in machine.events(job_id) if event.type == "metrics"]
    assert steps == list(range(1, STEPS + 1))


@pytest.mark.parametrize("victim", ["redis", "postgres"])
def test_job_survives_the_kill_of_a_server(
    own_servers: Servers, tmp_path: Path, trainer: Trainer, undisturbed: Outcome, victim: str
) -> None:
    """The run computes on and needs no second attempt; its journal is complete."""
    with (
        own_servers.fresh_database() as database_url,
        running_machine(tmp_path, database_url, own_servers.redis_url, trainer.environment) as machine,
    ):
        job_id = machine.submit(held_at(16, tmp_path, trainer))
        machine.until_event(job_id, "progress", step=15)

        own_servers.kill(victim)
        (tmp_path / "go").touch()
        outcome_file = machine.home / "runs" / job_id / "attempt-1" / "outcome.json"
        machine.until(outcome_file.exists, "the rank to finish without the server")
        own_servers.start(victim)

        attempts = survived(machine, trainer, job_id, undisturbed)
        assert [tried.number for tried in attempts] == [1]
        # And the worker goes on as before.
        machine.until_state(machine.submit(trainer.spec(name="after")), "succeeded")
        machine.close()


def test_jobs_run_without_redis(tmp_path: Path, database_url: str, trainer: Trainer) -> None:
    """A worker starts, and finds work by its own clock, where nobody can ring."""
    nowhere = f"redis+socket://{tmp_path}/nowhere.sock"
    with running_machine(tmp_path, database_url, nowhere, trainer.environment) as machine:
        assert machine.doorbell.ring() is False
        job_id = machine.submit(trainer.spec())

        machine.until_state(job_id, "succeeded")
        assert machine.stop_worker() == 0


def test_grandchildren_die_with_their_supervisor(machine: Machine, trainer: Trainer) -> None:
    """Ranks are tied to their supervisor by the kernel; what they started is found by its mark."""
    wrong = faults({"do": "deaf", "at": 5, "attempt": 1}, {"do": "hang", "at": 6, "attempt": 1})
    job_id = machine.submit(trainer.spec(**wrong))
    machine.until_event(job_id, "progress", step=5)
    first = machine.until(lambda: machine.processes(job_id) if len(machine.processes(job_id)) == 2 else None)
    assert first is not None

    os.kill(machine.supervisor(job_id).pid, signal.SIGKILL)

    machine.until_state(job_id, "succeeded")
    assert not [process for process in first if process.is_running() and process.status() != "zombie"]


@pytest.mark.slow
def test_hung_ranks_are_ended_and_started_again(
    tmp_path: Path, database_url: str, redis_url: str, trainer: Trainer
) -> None:
    """Ranks that say nothing for too long are taken for hung."""
    environment = dict(trainer.environment) | {"FLAN_HANG_S": "8"}
    with running_machine(tmp_path, database_url, redis_url, environment) as machine:
        job_id = machine.submit(trainer.spec(**faults({"do": "hang", "at": 15, "attempt": 1})))

        machine.until_state(job_id, "succeeded")
        first = machine.attempts(job_id)[0]
        assert first.error is not None
        assert first.error["code"] == "hung"
        machine.close()
