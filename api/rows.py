"""Rows for previews: a few of a split on this machine."""

from collections.abc import Sequence

from flan.data.rows import MissingSplit, Places, open_rows
from flan.errors import FlanError
from flan.tasks.task import Task


class NoSuchRow(FlanError):
    """A row number that the split does not have."""

    code, blame = "row_unknown", "user"


def first(places: Places, task: Task, split: str | None, limit: int) -> list[dict[str, object]]:
    """The first `limit` rows of a split; none named = the task's first. Raises what opening rows raises."""
    table = open_rows(task, split_of(task, split), places)
    return [table[i] for i in range(min(limit, len(table)))]


def at(places: Places, task: Task, split: str | None, indices: Sequence[int]) -> list[dict[str, object]]:
    """The rows of a split at `indices`. Raises NoSuchRow, and what opening rows raises."""
    chosen = split_of(task, split)
    table = open_rows(task, chosen, places)
    for place, i in enumerate(indices):
        if i >= len(table):
            message = f"{task.name} ({chosen}) has rows 0 to {len(table) - 1}, not {i}"
            raise NoSuchRow(message, pointer=f"/indices/{place}")
    return [table[i] for i in indices]


def split_of(task: Task, split: str | None) -> str:
    """`split`; none named = the task's first. Raises MissingSplit where there is none."""
    chosen = split or next(iter(task.source.splits), None)
    if chosen is None:
        raise MissingSplit(f"task {task.name} has no split", task=task.name)
    return chosen
