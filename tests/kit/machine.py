"""A machine under test: a worker process with its FLAN_HOME, and ways to watch it and to break it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil
from sqlalchemy.orm import Session, sessionmaker

from flan.processes import DIE_WITH_PARENT
from flan.spec import Spec
from flan.store import Store
from workers.doorbell import Doorbell
from workers.ledger import jobs, journal, models
from workers.ledger.session import LedgerUnavailable, engine_of, open_ledger, translated
from workers.ledger.tables import Attempt, Event, Job, ModelVersion
from workers.processes import MARK

T = TypeVar("T")
PATIENCE_S = 240.0
QUICK = {
    "FLAN_LEASE_S": "60",
    "FLAN_HEARTBEAT_S": "0.5",
    "FLAN_TICK_S": "0.5",
    "FLAN_GRACE_S": "20",
    "FLAN_CANCEL_GRACE_S": "1.5",
    "FLAN_RETRY_BASE_S": "0.1",
    "FLAN_CPU_SLOTS": "4",
    "FLAN_NODE": "node-under-test",
    # A test session that is killed leaves no worker behind.
    DIE_WITH_PARENT: "1",
}
"""Settings with which a death on the machine is noticed in a second; leases outlast a busy test machine."""


class Machine:
    """One worker on one ledger."""

    def __init__(self, home: Path, database_url: str, redis_url: str, environment: Mapping[str, str]) -> None:
        self.home = home
        self.database_url = database_url
        self.redis_url = redis_url
        self.sessions: sessionmaker[Session] = open_ledger(database_url)
        self.doorbell = Doorbell(redis_url)
        self.store = Store(home / "store")
        self._environment = QUICK | dict(environment)
        self.worker: subprocess.Popen[bytes] | None = None

    # -- what people do --------------------------------------------------------------------------------

    def submit(self, spec: Spec) -> str:
        """Hand in a job, as the API does; its id."""
        with self.sessions.begin() as session:
            job_id = jobs.submit(session, spec).id
        self.doorbell.ring()
        return job_id

    def ask(self, what: Callable[[Session, str], Job], job_id: str) -> Job:
        """Cancel, pause, resume or retry a job, as the API does."""
        with self.sessions.begin() as session:
            job = what(session, job_id)
        self.doorbell.ring()
        return job

    # -- what is seen ----------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job:
        with self.sessions.begin() as session:
            return jobs.get(session, job_id)

    def attempts(self, job_id: str) -> list[Attempt]:
        with self.sessions.begin() as session:
            return list(jobs.attempts(session, job_id))

    def events(self, job_id: str) -> list[Event]:
        """All events of a job, read page by page."""
        found: list[Event] = []
        with self.sessions.begin() as session:
            while page := journal.events_after(session, job_id, found[-1].seq if found else 0, limit=100):
                found += page
        return found

    def models(self, job_id: str) -> dict[str, ModelVersion]:
        """Role → the model that a job made."""
        with self.sessions.begin() as session:
            made = jobs.get(session, job_id).models
            return {each["role"]: models.find(session, f"{each['name']}@{each['version']}") for each in made}

    def until(self, look: Callable[[], T], what: str = "") -> T:
        """The first true value that `look` gives. Fails, with the worker's log, when none comes."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with translated():
                    seen = look()
            except LedgerUnavailable:
                seen = None  # type: ignore[assignment]
            if seen:
                return seen
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {PATIENCE_S} s for {what or look}\n{self.logs()}")
            time.sleep(0.02)

    def until_state(self, job_id: str, *states: str) -> Job:
        """The job, once it is in one of `states`."""
        wanted = set(states)

        def look() -> Job | None:
            job = self.job(job_id)
            return job if job.state in wanted else None

        return self.until(look, f"{job_id} to be {states}")  # type: ignore[return-value]

    def until_event(self, job_id: str, type_: str, **data: object) -> Event:
        """The first event of this type whose data hold `data`."""

        def look() -> Event | None:
            for event in self.events(job_id):
                if event.type == type_ and data.items() <= event.data.items():
                    return event
            return None

        return self.until(look, f"{type_} {data} of {job_id}")  # type: ignore[return-value]

    def logs(self) -> str:
        """What the worker and its supervisors wrote last."""
        paths = [
            self.home / "worker.log",
            *self.home.glob("runs/*/supervisor.log"),
            *self.home.glob("runs/*/*/logs/*"),
        ]
        return "\n".join(f"--- {path}\n{path.read_text()[-3000:]}" for path in paths if path.exists())

    # -- processes -------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        """Start the worker; returns once the process runs."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLAN_")}
        ours = {"FLAN_HOME": str(self.home), "DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        with (self.home / "worker.log").open("ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "workers"],
                env=inherited | self._environment | ours,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop_worker(self) -> int:
        """SIGTERM, as a deployment does; the exit status."""
        assert self.worker is not None
        self.worker.send_signal(signal.SIGTERM)
        return self.worker.wait(timeout=PATIENCE_S)

    def kill_worker(self) -> None:
        assert self.worker is not None
        self.worker.kill()
        self.worker.wait()

    def supervisor(self, job_id: str) -> psutil.Process:
        """The process that watches over a job."""

        def look() -> psutil.Process | None:
            for process in psutil.process_iter(["cmdline"]):
                words = process.info["cmdline"] or []
                if "workers.supervise" in words and job_id in words and process.status() != "zombie":
                    return process
            return None

        return self.until(look, f"the supervisor of {job_id}")  # type: ignore[return-value]

    def processes(self, job_id: str) -> list[psutil.Process]:
        """Every living process that carries the mark of a job: ranks and what they started."""
        found = []
        for process in psutil.process_iter():
            try:
                environment = Path(f"/proc/{process.pid}/environ").read_bytes()
                if f"{MARK}={job_id}:".encode() in environment and process.status() != "zombie":
                    found.append(process)
            except (OSError, psutil.NoSuchProcess):
                continue
        return found

    def ranks(self, job_id: str) -> list[psutil.Process]:
        """Its ranks alone. Each leads a session of its own; what one has started belongs to the same."""
        return [process for process in self.processes(job_id) if _leads_a_session(process)]

    def rank(self, job_id: str, number: int) -> psutil.Process:
        """The process of one rank."""
        needle = f"RANK={number}".encode()

        def look() -> psutil.Process | None:
            for process in self.ranks(job_id):
                if needle in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                    return process
            return None

        return self.until(look, f"rank {number} of {job_id}")  # type: ignore[return-value]

    def close(self) -> None:
        """End everything, by force."""
        if self.worker is not None and self.worker.poll() is None:
            self.kill_worker()
        engine_of(self.sessions).dispose()


@contextmanager
def running_machine(
    home: Path, database_url: str, redis_url: str, environment: Mapping[str, str]
) -> Iterator[Machine]:
    """A machine whose worker runs; everything is ended at the end."""
    machine = Machine(home, database_url, redis_url, environment)
    try:
        machine.start_worker()
        yield machine
    finally:
        machine.close()


def _leads_a_session(process: psutil.Process) -> bool:
    try:
        return os.getsid(process.pid) == process.pid
    except ProcessLookupError:
        return False
