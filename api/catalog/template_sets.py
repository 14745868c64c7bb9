"""Template sets people upload: whole tasks, or new templates for a task that is there.

Two forms come in. A whole task document (flan/tasks/task.py); or `{name, extends, templates}`, which takes
its rows, fields, answers, metrics and cluster from the task `extends`. Both are stored as whole tasks, so
that what a name means never depends on something else that may change.
"""

import difflib
from typing import Any

from sqlalchemy.orm import Session

from api.catalog import datasets, versions
from api.catalog.collections import COLLECTIONS, built_in, tasks_of
from api.catalog.tables import TemplateSetRow
from flan.errors import Conflict, InvalidDocument, NotFound, Problem
from flan.spec import Document, Name, Reference, parse
from flan.tasks.task import DatasetSource, HubSource, Task
from flan.tasks.template import Template
from workers.ledger.ids import new_id


class Extension(Document):
    """Other templates for a task that is there."""

    name: Name
    """What the template set is called; jobs ask for it by this name."""
    extends: Reference
    """A task of a collection, or an uploaded template set."""
    description: str | None = None
    """What it is about; null = as the task it extends says."""
    templates: tuple[Template, ...]
    """Its templates, instead of those of the task it extends."""


def read(session: Session, value: Any) -> Task:
    """The task that an uploaded value describes. Raises InvalidDocument, Conflict."""
    if isinstance(value, dict) and "extends" in value:
        task = _extended(session, parse(Extension, value))
    else:
        task = parse(Task, value)
    if built_in(task.name) is not None:
        raise Conflict(f"{task.name!r} is a task that comes with the platform", hint="choose another name")
    _check_source(session, task)
    return task


def add(session: Session, task: Task, key_id: str) -> tuple[TemplateSetRow, bool]:
    """The stored version, and whether it is new: the same document as the newest version is not."""
    version = versions.next_version(session, TemplateSetRow, task.name)
    before = versions.newest(session, TemplateSetRow, task.name)
    if before is not None and before.sha256 == task.digest():
        return before, False
    row = TemplateSetRow(
        id=new_id("tset"),
        name=task.name,
        version=version,
        sha256=task.digest(),
        document=task.model_dump(mode="json"),
        key_id=key_id,
    )
    session.add(row)
    session.flush()
    return row, True


def find(session: Session, reference: str) -> TemplateSetRow:
    """The template set called `name`, `name@3` or by its id. Raises NotFound."""
    return versions.find(session, TemplateSetRow, reference, "template set")


def task_of(session: Session, row: TemplateSetRow) -> Task:
    """The task of a stored template set, with the files of its dataset filled in. Raises NotFound."""
    return with_files(session, parse(Task, row.document))


def with_files(session: Session, task: Task) -> Task:
    """`task` with the files of its dataset filled in, if its rows were uploaded. Raises NotFound."""
    if not isinstance(task.source, DatasetSource):
        return task
    dataset = datasets.find(session, task.source.name)
    return task.model_copy(update={"source": datasets.source_of(dataset)})


def names(session: Session) -> list[str]:
    """What the template sets are called, each once, in name order."""
    return sorted(versions.names(session, TemplateSetRow))


def any_task(session: Session, reference: str) -> Task:
    """A task of a collection, or an uploaded template set. Raises NotFound; `near` is the likeliest name."""
    task = built_in(reference)
    if task is not None:
        return task
    try:
        row = find(session, reference)
    except NotFound as error:
        named = reference.partition("@")[0]
        known = versions.names(session, TemplateSetRow)
        among = [*known, *(name for each in COLLECTIONS for name in tasks_of(each))]
        near = [] if named in known else difflib.get_close_matches(named, among, n=1)
        hint = f"did you mean {near[0]!r}?" if near else error.hint
        message = f"there is no task or template set {reference!r}"
        raise NotFound(message, hint=hint, near=near) from error
    return task_of(session, row)


def _extended(session: Session, extension: Extension) -> Task:
    try:
        base = any_task(session, extension.extends)
    except NotFound as error:
        raise _fault("/extends", "unknown_task", error.message, error.hint) from error
    source = base.source.model_dump(mode="json")
    if isinstance(base.source, HubSource):
        # The folder's default is the task's name, and that changes here.
        source["folder"] = base.source.folder or base.name
    if isinstance(base.source, DatasetSource):
        source["splits"] = {}
    changed = {
        "name": extension.name,
        # Kin for ever: who trained on the one has seen the other's rows.
        "family": base.family or base.name,
        "source": source,
        "description": extension.description if extension.description is not None else base.description,
        "templates": [template.model_dump(mode="json") for template in extension.templates],
    }
    return parse(Task, base.model_dump(mode="json") | changed)


def _check_source(session: Session, task: Task) -> None:
    if not isinstance(task.source, DatasetSource):
        return
    if task.source.splits:
        message = "splits are filled in from the dataset when a job is accepted"
        raise _fault("/source/splits", "read_only", message, "leave it out")
    try:
        dataset = datasets.find(session, task.source.name)
    except NotFound as error:
        hint = error.hint or "upload it first: POST /datasets"
        raise _fault("/source/name", "unknown_dataset", error.message, hint) from error
    columns = {name for entry in dataset.splits.values() for name in entry["columns"]}
    named = {f"/fields/{field}": path for field, path in task.fields.items()}
    named |= {"/answer/column": task.answer.column} if task.answer else {}
    if task.prepare is None:
        faults = [
            _problem(pointer, "unknown_column", f"{dataset.name} has no column {path.partition('.')[0]!r}; "
                     f"it has {sorted(columns)}")
            for pointer, path in named.items()
            if path.partition(".")[0] not in columns
        ]  # fmt: skip
        if faults:
            raise InvalidDocument(f"{faults[0]['pointer']}: {faults[0]['message']}", faults)


def _fault(pointer: str, code: str, message: str, hint: str | None = None) -> InvalidDocument:
    return InvalidDocument(f"{pointer}: {message}", [_problem(pointer, code, message, hint)])


def _problem(pointer: str, code: str, message: str, hint: str | None = None) -> Problem:
    return {"pointer": pointer, "code": code, "message": message} | ({"hint": hint} if hint else {})
