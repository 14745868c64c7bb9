"""Checkpoints as the ledger knows them."""

from sqlalchemy.orm import Session, sessionmaker

from flan.rundir import Event
from tests.workers.ledger_steps import claimed, queued
from workers.ledger import checkpoints, jobs, journal, leases

Sessions = sessionmaker[Session]


def announced(sessions: Sessions, lease: leases.Lease, *steps: int) -> list[str]:
    """Names of checkpoints that a rank has announced, in order."""
    names = [f"step-{step:08d}-a{lease.attempt}" for step in steps]
    lines = [
        Event(
            line=line,
            at=0.0,
            type="checkpoint.written",
            data={"path": name, "step": step, "manifest_sha256": "0" * 64, "size_bytes": 1},
        )
        for line, (name, step) in enumerate(zip(names, steps, strict=True), 1)
    ]
    with sessions.begin() as session:
        journal.append(session, lease, lines, lease_s=30)
    return names


def states(sessions: Sessions, job_id: str) -> dict[int, str]:
    """Step → state."""
    with sessions.begin() as session:
        return {row.step: row.state for row in checkpoints.all_checkpoints(session, job_id)}


def test_announced_is_not_published(sessions: Sessions) -> None:
    """What a rank says counts only once it was read again."""
    job_id = queued(sessions)
    lease = claimed(sessions)
    first, second = announced(sessions, lease, 10, 20)

    with sessions.begin() as session:
        assert jobs.get(session, job_id).checkpoint_step is None
        checkpoints.publish(session, lease, first)
        checkpoints.publish(session, lease, first)

    with sessions.begin() as session:
        assert jobs.get(session, job_id).checkpoint_step == 10
        assert [row.name for row in checkpoints.candidates(session, job_id)] == [second, first]
        events = [event.type for event in journal.events_after(session, job_id)]
    assert events.count("checkpoint.published") == 1
    assert states(sessions, job_id) == {10: "published", 20: "written"}


def test_rejected_checkpoint_is_never_a_candidate_again(sessions: Sessions) -> None:
    """And the job's newest step is that of one that is sound."""
    job_id = queued(sessions)
    lease = claimed(sessions)
    first, second = announced(sessions, lease, 10, 20)
    with sessions.begin() as session:
        checkpoints.publish(session, lease, first)
        checkpoints.publish(session, lease, second)
        checkpoints.reject(session, lease, second, "a byte was changed")

    with sessions.begin() as session:
        assert jobs.get(session, job_id).checkpoint_step == 10
        assert [row.name for row in checkpoints.candidates(session, job_id)] == [first]


def test_two_newest_and_the_resume_point_are_never_retired(sessions: Sessions) -> None:
    """Whatever the spec says: the newest may turn out corrupt, and the ranks may still read the other."""
    job_id = queued(sessions)
    lease = claimed(sessions)
    names = announced(sessions, lease, 10, 20, 30, 40, 50)
    with sessions.begin() as session:
        for name in names[:-1]:
            checkpoints.publish(session, lease, name)

    with sessions.begin() as session:
        assert checkpoints.retire(session, lease, keep=1, resume_point=names[0]) == [names[1]]
        assert checkpoints.retire(session, lease, keep=1, resume_point=names[0]) == []
    assert states(sessions, job_id) == {
        10: "published",
        20: "deleted",
        30: "published",
        40: "published",
        50: "written",
    }


def test_the_best_and_the_pinned_are_never_retired(sessions: Sessions) -> None:
    """Best is the lowest smoothed loss as it was told of that step; pinned is what the spec names."""
    job_id = queued(sessions)
    lease = claimed(sessions)
    steps = (10, 20, 30, 40, 50, 60)
    names = announced(sessions, lease, *steps)
    losses = dict(zip(steps, (2.0, 1.0, 1.5, 1.2, 1.1, 1.3), strict=True))
    told = [
        Event(line=7 + i, at=0.0, type="metrics", data={"step": step, "values": {checkpoints.BEST_BY: loss}})
        for i, (step, loss) in enumerate(losses.items())
    ]
    with sessions.begin() as session:
        journal.append(session, lease, told, lease_s=30)
        for name in names:
            checkpoints.publish(session, lease, name)

    with sessions.begin() as session:
        assert checkpoints.retire(session, lease, keep=1, pinned=(10,)) == [names[3], names[2]]
    kept = [step for step, state in states(sessions, job_id).items() if state == "published"]
    assert kept == [60, 50, 20, 10]
