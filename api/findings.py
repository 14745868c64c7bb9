"""What is odd about a template set: faults of its templates, seen over rows, and a cluster nobody knows."""

from collections.abc import Mapping, Sequence
from typing import Any

from api import rows
from api.catalog.collections import COLLECTIONS, taxonomy_of
from api.schemas import FindingShape
from flan.data.rows import Places
from flan.errors import FlanError, did_you_mean
from flan.tasks.lint import lint
from flan.tasks.task import Task

_LOOKED_AT = 100  # rows of a set that is being uploaded; POST …/lint looks at others, and at more


def findings_over(task: Task, sample: Sequence[Mapping[str, Any]]) -> list[FindingShape]:
    """Every finding of `task` over the rows of `sample`, errors first."""
    found = [FindingShape.model_validate(each, from_attributes=True) for each in lint(task, sample)]
    return found + _of_cluster(task)


def findings_here(task: Task, places: Places) -> list[FindingShape]:
    """Every finding over the first rows of the task, where they can be read on this machine."""
    try:
        sample = rows.first(places, task, split=None, limit=_LOOKED_AT)
    except FlanError as error:
        # Where the rows should be is this machine's affair, so that the error's own words stay here.
        message = "its rows cannot be read on this server: only the templates were looked at"
        unseen = FindingShape(severity="warning", code=error.code, message=message)
        return [*findings_over(task, []), unseen]
    return findings_over(task, sample)


def _of_cluster(task: Task) -> list[FindingShape]:
    known = {cluster for each in COLLECTIONS for cluster in taxonomy_of(each).clusters}
    if task.cluster in known:
        return []
    near = did_you_mean(task.cluster, known)
    message = f"cluster {task.cluster!r} is not in the taxonomy: it has no neighbours to hold out with it"
    said = f"{message}; {near}" if near else message
    return [FindingShape(severity="warning", code="new_cluster", message=said)]
