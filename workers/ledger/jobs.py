"""What people do with jobs: hand them in, look at them, stop them, start them again.

Each function is one transaction's worth and does not commit: what the caller writes beside it (an
idempotency key) stands or falls with it. Ring the doorbell after the commit.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flan.errors import Conflict, NotFound
from flan.rundir import Wish
from flan.spec import EvaluateSpec, Spec, TuneSpec
from flan.sweeps import content_digest as digest_of
from workers.ledger.ids import new_id
from workers.ledger.record import record
from workers.ledger.states import ENDED, State, stored
from workers.ledger.tables import Attempt, Job

PAGE = 200


class JobNotFound(NotFound):
    """There is no job of this id."""

    code: ClassVar[str] = "job_not_found"


class WrongState(Conflict):
    """The job is not in a state in which this can be done."""

    code: ClassVar[str] = "wrong_state"


class JobFilter(NamedTuple):
    """Which jobs a list holds; None = any. `state` is a shown state."""

    state: str | None = None
    kind: str | None = None
    name: str | None = None
    find: str | None = None
    """Part of the name."""
    sweep: str | None = None
    """The sweep that handed it in; "none": none did."""
    model: str | None = None
    """Digest of the model that it starts from, measures or serves."""


ANY = JobFilter()


def submit(session: Session, spec: Spec, *, content_digest: str | None = None) -> Job:
    """Record a job for a resolved spec, ready to be claimed.

    `content_digest` is that of flan.sweeps, of a child that starts from the model of another.
    """
    if content_digest is None and isinstance(spec, TuneSpec | EvaluateSpec):
        content_digest = digest_of(spec)
    job = Job(
        id=new_id("job"),
        name=spec.name,
        kind=spec.kind,
        spec=spec.model_dump(mode="json"),
        spec_digest=spec.digest(),
        num_ranks=spec.resources.ranks,
        device=spec.resources.device,
        max_retries=spec.max_retries,
        content_digest=content_digest,
        event_seq=0,
    )
    session.add(job)
    session.flush()  # the event refers to the row
    record(session, job, "job.submitted", {"kind": job.kind, "name": job.name})
    session.flush()
    session.refresh(job)
    return job


def get(session: Session, job_id: str) -> Job:
    """The job. Raises JobNotFound."""
    job = session.get(Job, job_id)
    if job is None:
        raise JobNotFound(f"there is no job {job_id!r}")
    return job


def page(
    session: Session, *, wanted: JobFilter = ANY, after: str | None = None, limit: int = 20
) -> Sequence[Job]:
    """Jobs, newest first, behind the job `after`; at most `limit`, at most PAGE.

    One index range, no scan; but to find a part of a name, newest first, until there are enough.
    """
    query = select(Job)
    if wanted.state is not None:
        state, wish = stored(wanted.state)
        query = query.where(Job.state == state)
        query = query.where(Job.wish == wish) if wish is not None else query
    if wanted.kind is not None:
        query = query.where(Job.kind == wanted.kind)
    if wanted.name is not None:
        query = query.where(Job.name == wanted.name)
    if wanted.find is not None:
        query = query.where(Job.name.contains(wanted.find, autoescape=True))
    if wanted.sweep is not None:
        query = query.where(
            Job.sweep_id == wanted.sweep if wanted.sweep != "none" else Job.sweep_id.is_(None)
        )
    if wanted.model is not None:
        query = query.where(Job.model_digest == wanted.model)
    if after is not None:
        query = query.where(Job.id < after)
    return session.scalars(query.order_by(Job.id.desc()).limit(min(limit, PAGE))).all()


def attempts(session: Session, job_id: str) -> Sequence[Attempt]:
    """Every try at a job, in order."""
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)).all()


def cancel(session: Session, job_id: str) -> Job:
    """Stop a job for good. A running one is asked, and is `cancelled` once its processes are gone.

    Cancelling twice is once. Raises JobNotFound; WrongState when it ended otherwise.
    """
    job = lock(session, job_id)
    if job.state == "cancelled":
        return job
    if job.state in ENDED:
        raise WrongState(f"job {job_id} has {_ended(job)} and cannot be cancelled", state=job.state)
    if job.state == "running":
        return _wish(session, job, "cancel")
    job.wish = "cancel"
    return move(session, job, "cancelled")


def pause(session: Session, job_id: str) -> Job:
    """Let a job rest, its last step in a checkpoint, its slots free. Pausing twice is once.

    Raises JobNotFound; WrongState when it has ended or is being cancelled.
    """
    job = lock(session, job_id)
    if job.state == "paused":
        return job
    if job.state in ENDED:
        raise WrongState(f"job {job_id} has {_ended(job)} and cannot be paused", state=job.state)
    if job.wish == "cancel":
        raise WrongState(f"job {job_id} is being cancelled", state="cancelling")
    if job.state == "running":
        return _wish(session, job, "pause")
    job.wish = "pause"
    return move(session, job, "paused")


def resume(session: Session, job_id: str) -> Job:
    """Let a paused job go on from where it was. Resuming what runs or waits changes nothing.

    Raises JobNotFound; WrongState when it has ended or is being cancelled.
    """
    job = lock(session, job_id)
    if job.state in ENDED:
        hint = "POST /jobs/{id}/retry starts a failed job again" if job.state == "failed" else None
        raise WrongState(f"job {job_id} has {_ended(job)} and cannot be resumed", hint=hint, state=job.state)
    if job.wish == "cancel":
        raise WrongState(f"job {job_id} is being cancelled", state="cancelling")
    if job.state == "running":
        return _wish(session, job, "run")
    if job.state == "queued":
        return job
    job.wish, job.not_before = "run", func.now()
    return move(session, job, "queued")


def retry(session: Session, job_id: str) -> Job:
    """Start a failed job again from its last checkpoint, with all its retries. Raises JobNotFound, WrongState."""
    job = lock(session, job_id)
    if job.state != "failed":
        raise WrongState(f"job {job_id} is {job.state}: only a failed job can be retried", state=job.state)
    job.wish, job.not_before = "run", func.now()
    job.retries = job.barren = 0
    job.error = job.finished_at = None
    return move(session, job, "queued", "job.retried")


def lock(session: Session, job_id: str) -> Job:
    """The job, its row locked to the end of the transaction. Raises JobNotFound."""
    locked = select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    job = session.scalars(locked).one_or_none()
    if job is None:
        raise JobNotFound(f"there is no job {job_id!r}")
    return job


def _wish(session: Session, job: Job, wish: Wish) -> Job:
    """Ask the owner of a running job; nobody but the owner changes its state."""
    if job.wish != wish:
        job.wish = wish
        record(session, job, "job.wished", {"wish": wish})
    return _fresh(session, job)


def move(session: Session, job: Job, state: State, event: str | None = None) -> Job:
    """Set the state of a job that nobody holds. Its fence grows: no lease from before may come back."""
    job.state = state
    job.fence += 1
    if state in ENDED:
        job.finished_at = func.now()
    record(session, job, event or f"job.{state}")
    return _fresh(session, job)


def _fresh(session: Session, job: Job) -> Job:
    session.flush()
    session.refresh(job)
    return job


def _ended(job: Job) -> str:
    return "been cancelled" if job.state == "cancelled" else job.state
