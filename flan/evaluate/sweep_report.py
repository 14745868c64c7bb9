"""The evaluations of a sweep as the columns of one report.

A model that was tuned with one cluster held out is measured on that cluster alone. So that a row of such models makes
one column, what the settings of SPREAD axes measured is put together: other axes tell columns apart.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flan.evaluate.publication import Report
from flan.evaluate.reporting import Run, report
from flan.evaluate.results import Results

SPREAD = ("held_out", "task")
"""Axes whose settings measure different tasks: `held_out` of the presets, and `task` of soft prompts."""


class Measured(NamedTuple):
    """An evaluation of a sweep."""

    job: str
    """Which of the sweep's jobs it is."""
    labels: Mapping[str, str]
    """Axis → setting, for the axes that shape it."""
    results: Results


def sweep_report(measured: Sequence[Measured], *, system: str = "FLAN 137B") -> Report:
    """The report of a sweep's evaluations, of which there is at least one; base models come first.

    `system`: whose published figures stand beside ours.
    """
    columns = sweep_columns(measured)
    joined = [Run(_joined([measured[i].results for i in each])) for each in columns.values()]
    return report(joined, tuple(columns), system=system)


def sweep_columns(measured: Sequence[Measured]) -> dict[str, list[int]]:
    """Label of a column → the places of the evaluations it is put together of; in the order of `sweep_report`."""
    columns: dict[str, list[int]] = {}
    for i, one in sorted(enumerate(measured), key=lambda each: each[1].results.lineage.steps > 0):
        told = [_told(axis, label) for axis, label in one.labels.items() if axis not in SPREAD]
        columns.setdefault(", ".join([one.job, *told]), []).append(i)
    return columns


def _told(axis: str, label: str) -> str:
    """A setting in words: a bare number says nothing."""
    return f"{axis.replace('_', ' ')} {label}" if label.isdigit() else label


def _joined(parts: Sequence[Results]) -> Results:
    """Evaluations of different tasks as one; what is said of the model is that of the first."""
    tasks = {task.task: task for one in reversed(parts) for task in one.tasks}
    in_order = dict.fromkeys(task.task for one in parts for task in one.tasks)
    return parts[0].model_copy(
        update={
            "tasks": tuple(tasks[name] for name in in_order),
            "verdicts": {name: verdict for one in parts for name, verdict in one.verdicts.items()},
            "unclean": {name: count for one in parts for name, count in one.unclean.items()},
            "failed": {name: failure for one in parts for name, failure in one.failed.items()},
        }
    )
