"""Template sets: upload, versions, lint."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session

from api import findings, rows
from api.auth import CallerHere, needs
from api.bodies import Body, read_json_or_yaml
from api.catalog import template_sets, versions
from api.catalog.changes import field_changes, template_changes
from api.catalog.collections import built_in
from api.catalog.tables import TemplateSetRow
from api.deps import Here
from api.idempotency import Answer, OnceHere
from api.openapi import takes
from api.pages import PageHere, listing, single
from api.problems import InvalidParameter
from api.schemas import (
    FieldChangeShape,
    LintShape,
    List,
    RowsWanted,
    TemplateChangeShape,
    TemplateSetDiffShape,
    TemplateSetShape,
    UploadedTemplateSetShape,
)
from flan.errors import NotFound
from flan.tasks.task import Task

router = APIRouter(prefix="/template-sets", tags=["Template sets"])


@router.post(
    "",
    operation_id="create_template_set",
    status_code=201,
    response_model=UploadedTemplateSetShape,
    dependencies=[needs("data:write")],
    openapi_extra=takes(template_sets.Extension, Task, also_yaml=True),
)
def create_template_set(
    here: Here,
    caller: CallerHere,
    once: OnceHere,
    value: Annotated[Any, Depends(read_json_or_yaml)],
    dry_run: Annotated[bool, Query(description="Check it, and keep nothing.")] = False,
) -> Response:
    """Upload a template set: a whole task, or `{name, extends, templates}` for a task that is there.

    The same name again is a new version; the same document again is the version that is there. `findings`
    says what is odd about it, as POST /template-sets/{name}/lint does.
    """

    def make() -> Answer:
        row, is_new = template_sets.add(session, template_sets.read(session, value), caller.key_id)
        found = findings.findings_here(template_sets.task_of(session, row), here.places)
        shown = UploadedTemplateSetShape(**dict(TemplateSetShape.of(row)), findings=found)
        headers = {"Location": f"/template-sets/{row.name}@{row.version}"}
        return Answer(201 if is_new else 200, shown.model_dump(mode="json"), headers)

    with here.sessions() as session:
        if dry_run:
            with session.begin() as transaction:
                answer = make()
                transaction.rollback()
            return Answer(200, answer.body).response()
        with session.begin():
            answer = once.answer(session, make)
    return answer.response()


@router.get(
    "",
    operation_id="list_template_sets",
    response_model=List[TemplateSetShape],
    dependencies=[needs("jobs:read")],
)
def list_template_sets(here: Here, page: PageHere) -> Response:
    """The newest version of every template set, newest first."""
    with here.sessions.begin() as session:
        found = versions.newest_page(session, TemplateSetRow, page.after, page.limit)
    return listing(found, page, TemplateSetShape.of)


@router.get(
    "/{name}",
    operation_id="get_template_set",
    response_model=TemplateSetShape,
    dependencies=[needs("jobs:read")],
)
def get_template_set(here: Here, request: Request, name: str) -> Response:
    """A template set: `name` (the newest version), `name@3`, or an id."""
    with here.sessions.begin() as session:
        row = template_sets.find(session, name)
    return single(request, TemplateSetShape.of(row))


@router.get(
    "/{name}/versions",
    operation_id="list_template_set_versions",
    response_model=List[TemplateSetShape],
    dependencies=[needs("jobs:read")],
)
def list_template_set_versions(here: Here, page: PageHere, name: str) -> Response:
    """Every version of a template set, newest first."""
    with here.sessions.begin() as session:
        row = template_sets.find(session, name)
        found = versions.versions_page(session, TemplateSetRow, row.name, page.after, page.limit)
    return listing(found, page, TemplateSetShape.of)


@router.get(
    "/{name}/diff",
    operation_id="diff_template_set",
    response_model=TemplateSetDiffShape,
    dependencies=[needs("jobs:read")],
)
def diff_template_set(
    here: Here,
    name: str,
    before: Annotated[
        int | None, Query(alias="from", ge=1, lt=2**31, description="A version; else the one before `to`.")
    ] = None,
    after: Annotated[
        int | None, Query(alias="to", ge=1, lt=2**31, description="A version; else the one that is named.")
    ] = None,
) -> TemplateSetDiffShape:
    """What changed between two versions: templates added, removed, changed or moved, and every other field."""
    with here.sessions.begin() as session:
        named = template_sets.find(session, name)
        to = named.version if after is None else after
        start = to - 1 if before is None else before
        new = _version(session, named.name, "to", to)
        old = _version(session, named.name, "from", start)
    return TemplateSetDiffShape(
        name=named.name,
        before=start,
        after=to,
        templates=[
            TemplateChangeShape.model_validate(each, from_attributes=True)
            for each in template_changes(old, new)
        ],
        fields=[
            FieldChangeShape.model_validate(each, from_attributes=True) for each in field_changes(old, new)
        ],
    )


@router.post(
    "/{name}/lint",
    operation_id="lint_template_set",
    response_model=LintShape,
    dependencies=[needs("jobs:read")],
    openapi_extra=takes(RowsWanted),
)
def lint_template_set(
    here: Here, name: str, wanted: Annotated[RowsWanted, Depends(Body(RowsWanted))]
) -> LintShape:
    """Look for faults in a template set, or in a task that comes with the platform: on rows given, or on its own."""
    task, version = built_in(name), None
    if task is None:
        with here.sessions.begin() as session:
            row = template_sets.find(session, name)
            task, version = template_sets.task_of(session, row), row.version
    sample = wanted.rows or rows.first(here.places, task, wanted.split, wanted.limit)
    found = findings.findings_over(task, sample)
    return LintShape(
        name=task.name,
        version=version,
        num_rows=len(sample),
        is_clean=not any(finding.severity == "error" for finding in found),
        findings=found,
    )


def _version(session: Session, name: str, parameter: str, version: int) -> Task:
    """A version as it was stored. Raises InvalidParameter where there is none."""
    try:
        return Task.parse(template_sets.find(session, f"{name}@{version}").document)
    except NotFound as error:
        message = f"{name} has no version before @1" if version < 1 else error.message
        raise InvalidParameter(message, hint=error.hint, parameter=parameter) from error
