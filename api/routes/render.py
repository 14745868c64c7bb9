"""Preview: rows as a model would see them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session

from api import rows
from api.auth import needs
from api.bodies import Body
from api.catalog import template_sets
from api.deps import Here, Platform
from api.openapi import takes
from api.render_shapes import RenderedShape, RenderingShape, RenderRequest
from api.spellers import speller_of
from flan.data.rows import open_rows
from flan.data.shots import Shots
from flan.errors import FlanError, InvalidDocument, NotFound, Problem
from flan.evaluate.preview import Form, GivenShots, Preview, previews
from flan.spec import FewShot
from flan.tasks.formats import formatted
from flan.tasks.render import Instance, instance, instances
from flan.tasks.task import Task
from flan.tasks.template import RowError

router = APIRouter(tags=["Template sets"])
_MAX_SHOWN = 1_000  # rows × templates of one request


class NoSuchTemplate(FlanError):
    """A template number that the task does not have."""

    code, blame = "template_unknown", "user"


class TooMuchShown(FlanError):
    """More renderings than one answer holds."""

    code, blame = "too_much_shown", "user"


@router.post(
    "/render",
    operation_id="render",
    response_model=RenderingShape,
    dependencies=[needs("jobs:read")],
    openapi_extra=takes(RenderRequest),
)
def preview(here: Here, wanted: Annotated[RenderRequest, Depends(Body(RenderRequest))]) -> RenderingShape:
    """Rows as training, evaluation and serving put them: options, solved rows, tokens and what the loss counts.

    A row that one template cannot ask about is an `error` there; the other templates are shown.
    """
    with here.sessions.begin() as session:
        task = formatted(_task(session, wanted), wanted.prompt_format)
        model = speller_of(session, here, wanted.model) if wanted.model else None
    chosen = _templates(task, wanted.template)
    numbers = range(len(wanted.rows)) if wanted.rows else wanted.indices
    if len(numbers) * len(chosen) > _MAX_SHOWN:
        raise TooMuchShown(
            f"{len(numbers)} rows through {len(chosen)} templates are more than {_MAX_SHOWN:,} renderings",
            hint="name one template, or fewer rows",
            pointer="/template",
        )
    split = None if wanted.rows else rows.split_of(task, wanted.split)
    form = Form(wanted.options, wanted.seed, split, wanted.input_length, wanted.target_length)
    shots = _shots(here, task, form, wanted)
    data: list[RenderedShape] = []
    for number, row in zip(numbers, _sample(here, task, wanted), strict=True):
        shown = (
            [Preview(template, error=row) for template in chosen]
            if isinstance(row, RowError)
            else previews(task, form, number, row, chosen, shots=shots, model=model)
        )
        data += [RenderedShape.of(task, number, each) for each in shown]
    return RenderingShape(task=task.name, data=data)


def _task(session: Session, wanted: RenderRequest) -> Task:
    if wanted.draft is not None:
        try:
            return template_sets.with_files(session, template_sets.read(session, wanted.draft))
        except InvalidDocument as error:
            below: list[Problem] = [
                {**each, "pointer": f"/draft{each['pointer']}"} for each in error.problems
            ]
            raise InvalidDocument(error.message, below) from error
    assert wanted.task is not None, "a request has a task or a draft"
    try:
        return template_sets.any_task(session, wanted.task)
    except NotFound as error:
        error.pointer = "/task"
        raise


def _templates(task: Task, template: int | None) -> Sequence[int]:
    last = len(task.templates) - 1
    if template is None:
        return range(last + 1)
    if template > last:
        raise NoSuchTemplate(f"{task.name} has templates 0 to {last}, not {template}", pointer="/template")
    return [template]


def _sample(here: Platform, task: Task, wanted: RenderRequest) -> Sequence[Instance | RowError]:
    """The rows that are asked about. A broken row of the request raises; one of a split is shown as broken."""
    if wanted.rows:
        return instances(task, wanted.rows, "/rows")
    return [_read(task, row) for row in rows.at(here.places, task, wanted.split, wanted.indices)]


def _read(task: Task, row: Mapping[str, Any]) -> Instance | RowError:
    try:
        return instance(task, row)
    except RowError as error:
        return error


def _shots(here: Platform, task: Task, form: Form, wanted: RenderRequest) -> Shots | GivenShots | None:
    if wanted.exemplars is not None:
        few_shot = wanted.few_shot or FewShot(shots=len(wanted.exemplars))
        return GivenShots(form, few_shot, task, instances(task, wanted.exemplars, "/exemplars"))
    if wanted.few_shot is None:
        return None
    try:
        return Shots(form, wanted.few_shot, task, open_rows(task, wanted.few_shot.split, here.places))
    except FlanError as error:
        if error.blame == "user":
            error.pointer = "/few_shot/split"
        raise
