"""Jobs as they go: a progress bar for people, JSON lines for machines, and how it ended."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from api.client import Client, Event
from api.commands.output import brief, console, duration
from flan.errors import FlanError
from flan.terminal import FAILED, INTERRUPTED, cut, errors, line_width

_QUIET = frozenset({"metrics", "progress", "stream.end", "stage.changed", "checkpoint.written"})
_LONG = frozenset({"manifest_sha256", "models", "segments", "summary"})
"""Fields of events that are for machines."""
_COUNTERS = ("cut", "dropped", "active", "waiting")
"""Figures that are worth their place only when they are not zero."""


class JobFailed(FlanError):
    """A job that was watched did not end well; `problem` is told as the server's problems are."""

    code: ClassVar[str] = "job_failed"
    blame = "user"
    exit_status = FAILED

    def __init__(self, job: Mapping[str, Any]) -> None:
        failure = job["error"] or {"code": "job_cancelled", "message": "it was cancelled", "blame": "user"}
        super().__init__(f"{job['id']} {job['state']}: {failure['message']}", hint=failure.get("hint"))
        told = "".join(f"\n{line}" for line in log_of(failure))
        self.problem = {
            "code": failure["code"],
            "blame": failure["blame"],
            "detail": self.message + told,
            "hint": self.hint,
            "errors": [],
            "values": {**failure.get("values", {}), "job_id": job["id"], "log": failure.get("log") or []},
        }


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
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[note]}", markup=False),
    )
    state = ""
    # Transient: how it ended is said in words, and the bar of a stage that is over says nothing.
    # In a pipe the bar would leave an empty line behind.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("queued", total=None, note="")
        for event in events:
            if event.type == "stream.end":
                state = event.data["state"]
            else:
                _show(progress, bar, event)
    return state


def until_answering(client: Client, job_id: str) -> dict[str, Any]:
    """The serve job, once its model answers; meanwhile a line says what it waits for. Raises JobFailed."""
    with errors.status("") as line:
        line.update(Text(state_of(client.get(f"/jobs/{job_id}"))))
        for event in client.follow(job_id):
            if event.type in ("metrics", "progress"):
                continue
            job: dict[str, Any] = client.get(f"/jobs/{job_id}")
            if event.type == "stream.end":
                break
            line.update(Text(state_of(job)))
            # What an earlier attempt said of itself is past.
            is_of_now = event.data["attempt"] == job["attempt"] and job["state"] == "running"
            if event.type == "serve.ready" and is_of_now:
                return job
    raise JobFailed(job)


def tell_ending(job: Mapping[str, Any]) -> None:
    """What came out of a job that succeeded, and what can be done with it."""
    taken = duration(job["finished_at"] - job["started_at"])
    loss = (job["progress"] or {}).get("loss")
    typer.echo(f"succeeded in {taken}" + (f", last loss {loss:.4g}" if loss is not None else ""))
    if job["models"]:
        typer.echo(f"models  {models_of(job)}")
    tuned = [model["id"] for model in job["models"] if model["role"] == "tuned"]
    if tuned:
        typer.echo(f"next    flan models deploy {tuned[0]}")
    if job["kind"] == "evaluate":
        typer.echo(f"results flan jobs results {job['id']}")


def log_of(failure: Mapping[str, Any]) -> list[str]:
    """The last lines of the rank's log, indented; none where the request was at fault, for it says how."""
    return [] if failure["blame"] == "user" else [f"  {line}" for line in failure.get("log") or []]


@contextmanager
def leaving(job_id: str, cancel: str) -> Iterator[None]:
    """Within, Ctrl-C ends the watching alone, and says so."""
    try:
        yield
    except KeyboardInterrupt as interrupted:
        lines = (
            f"\n{job_id} runs on without you",
            f"  look again   flan jobs events {job_id} --follow",
            f"  stop it      {cancel}",
        )
        typer.echo("\n".join(lines), err=True)
        raise typer.Exit(INTERRUPTED) from interrupted


def state_of(job: Mapping[str, Any]) -> str:
    """Where a job is: its state, with its stage, or with what it waits for."""
    if job["stage"]:
        return f"{job['state']} ({job['stage']})"
    queue = job.get("queue")
    return f"{job['state']}" + (f" (needs {queue['needs']}, free {queue['free']})" if queue else "")


def step_of(job: Mapping[str, Any]) -> str:
    """How far a job is: done/total."""
    done, total = _done(job["progress"] or {})
    return "" if done is None else f"{done}/{total}" if total else str(done)


def models_of(job: Mapping[str, Any]) -> str:
    """The models that a job made, the tuned one first."""
    made = sorted(job["models"], key=lambda model: model["role"] != "tuned")
    return ", ".join(f"{model['id']} ({model['role']})" for model in made)


def note_of(data: Mapping[str, Any]) -> str:
    """A progress event in few words: how far, loss, rate, time left; counters that are not zero."""
    done, total = _done(data)
    words = [f"{done}/{total}" if total else f"{done}", str(data.get("what") or "")]
    if (loss := data.get("loss")) is not None:
        words.append(f"loss {loss:.4g}")
    if (rate := data.get("tokens_per_s")) is not None:
        words.append(f"{rate:,.0f} tokens/s")
    if data.get("eta_s") is not None:
        words.append(f"{duration(data['eta_s'])} left")
    words += [f"{name} {data[name]:,}" for name in _COUNTERS if data.get(name)]
    return " ".join(filter(None, words))


def _done(progress: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Steps, or questions, done and in all."""
    return progress.get("step", progress.get("done")), progress.get("total_steps", progress.get("total"))


def _show(progress: Progress, bar: TaskID, event: Event) -> None:
    data = event.data["data"]
    if event.type == "progress":
        done, total = _done(data)
        progress.update(bar, completed=done, total=total, note=note_of(data))
    elif event.type == "stage.changed":
        progress.update(bar, description=data["stage"], completed=0, total=None, note="")
    if event.type not in _QUIET:
        # Why a job failed is said at its end, and only there.
        left_out = _LONG | {"error"} if event.type == "job.failed" else _LONG
        said = f"{event.type} " + brief({name: data[name] for name in data if name not in left_out})
        width = line_width()
        progress.console.print(Text(said.rstrip() if width is None else cut(said.rstrip(), width)))
