"""What people do with jobs, against the real database."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from flan.spec import parse_spec
from tests.workers.ledger_steps import NODE, claimed, queued, spec
from workers.ledger import jobs, journal, leases
from workers.ledger.ids import new_id
from workers.ledger.jobs import JobFilter, WrongState
from workers.ledger.leases import Ending, Failure
from workers.ledger.states import EDGES, ENDED, STATES, shown, stored

Sessions = sessionmaker[Session]


def test_submit_records_the_job_and_its_first_event(sessions: Sessions) -> None:
    """What was accepted can be read back exactly, and its journal begins."""
    asked = spec(name="first")
    with sessions.begin() as session:
        job = jobs.submit(session, asked)

    with sessions.begin() as session:
        found = jobs.get(session, job.id)
        events = journal.events_after(session, job.id)
        assert (found.state, found.wish, found.fence, found.attempt) == ("queued", "run", 0, 0)
        assert parse_spec(found.spec) == asked
        assert found.spec_digest == asked.digest()
        assert [(event.seq, event.type) for event in events] == [(1, "job.submitted")]


def test_submit_that_is_not_committed_leaves_nothing(sessions: Sessions) -> None:
    """A request that dies before its commit has asked for nothing."""
    session = sessions()
    job = jobs.submit(session, spec())
    session.rollback()

    assert jobs.page(session) == []
    assert journal.events_after(session, job.id) == []
    session.close()


def test_pages_follow_each_other_without_gap_or_repeat(sessions: Sessions) -> None:
    """The cursor names the last job seen; filters apply to every page."""
    made = [queued(sessions, name=f"n{i % 2}") for i in range(7)]
    newest_first = sorted(made, reverse=True)

    seen: list[str] = []
    with sessions.begin() as session:
        while page := jobs.page(session, after=seen[-1] if seen else None, limit=3):
            seen += [job.id for job in page]
        assert seen == newest_first
        assert [job.id for job in jobs.page(session, wanted=JobFilter(name="n1"))] == [
            id_ for id_ in newest_first if made.index(id_) % 2
        ]
        assert len(jobs.page(session, wanted=JobFilter(state="queued", kind="tune"))) == 7
        assert jobs.page(session, wanted=JobFilter(state="cancelling")) == []


def test_job_pages_never_scan_history(sessions: Sessions) -> None:
    """Each filter is answered from an index range, however many jobs there were."""
    queued(sessions)
    with sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO jobs (id, name, kind, spec, spec_digest, num_ranks, device, max_retries, state,"
                " finished_at) SELECT 'job_' || lpad(i::text, 26, '0'), 'old' || i % 50, 'tune', '{}', '', 1,"
                " 'cpu', 0, 'succeeded', now()"
                " FROM generate_series(1, 5000) i"
            )
        )
        session.execute(text("ANALYZE jobs"))
    conditions = ["true", "name = 'old3'", "state = 'succeeded'", "state = 'queued'", "kind = 'tune'"]

    with sessions.begin() as session:
        for condition in conditions:
            statement = (
                f"EXPLAIN SELECT * FROM jobs WHERE {condition} AND id < 'job_z' ORDER BY id DESC LIMIT 20"
            )
            plan = "\n".join(session.scalars(text(statement)))
            assert "Seq Scan" not in plan, plan


def test_cancel_of_a_waiting_job_is_immediate_and_idempotent(sessions: Sessions) -> None:
    """Nobody holds it, so nobody need be asked; twice is once."""
    job_id = queued(sessions)

    for _ in range(2):
        with sessions.begin() as session:
            assert jobs.cancel(session, job_id).state == "cancelled"
    with sessions.begin() as session:
        assert leases.claim(session, NODE, "x", lease_s=30) is None
        assert [event.type for event in journal.events_after(session, job_id)] == [
            "job.submitted",
            "job.cancelled",
        ]


def test_cancel_of_a_running_job_is_a_wish(sessions: Sessions) -> None:
    """Only the owner of the lease may say `cancelled`, when the processes are gone."""
    job_id = queued(sessions)
    lease = claimed(sessions)
    with sessions.begin() as session:
        job = jobs.cancel(session, job_id)
        assert (job.state, shown(job.state, job.wish)) == ("running", "cancelling")
        assert [found.id for found in jobs.page(session, wanted=JobFilter(state="cancelling"))] == [job_id]

    with sessions.begin() as session:
        assert leases.renew(session, lease, lease_s=30) == "cancel"
        assert leases.end(session, lease, Ending("stopped"), retry_base_s=1) == "cancelled"


def test_cancel_that_comes_after_the_end_changes_nothing(sessions: Sessions) -> None:
    """Whoever committed first wins: a job that succeeded stays so."""
    job_id = queued(sessions)
    lease = claimed(sessions)
    with sessions.begin() as session:
        leases.end(session, lease, Ending("done"), retry_base_s=1)

    with sessions.begin() as session, pytest.raises(WrongState, match="has succeeded"):
        jobs.cancel(session, job_id)


def test_pause_and_resume_of_a_waiting_job(sessions: Sessions) -> None:
    """A paused job is not claimed; a resumed one is."""
    job_id = queued(sessions)
    with sessions.begin() as session:
        assert jobs.pause(session, job_id).state == "paused"
    with sessions.begin() as session:
        assert leases.claim(session, NODE, "x", lease_s=30) is None
    with sessions.begin() as session:
        assert jobs.resume(session, job_id).state == "queued"

    assert claimed(sessions).job_id == job_id


def test_resume_before_the_pause_was_obeyed_goes_on(sessions: Sessions) -> None:
    """Ranks that stopped for a wish that no longer stands are started again at once."""
    job_id = queued(sessions)
    lease = claimed(sessions)
    with sessions.begin() as session:
        jobs.pause(session, job_id)
    with sessions.begin() as session:
        jobs.resume(session, job_id)
    with sessions.begin() as session:
        assert leases.end(session, lease, Ending("stopped"), retry_base_s=1) == "queued"

    assert claimed(sessions).attempt == 2


def test_retry_gives_a_failed_job_all_its_tries_again(sessions: Sessions) -> None:
    """Failed for a reason that was mended: it starts anew, and only a failed job can."""
    job_id = queued(sessions)
    lease = claimed(sessions)
    fault = Failure(code="nan", blame="user", message="loss is not finite")
    with sessions.begin() as session:
        assert leases.end(session, lease, Ending("fault", fault), retry_base_s=1) == "failed"
    with sessions.begin() as session:
        assert jobs.get(session, job_id).error["code"] == "nan"  # type: ignore[index]
    with sessions.begin() as session:
        job = jobs.retry(session, job_id)
        assert (job.state, job.error, job.finished_at, job.retries, job.barren) == (
            "queued",
            None,
            None,
            0,
            0,
        )

    with sessions.begin() as session, pytest.raises(WrongState, match="only a failed job"):
        jobs.retry(session, job_id)


def test_database_knows_the_same_edges(sessions: Sessions) -> None:
    """No writer, whatever its code, moves a job along an edge that is not in the one list."""
    job_id = queued(sessions)

    allowed = {(a, b) for a in STATES for b in STATES if a != b and _can_be_moved(sessions, job_id, a, b)}

    assert allowed == EDGES


def _can_be_moved(sessions: Sessions, job_id: str, source: str, target: str) -> bool:
    with sessions.begin() as session:
        session.execute(text("ALTER TABLE jobs DISABLE TRIGGER guard_job"))
        _put(session, job_id, source)
        session.execute(text("ALTER TABLE jobs ENABLE TRIGGER guard_job"))
    try:
        with sessions.begin() as session:
            _put(session, job_id, target)
    except IntegrityError as error:
        assert "cannot go" in str(error)
        return False
    return True


def _put(session: Session, job_id: str, state: str) -> None:
    lease = "lease_owner = 'x', lease_node = 'x', lease_ends = now()"
    no_lease = "lease_owner = NULL, lease_node = NULL, lease_ends = NULL"
    session.execute(
        text(
            f"UPDATE jobs SET state = '{state}', {lease if state == 'running' else no_lease},"
            f" finished_at = {'now()' if state in ENDED else 'NULL'} WHERE id = '{job_id}'"
        )
    )


@pytest.mark.parametrize("statement", ["UPDATE events SET type = 'x'", "DELETE FROM events"])
def test_journal_is_append_only(sessions: Sessions, statement: str) -> None:
    """What is in the journal stays as it is, whoever asks."""
    queued(sessions)

    with pytest.raises(IntegrityError, match="append-only"), sessions.begin() as session:
        session.execute(text(statement))


def test_fence_never_goes_back(sessions: Sessions) -> None:
    """A lower fence would let an owner from before come back."""
    queued(sessions)
    claimed(sessions)

    with pytest.raises(IntegrityError, match="went back"), sessions.begin() as session:
        session.execute(text("UPDATE jobs SET fence = fence - 1"))


@given(st.sampled_from(STATES), st.sampled_from(["run", "pause", "cancel"]))
def test_shown_states_can_be_asked_for(state: str, wish: str) -> None:
    """A filter on what is shown finds exactly the rows that are shown so."""
    of_state, of_wish = stored(shown(state, wish))

    assert of_state == state
    assert of_wish in (None, wish)


ACTIONS = ("claim", "done", "stopped", "fault", "user_fault", "cancel", "pause", "resume", "retry", "expire")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=12))
def test_any_history_of_a_job_is_legal(sessions: Sessions, actions: list[str]) -> None:
    """Whatever people and owners do in whatever order: legal edges, growing fence, gapless journal."""
    job_id = queued(sessions)
    lease: leases.Lease | None = None
    fence = 0
    for action in actions:
        before = _state(sessions, job_id)
        try:
            lease = _act(sessions, action, job_id, lease)
        except (WrongState, leases.LeaseLost):
            assert _state(sessions, job_id)[:2] == before[:2]
        state, now, _ = _state(sessions, job_id)
        assert state == before[0] or (before[0], state) in EDGES
        assert now >= fence
        if state != before[0]:
            assert now > fence
        fence = now
    with sessions.begin() as session:
        events = journal.events_after(session, job_id, limit=1000)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert jobs.get(session, job_id).event_seq == len(events)
        # Leave nothing for the next history to claim.
        session.execute(
            text(
                "UPDATE jobs SET state = 'cancelled', lease_owner = NULL, lease_node = NULL, lease_ends = NULL,"
                " finished_at = now() WHERE state IN ('queued', 'running', 'paused')"
            )
        )


def _state(sessions: Sessions, job_id: str) -> tuple[str, int, str]:
    with sessions.begin() as session:
        job = jobs.get(session, job_id)
        return job.state, job.fence, job.wish


def _act(sessions: Sessions, action: str, job_id: str, lease: leases.Lease | None) -> leases.Lease | None:
    infra = Failure(code="rank_killed", blame="infra", message="killed")
    user = Failure(code="nan", blame="user", message="nan")
    endings = {
        "done": Ending("done"),
        "stopped": Ending("stopped"),
        "fault": Ending("fault", infra),
        "user_fault": Ending("fault", user),
    }
    with sessions.begin() as session:
        if action == "claim":
            return leases.claim(session, NODE, "owner", lease_s=30) or lease
        if action in endings:
            if lease is not None:
                leases.end(session, lease, endings[action], retry_base_s=1e-6)
        elif action == "expire":
            session.execute(
                text("UPDATE jobs SET lease_ends = now() - interval '1 s' WHERE state = 'running'")
            )
            leases.reap(session, lease_s=1e-6, retry_base_s=1e-6)
        else:
            getattr(jobs, action)(session, job_id)
    return lease


def test_ids_are_distinct_and_of_one_length() -> None:
    """Text order of ids is the order of time only where all are as long."""
    ids = {new_id("job") for _ in range(100)}

    assert len(ids) == 100
    assert {len(id_) for id_ in ids} == {len("job_") + 26}
