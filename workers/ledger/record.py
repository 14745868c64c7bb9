"""Entering one event: the one place where numbers are given out."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workers.ledger.tables import Event, Job

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
CHANNEL = "flan_events"
"""PostgreSQL channel on which the id of a job is sent when an event of it is committed."""


def record(
    session: Session,
    job: Job,
    type_: str,
    data: Mapping[str, Any] | None = None,
    *,
    attempt: int | None = None,
    line: int | None = None,
) -> None:
    """Append an event to the journal of `job`, whose row the caller has locked, in the caller's transaction."""
    job.event_seq += 1
    session.add(
        Event(job_id=job.id, seq=job.event_seq, type=type_, data=dict(data or {}), attempt=attempt, line=line)
    )
    # Sent at the commit, and once per job and transaction, however often it is asked for.
    session.execute(select(func.pg_notify(CHANNEL, job.id)))


def storable(value: Any) -> Any:
    """`value` without what PostgreSQL cannot hold: NUL and halves of surrogate pairs become U+FFFD."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {storable(key): storable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value
