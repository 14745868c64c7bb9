"""Sweeps: a parent that takes no slot, and its children, which are ordinary jobs.

A sweep and its children are entered in one transaction. A child that starts from the model of another is not
ready; when that one has succeeded, `advance` pins the model and it may be claimed. The state of the parent follows
its children. Whoever writes about several locks the parent first, then children by id.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, sessionmaker

from flan.errors import NotFound
from flan.spec import parse_spec
from flan.sweep_spec import SweepSpec
from flan.sweeps import Cell, Child, ChildSpec, content_digests
from workers.ledger import jobs
from workers.ledger.ids import new_id
from workers.ledger.leases import Failure
from workers.ledger.record import record
from workers.ledger.states import ENDED, shown
from workers.ledger.tables import Job, SweepChild

KIND = "sweep"
NEED_FAILED, STOPPED, CHILDREN_FAILED = "need_failed", "sweep_stopped", "children_failed"
"""Codes: of a child whose model could not be made, of one that was not begun, of a sweep."""
_ADVANCING = 0x73776570  # advisory lock
_LIVE = ("queued", "running")


class NoChildren(NotFound):
    """The job is not a sweep."""

    code: ClassVar[str] = "no_children"


class Listed(NamedTuple):
    """A child of a sweep, and the job that it is."""

    entry: SweepChild
    job: Job

    @property
    def is_own(self) -> bool:
        """Whether the sweep handed it in; otherwise it did the same already, and is not the sweep's to end."""
        return self.job.sweep_id == self.entry.sweep_id


def submit(
    session: Session, sweep: SweepSpec, cells: Sequence[Cell], children: Sequence[tuple[Child, ChildSpec]]
) -> Job:
    """Record a sweep whose `children` are resolved, needed ones first, and each child that no other job is already."""
    parent = Job(
        id=new_id("job"),
        name=sweep.name,
        kind=KIND,
        spec=sweep.model_dump(mode="json"),
        spec_digest=sweep.digest(),
        num_ranks=0,
        device="cpu",
        max_retries=0,
        max_parallel=sweep.max_parallel,
        event_seq=0,
    )
    session.add(parent)
    session.flush()
    reused = reusable(session, children)
    record(session, parent, "job.submitted", {"kind": KIND, "name": parent.name, "children": len(children)})
    ids: dict[str, str] = {}
    digests = content_digests(children)
    for position, (child, spec) in enumerate(children):
        job_id = reused.get(child.name)
        if job_id is None:
            made = jobs.submit(session, spec, content_digest=digests[child.name])
            made.sweep_id = parent.id
            if child.need is not None:
                made.needs_id, made.needs_role = ids[child.need.child], child.need.role
                made.is_ready = False
            job_id = made.id
        ids[child.name] = job_id
        session.add(
            SweepChild(
                sweep_id=parent.id,
                position=position,
                name=child.name,
                job=child.job,
                labels=dict(child.labels),
                cells=_cells_of(child, cells),
                job_id=job_id,
            )
        )
    session.flush()
    session.refresh(parent)
    return parent


def reusable(session: Session, children: Iterable[tuple[Child, ChildSpec]]) -> dict[str, str]:
    """Name of a child → the job that does the same, or has done it: queued, running or succeeded."""
    digests = content_digests(children)
    same = select(Job.content_digest, func.max(Job.id)).where(
        Job.content_digest.in_(digests.values()),
        Job.state.in_(("queued", "running", "succeeded")),
        Job.wish == "run",
    )
    found = dict(session.execute(same.group_by(Job.content_digest)).all())
    return {name: found[digest] for name, digest in digests.items() if digest in found}


def children(session: Session, sweep_id: str) -> list[Listed]:
    """The children of a sweep, in order. Raises JobNotFound, NoChildren."""
    if jobs.get(session, sweep_id).kind != KIND:
        raise NoChildren(f"job {sweep_id} is no sweep: it has no children")
    return _listed(session, sweep_id)


def cells(found: Sequence[Listed]) -> list[Cell]:
    """The cells of a sweep, in order, from its children."""
    labels: dict[int, Mapping[str, str]] = {}
    names: dict[int, dict[str, str]] = {}
    for entry, _ in found:
        for cell in entry.cells:
            labels[cell["at"]] = cell["labels"]
            names.setdefault(cell["at"], {})[cell["job"]] = entry.name
    return [Cell(labels[at], dict(sorted(names[at].items()))) for at in sorted(labels)]


def cancel(session: Session, job_id: str) -> Job:
    """Stop a job, and what it handed in, for good. A child that another sweep waits for goes on."""
    for child_id in _own_open(session, job_id):
        jobs.cancel(session, child_id)
    return jobs.cancel(session, job_id)


def pause(session: Session, job_id: str) -> Job:
    """Let a job rest, and what it handed in."""
    return _with_children(session, job_id, jobs.pause)


def resume(session: Session, job_id: str) -> Job:
    """Let a paused job go on, and what it handed in."""
    return _with_children(session, job_id, jobs.resume)


def retry(session: Session, job_id: str) -> Job:
    """Start a failed job again; of a sweep, those children that failed."""
    parent = jobs.retry(session, job_id)
    if parent.kind == KIND:
        parent.progress = None
        for job in sorted({listed.job for listed in _listed(session, job_id)}, key=lambda job: job.id):
            if job.state == "failed":
                jobs.retry(session, job.id)
    return parent


def advance_all(sessions: sessionmaker[Session]) -> None:
    """Bring every sweep up to date with its children, one process at a time, one transaction each."""
    with sessions.begin() as session:
        live = select(Job.id).where(Job.kind == KIND, Job.state.in_(_LIVE)).order_by(Job.id)
        waiting = session.scalars(live).all()
    for sweep_id in waiting:
        with sessions.begin() as session:
            if session.scalar(select(func.pg_try_advisory_xact_lock(_ADVANCING))):
                advance(session, sweep_id)


def advance(session: Session, sweep_id: str) -> None:
    """Make ready what now has its model, end what never will, tell what changed, and follow with the parent."""
    parent = jobs.lock(session, sweep_id)
    if parent.state not in _LIVE:
        return
    if parent.state == "queued":
        parent.started_at = func.coalesce(Job.started_at, func.now())
        jobs.move(session, parent, "running")
    found = _listed(session, sweep_id)
    _settle(session, parent, found)
    _tell(session, parent, found)
    _follow(session, parent, found)


def _settle(session: Session, parent: Job, found: Sequence[Listed]) -> None:
    """Pin models that are there; end children that cannot be carried out any more."""
    by_id = {listed.job.id: listed.job for listed in found}
    doomed: dict[str, Failure] = {}
    ready: dict[str, Mapping[str, Any]] = {}
    stops = parent.spec["on_failure"] == "stop"
    failed = next((each for each in found if _has_failed(each.job)), None) if stops else None
    for listed in found:
        job = listed.job
        if job.state not in ("queued", "paused"):
            continue
        if not job.is_ready:
            need = by_id.setdefault(str(job.needs_id), session.get_one(Job, job.needs_id))
            if need.id in doomed or need.state in ("failed", "cancelled"):
                doomed[job.id] = _need_failed(need)
            elif need.state == "succeeded":
                model = next((made for made in need.models if made["role"] == job.needs_role), None)
                if model is None:
                    doomed[job.id] = _need_failed(need)
                else:
                    ready[job.id] = model
        if failed is not None and listed.is_own and job.id not in doomed and _is_ours_alone(session, listed):
            message = f"the sweep stops at a failure, and {failed.entry.name} failed"
            doomed[job.id] = Failure(code=STOPPED, blame="user", message=message)
    for job in _locked(session, [*doomed, *ready]):
        if job.id in doomed and job.state == "queued":
            job.error = doomed[job.id].model_dump(mode="json")
            jobs.move(session, job, "failed")
        elif job.id in ready and job.state in ("queued", "paused"):
            _pin(session, job, ready[job.id])


def _pin(session: Session, job: Job, model: Mapping[str, Any]) -> None:
    """Write into a job's spec the model that it has waited for: from here on nothing changes what it does."""
    spec = parse_spec(job.spec)
    assert spec.pins is not None, "it was resolved but for its model"
    pinned = spec.model_copy(update={"pins": spec.pins.model_copy(update={"model": model["digest"]})})
    job.spec, job.spec_digest, job.is_ready = pinned.model_dump(mode="json"), pinned.digest(), True
    reference = f"{model['name']}@{model['version']}"
    record(
        session, job, "job.model_pinned", {"job": job.needs_id, "model": reference, "digest": model["digest"]}
    )


def _need_failed(need: Job) -> Failure:
    error = need.error or {}
    because = f": {error['message']}" if error.get("message") else ""
    what = "has made no such model" if need.state == "succeeded" else f"has not succeeded ({need.state})"
    return Failure(
        code=NEED_FAILED,
        blame=error.get("blame", "user"),
        message=f"job {need.id} ({need.name}), whose model it needs, {what}{because}",
        hint=f"mend that and start both again: POST /jobs/{need.id}/retry, then this one",
        values={"needs": need.id},
    )


def _tell(session: Session, parent: Job, found: Sequence[Listed]) -> None:
    """Into the sweep's journal: each child that stands otherwise than was told last."""
    states = {listed.entry.name: shown(listed.job.state, listed.job.wish) for listed in found}
    changed = False
    for entry, job in found:
        if entry.told != states[entry.name]:
            entry.told, changed = states[entry.name], True
            told = {"child": entry.name, "job": job.id, "state": entry.told}
            record(session, parent, "child.changed", told)
    if changed or parent.progress is None:
        counted = list(states.values())
        parent.progress = {
            "done": counted.count("succeeded"),
            "total": len(counted),
            "failed": counted.count("failed"),
            "running": counted.count("running"),
            "what": "children",
        }
        record(session, parent, "progress", parent.progress)


def _follow(session: Session, parent: Job, found: Sequence[Listed]) -> None:
    """The parent's state, from those of its children."""
    is_over = all(listed.job.state in ENDED for listed in found)
    mine = [listed.job for listed in found if listed.is_own and _is_ours_alone(session, listed)]
    if parent.wish == "cancel":
        if all(job.state in ENDED for job in mine):
            jobs.move(session, parent, "cancelled")
    elif is_over:
        lost = [listed for listed in found if listed.job.state != "succeeded"]
        if not lost:
            jobs.move(session, parent, "succeeded")
            return
        parent.error = _children_failed(lost, len(found)).model_dump(mode="json")
        jobs.move(session, parent, "failed")
    elif parent.wish == "pause" and not any(job.state in _LIVE for job in mine):
        jobs.move(session, parent, "paused")


def _children_failed(lost: Sequence[Listed], total: int) -> Failure:
    first = next((each for each in lost if _has_failed(each.job)), lost[0])
    error = first.job.error or {}
    because = f", {error['code']}: {error['message']}" if error else ""
    return Failure(
        code=CHILDREN_FAILED,
        blame=error.get("blame", "user"),
        message=f"{len(lost)} of {total} jobs did not succeed; the first, {first.entry.name}"
        f" ({first.job.id}), is {first.job.state}{because}",
        hint="retry starts those that failed again; what the others found out is in the results",
        values={"children": [each.job.id for each in lost][:100]},
    )


def _has_failed(job: Job) -> bool:
    """By itself: not because of another, nor because the sweep stopped."""
    return job.state == "failed" and (job.error or {}).get("code") not in (NEED_FAILED, STOPPED)


def _with_children(session: Session, job_id: str, change: Callable[[Session, str], Job]) -> Job:
    parent = change(session, job_id)  # first: it is refused where the job has ended
    for child_id in _own_open(session, job_id):
        if jobs.get(session, child_id).wish != "cancel":
            change(session, child_id)
    return parent


def _own_open(session: Session, job_id: str) -> list[str]:
    """Of a sweep, the jobs it handed in that have not ended and are nobody else's, by id; its row is locked."""
    if jobs.lock(session, job_id).kind != KIND:
        return []
    return sorted(
        listed.job.id
        for listed in _listed(session, job_id)
        if listed.is_own and listed.job.state not in ENDED and _is_ours_alone(session, listed)
    )


def _is_ours_alone(session: Session, listed: Listed) -> bool:
    """Whether no other sweep that is not over waits for the child."""
    other = (
        select(SweepChild.sweep_id)
        .join(Job, Job.id == SweepChild.sweep_id)
        .where(SweepChild.job_id == listed.job.id, SweepChild.sweep_id != listed.entry.sweep_id)
        .where(Job.state.not_in(ENDED), or_(Job.wish != "cancel", Job.state != "running"))
    )
    return session.scalar(other.limit(1)) is None


def _listed(session: Session, sweep_id: str) -> list[Listed]:
    wanted = (
        select(SweepChild, Job)
        .join(Job, Job.id == SweepChild.job_id)
        .where(SweepChild.sweep_id == sweep_id)
        .order_by(SweepChild.position)
        .execution_options(populate_existing=True)
    )
    return [Listed(entry, job) for entry, job in session.execute(wanted)]


def _locked(session: Session, job_ids: Sequence[str]) -> Sequence[Job]:
    wanted = select(Job).where(Job.id.in_(job_ids)).order_by(Job.id).with_for_update()
    return session.scalars(wanted.execution_options(populate_existing=True)).all() if job_ids else []


def _cells_of(child: Child, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    return [
        {"at": at, "labels": dict(cell.labels), "job": job}
        for at, cell in enumerate(cells)
        for job, name in cell.children.items()
        if name == child.name
    ]
