"""Jobs: hand in, look at, stop, start again."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session

from api.auth import needs
from api.bodies import read_json
from api.catalog.library import CatalogLibrary
from api.deps import Here, Platform
from api.idempotency import Answer, OnceHere
from api.job_shapes import EstimateShape, JobShape, PlanShape
from api.openapi import JOB_BODY
from api.pages import PageHere, listing, single
from api.plans import plan_of, plan_of_sweep
from api.schemas import List
from flan.data.resolve import Resolved, resolve
from flan.data.sweep_plan import plan_sweep, resolve_children
from flan.spec import Spec, TuneSpec
from flan.sweep_presets import expanded
from flan.sweep_spec import SweepSpec, parse_asked
from flan.sweeps import expand
from workers.ledger import jobs, models, nodes, queue, states, sweeps
from workers.ledger.pace import pace_of_alike
from workers.ledger.tables import Job

router = APIRouter(prefix="/jobs", tags=["Jobs"])
Verb = Callable[[Session, str], Job]


@router.post(
    "",
    operation_id="create_job",
    status_code=202,
    response_model=JobShape,
    dependencies=[needs("jobs:write")],
    openapi_extra=JOB_BODY,
    responses={200: {"model": PlanShape, "description": "With dry_run: what the job would do"}},
)
def create_job(
    here: Here,
    once: OnceHere,
    value: Annotated[Any, Depends(read_json)],
    dry_run: Annotated[
        bool, Query(description="Return the resolved spec and a plan; record nothing.")
    ] = False,
) -> Response:
    """Hand in a job. Names in the spec become digests now: nothing that happens later changes what it does.

    A sweep hands in its jobs with it; those that another job does already are not done again.
    """
    spec = parse_asked(value)

    def make() -> Answer:
        job = _submitted(here, session, spec)
        shown = _shown(session, job).model_dump(mode="json")
        return Answer(202, shown, {"Location": f"/jobs/{job.id}"})

    with here.sessions.begin() as session:
        if dry_run:
            return Answer(200, _plan(here, session, spec).model_dump(mode="json")).response()
        answer = once.answer(session, make)
    here.doorbell.ring()
    return answer.response()


@router.get("", operation_id="list_jobs", response_model=List[JobShape], dependencies=[needs("jobs:read")])
def list_jobs(
    here: Here,
    page: PageHere,
    state: Annotated[states.Shown | None, Query(description="Only jobs that stand so.")] = None,
    kind: Annotated[
        str | None, Query(pattern="^(tune|evaluate|serve|sweep)$", description="Only jobs of this kind.")
    ] = None,
    name: Annotated[str | None, Query(max_length=64, description="Only jobs of this name.")] = None,
    find: Annotated[
        str | None, Query(max_length=64, description="Only jobs whose name has this in it.")
    ] = None,
    sweep: Annotated[
        str | None,
        Query(max_length=64, description="Only jobs that this sweep handed in; none: that no sweep did."),
    ] = None,
    model: Annotated[
        str | None,
        Query(
            max_length=128, description="Only jobs that tune, measure or serve it: name, name@3, name@alias."
        ),
    ] = None,
) -> Response:
    """Jobs, newest first."""
    with here.sessions.begin() as session:
        digest = models.find(session, model).digest if model is not None else None
        wanted = jobs.JobFilter(state=state, kind=kind, name=name, find=find, sweep=sweep, model=digest)
        found = jobs.page(session, wanted=wanted, after=page.after, limit=page.limit + 1)
        there, when = nodes.all_nodes(session), queue.turns(session, found)
    return listing(found, page, lambda job: JobShape.of(job, there, when.get(job.id, queue.NO_TURN)))


@router.get("/{job_id}", operation_id="get_job", response_model=JobShape, dependencies=[needs("jobs:read")])
def get_job(here: Here, request: Request, job_id: str) -> Response:
    """One job."""
    with here.sessions.begin() as session:
        shown = _shown(session, jobs.get(session, job_id))
    return single(request, shown)


@router.post(
    "/{job_id}/cancel", operation_id="cancel_job", response_model=JobShape, dependencies=[needs("jobs:write")]
)
def cancel_job(here: Here, once: OnceHere, job_id: str) -> Response:
    """Stop a job for good; `cancelled` once its processes are gone. A served model stops answering.

    The jobs of a sweep are stopped with it, as they are paused, resumed and retried with it; one that another sweep
    waits for goes on.
    """
    return _do(here, once, sweeps.cancel, job_id)


@router.post(
    "/{job_id}/pause", operation_id="pause_job", response_model=JobShape, dependencies=[needs("jobs:write")]
)
def pause_job(here: Here, once: OnceHere, job_id: str) -> Response:
    """Let a job write a checkpoint and rest."""
    return _do(here, once, sweeps.pause, job_id)


@router.post(
    "/{job_id}/resume", operation_id="resume_job", response_model=JobShape, dependencies=[needs("jobs:write")]
)
def resume_job(here: Here, once: OnceHere, job_id: str) -> Response:
    """Let a paused job go on."""
    return _do(here, once, sweeps.resume, job_id)


@router.post(
    "/{job_id}/retry", operation_id="retry_job", response_model=JobShape, dependencies=[needs("jobs:write")]
)
def retry_job(here: Here, once: OnceHere, job_id: str) -> Response:
    """Start a failed job again from its last checkpoint."""
    return _do(here, once, sweeps.retry, job_id)


def _do(here: Platform, once: OnceHere, verb: Verb, job_id: str) -> Response:
    def make() -> Answer:
        job = verb(session, job_id)
        return Answer(200, _shown(session, job).model_dump(mode="json"))

    with here.sessions.begin() as session:
        answer = once.answer(session, make)
    here.doorbell.ring()
    return answer.response()


def _submitted(here: Platform, session: Session, spec: Spec | SweepSpec) -> Job:
    if not isinstance(spec, SweepSpec):
        return jobs.submit(session, _resolved(here, session, spec).spec)
    sweep = expanded(spec)
    expansion = expand(sweep)
    children = resolve_children(expansion, _library(here, session), here.places)
    return sweeps.submit(session, sweep, expansion.cells, children)


def _plan(here: Platform, session: Session, spec: Spec | SweepSpec) -> PlanShape:
    if not isinstance(spec, SweepSpec):
        resolved = _resolved(here, session, spec)
        return plan_of(resolved, nodes.all_nodes(session), _estimate(session, resolved.spec))
    sweep = expanded(spec)
    plan, children = plan_sweep(expand(sweep), _library(here, session), here.places)
    is_whole = len(children) == len(plan.children)
    return plan_of_sweep(sweep, plan, sweeps.reusable(session, children if is_whole else []))


def _estimate(session: Session, spec: Spec) -> EstimateShape | None:
    if not isinstance(spec, TuneSpec) or (pace := pace_of_alike(session, spec)) is None:
        return None
    return EstimateShape(seconds=round(pace.seconds(spec), 1), job_id=pace.job_id)


def _resolved(here: Platform, session: Session, spec: Spec) -> Resolved:
    return resolve(spec, _library(here, session), here.places)


def _library(here: Platform, session: Session) -> CatalogLibrary:
    return CatalogLibrary(session, here.store, here.settings.models)


def _shown(session: Session, job: Job) -> JobShape:
    return JobShape.of(job, nodes.all_nodes(session), queue.turns(session, [job]).get(job.id, queue.NO_TURN))
