"""Claims, leases and fences, against the real database."""

from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from flan.rundir import Event
from tests.workers.ledger_steps import NODE, claimed, queued, spec
from workers.ledger import checkpoints, jobs, journal, leases, nodes
from workers.ledger.leases import BARREN_LIMIT, Ending, Failure, Lease, LeaseLost
from workers.ledger.session import LedgerUnavailable, translated

Sessions = sessionmaker[Session]
INFRA = Ending("fault", Failure(code="rank_killed", blame="infra", message="killed"))
WRITTEN = Event(
    line=1,
    at=0.0,
    type="checkpoint.written",
    data={"path": "step-00000010-a1", "step": 10, "manifest_sha256": "0" * 64, "size_bytes": 1},
)


def expire(sessions: Sessions) -> list[Lease]:
    """Let every lease run out, and reap."""
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET lease_ends = now() - interval '1 s' WHERE state = 'running'"))
        return leases.reap(session, lease_s=1e-6, retry_base_s=1e-6)


def test_second_claim_while_the_first_is_uncommitted_gets_nothing(sessions: Sessions) -> None:
    """Two nodes that ask at the same moment never get the same job, and neither waits for the other."""
    job_id = queued(sessions)
    with sessions.begin() as session:
        nodes.report(session, "node-b", cpu_slots=4, gpus=[])
    first, second = sessions(), sessions()
    second.execute(text("SET lock_timeout = '2s'"))

    mine = leases.claim(first, NODE, "a", lease_s=30)
    theirs = leases.claim(second, "node-b", "b", lease_s=30)

    assert mine is not None
    assert mine.job_id == job_id
    assert theirs is None
    first.commit()
    assert leases.claim(second, "node-b", "b", lease_s=30) is None
    first.close()
    second.close()


def test_jobs_are_claimed_in_the_order_they_came(sessions: Sessions) -> None:
    """First come, first served."""
    made = [queued(sessions) for _ in range(3)]

    assert [claimed(sessions).job_id for _ in made] == sorted(made)


def test_claims_stop_when_the_slots_are_taken(sessions: Sessions) -> None:
    """A node of four slots runs four ranks, and a smaller job may pass one that does not fit."""
    first, large, small = queued(sessions, ranks=3), queued(sessions, ranks=2), queued(sessions, ranks=1)
    lease = claimed(sessions)

    assert lease.job_id == first
    assert claimed(sessions).job_id == small
    with sessions.begin() as session:
        assert leases.claim(session, NODE, "x", lease_s=30) is None
        (node,) = nodes.all_nodes(session)
        assert (node.free.cpu, node.is_here) == (0, True)
    with sessions.begin() as session:
        leases.end(session, lease, Ending("done"), retry_base_s=1)
    assert claimed(sessions).job_id == large


def test_gpus_are_given_to_one_job_at_a_time(sessions: Sessions) -> None:
    """A rank gets a GPU of its own; a job that asks for the CPU takes none."""
    gpus = [{"uuid": f"GPU-{i}", "name": "H", "memory_bytes": 1} for i in range(3)]
    with sessions.begin() as session:
        nodes.report(session, "gpu-node", cpu_slots=2, gpus=gpus)
        made = [jobs.submit(session, spec(ranks=2)).id, jobs.submit(session, spec(ranks=2)).id]
        made.append(jobs.submit(session, spec(ranks=1, device="cpu")).id)
        made.append(jobs.submit(session, spec(ranks=1, device="cuda")).id)

    given: dict[str, list[str]] = {}
    with sessions.begin() as session:
        while lease := leases.claim(session, "gpu-node", "x", lease_s=30):
            given[lease.job_id] = jobs.get(session, lease.job_id).gpus
    assert given == {made[0]: ["GPU-0", "GPU-1"], made[2]: [], made[3]: ["GPU-2"]}


def test_cpu_node_leaves_gpu_jobs_alone(sessions: Sessions) -> None:
    """A job that insists on a GPU waits for one."""
    queued(sessions, device="cuda")

    with sessions.begin() as session:
        assert leases.claim(session, NODE, "x", lease_s=30) is None


WRITES: dict[str, Callable[[Session, Lease], object]] = {
    "renew": lambda session, lease: leases.renew(session, lease, lease_s=30),
    "wish": leases.wish_of,
    "append": lambda session, lease: journal.append(session, lease, [WRITTEN], lease_s=30),
    "set_out": lambda session, lease: leases.set_out(session, lease, run_directory="/x", resumed_from=1),
    "publish": lambda session, lease: checkpoints.publish(session, lease, "step-00000010-a1"),
    "reject": lambda session, lease: checkpoints.reject(session, lease, "step-00000010-a1", "why"),
    "retire": lambda session, lease: checkpoints.retire(session, lease, keep=2, resume_point=None),
    "done": lambda session, lease: leases.end(session, lease, Ending("done"), retry_base_s=1),
    "fault": lambda session, lease: leases.end(session, lease, INFRA, retry_base_s=1),
    "take_over": lambda session, lease: leases.take_over(session, lease.job_id, lease.fence, "z", lease_s=30),
}


@pytest.mark.parametrize("has_new_owner", [True, False])
@pytest.mark.parametrize("write", WRITES)
def test_zombie_may_write_nothing(sessions: Sessions, write: str, has_new_owner: bool) -> None:
    """An owner that slept through the end of its lease is refused, whatever it tries, and leaves no trace."""
    job_id = queued(sessions)
    zombie = claimed(sessions)
    with sessions.begin() as session:
        journal.append(session, zombie, [WRITTEN], lease_s=30)
    assert expire(sessions) == [zombie]
    if has_new_owner:
        assert claimed(sessions).attempt == 2

    def picture() -> str:
        with sessions.begin() as session:
            tables = ("jobs", "attempts", "events", "checkpoints", "metrics")
            return str(
                [session.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2")).all() for table in tables]
            )

    before = picture()
    with pytest.raises(LeaseLost), sessions.begin() as session:
        WRITES[write](session, zombie)
    assert picture() == before
    assert job_id == zombie.job_id


def test_owner_may_renew_a_lease_that_ran_out_unnoticed(sessions: Sessions) -> None:
    """The fence decides, not the clock: after a pause that nobody used, the run simply goes on."""
    queued(sessions)
    lease = claimed(sessions)
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET lease_ends = now() - interval '1 h'"))

    with sessions.begin() as session:
        assert leases.renew(session, lease, lease_s=30) == "run"
        assert leases.reap(session, lease_s=1e-6, retry_base_s=1) == []


def test_no_lease_is_reaped_right_after_the_database_started(sessions: Sessions) -> None:
    """While it was down nobody could renew: owners get the time of one lease to do so."""
    queued(sessions)
    lease = claimed(sessions)
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET lease_ends = now() - interval '1 s'"))
        assert leases.reap(session, lease_s=1e6, retry_base_s=1) == []

    with sessions.begin() as session:
        assert leases.reap(session, lease_s=1e-6, retry_base_s=1) == [lease]


def test_one_reaper_at_a_time(sessions: Sessions) -> None:
    """While one reaper is at work another does nothing, and does not wait."""
    job_ids = [queued(sessions), queued(sessions)]
    for _ in job_ids:
        claimed(sessions)
    first, second = sessions(), sessions()
    _let_run_out(sessions, job_ids[0])
    assert [lease.job_id for lease in leases.reap(first, lease_s=1e-6, retry_base_s=1)] == job_ids[:1]
    _let_run_out(sessions, job_ids[1])

    assert leases.reap(second, lease_s=1e-6, retry_base_s=1) == []
    first.commit()
    second.rollback()
    assert [lease.job_id for lease in leases.reap(second, lease_s=1e-6, retry_base_s=1)] == job_ids[1:]
    second.commit()
    first.close()
    second.close()


def _let_run_out(sessions: Sessions, job_id: str) -> None:
    with sessions.begin() as session:
        session.execute(
            text("UPDATE jobs SET lease_ends = now() - interval '1 s' WHERE id = :id"), {"id": job_id}
        )


def test_lease_of_a_dead_process_does_not_wait_for_its_end(sessions: Sessions) -> None:
    """The node knows that its own process is gone; leases of living ones and of other nodes stay."""
    dead_job, live_job = queued(sessions), queued(sessions)
    dead, live = claimed(sessions, owner="dead"), claimed(sessions, owner="live")
    assert (dead.job_id, live.job_id) == (dead_job, live_job)

    with sessions.begin() as session:
        assert leases.dead_owners(session, "node-b", lambda owner: True) == []
        found = leases.dead_owners(session, NODE, lambda owner: owner == "dead")
        assert leases.reap_dead(session, found, retry_base_s=1e-6) == [dead]

    with sessions.begin() as session:
        assert [jobs.get(session, job_id).state for job_id in (dead_job, live_job)] == ["queued", "running"]


def test_attempts_without_progress_end_as_a_loop(sessions: Sessions) -> None:
    """A job whose every attempt is lost is not tried for ever, whatever its retries allow."""
    job_id = queued(sessions, max_retries=100)
    for attempt in range(1, BARREN_LIMIT + 1):
        assert claimed(sessions).attempt == attempt
        expire(sessions)

    with sessions.begin() as session:
        job = jobs.get(session, job_id)
        assert (job.state, job.error["code"]) == ("failed", "no_progress")  # type: ignore[index]


def test_progress_keeps_a_job_from_being_taken_for_a_loop(sessions: Sessions) -> None:
    """Lost workers are no fault of the job: while checkpoints appear it is always tried again."""
    job_id = queued(sessions)
    for attempt in range(1, 8):
        lease = claimed(sessions)
        name = f"step-{attempt:08d}-a{attempt}"
        data = WRITTEN.data | {"path": name, "step": attempt}
        with sessions.begin() as session:
            journal.append(session, lease, [WRITTEN.model_copy(update={"data": data})], lease_s=30)
            checkpoints.publish(session, lease, name)
        expire(sessions)

    with sessions.begin() as session:
        job = jobs.get(session, job_id)
        assert (job.state, job.retries, job.checkpoint_step) == ("queued", 0, 7)


def test_faults_of_the_machine_are_retried_as_often_as_the_spec_says(sessions: Sessions) -> None:
    """max_retries = 1: two attempts, then the failure stands, with what it was."""
    job_id = queued(sessions, max_retries=1)
    for expected in ("queued", "failed"):
        with sessions.begin() as session:
            session.execute(text("UPDATE jobs SET barren = 0"))
        lease = claimed(sessions)
        with sessions.begin() as session:
            assert leases.end(session, lease, INFRA, retry_base_s=1e-6) == expected

    with sessions.begin() as session:
        job = jobs.get(session, job_id)
        assert job.error["code"] == "rank_killed"  # type: ignore[index]
        assert [tried.ending for tried in jobs.attempts(session, job_id)] == ["fault", "fault"]


def test_retry_waits_longer_each_time(sessions: Sessions) -> None:
    """A machine in trouble is not hammered; the wait is the database's, in not_before."""
    job_id = queued(sessions, max_retries=9)
    waits = []
    for _ in range(2):
        lease = claimed(sessions)
        with sessions.begin() as session:
            leases.end(session, lease, INFRA, retry_base_s=100)
        with sessions.begin() as session:
            waits.append(session.scalar(text("SELECT extract(epoch FROM not_before - now()) FROM jobs")))
            assert leases.claim(session, NODE, "x", lease_s=30) is None
            session.execute(text("UPDATE jobs SET not_before = now()"))

    assert 90 < waits[0] <= 100 < 190 < waits[1] <= 200
    assert job_id


def test_preemption_costs_neither_retry_nor_patience(sessions: Sessions) -> None:
    """A worker that shuts down in good order has done the job no harm."""
    job_id = queued(sessions, max_retries=0)
    for _ in range(BARREN_LIMIT + 2):
        lease = claimed(sessions)
        with sessions.begin() as session:
            assert leases.end(session, lease, Ending("stopped"), retry_base_s=1) == "queued"

    with sessions.begin() as session:
        job = jobs.get(session, job_id)
        assert (job.retries, job.barren, job.error) == (0, 0, None)


def test_owner_that_sleeps_inside_a_transaction_does_not_keep_the_job(sessions: Sessions) -> None:
    """A stopped process holds its row locks; the database takes them away, and its next word may be repeated."""
    queued(sessions)
    lease = claimed(sessions)
    zombie = sessions()
    limit = zombie.scalar(text("SHOW idle_in_transaction_session_timeout"))
    zombie.execute(text("SET idle_in_transaction_session_timeout = '100ms'"))
    leases.renew(zombie, lease, lease_s=30)

    with sessions.begin() as session:  # waits for the lock, and gets it
        session.execute(text("UPDATE jobs SET lease_ends = now() - interval '1 s'"))
    with pytest.raises(LedgerUnavailable), translated():
        zombie.execute(text("SELECT 1"))
    assert limit == "15s"
    zombie.close()
