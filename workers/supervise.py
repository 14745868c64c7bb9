"""One process for one attempt: starts the ranks, carries their events up and wishes down, says how it ended.

    python -m workers.supervise JOB_ID FENCE WORKER_PID

The ranks know nothing of the ledger and the ledger nothing of processes; this is where they meet. Everything
written to the ledger is written under the fence. Whoever finds it past kills the ranks and writes nothing.
"""

import logging
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sqlalchemy.orm import Session

from flan import rundir
from flan.errors import FlanError
from flan.processes import die_with_parent
from flan.rundir import RunSettings
from flan.spec import Spec, TuneSpec, parse_spec
from flan.store import Store, write_atomically
from workers import outputs
from workers.classify import classify
from workers.gpus import lock_gpus, release
from workers.heart import Heart
from workers.launch import Launch, Ranks, log_tail
from workers.ledger import jobs, journal, leases
from workers.ledger.leases import Ending, Failure, Lease, LeaseLost
from workers.ledger.session import LedgerUnavailable, engine_of, open_ledger
from workers.ledger.tables import Attempt, Checkpoint
from workers.link import Link
from workers.logs import set_up_logging
from workers.processes import adopt_orphans, identity, require_linux
from workers.publish import Publisher
from workers.settings import Settings
from workers.tail import Tail
from workers.watch import Preemption, Reader, Watch

log = logging.getLogger(__name__)
EXIT_FENCED, EXIT_CUT_OFF = 4, 5


class Assignment(NamedTuple):
    """What is to be done, as the ledger had it when the lease was taken over."""

    spec: Spec
    gpus: Sequence[str]
    earlier: Sequence[Attempt]
    """Attempts before this one that came as far as a run directory."""

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where the ranks compute."""
        return "cuda" if self.gpus else "cpu"


class Supervisor:
    """Carries out one attempt."""

    def __init__(self, settings: Settings, link: Link, lease: Lease) -> None:
        self._settings = settings
        self._link = link
        self._lease = lease
        folder = settings.runs_folder / lease.job_id
        self._directory = folder / f"attempt-{lease.attempt}"
        self._checkpoints = folder / "checkpoints"
        self._heart = Heart(settings, link, lease)
        self._reader = Reader(settings, link, lease, self._directory)
        self._publisher = Publisher(link, lease, self._checkpoints)
        self._ranks: Ranks | None = None
        self.preemption = Preemption()

    def run(self) -> str:
        """Carry the attempt out; the state the job is left in. Raises LeaseLost, LedgerUnavailable."""
        try:
            ending = self._attempt()
        except (LeaseLost, LedgerUnavailable):
            raise
        except (FlanError, OSError) as error:
            ending = Ending("fault", _failure_of(error))
        finally:
            if self._ranks is not None:
                self._ranks.kill()
        retry_base_s = self._settings.retry_base_s
        return self._link.insist(
            lambda session: leases.end(session, self._lease, ending, retry_base_s=retry_base_s)
        )

    def _attempt(self) -> Ending:
        task = self._link.insist(self._read_task)
        for attempt in task.earlier:
            self._catch_up(attempt)
        resume_from = self._publisher.find_resume_point(self._heart)
        self._heart.beat()
        if self._heart.wish != "run" or self.preemption.is_wanted:
            return Ending("stopped")
        self._prepare(task, resume_from)
        self._ranks = self._start(task)
        watch = Watch(self._settings, self._ranks, self._directory)
        facts = watch.until_the_end(self._heart, self._reader, self._publisher, self.preemption)
        self._drain()
        ending = classify(facts, lambda rank: log_tail(self._directory, rank))
        return self._collect() if ending.kind == "done" else ending

    def _read_task(self, session: Session) -> Assignment:
        job = leases.hold(session, self._lease)
        earlier = [tried for tried in jobs.attempts(session, job.id) if tried.number < self._lease.attempt]
        return Assignment(parse_spec(job.spec), job.gpus, [tried for tried in earlier if tried.run_directory])

    def _catch_up(self, attempt: Attempt) -> None:
        """Enter what an earlier attempt wrote and its supervisor did not live to read."""
        tail = Tail(Path(str(attempt.run_directory)) / rundir.EVENTS, after=attempt.lines_read)
        lease_s, number = self._settings.lease_s, attempt.number
        while events := tail.read():

            def enter(session: Session, events: Sequence[rundir.Event] = events) -> None:
                journal.append(session, self._lease, events, lease_s=lease_s, attempt=number)

            self._link.insist(enter)
            tail.advance()

    def _prepare(self, task: Assignment, resume_from: Checkpoint | None) -> None:
        """Write the run directory, then note it: an attempt that has one may have events in it."""
        spec, settings = task.spec, self._settings
        if isinstance(spec, TuneSpec):
            self._publisher.keep, self._publisher.pinned = spec.keep_checkpoints, spec.pinned_steps
        run_settings = RunSettings(
            attempt=self._lease.attempt,
            store=str(settings.store_folder),
            data=str(settings.data) if settings.data else None,
            checkpoints=str(self._checkpoints),
            resume_from=resume_from.name if resume_from else None,
            ranks=spec.resources.ranks,
            device=task.device,
            stall_s=settings.stall_s,
            serve_host=settings.serve_host,
        )
        rundir.prepare(self._directory, spec, run_settings)
        write_atomically(self._directory / rundir.TOKEN, secrets.token_urlsafe(32).encode(), mode=0o600)
        directory, step = str(self._directory), resume_from.step if resume_from else None
        self._link.insist(
            lambda session: leases.set_out(session, self._lease, run_directory=directory, resumed_from=step)
        )

    def _start(self, task: Assignment) -> Ranks:
        locks = lock_gpus(task.gpus)
        try:
            return Ranks(
                Launch(
                    command=self._settings.rank_command,
                    directory=self._directory,
                    num_ranks=task.spec.resources.ranks,
                    device=task.device,
                    gpus=task.gpus,
                    mark=self._lease.mark,
                    locks=locks,
                    log_cap_bytes=self._settings.log_cap_bytes,
                    threads=task.spec.resources.threads,
                )
            )
        finally:
            release(locks)  # our share: the ranks hold theirs

    def _drain(self) -> None:
        """Enter and publish all that the ranks have left. Waits for a database that is away."""
        while self._reader.has_more() or self._publisher.go_on():
            self._reader.go_on(self._heart, self._publisher)
            self._heart.beat()
            time.sleep(0.02)
        self._publisher.sweep()

    def _collect(self) -> Ending:
        """What a finished run made: models and samples into the store, results as they are."""
        written = self._link.insist(self._models_written)
        announced = self._reader.results
        store = Store(self._settings.store_folder)

        def read() -> Ending:
            models = [outputs.collect_model(store, directory, data) for directory, data in written]
            results = outputs.read_results(self._directory, announced) if announced else None
            outputs.collect_samples(store, self._directory, results)
            return Ending("done", results=results, models=models)

        return self._heart.beat_beside(read)

    def _models_written(self, session: Session) -> list[tuple[Path, dict[str, Any]]]:
        """The last model of each role, with the run directory it lies in."""
        where = {tried.number: tried.run_directory for tried in jobs.attempts(session, self._lease.job_id)}
        written = journal.models_written(session, self._lease.job_id).values()
        return [(Path(str(where[event.attempt or 0])), event.data) for event in written]


def _failure_of(error: FlanError | OSError) -> Failure:
    outcome = rundir.failure(error)
    blame = "infra" if isinstance(error, OSError) else outcome.blame
    told = {"code": outcome.code, "blame": blame, "message": outcome.message, "hint": outcome.hint}
    return Failure.parse(told)


def main(arguments: Sequence[str]) -> int:
    """Carry out one attempt; the exit status, which nobody need read."""
    job_id, fence, worker_pid = arguments
    require_linux()
    die_with_parent(signal.SIGKILL, parent=int(worker_pid))
    adopt_orphans()
    set_up_logging()
    settings = Settings()
    sessions = open_ledger(settings.require_database(), pool_size=1)
    link = Link(sessions, outage_s=settings.outage_s)
    about = {"job": job_id, "fence": int(fence)}
    try:
        owner, lease_s = identity(), settings.lease_s
        lease = link.insist(
            lambda session: leases.take_over(session, job_id, int(fence), owner, lease_s=lease_s)
        )
        supervisor = Supervisor(settings, link, lease)
        signal.signal(signal.SIGTERM, lambda _signal, _frame: supervisor.preemption.want())
        state = supervisor.run()
    except LeaseLost:
        log.warning("fenced: the job changed hands", extra=about)
        return EXIT_FENCED
    except LedgerUnavailable as error:
        log.error("given up: the database stayed away", extra=about | {"error": error.message})
        return EXIT_CUT_OFF
    finally:
        engine_of(sessions).dispose()
    log.info("attempt ended", extra=about | {"state": state})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
