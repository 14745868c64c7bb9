"""Whether the rows of a split have what their task needs, judged by some of them."""

from flan.data.rows import Rows, UnreadableRow
from flan.tasks.render import instance
from flan.tasks.task import Task
from flan.tasks.template import RowError

_ROWS_TRIED = 100


def unusable(task: Task, split: str, rows: Rows) -> str | None:
    """A warning where some of up to 100 rows, spread evenly over the split, cannot be used.

    Raises RowError or UnreadableRow, what is wrong with the first of them, when none can be.
    """
    tried = min(_ROWS_TRIED, len(rows))
    faults: list[tuple[int, RowError | UnreadableRow]] = []
    for number in range(tried):
        index = number * len(rows) // tried
        try:
            instance(task, rows[index])
        except (RowError, UnreadableRow) as error:
            faults.append((index, error))
    if not faults:
        return None
    index, first = faults[0]
    if len(faults) == tried:
        raise type(first)(f"{task.name}: {first.message}", hint=first.hint, **first.values) from first
    return (
        f"{task.name} ({split}): {len(faults)} of {tried} rows that were tried cannot be used; "
        f"row {index}: {first.message}"
    )
