"""A job's events as they come: a progress bar for people, JSON lines for machines."""

import json
import sys
from collections.abc import Iterable

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from api.client import Event
from api.commands.output import console

_QUIET = frozenset({"metrics", "progress", "stream.end", "stage.changed", "checkpoint.written"})
_LONG = frozenset({"manifest_sha256", "models", "summary"})
"""Fields of events that are for machines."""


def write_lines(events: Iterable[Event]) -> str:
    """Each event as a line of JSON; the state the job ended in."""
    state = ""
    for event in events:
        if event.type == "stream.end":
            state = event.data["state"]
        else:
            sys.stdout.write(json.dumps(event.data, ensure_ascii=False) + "\n")
            sys.stdout.flush()
    return state


def watch(events: Iterable[Event]) -> str:
    """A progress bar, and a line for each event worth one; the state the job ended in."""
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    state = ""
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("queued", total=None, note="")
        for event in events:
            if event.type == "stream.end":
                state = event.data["state"]
            else:
                _show(progress, bar, event)
    console.print(state)
    return state


def _show(progress: Progress, bar: TaskID, event: Event) -> None:
    data = event.data["data"]
    if event.type == "progress":
        done, total = data.get("step", data.get("done")), data.get("total_steps", data.get("total"))
        figures = [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in data.items()
            if name not in ("step", "done", "total_steps", "total", "eta_s") and value is not None
        ]
        progress.update(bar, completed=done, total=total, note=" ".join([f"{done}/{total}", *figures]))
    elif event.type == "stage.changed":
        progress.update(bar, description=data["stage"], completed=0, total=None, note="")
    if event.type not in _QUIET:
        words = " ".join(f"{name}={value}" for name, value in data.items() if name not in _LONG)
        progress.console.print(f"{event.type} {words}"[:200], markup=False)
