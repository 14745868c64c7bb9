"""What queued jobs wait for, as people see it."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from workers.ledger.tables import Job


class Turn(NamedTuple):
    """When a queued job is started."""

    ahead: int
    """Queued jobs that were handed in before it."""
    reason: str | None
    """What it waits for besides slots; None = nothing else."""


NO_TURN = Turn(0, None)


def turns(session: Session, found: Sequence[Job]) -> dict[str, Turn]:
    """The turn of each queued one among these jobs, by id."""
    waiting = [job for job in found if job.state == "queued"]
    if not waiting:
        return {}
    ahead = (func.row_number().over(order_by=Job.id) - 1).label("ahead")
    line = select(Job.id, ahead).where(Job.state == "queued", Job.kind != "sweep").subquery()
    wanted = select(line.c.id, line.c.ahead).where(line.c.id.in_([job.id for job in waiting]))
    places = {found.id: int(found.ahead) for found in session.execute(wanted)}
    reasons = _reasons(session, waiting)
    return {job.id: Turn(places.get(job.id, 0), reasons.get(job.id)) for job in waiting}


def _reasons(session: Session, waiting: Sequence[Job]) -> dict[str, str]:
    """Queued job → why it waits, where that is not for slots."""
    found = {job.id: f"waits for the model of {job.needs_id}" for job in waiting if not job.is_ready}
    sweep_ids = {job.sweep_id for job in waiting if job.is_ready and job.sweep_id is not None}
    if not sweep_ids:
        return found
    child, parent = aliased(Job), aliased(Job)
    counted = (
        select(parent.id, parent.max_parallel, func.count(child.id))
        .join(child, child.sweep_id == parent.id)
        .where(parent.id.in_(sweep_ids), child.state == "running")
        .group_by(parent.id)
    )
    full = {sweep_id: most for sweep_id, most, running in session.execute(counted) if running >= (most or 0)}
    for job in waiting:
        if job.is_ready and job.sweep_id in full:
            found[job.id] = f"its sweep runs {full[job.sweep_id]} jobs at a time (max_parallel)"
    return found
