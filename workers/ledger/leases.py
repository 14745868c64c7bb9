"""Who may carry out a job: claims, leases, fences.

A lease decides liveness, the fence decides correctness. `fence` grows by one at every claim and whenever a
lease ends; each write of an owner is made under the row lock of the job and after its fence was compared
(`hold`). An owner that slept through the end of its lease finds another fence and may write nothing.
Only the database's clock is asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Literal, NamedTuple

from sqlalchemy import Select, and_, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from flan.errors import Blame, FlanError
from flan.rundir import Wish
from flan.spec import Document
from workers.ledger.models import NewModel, register
from workers.ledger.nodes import free_slots
from workers.ledger.record import record, storable
from workers.ledger.states import ENDED, State
from workers.ledger.tables import Attempt, Job, Node

BARREN_LIMIT = 3
"""So many attempts in a row without progress are a loop, whoever is to blame."""
RETRY_CAP_S = 600.0
_REAPER = 0x72656170  # advisory lock


class LeaseLost(FlanError):
    """The job changed hands: whoever gets this may write nothing more about it."""

    code: ClassVar[str] = "lease_lost"
    blame = "infra"


@dataclass(frozen=True)
class Lease:
    """The right to carry out a job, for as long as it is renewed and the fence stands."""

    job_id: str
    fence: int
    attempt: int

    @property
    def mark(self) -> str:
        """What every process of this attempt carries in its environment."""
        return f"{self.job_id}:{self.fence}"


class Failure(Document):
    """Why an attempt failed: stored with the job and shown to whoever asked for it."""

    code: str
    blame: Blame
    message: str
    hint: str | None = None
    values: dict[str, Any] = {}
    rank: int | None = None
    log: tuple[str, ...] = ()
    """The last lines the rank wrote."""


class Ending(NamedTuple):
    """How an attempt ended, as its owner saw it. What becomes of the job is decided by `end`."""

    kind: Literal["done", "stopped", "fault"]
    failure: Failure | None = None
    results: dict[str, Any] | None = None
    models: Sequence[NewModel] = ()


def claim(session: Session, node: str, owner: str, *, lease_s: float) -> Lease | None:
    """Take the oldest job that fits what is free on `node`; None when there is none.

    A smaller job may pass a larger one that does not fit yet. Concurrent claims of a node follow one after
    the other (the node's row is locked); those of other nodes pass over each other's candidates.

    A child of a sweep is passed over while the model it needs is not there, or as many of its sweep run as may.
    """
    offered = session.scalars(select(Node).where(Node.name == node).with_for_update()).one()
    free = free_slots(session, offered)
    wants_cpu = Job.device == "cpu" if offered.gpus else Job.device.in_(("cpu", "auto"))
    on_cpu = and_(wants_cpu, Job.num_ranks <= free.cpu)
    on_gpus = and_(~wants_cpu, Job.num_ranks <= len(free.gpus))
    full: list[str] = []
    while True:
        wanted = (
            select(Job)
            .where(
                Job.state == "queued", Job.wish == "run", Job.not_before <= func.now(), or_(on_cpu, on_gpus)
            )
            .where(Job.kind != "sweep", Job.is_ready, func.coalesce(Job.sweep_id, "").not_in(full))
            .order_by(Job.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        job = session.scalars(wanted).one_or_none()
        if job is None:
            return None
        if job.sweep_id is None or _may_run_one_more(session, job.sweep_id):
            break
        full.append(job.sweep_id)
    takes_cpu = job.device == "cpu" or (job.device == "auto" and not offered.gpus)
    job.state = "running"
    job.fence += 1
    job.attempt += 1
    job.barren += 1
    job.stage = None
    job.lease_owner, job.lease_node = owner, node
    job.lease_ends, job.heard_at = _in(lease_s), func.now()
    job.gpus = [] if takes_cpu else list(free.gpus[: job.num_ranks])
    job.started_at = func.coalesce(Job.started_at, func.now())
    session.add(Attempt(job_id=job.id, number=job.attempt, fence=job.fence, node=node, gpus=job.gpus))
    record(session, job, "job.started", {"attempt": job.attempt, "node": node, "gpus": job.gpus})
    return Lease(job.id, job.fence, job.attempt)


def _may_run_one_more(session: Session, sweep_id: str) -> bool:
    """Whether fewer jobs of a sweep run than may; until the transaction ends nobody else claims one of it.

    Nor does this one while another does: to wait for each other, sweep by sweep, could be for ever.
    """
    key = func.hashtextextended(f"sweep:{sweep_id}", 0)
    if not session.scalar(select(func.pg_try_advisory_xact_lock(key))):
        return False
    running = select(func.count()).where(Job.sweep_id == sweep_id, Job.state == "running").scalar_subquery()
    return bool(session.scalar(select(running < Job.max_parallel).where(Job.id == sweep_id)))


def hold(session: Session, lease: Lease) -> Job:
    """The job, its row locked, as its owner may change it. Raises LeaseLost."""
    held = _held(lease.job_id, lease.fence).with_for_update().execution_options(populate_existing=True)
    job = session.scalars(held).one_or_none()
    if job is None:
        raise LeaseLost(f"job {lease.job_id}: fence {lease.fence} is past")
    return job


def take_over(session: Session, job_id: str, fence: int, owner: str, *, lease_s: float) -> Lease:
    """Make `owner` the holder of a lease that its worker claimed for it. Raises LeaseLost."""
    job = session.scalars(_held(job_id, fence).with_for_update()).one_or_none()
    if job is None:
        raise LeaseLost(f"job {job_id}: fence {fence} is past")
    job.lease_owner, job.lease_ends, job.heard_at = owner, _in(lease_s), func.now()
    return Lease(job_id, fence, job.attempt)


def set_out(session: Session, lease: Lease, *, run_directory: str, resumed_from: int | None) -> None:
    """Note where this attempt runs, and from which step. Raises LeaseLost."""
    job = hold(session, lease)
    attempt = session.get_one(Attempt, (job.id, lease.attempt))
    attempt.run_directory, attempt.resumed_from = run_directory, resumed_from


def renew(session: Session, lease: Lease, *, lease_s: float) -> Wish:
    """Keep `lease` for another `lease_s`; what is wished of the job. Raises LeaseLost."""
    held = update(Job).where(Job.id == lease.job_id, Job.fence == lease.fence, Job.state == "running")
    renewed = held.values(lease_ends=_in(lease_s), heard_at=func.now())
    wish: Wish | None = session.scalar(renewed.returning(Job.wish))
    if wish is None:
        raise LeaseLost(f"job {lease.job_id}: fence {lease.fence} is past")
    return wish


def wish_of(session: Session, lease: Lease) -> Wish:
    """What is wished of the job. Raises LeaseLost."""
    wish: Wish | None = session.scalar(
        select(Job.wish).where(Job.id == lease.job_id, Job.fence == lease.fence, Job.state == "running")
    )
    if wish is None:
        raise LeaseLost(f"job {lease.job_id}: fence {lease.fence} is past")
    return wish


def end(session: Session, lease: Lease, ending: Ending, *, retry_base_s: float) -> State:
    """Give the lease back; what has become of the job. Raises LeaseLost.

    The wish is read under the row lock, so that a cancel that came last counts, and one that comes after
    finds the job ended.
    """
    job = hold(session, lease)
    match ending.kind, job.wish:
        case "done", _:
            job.results = storable(ending.results)
            return _leave(session, job, "succeeded", "succeeded", models=ending.models)
        case _, "cancel":
            return _leave(session, job, "cancelled", "cancelled", ending.failure)
        case "stopped", "pause":
            job.barren = 0
            return _leave(session, job, "paused", "paused")
        case "stopped", _:
            job.barren = 0
            job.not_before = func.now()
            return _leave(session, job, "queued", "preempted")
    assert ending.failure is not None
    if ending.failure.blame != "infra":
        return _leave(session, job, "failed", "failed", ending.failure)
    job.retries += 1
    return _try_again(session, job, "fault", ending.failure, retry_base_s)


def reap(session: Session, *, lease_s: float, retry_base_s: float) -> list[Lease]:
    """End every lease that is past, one reaper at a time; the leases that were ended.

    None is ended within a lease of the database's own start: its owners could not renew while it was down.
    """
    if not session.scalar(select(func.pg_try_advisory_xact_lock(_REAPER))):
        return []
    has_settled = func.now() > func.pg_postmaster_start_time() + timedelta(seconds=lease_s)
    past = select(Job).where(Job.state == "running", Job.lease_ends < func.now(), has_settled)
    return _end_lost(session, past, "the lease ran out: worker or machine lost", retry_base_s)


def dead_owners(session: Session, node: str, is_dead: Callable[[str], bool]) -> list[Lease]:
    """The leases of `node` whose owner has ended, by the judgement of the node itself: nobody else can know."""
    held = select(Job.id, Job.fence, Job.attempt, Job.lease_owner)
    held = held.where(Job.state == "running", Job.lease_node == node)
    return [
        Lease(job_id, fence, attempt)
        for job_id, fence, attempt, owner in session.execute(held)
        if is_dead(str(owner))
    ]


def reap_dead(session: Session, dead: Sequence[Lease], *, retry_base_s: float) -> list[Lease]:
    """End leases without waiting for them to run out; those that were still held."""
    if not dead:
        return []
    held = [(lease.job_id, lease.fence) for lease in dead]
    lost = select(Job).where(Job.state == "running", tuple_(Job.id, Job.fence).in_(held))
    return _end_lost(session, lost, "the process that watched over it died", retry_base_s)


def _end_lost(session: Session, lost: Select[Job], why: str, retry_base_s: float) -> list[Lease]:
    ended = []
    for job in session.scalars(lost.with_for_update(skip_locked=True)):
        ended.append(Lease(job.id, job.fence, job.attempt))
        failure = Failure(code="lease_lost", blame="infra", message=why)
        if job.wish == "cancel":
            _leave(session, job, "cancelled", "lost", failure)
        else:
            _try_again(session, job, "lost", failure, retry_base_s)
    return ended


def _try_again(session: Session, job: Job, ending: str, failure: Failure, retry_base_s: float) -> State:
    """Back into the queue, unless it was wished to rest, or has been tried often enough."""
    if job.barren >= BARREN_LIMIT:
        message = f"{job.barren} attempts in a row made no progress; the last: {failure.message}"
        why = failure.model_copy(update={"code": "no_progress", "message": message})
        return _leave(session, job, "failed", ending, why)
    if job.retries > job.max_retries:
        message = f"{failure.message} (tried {job.max_retries} times again, as max_retries says)"
        return _leave(session, job, "failed", ending, failure.model_copy(update={"message": message}))
    if job.wish == "pause":
        return _leave(session, job, "paused", ending, failure)
    # A job that had made progress goes on at once; each barren attempt doubles the wait.
    wait_s = min(retry_base_s * 2 ** (job.barren - 1), RETRY_CAP_S) if job.barren else 0.0
    job.not_before = _in(wait_s)
    return _leave(session, job, "queued", ending, failure)


def _leave(
    session: Session,
    job: Job,
    state: State,
    ending: str,
    failure: Failure | None = None,
    *,
    models: Sequence[NewModel] = (),
) -> State:
    """End the lease of `job` and set it to `state`, with the event that says so."""
    shown = storable(failure.model_dump(mode="json")) if failure else None
    job.state = state
    job.fence += 1
    job.lease_owner = job.lease_node = job.lease_ends = None
    job.gpus, job.url = [], None
    job.error = shown
    if state in ENDED:
        job.finished_at = func.now()
    tried = session.get_one(Attempt, (job.id, job.attempt))
    tried.ended_at, tried.ending, tried.error = func.now(), ending, shown
    data: dict[str, Any] = {"attempt": job.attempt, "ending": ending}
    if shown:
        data["error"] = {key: shown[key] for key in ("code", "blame", "message", "hint")}
    if models:
        made = [register(session, model, job_id=job.id) for model in models]
        job.models = data["models"] = [
            {"name": one.name, "version": one.version, "role": one.role, "digest": one.digest} for one in made
        ]
    record(session, job, f"job.{state}", data)
    return state


def _held(job_id: str, fence: int) -> Select[Job]:
    return select(Job).where(Job.id == job_id, Job.fence == fence, Job.state == "running")


def _in(seconds: float) -> Any:
    """A moment `seconds` from now, by the database's clock."""
    return func.now() + timedelta(seconds=seconds)
