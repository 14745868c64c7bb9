"""Checkpoints as the ledger knows them.

A rank announces one (`written`); whoever holds the lease reads it again and publishes it, or finds it
`corrupt`; retention marks old ones `deleted`, and only then may their files go.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from workers.ledger.leases import Lease, hold
from workers.ledger.record import record
from workers.ledger.tables import Checkpoint, Metric

NAME = re.compile(r"step-\d{8,}-a\d+")
"""Step and attempt. Nothing else becomes a path."""
BEST_BY = "train/smoothed_loss"
"""The metric whose lowest value makes a checkpoint the best."""
SAFE = 2
"""So many of the newest are kept whatever the spec says: one may turn out corrupt."""


def note_written(session: Session, job_id: str, attempt: int, data: Mapping[str, Any]) -> None:
    """Remember that a rank announced a checkpoint. Raises KeyError, TypeError, ValueError on a bad announcement."""
    name = str(data["path"])
    if NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not the name of a checkpoint")
    row = {
        "job_id": job_id,
        "name": name,
        "step": int(data["step"]),
        "attempt": attempt,
        "manifest_sha256": str(data["manifest_sha256"]),
        "size_bytes": int(data["size_bytes"]),
    }
    session.execute(insert(Checkpoint).values(row).on_conflict_do_nothing())


def candidates(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """What a job may be resumed from, newest first: published, or announced and never looked at."""
    wanted = select(Checkpoint).where(
        Checkpoint.job_id == job_id, Checkpoint.state.in_(("written", "published"))
    )
    return session.scalars(wanted.order_by(Checkpoint.step.desc(), Checkpoint.attempt.desc())).all()


def publish(session: Session, lease: Lease, name: str) -> None:
    """Make a verified checkpoint count. This row is what the job resumes from. Raises LeaseLost."""
    job = hold(session, lease)
    checkpoint = session.get_one(Checkpoint, (job.id, name))
    if checkpoint.state == "published":
        return  # the answer to an earlier try was lost
    checkpoint.state, checkpoint.published_at = "published", func.now()
    if job.checkpoint_step is None or checkpoint.step > job.checkpoint_step:
        job.checkpoint_step = checkpoint.step
        job.barren = 0
    data = {"step": checkpoint.step, "name": name, "size_bytes": checkpoint.size_bytes}
    record(session, job, "checkpoint.published", data, attempt=checkpoint.attempt)


def reject(session: Session, lease: Lease, name: str, why: str) -> None:
    """Set a checkpoint aside whose bytes are not those that were announced. Raises LeaseLost."""
    job = hold(session, lease)
    checkpoint = session.get_one(Checkpoint, (job.id, name))
    checkpoint.state = "corrupt"
    session.flush()
    job.checkpoint_step = session.scalar(
        select(func.max(Checkpoint.step)).where(Checkpoint.job_id == job.id, Checkpoint.state == "published")
    )
    data = {"step": checkpoint.step, "name": name, "message": why}
    record(session, job, "checkpoint.corrupt", data, attempt=checkpoint.attempt)


def retire(
    session: Session,
    lease: Lease,
    *,
    keep: int,
    resume_point: str | None = None,
    pinned: Collection[int] = (),
) -> list[str]:
    """Mark what may go as deleted; the names whose files may be removed. Raises LeaseLost.

    Kept: the newest `keep` (at least SAFE) published ones, the one of the lowest smoothed loss, those of
    `pinned` steps, and the one that this attempt started from.
    """
    job = hold(session, lease)
    published = [row for row in candidates(session, job.id) if row.state == "published"]
    best = _best_step(session, job.id, [row.step for row in published])
    old = [
        row
        for row in published[max(keep, SAFE) :]
        if row.name != resume_point and row.step != best and row.step not in pinned
    ]
    for row in old:
        row.state = "deleted"
    return [row.name for row in old]


def _best_step(session: Session, job_id: str, steps: Collection[int]) -> int | None:
    """Of `steps` the first with the lowest smoothed loss; None where none is known."""
    told = select(Metric.step).where(Metric.job_id == job_id, Metric.name == BEST_BY, Metric.step.in_(steps))
    return session.scalar(told.order_by(Metric.value, Metric.step).limit(1))


def all_checkpoints(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """Every checkpoint of a job that was ever announced, newest first."""
    wanted = select(Checkpoint).where(Checkpoint.job_id == job_id)
    return session.scalars(wanted.order_by(Checkpoint.step.desc(), Checkpoint.attempt.desc())).all()
