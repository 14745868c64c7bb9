"""Evaluations side by side: every figure with its spread, n and verdict, and what was published beside."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy.orm import Session

from api.auth import needs
from api.deps import Here
from api.job_shapes import ReportShape
from api.problems import InvalidParameter
from api.routes.job_history import NoResults
from flan.evaluate.publication import Report
from flan.evaluate.reporting import Run, report
from flan.evaluate.results import Results
from flan.evaluate.sweep_report import Measured, sweep_columns, sweep_report
from flan.evaluate.tables import csv_text, latex, markdown
from flan.spec import parse
from workers.ledger import jobs, sweeps
from workers.ledger.tables import Job

router = APIRouter(tags=["Jobs"])
MAX_JOBS = 16
JobId = Annotated[str, Field(max_length=64)]


def _picture(made: Report) -> str:
    """The picture that tells most: along what a sweep varies, else clusters as bars. Raises NothingToDraw."""
    # What draws is large, and seldom asked for.
    from flan.evaluate.plots import draw, telling, written

    found = telling(made)
    return written(found.popitem()[1] if found else draw("clusters", made))


Format = Literal["json", "markdown", "latex", "csv", "svg"]
_TEXTS: dict[str, tuple[str, Callable[[Report], str]]] = {
    "markdown": ("text/markdown; charset=utf-8", markdown),
    "latex": ("application/x-tex; charset=utf-8", latex),
    "csv": ("text/csv; charset=utf-8", csv_text),
    "svg": ("image/svg+xml", _picture),
}


@router.get(
    "/report",
    operation_id="get_report",
    response_model=ReportShape,
    dependencies=[needs("jobs:read")],
    responses={
        200: {
            "content": {kind.partition(";")[0]: {"schema": {"type": "string"}} for kind, _ in _TEXTS.values()}
        }
    },
)
def get_report(
    here: Here,
    job: Annotated[
        list[JobId],
        Query(min_length=1, max_length=MAX_JOBS, description="Evaluations, a column each; or one sweep."),
    ],
    system: Annotated[
        str, Query(max_length=64, description="Whose published figures stand beside ours.")
    ] = "FLAN 137B",
    paired: Annotated[
        bool,
        Query(description="Compare each column with the first, question by question: it reads all answers."),
    ] = False,
    format_: Annotated[
        Format,
        Query(alias="format", description="json, or the tables or the picture alone, to be taken away."),
    ] = "json",
) -> Response:
    """Evaluations side by side: a task a line, with mean, spread over templates, n, interval and verdict; and clusters.

    A sweep's evaluations are put together to columns as in its own figure. What has failed or is still to come has no
    figure.
    """
    with here.sessions.begin() as session:
        found = [jobs.get(session, job_id) for job_id in dict.fromkeys(job)]
        if len(found) == 1 and found[0].kind == sweeps.KIND:
            made, sources = _of_sweep(session, found[0], system)
        else:
            made, sources = _of_evaluations(here.store.path if paired else None, found, system)
    if format_ == "json":
        shown = ReportShape(sources=sources, report=made)
        return Response(shown.model_dump_json(), media_type="application/json")
    media_type, write = _TEXTS[format_]
    return Response(write(made), media_type=media_type)


def _of_evaluations(
    samples: Callable[[str], Path] | None, found: Sequence[Job], system: str
) -> tuple[Report, list[dict[str, str]]]:
    runs = []
    for number, job in enumerate(found):
        if job.kind != "evaluate" or job.results is None:
            said = "is a sweep, which stands alone" if job.kind == sweeps.KIND else "has measured nothing"
            hint = "name evaluations that succeeded, or one sweep"
            raise InvalidParameter(f"job {job.id}, number {number}, {said}", hint=hint, parameter="job")
        results = parse(Results, job.results)
        here = samples(results.samples) if samples and results.samples else None
        runs.append(Run(results, here))
    sources = [_sources([(job.id, run.results)]) for job, run in zip(found, runs, strict=True)]
    return report(runs, system=system), sources


def _of_sweep(session: Session, sweep: Job, system: str) -> tuple[Report, list[dict[str, str]]]:
    ended = [
        (entry, job)
        for entry, job in sweeps.children(session, sweep.id)
        if job.kind == "evaluate" and job.results is not None
    ]
    if not ended:
        raise NoResults(f"none of the evaluations of sweep {sweep.id} has results yet")
    measured = [Measured(entry.job, entry.labels, parse(Results, job.results)) for entry, job in ended]
    columns = sweep_columns(measured).values()
    sources = [_sources([(ended[i][1].id, measured[i].results) for i in column]) for column in columns]
    return sweep_report(measured, system=system), sources


def _sources(parts: Sequence[tuple[str, Results]]) -> dict[str, str]:
    """Task → the job that measured it; the first of several."""
    return {task.task: job_id for job_id, results in reversed(parts) for task in results.tasks}
