"""Server-sent events: a job's journal as it grows.

Each frame carries the event's `seq` as its id; a client that comes back with `Last-Event-ID` misses nothing
and sees nothing twice. A silent stream says `: ping`, and the last frame of an ended job is `stream.end`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from anyio import to_thread
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.deps import Platform
from api.job_shapes import EventShape
from workers.ledger import jobs, journal
from workers.ledger.session import is_passing
from workers.ledger.states import ENDED

log = logging.getLogger(__name__)
MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_RETRY_MS = 2000
_BATCH = 500


class _News(NamedTuple):
    events: Sequence[EventShape]
    ended_as: str | None
    """The final state, once every event is in `events` or before."""


async def job_events(
    here: Platform, job_id: str, after: int, without: Sequence[str] = ()
) -> AsyncIterator[bytes]:
    """Frames of the events of a job with `seq` greater than `after`, until the job has ended; none of a type that is
    in `without`.
    """
    yield f"retry: {_RETRY_MS}\n\n".encode()
    last_sent = time.monotonic()
    while True:
        news = await _news(here, job_id, after, without)
        for event in news.events:
            after = event.seq
            yield _frame(event.model_dump_json(), event.type, event.seq)
        if news.events:
            last_sent = time.monotonic()
        if news.ended_as is not None:
            yield _frame(f'{{"state":"{news.ended_as}"}}', "stream.end")
            return
        if len(news.events) < _BATCH:
            if time.monotonic() - last_sent >= here.settings.stream_heartbeat_s:
                last_sent = time.monotonic()
                yield b": ping\n\n"
            await asyncio.sleep(here.settings.stream_poll_s)


async def _news(here: Platform, job_id: str, after: int, without: Sequence[str]) -> _News:
    try:
        return await to_thread.run_sync(_read, here, job_id, after, without)
    except (DBAPIError, PoolTimeout) as error:
        # A stream outlives a restart of the database: the client would only come back to the same.
        if not is_passing(error):
            raise
        log.warning("event stream waits for the database", extra={"job": job_id})
        return _News((), None)


def _read(here: Platform, job_id: str, after: int, without: Sequence[str]) -> _News:
    with here.sessions.begin() as session:
        # The job first: when it has ended by then, the events read afterwards are complete.
        job = jobs.get(session, job_id)
        events = journal.events_after(session, job_id, after, limit=_BATCH, without=without)
        is_over = job.state in ENDED and len(events) < _BATCH
        return _News([EventShape.of(event) for event in events], job.state if is_over else None)


def _frame(data: str, event: str, id_: int | None = None) -> bytes:
    # JSON has no raw line ends, so one data line is enough; the event's type must have none either.
    name = "".join(character for character in event if character.isprintable())
    identity = f"id: {id_}\n" if id_ is not None else ""
    return f"{identity}event: {name}\ndata: {data}\n\n".encode()
