"""A worker's part: claim what fits, start a supervisor for it, bury what died.

One thread does all of it. It wakes when the doorbell rings and every few seconds by itself, so jobs start
without Redis too. Supervisors are its children and die with it: nothing is ever found again and adopted,
a job simply starts anew from its last checkpoint.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.orm import Session, sessionmaker

from workers import gpus
from workers.ledger import leases, nodes, sweeps
from workers.ledger.leases import Lease
from workers.ledger.session import LedgerUnavailable, translated
from workers.processes import identity, is_surely_dead, kill_marked
from workers.settings import Settings

log = logging.getLogger(__name__)
STOP_MARGIN_S = 30.0
"""Beyond the ranks' own grace: to read, publish and enter what they left."""


class Child(NamedTuple):
    """A supervisor we started."""

    lease: Lease
    process: subprocess.Popen[bytes]


class Dispatcher(threading.Thread):
    """Claims and starts until `stop`."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        super().__init__(name="dispatcher", daemon=True)
        self._settings = settings
        self._sessions = sessions
        self._gpus = [
            {"uuid": g.uuid, "name": g.name, "memory_bytes": g.memory_bytes} for g in gpus.find_gpus()
        ]
        self._owner = identity()
        self._bell = threading.Event()
        self._is_stopping = False
        self._children: list[Child] = []

    def ring(self) -> None:
        """Look for work now. Ringing five times is ringing once."""
        self._bell.set()

    def run(self) -> None:
        """Tick until told to stop, then see the supervisors off."""
        is_first = True
        while not self._is_stopping:
            self._bell.clear()
            try:
                with translated():
                    self.tick(is_first=is_first)
                is_first = False
            except LedgerUnavailable as error:
                log.warning("database unavailable", extra={"error": error.message})
            except Exception:
                # A fault in one round must not end the only thread that starts jobs.
                log.exception("a round of the dispatcher failed")
            self._wait()
        self._see_off()

    def stop(self) -> None:
        """Claim nothing more; ask the supervisors to save and stop; return when they have."""
        self._is_stopping = True
        self._bell.set()
        self.join()

    def tick(self, *, is_first: bool = False) -> None:
        """One round: report, bury, reap, bring sweeps up to date, claim."""
        settings = self._settings
        with self._sessions.begin() as session:
            nodes.report(
                session,
                settings.node,
                cpu_slots=settings.cpu_slots,
                gpus=self._gpus,
                disk=_disk_of(settings.home),
                starting=is_first,
            )
        self._reap(self._bury())
        sweeps.advance_all(self._sessions)
        while not self._is_stopping and (lease := self._claim()) is not None:
            self._start(lease)

    def _bury(self) -> list[Lease]:
        """The leases of supervisors that have ended. Most have given them back themselves."""
        ended = [child.lease for child in self._children if child.process.poll() is not None]
        self._children = [child for child in self._children if child.lease not in ended]
        return ended

    def _reap(self, dead: list[Lease]) -> None:
        """End leases whose owner died here, or that ran out anywhere; sweep what their ranks left behind."""
        settings = self._settings
        with self._sessions.begin() as session:
            dead += leases.dead_owners(session, settings.node, is_surely_dead)
        for lease in dead:
            # First the processes, then the lease: a freed slot is really free.
            kill_marked(lease.mark)
        with self._sessions.begin() as session:
            lost = leases.reap_dead(session, dead, retry_base_s=settings.retry_base_s)
        with self._sessions.begin() as session:
            lost += leases.reap(session, lease_s=settings.lease_s, retry_base_s=settings.retry_base_s)
        for lease in lost:
            log.warning("lease ended", extra={"job": lease.job_id, "fence": lease.fence})

    def _claim(self) -> Lease | None:
        with self._sessions.begin() as session:
            return leases.claim(session, self._settings.node, self._owner, lease_s=self._settings.lease_s)

    def _start(self, lease: Lease) -> None:
        folder = self._settings.runs_folder / lease.job_id
        folder.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "workers.supervise", lease.job_id, str(lease.fence), str(os.getpid())]
        with (folder / "supervisor.log").open("ab") as output:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self._children.append(Child(lease, process))
        log.info("attempt started", extra={"job": lease.job_id, "fence": lease.fence, "pid": process.pid})

    def _wait(self) -> None:
        """Until the bell rings, a supervisor ends, or the tick is over."""
        deadline = time.monotonic() + self._settings.tick_s
        while time.monotonic() < deadline and not self._bell.wait(0.2):
            if any(child.process.poll() is not None for child in self._children):
                return

    def _see_off(self) -> None:
        """Have every supervisor save and stop; kill those that do not in time."""
        for child in self._children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._settings.grace_s + STOP_MARGIN_S
        for child in self._children:
            try:
                child.process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("supervisor killed", extra={"job": child.lease.job_id})
                child.process.kill()
                child.process.wait()
                kill_marked(child.lease.mark)


def _disk_of(home: Path) -> nodes.Disk:
    usage = shutil.disk_usage(home)
    return nodes.Disk(usage.total, usage.free)
