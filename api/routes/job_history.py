"""What jobs leave behind: events, logs, metrics, checkpoints, attempts, results, samples."""

from collections.abc import Sequence
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from api import logs, stream
from api.auth import needs
from api.deps import Here
from api.job_shapes import (
    AttemptShape,
    CheckpointShape,
    ChildShape,
    EventShape,
    LogShape,
    MetricShape,
    ResultsShape,
    SampleShape,
)
from api.pages import Page, PageHere, cut, listing
from api.problems import InvalidParameter
from api.schemas import List
from flan.errors import NotFound
from flan.evaluate.samples import read_samples
from flan.evaluate.sweep_results import ChildState, Ended, SweepResults, sweep_results
from workers.ledger import checkpoints, curves, jobs, journal, states, sweeps
from workers.ledger.sweeps import Listed
from workers.ledger.tables import Job

router = APIRouter(prefix="/jobs/{job_id}", tags=["Jobs"], dependencies=[])
_READ = [needs("jobs:read")]
_MAX_POINTS = 1_000
_MAX_CURVE = 4_000
"""As many points as the widest screen has columns."""
Limit = Annotated[int, Query(ge=1, le=_MAX_POINTS, description="At most this many.")]
EventType = Annotated[str, Field(max_length=64)]
SequenceNumber = Annotated[int, Query(ge=0, le=2**62, description="Start after the event of this number.")]


class NoResults(NotFound):
    """The job has not found anything out yet."""

    code = "no_results"


@router.get(
    "/events",
    operation_id="list_job_events",
    response_model=List[EventShape],
    dependencies=_READ,
    responses={200: {"content": {stream.MEDIA_TYPE: {"schema": {"type": "string"}}}}},
)
def list_job_events(
    here: Here,
    request: Request,
    job_id: str,
    after: SequenceNumber = 0,
    limit: Limit = 100,
    without: Annotated[
        list[EventType] | None, Query(max_length=16, description="Leave out events of these types.")
    ] = None,
    stream_: Annotated[bool, Query(alias="stream", description="Server-sent events.")] = False,
    last_event_id: Annotated[
        str | None, Header(description="Of a stream: go on after the event of this number.")
    ] = None,
) -> Response:
    """What happened, in order; as server-sent events with `stream=true` or `Accept: text/event-stream`.

    The ids of a stream are the events' `seq`: reconnect with `Last-Event-ID` and nothing is missed.
    """
    with here.sessions.begin() as session:
        jobs.get(session, job_id)
        if stream_ or stream.MEDIA_TYPE in request.headers.get("accept", ""):
            start = _seq(last_event_id) if last_event_id is not None else after
            frames = stream.job_events(here, job_id, start, without or ())
            return StreamingResponse(frames, media_type=stream.MEDIA_TYPE, headers=stream.HEADERS)
        found = journal.events_after(
            session, job_id, after, limit=min(limit + 1, journal.PAGE), without=without or ()
        )
    return listing(found, Page(None, min(limit, journal.PAGE - 1)), EventShape.of)


@router.get("/metrics", operation_id="list_job_metrics", response_model=List[MetricShape], dependencies=_READ)
def list_job_metrics(
    here: Here,
    job_id: str,
    name: Annotated[str | None, Query(max_length=128, description="Only this figure.")] = None,
    after: Annotated[
        str | None, Query(max_length=192, description="Start after the point of this id.")
    ] = None,
    limit: Limit = 100,
    thin_to: Annotated[
        int | None,
        Query(ge=3, le=_MAX_CURVE, description="The whole of one figure, in at most this many points."),
    ] = None,
    keep: Annotated[
        curves.Keep, Query(description="Where thinned: the extremes of each stretch of steps, or its mean.")
    ] = "extremes",
) -> Response:
    """Figures by step and name: `train/loss`, `train/learning_rate`, …

    With `thin_to`, all of the figure `name` at once and without pages: as it is where that is no more than `thin_to`
    points, else of each stretch of steps the lowest point, the highest and the first that is not finite, or the mean.
    """
    with here.sessions.begin() as session:
        jobs.get(session, job_id)
        if thin_to is not None:
            if name is None or after is not None:
                raise InvalidParameter("thin_to gives one figure whole: it takes a name, and no after")
            points = curves.thinned(session, job_id, name, most=thin_to, keep=keep)
            return listing(points, Page(None, thin_to), MetricShape.of)
        found = journal.metrics_after(
            session, job_id, _metric_key(after), name=name, limit=min(limit + 1, journal.PAGE)
        )
    return listing(found, Page(None, min(limit, journal.PAGE - 1)), MetricShape.of)


@router.get(
    "/checkpoints",
    operation_id="list_job_checkpoints",
    response_model=List[CheckpointShape],
    dependencies=_READ,
)
def list_job_checkpoints(here: Here, page: PageHere, job_id: str) -> Response:
    """Checkpoints, newest first."""
    with here.sessions.begin() as session:
        jobs.get(session, job_id)
        found = checkpoints.all_checkpoints(session, job_id)
    return listing(cut(found, page, lambda checkpoint: checkpoint.name), page, CheckpointShape.of)


@router.get(
    "/attempts", operation_id="list_job_attempts", response_model=List[AttemptShape], dependencies=_READ
)
def list_job_attempts(here: Here, page: PageHere, job_id: str) -> Response:
    """Every try at the job, in order."""
    with here.sessions.begin() as session:
        jobs.get(session, job_id)
        found = jobs.attempts(session, job_id)
    return listing(cut(found, page, lambda attempt: str(attempt.number)), page, AttemptShape.of)


@router.get("/logs", operation_id="read_job_log", response_model=LogShape, dependencies=_READ)
def read_job_log(
    here: Here,
    job_id: str,
    rank: Annotated[int, Query(ge=0, lt=1024, description="Which process, from 0.")] = 0,
    attempt: Annotated[int | None, Query(ge=1, le=2**31, description="None = the latest.")] = None,
    offset: Annotated[
        int, Query(ge=-(2**40), le=2**40, description="Byte to start at; negative = from the end.")
    ] = 0,
) -> LogShape:
    """Up to 256 KiB of what a rank wrote."""
    with here.sessions.begin() as session:
        job = jobs.get(session, job_id)
        tried = {each.number: each for each in jobs.attempts(session, job_id)}
    if not tried:
        raise logs.NotStarted(
            f"job {job_id} has not started yet", hint=f"it is {states.shown(job.state, job.wish)}"
        )
    number = attempt or job.attempt
    if number not in tried:
        raise NotFound(f"job {job_id} has no attempt {number}", hint=f"it has 1 to {max(tried)}")
    return logs.read(tried[number], rank, offset)


@router.get(
    "/children", operation_id="list_job_children", response_model=List[ChildShape], dependencies=_READ
)
def list_job_children(here: Here, page: PageHere, job_id: str) -> Response:
    """The jobs of a sweep, each behind the one whose model it needs."""
    with here.sessions.begin() as session:
        found = sweeps.children(session, job_id)
    return listing(cut(found, page, lambda listed: listed.entry.name), page, ChildShape.of)


@router.get("/results", operation_id="get_job_results", response_model=ResultsShape, dependencies=_READ)
def get_job_results(here: Here, job_id: str) -> ResultsShape:
    """What an evaluation measured; of a tune job, which shares of the mixture were asked for, and which came out; of a
    sweep, what its evaluations have found out so far.
    """
    with here.sessions.begin() as session:
        job = jobs.get(session, job_id)
        if job.kind == sweeps.KIND:
            found = _of_sweep(job, sweeps.children(session, job_id))
            return ResultsShape(job_id=job_id, partial=found.partial, results=found.model_dump(mode="json"))
    if job.results is None:
        raise NoResults(
            f"job {job_id} has no results", hint="a tune job or an evaluation that succeeded has results"
        )
    return ResultsShape(job_id=job_id, results=job.results)


def _of_sweep(sweep: Job, found: Sequence[Listed]) -> SweepResults:
    ended = [
        Ended(
            _state_of(listed), listed.job.kind, listed.job.results if listed.job.kind == "evaluate" else None
        )
        for listed in found
    ]
    return sweep_results(sweep.name, sweep.spec["experiment"], sweeps.cells(found), ended)


def _state_of(listed: Listed) -> ChildState:
    entry, job = listed
    error = job.error if job.error and job.state == "failed" else {}
    state = states.shown(job.state, job.wish)
    return ChildState(
        name=entry.name, job=entry.job, state=state, code=error.get("code"), message=error.get("message")
    )


@router.get(
    "/results/samples", operation_id="list_job_samples", response_model=List[SampleShape], dependencies=_READ
)
def list_job_samples(
    here: Here,
    page: PageHere,
    job_id: str,
    task: Annotated[str | None, Query(max_length=64, description="Only questions of this task.")] = None,
    split: Annotated[str | None, Query(max_length=64, description="Only questions about this split.")] = None,
    template: Annotated[
        int | None, Query(ge=0, le=2**31, description="Only questions through this template.")
    ] = None,
    is_right: Annotated[
        bool | None, Query(description="Only questions that were answered right, or wrong.")
    ] = None,
) -> Response:
    """What an evaluation asked and what came back, question by question, in the order of task, split and template."""
    with here.sessions.begin() as session:
        job = jobs.get(session, job_id)
    digest = (job.results or {}).get("samples")
    if digest is None:
        raise NoResults(f"job {job_id} has no samples", hint="an evaluation that succeeded has samples")
    after = -1 if page.after is None else _number(page.after)
    found = (
        each
        for each in read_samples(here.store.path(digest), task=task, split=split, after=after)
        if template in (None, each.sample["template"]) and is_right in (None, each.sample["is_right"])
    )
    return listing(list(islice(found, page.limit + 1)), page, SampleShape.of)


def _number(after: str) -> int:
    if not after.isascii() or not after.isdigit() or len(after) > 18:
        raise InvalidParameter("after is the id of a sample: a whole number")
    return int(after)


def _seq(last_event_id: str) -> int:
    if not last_event_id.isascii() or not last_event_id.isdigit() or len(last_event_id) > 18:
        raise InvalidParameter("Last-Event-ID is the seq of an event: a whole number")
    return int(last_event_id)


def _metric_key(after: str | None) -> journal.MetricKey | None:
    if after is None:
        return None
    step, slash, name = after.partition("/")
    if not slash or not step.isascii() or not step.isdigit() or len(step) > 18:
        raise InvalidParameter("after is the id of a point: step/name")
    return journal.MetricKey(int(step), name)
