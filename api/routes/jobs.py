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
from api.job_shapes import JobShape
from api.openapi import JOB_BODY
from api.pages import PageHere, listing, single
from api.plans import plan_of
from api.schemas import List
from flan.data.resolve import Resolved, resolve
from flan.spec import Spec, parse_spec
from workers.ledger import jobs, nodes, states
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
)
def create_job(
    here: Here,
    once: OnceHere,
    value: Annotated[Any, Depends(read_json)],
    dry_run: Annotated[
        bool, Query(description="Return the resolved spec and a plan; record nothing.")
    ] = False,
) -> Response:
    """Hand in a job. Names in the spec become digests now: nothing that happens later changes what it does."""
    spec = parse_spec(value)

    def make() -> Answer:
        job = jobs.submit(session, _resolved(here, session, spec).spec)
        shown = JobShape.of(job, nodes.all_nodes(session)).model_dump(mode="json")
        return Answer(202, shown, {"Location": f"/jobs/{job.id}"})

    with here.sessions.begin() as session:
        if dry_run:
            plan = plan_of(_resolved(here, session, spec), nodes.all_nodes(session))
            return Answer(200, plan.model_dump(mode="json")).response()
        answer = once.answer(session, make)
    here.doorbell.ring()
    return answer.response()


@router.get("", operation_id="list_jobs", response_model=List[JobShape], dependencies=[needs("jobs:read")])
def list_jobs(
    here: Here,
    page: PageHere,
    state: Annotated[states.Shown | None, Query(description="Only jobs that stand so.")] = None,
    kind: Annotated[
        str | None, Query(pattern="^(tune|evaluate|serve)$", description="Only jobs of this kind.")
    ] = None,
    name: Annotated[str | None, Query(max_length=64, description="Only jobs of this name.")] = None,
) -> Response:
    """Jobs, newest first."""
    wanted = jobs.JobFilter(state=state, kind=kind, name=name)
    with here.sessions.begin() as session:
        found = jobs.page(session, wanted=wanted, after=page.after, limit=page.limit + 1)
        there = nodes.all_nodes(session)
    return listing(found, page, lambda job: JobShape.of(job, there))


@router.get("/{job_id}", operation_id="get_job", response_model=JobShape, dependencies=[needs("jobs:read")])
def get_job(here: Here, request: Request, job_id: str) -> Response:
    """One job."""
    with here.sessions.begin() as session:
        job = jobs.get(session, job_id)
        there = nodes.all_nodes(session)
    return single(request, JobShape.of(job, there))


@router.post(
    "/{job_id}/cancel", operation_id="cancel_job", response_model=JobShape, dependencies=[needs("jobs:write")]
)
def cancel_job(here: Here, once: OnceHere, job_id: str) -> Response:
    """Stop a job for good; `cancelled` once its processes are gone. A served model stops answering."""
    return _do(here, once, jobs.cancel, job_id)


@router.post(
    "/{job_id}/pause", operation_id="pause_job", response_model=JobShape, dependencies=[needs("jobs:write")]
)
def pause_job(here: Here, once: OnceHere, job_id: str) -> Response:
    """Let a job write a checkpoint and rest."""
    return _do(here, once, jobs.pause, job_id)


@router.post(
    "/{job_id}/resume", operation_id="resume_job", response_model=JobShape, dependencies=[needs("jobs:write")]
)
def resume_job(here: Here, once: OnceHere, job_id: str) -> Response:
    """Let a paused job go on."""
    return _do(here, once, jobs.resume, job_id)


@router.post(
    "/{job_id}/retry", operation_id="retry_job", response_model=JobShape, dependencies=[needs("jobs:write")]
)
def retry_job(here: Here, once: OnceHere, job_id: str) -> Response:
    """Start a failed job again from its last checkpoint."""
    return _do(here, once, jobs.retry, job_id)


def _do(here: Platform, once: OnceHere, verb: Verb, job_id: str) -> Response:
    def make() -> Answer:
        job = verb(session, job_id)
        return Answer(200, JobShape.of(job, nodes.all_nodes(session)).model_dump(mode="json"))

    with here.sessions.begin() as session:
        answer = once.answer(session, make)
    here.doorbell.ring()
    return answer.response()


def _resolved(here: Platform, session: Session, spec: Spec) -> Resolved:
    return resolve(spec, CatalogLibrary(session, here.store, here.settings.models), here.places)
