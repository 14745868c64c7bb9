"""The kill tests, written once for any trainer: kill something between two known moments, then compare.

A test hands in a spec, waits for a moment, strikes, and asks `survived` whether everything that was promised
still holds. Nothing here knows which program trains.
"""

from collections.abc import Callable
from typing import NamedTuple

from tests.kit.machine import Machine
from tests.kit.trainers import Trainer
from workers.ledger import journal
from workers.ledger.tables import Attempt


class Outcome(NamedTuple):
    """What came out of a run: equal for two runs exactly when they computed the same."""

    weights: str
    losses: tuple[tuple[int, float], ...]
    """(step, loss), each step once."""


def outcome(machine: Machine, trainer: Trainer, job_id: str) -> Outcome:
    """The outcome of a job that succeeded."""
    job = machine.until_state(job_id, "succeeded", "failed", "cancelled")
    assert job.state == "succeeded", f"{job.error}\n{machine.logs()}"
    losses: list[tuple[int, float]] = []
    after: journal.MetricKey | None = None
    with machine.sessions.begin() as session:
        while page := journal.metrics_after(session, job_id, after, name="train/loss", limit=1000):
            losses += [(metric.step, metric.value) for metric in page]
            after = journal.MetricKey(page[-1].step, page[-1].name)
    return Outcome(trainer.weights(machine.store, machine.models(job_id)["tuned"]), tuple(losses))


def survived(machine: Machine, trainer: Trainer, job_id: str, undisturbed: Outcome) -> list[Attempt]:
    """Assert that a job that was struck ended as if it had not been; its attempts.

    Same losses and weights to the last bit, a journal without gaps, no process left over.
    """
    assert outcome(machine, trainer, job_id) == undisturbed
    events = machine.events(job_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert sum(event.type == "job.succeeded" for event in events) == 1
    machine.until(lambda: not machine.processes(job_id), "every rank to be gone")
    return machine.attempts(job_id)


def kill_worker(machine: Machine, _job_id: str) -> None:
    """SIGKILL the worker, and start another, as whatever supervises it would."""
    machine.kill_worker()
    machine.start_worker()


def kill_supervisor(machine: Machine, job_id: str) -> None:
    """SIGKILL the supervisor of a job."""
    machine.supervisor(job_id).kill()


def kill_rank(machine: Machine, job_id: str) -> None:
    """SIGKILL rank 0 of a job."""
    machine.rank(job_id, 0).kill()


PROCESS_KILLS: dict[str, Callable[[Machine, str], None]] = {
    "worker": kill_worker,
    "supervisor": kill_supervisor,
    "rank": kill_rank,
}
"""After any of these a new attempt goes on from the last published checkpoint."""
