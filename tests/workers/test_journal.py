"""What ranks wrote becomes a journal without gaps, and whoever waits is woken."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from flan.rundir import Event
from tests.workers.ledger_steps import claimed, queued
from workers.ledger import jobs, journal, leases
from workers.ledger.journal import BadEvent, MetricKey
from workers.ledger.tables import Checkpoint

Sessions = sessionmaker[Session]


def event(line: int, type_: str = "progress", **data: Any) -> Event:
    """A line of a rank."""
    return Event(line=line, at=0.0, type=type_, data=data or {"step": line})


def append(sessions: Sessions, lease: leases.Lease, *events: Event, attempt: int | None = None) -> str:
    """Enter events in a transaction of their own."""
    with sessions.begin() as session:
        return journal.append(session, lease, events, lease_s=30, attempt=attempt)


def test_lines_that_come_twice_are_entered_once(sessions: Sessions) -> None:
    """A transaction whose answer was lost is sent again; the journal does not notice."""
    job_id = queued(sessions)
    lease = claimed(sessions)
    lines = [event(n) for n in range(1, 5)]

    append(sessions, lease, *lines[:3])
    append(sessions, lease, *lines)

    with sessions.begin() as session:
        entered = journal.events_after(session, job_id)
        assert [(e.seq, e.line) for e in entered] == [(1, None), (2, None), (3, 1), (4, 2), (5, 3), (6, 4)]
        assert [e.seq for e in journal.events_after(session, job_id, 4, limit=1)] == [5]
        assert jobs.get(session, job_id).event_seq == 6


def test_missing_line_is_refused(sessions: Sessions) -> None:
    """A gap in what a rank wrote is a fault, not something to pass over."""
    queued(sessions)
    lease = claimed(sessions)

    with pytest.raises(BadEvent, match="line 2 after line 0"):
        append(sessions, lease, event(2))


def test_append_renews_the_lease_and_tells_the_wish(sessions: Sessions) -> None:
    """A rank that speaks is alive; its supervisor hears of a cancel at the next event."""
    job_id = queued(sessions)
    lease = claimed(sessions)
    with sessions.begin() as session:
        before = jobs.get(session, job_id).lease_ends
        jobs.cancel(session, job_id)

    assert append(sessions, lease, event(1)) == "cancel"
    with sessions.begin() as session:
        after = jobs.get(session, job_id).lease_ends
        assert before is not None
        assert after is not None
        assert after > before


def test_replayed_step_overwrites_its_metrics(sessions: Sessions) -> None:
    """A step that was done again after a resume has one figure, the last."""
    job_id = queued(sessions)
    lease = claimed(sessions)
    append(
        sessions,
        lease,
        event(1, "metrics", step=1, values={"train/loss": 3.0, "lr": 0.1}),
        event(2, "metrics", step=2, values={"train/loss": 2.0}),
        event(3, "metrics", step=1, values={"train/loss": 2.5}),
    )

    with sessions.begin() as session:
        found = [(m.step, m.name, m.value) for m in journal.metrics_after(session, job_id)]
        assert found == [(1, "lr", 0.1), (1, "train/loss", 2.5), (2, "train/loss", 2.0)]
        behind = journal.metrics_after(session, job_id, MetricKey(1, "lr"), name="train/loss", limit=1)
        assert [(m.step, m.value) for m in behind] == [(1, 2.5)]


def test_unstorable_characters_do_not_stop_a_run(sessions: Sessions) -> None:
    """PostgreSQL holds neither NUL nor half a surrogate pair; the rest of the text stays as it is."""
    job_id = queued(sessions)
    lease = claimed(sessions)

    append(sessions, lease, event(1, "warning", code="x", message="a\0b\ud800c é 日本 😀", **{"k\0": ["\0"]}))

    with sessions.begin() as session:
        data = journal.events_after(session, job_id)[-1].data
        assert data == {"code": "x", "message": "a\ufffdb\ufffdc é 日本 😀", "k\ufffd": ["\ufffd"]}


@pytest.mark.parametrize(
    "bad",
    [
        event(1, "metrics", step="one", values={}),
        event(1, "metrics", step=1),
        event(1, "checkpoint.written", step=1, path="../../etc", manifest_sha256="", size_bytes=1),
        event(1, "stage.changed"),
    ],
)
def test_event_that_makes_no_sense_is_named(sessions: Sessions, bad: Event) -> None:
    """What a rank got wrong is told, and nothing of it is entered."""
    job_id = queued(sessions)
    lease = claimed(sessions)

    with pytest.raises(BadEvent, match=bad.type):
        append(sessions, lease, bad)
    with sessions.begin() as session:
        assert jobs.get(session, job_id).event_seq == 2
        assert session.query(Checkpoint).count() == 0


def test_what_an_earlier_attempt_wrote_does_not_change_where_this_one_is(sessions: Sessions) -> None:
    """Its events are entered as its own; stage and address are those of the attempt that runs."""
    job_id = queued(sessions)
    first = claimed(sessions)
    append(sessions, first, event(1, "stage.changed", stage="train"))
    with sessions.begin() as session:
        leases.end(session, first, leases.Ending("stopped"), retry_base_s=1)
    second = claimed(sessions)

    append(sessions, second, event(2, "stage.changed", stage="finalize"), attempt=1)
    append(sessions, second, event(1, "stage.changed", stage="prepare"))
    append(sessions, second, event(3, "serve.ready", url="http://gone"), attempt=1)

    with sessions.begin() as session:
        job = jobs.get(session, job_id)
        assert (job.stage, job.url) == ("prepare", None)
        written = [(e.attempt, e.line) for e in journal.events_after(session, job_id) if e.line]
        assert written == [(1, 1), (1, 2), (2, 1), (1, 3)]


def test_committed_event_wakes_who_listens(sessions: Sessions, database_url: str) -> None:
    """A reader of the stream need not poll, and is not woken by what was never committed."""
    with journal.listening(database_url) as listener, ThreadPoolExecutor(1) as thread:
        undone = sessions()
        queued_id = queued(sessions)
        assert listener.wait(10) == {queued_id}
        jobs.pause(undone, queued_id)
        undone.rollback()
        undone.close()
        assert listener.wait(0.05) == frozenset()
        waiting = thread.submit(listener.wait, 10)
        with sessions.begin() as session:
            jobs.cancel(session, queued_id)

        assert waiting.result(timeout=10) == {queued_id}
