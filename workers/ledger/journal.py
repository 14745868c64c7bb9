"""What happened, in order: events numbered without gaps, metrics, and who waits for them.

Every writer here holds the row lock of the job, so numbers are given out one after the other and a reader
that has seen `seq` 7 has seen all before it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import psycopg
from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from flan import rundir
from flan.errors import FlanError
from workers.ledger import checkpoints
from workers.ledger.leases import Lease, hold, renew
from workers.ledger.record import CHANNEL, record, storable
from workers.ledger.tables import Attempt, Event, Job, Metric

PAGE = 1000


class BadEvent(FlanError):
    """A rank wrote a line that is no event, or one that contradicts the journal."""

    code: ClassVar[str] = "bad_event"
    blame = "system"


class MetricKey(NamedTuple):
    """Where a page of metrics ended."""

    step: int
    name: str


def append(
    session: Session,
    lease: Lease,
    events: Sequence[rundir.Event],
    *,
    lease_s: float,
    attempt: int | None = None,
) -> rundir.Wish:
    """Enter what rank 0 of `attempt` (None = the lease's own) wrote, and renew the lease; what is wished.

    Lines that are in the journal already are passed over: a transaction whose answer was lost may be repeated.
    Raises LeaseLost, BadEvent.
    """
    job = hold(session, lease)
    number = attempt or lease.attempt
    tried = session.get_one(Attempt, (job.id, number))
    for event in events:
        if event.line <= tried.lines_read:
            continue
        if event.line != tried.lines_read + 1:
            raise BadEvent(f"attempt {number} wrote line {event.line} after line {tried.lines_read}")
        data = storable(event.data)
        record(session, job, event.type, data, attempt=number, line=event.line)
        tried.lines_read = event.line
        _take_effect(session, job, tried, event.type, data)
    return renew(session, lease, lease_s=lease_s)


def _take_effect(session: Session, job: Job, tried: Attempt, type_: str, data: dict[str, Any]) -> None:
    """What an event changes besides being in the journal."""
    is_current = tried.number == job.attempt
    try:
        match type_:
            case "progress":
                job.progress = data
            case "stage.changed" if is_current:
                job.stage = str(data["stage"])
            case "metrics":
                _put_metrics(session, job.id, tried.number, int(data["step"]), data["values"])
            case "checkpoint.written":
                checkpoints.note_written(session, job.id, tried.number, data)
            case "serve.ready" if is_current:
                job.url = str(data["url"])
                job.barren = 0
    except (KeyError, TypeError, ValueError) as error:
        raise BadEvent(f"{type_} of attempt {tried.number}: {error!r}") from error


def _put_metrics(session: Session, job_id: str, attempt: int, step: int, values: dict[str, float]) -> None:
    rows = [
        {"job_id": job_id, "step": step, "name": name, "value": float(value), "attempt": attempt}
        for name, value in values.items()
    ]
    if not rows:
        return
    statement = insert(Metric).values(rows)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["job_id", "step", "name"],
            set_={"value": statement.excluded.value, "attempt": statement.excluded.attempt},
        )
    )


def events_after(
    session: Session, job_id: str, after: int = 0, *, limit: int = 100, without: Sequence[str] = ()
) -> Sequence[Event]:
    """The events of a job with `seq` greater than `after`, in order, but none of a type that is in `without`; at most
    `limit`, at most PAGE.
    """
    wanted = select(Event).where(Event.job_id == job_id, Event.seq > after)
    if without:
        wanted = wanted.where(Event.type.not_in(without))
    return session.scalars(wanted.order_by(Event.seq).limit(min(limit, PAGE))).all()


def metrics_after(
    session: Session,
    job_id: str,
    after: MetricKey | None = None,
    *,
    name: str | None = None,
    limit: int = 100,
) -> Sequence[Metric]:
    """The metrics of a job behind `after`, by step and name; at most `limit`, at most PAGE."""
    wanted = select(Metric).where(Metric.job_id == job_id)
    if after is not None:
        wanted = wanted.where(tuple_(Metric.step, Metric.name) > (after.step, after.name))
    if name is not None:
        wanted = wanted.where(Metric.name == name)
    return session.scalars(wanted.order_by(Metric.step, Metric.name).limit(min(limit, PAGE))).all()


def models_written(session: Session, job_id: str) -> dict[str, Event]:
    """Role → the last `model.written` of a job, whichever attempt wrote it."""
    wanted = select(Event).where(Event.job_id == job_id, Event.type == "model.written")
    return {event.data["role"]: event for event in session.scalars(wanted.order_by(Event.seq))}


class Listener:
    """Hears of which jobs something was recorded. One connection of its own, for one thread."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def wait(self, timeout_s: float) -> frozenset[str]:
        """The ids of jobs with new events; returns at the first ones, or empty after `timeout_s`.

        Raises psycopg.OperationalError when the connection is gone: open another, and read what was missed.
        """
        heard = self._connection.notifies(timeout=timeout_s, stop_after=1)
        return frozenset(notice.payload for notice in heard)


@contextmanager
def listening(database_url: str) -> Iterator[Listener]:
    """A Listener. Read the journal after this has begun: what happened before is not announced."""
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute(f"LISTEN {CHANNEL}")
        yield Listener(connection)
