"""Preview: rows as a model would see them."""

from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session

from api import rows
from api.auth import needs
from api.bodies import Body
from api.catalog import template_sets
from api.deps import Here
from api.openapi import takes
from api.schemas import RenderedShape, RenderingShape, RenderRequest
from flan.errors import FlanError, NotFound
from flan.tasks.options import layout_of
from flan.tasks.render import instance, render
from flan.tasks.task import Task

router = APIRouter(tags=["Template sets"])


class NoSuchTemplate(FlanError):
    """A template number that the task does not have."""

    code, blame = "template_unknown", "user"


@router.post(
    "/render",
    operation_id="render",
    response_model=RenderingShape,
    dependencies=[needs("jobs:read")],
    openapi_extra=takes(RenderRequest),
)
def preview(here: Here, wanted: Annotated[RenderRequest, Depends(Body(RenderRequest))]) -> RenderingShape:
    """Rows through templates, rendered by the renderer of training, evaluation and serving."""
    with here.sessions.begin() as session:
        task = _task(session, wanted.task)
    last = len(task.templates) - 1
    if wanted.template is not None and wanted.template > last:
        raise NoSuchTemplate(
            f"{task.name} has templates 0 to {last}, not {wanted.template}", pointer="/template"
        )
    chosen = range(last + 1) if wanted.template is None else [wanted.template]
    sample = wanted.rows or rows.at(here.places, task, wanted.split, wanted.indices)
    data = []
    for number, row in enumerate(sample):
        found = instance(task, row)
        number_shown = number if wanted.rows else wanted.indices[number]
        layout = layout_of(wanted.options, len(found.choices), wanted.seed, task.name, number_shown)
        for i in chosen:
            shown = render(found, task.templates[i], layout)
            role = task.templates[i].role
            data.append(RenderedShape(row=number_shown, template=i, role=role, **shown._asdict()))
    return RenderingShape(task=task.name, data=data)


def _task(session: Session, reference: str) -> Task:
    try:
        return template_sets.any_task(session, reference)
    except NotFound as error:
        error.pointer = "/task"
        raise
