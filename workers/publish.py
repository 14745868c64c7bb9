"""Checkpoints from announced to published: read again, entered under the fence, the old ones removed."""

from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.orm import Session

from flan.background import in_background
from flan.rundir import Event
from workers import outputs
from workers.heart import Heart
from workers.ledger import checkpoints
from workers.ledger.leases import Lease
from workers.ledger.tables import Checkpoint
from workers.link import Link


class _Announced(NamedTuple):
    name: str
    manifest_sha256: str


class Publisher:
    """Publishes what the ranks of one attempt announce, one checkpoint at a time, beside the loop."""

    def __init__(self, link: Link, lease: Lease, folder: Path) -> None:
        self._link = link
        self._lease = lease
        self._folder = folder
        self._waiting: deque[_Announced] = deque()
        self._reading: Future[outputs.CheckpointCorrupt | None] | None = None
        self._resume_point: str | None = None
        self.keep = checkpoints.SAFE
        """How many the spec wants kept."""
        self.pinned: Collection[int] = ()
        """Steps whose checkpoints the spec wants kept for good."""

    def find_resume_point(self, heart: Heart) -> Checkpoint | None:
        """The newest checkpoint whose every byte is right; None = from the start.

        One that was announced and not published before its supervisor died is published now; one that has
        gone bad is set aside.
        """
        found = self._link.insist(lambda session: checkpoints.candidates(session, self._lease.job_id))
        outputs.sweep_checkpoints(self._folder, {checkpoint.name for checkpoint in found})
        for checkpoint in found:
            directory, digest = self._folder / checkpoint.name, checkpoint.manifest_sha256
            error = heart.beat_beside(lambda d=directory, s=digest: _fault_of(d, s))  # type: ignore[misc]
            self._link.insist(lambda session, c=checkpoint, e=error: self._enter(session, c.name, e))  # type: ignore[misc]
            if error is None:
                self._resume_point = checkpoint.name
                return checkpoint
        return None

    def notice(self, events: Sequence[Event]) -> None:
        """Take up what was announced among `events`, which are in the journal."""
        for event in events:
            if event.type == "checkpoint.written":
                self._waiting.append(_Announced(event.data["path"], event.data["manifest_sha256"]))

    def go_on(self) -> bool:
        """Do what can be done now without waiting; whether something is left to do. Raises LeaseLost."""
        if self._waiting and self._reading is None:
            directory, digest = self._folder / self._waiting[0].name, self._waiting[0].manifest_sha256
            self._reading = in_background(lambda: _fault_of(directory, digest))
        if self._reading is not None and self._reading.done():
            error, name = self._reading.result(), self._waiting[0].name
            retired = self._link.attempt(lambda session: self._enter(session, name, error))
            if retired is not None:
                self._waiting.popleft()
                self._reading = None
                in_background(lambda: self._remove(retired))
        return bool(self._waiting)

    def sweep(self) -> None:
        """Remove what does not count, once no rank runs any more."""
        found = self._link.insist(lambda session: checkpoints.candidates(session, self._lease.job_id))
        outputs.sweep_checkpoints(self._folder, {checkpoint.name for checkpoint in found})

    def _enter(self, session: Session, name: str, error: outputs.CheckpointCorrupt | None) -> list[str]:
        """Publish or reject; the names of those whose files may go."""
        if error is not None:
            checkpoints.reject(session, self._lease, name, error.message)
            return []
        checkpoints.publish(session, self._lease, name)
        session.flush()
        return checkpoints.retire(
            session, self._lease, keep=self.keep, resume_point=self._resume_point, pinned=self.pinned
        )

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            outputs.remove(self._folder / name)


def _fault_of(directory: Path, manifest_sha256: str) -> outputs.CheckpointCorrupt | None:
    try:
        outputs.verify_checkpoint(directory, manifest_sha256)
    except outputs.CheckpointCorrupt as error:
        return error
    return None
