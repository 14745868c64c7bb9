"""`flan jobs …`"""

import sys
import time
from typing import Annotated, Any

import typer

from api.client import Client
from api.commands.output import (
    FAILED,
    Output,
    Server,
    client_of,
    console,
    show_json,
    show_table,
    when,
)
from flan.cli import Overrides, SpecFile, read_document

app = typer.Typer(no_args_is_help=True, help="Jobs: tune, evaluate, serve.")
JobId = Annotated[str, typer.Argument(help="Id of a job: job_…")]
_ENDED_BADLY = ("failed", "cancelled")
_LOG_POLL_S = 1.0


@app.command()
def create(
    context: typer.Context,
    file: SpecFile,
    override: Overrides = None,
    follow: Annotated[bool, typer.Option("--follow", help="Watch it to its end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="Repeat with the same one safely.")] = None,
    output: Output = "text",
    server: Server = None,
) -> None:
    """Hand in a job."""
    client = client_of(context, server)
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    params = {"dry_run": "true"} if dry_run else {}
    spec = read_document(file, override or [])
    made = client.send("POST", "/jobs", json_body=spec, headers=headers, params=params)
    if dry_run or output == "json":
        show_json(made)
    else:
        console.print(f"{made['id']}  {made['kind']} {made['name']}  {made['state']}")
    if follow and not dry_run:
        _follow(client, made["id"], is_json=output == "json")


@app.command("list")
def list_jobs(
    context: typer.Context,
    state: str | None = None,
    kind: str | None = None,
    name: str | None = None,
    limit: int = 20,
    output: Output = "text",
    server: Server = None,
) -> None:
    """Jobs, newest first."""
    found = client_of(context, server).all("/jobs", limit, state=state, kind=kind, name=name)
    if output == "json":
        show_json(found)
        return
    show_table(
        ("ID", "KIND", "NAME", "STATE", "STEP", "CREATED"),
        [
            (job["id"], job["kind"], job["name"], job["state"], _step(job), when(job["created_at"]))
            for job in found
        ],
    )


@app.command()
def show(context: typer.Context, job_id: JobId, output: Output = "text", server: Server = None) -> None:
    """One job."""
    job = client_of(context, server).get(f"/jobs/{job_id}")
    if output == "json":
        show_json(job)
        return
    facts = {
        "id": job["id"],
        "kind": job["kind"],
        "name": job["name"],
        "state": _state(job),
        "step": _step(job),
        "attempt": job["attempt"],
        "created": when(job["created_at"]),
        "started": when(job["started_at"]),
        "finished": when(job["finished_at"]),
        "models": ", ".join(f"{model['id']} ({model['role']})" for model in job["models"]) or "none",
    }
    show_table(("", ""), facts.items())
    if job["error"]:
        _show_failure(job["error"])


@app.command()
def events(
    context: typer.Context,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f")] = False,
    after: Annotated[int, typer.Option(help="Start after this number.")] = 0,
    output: Output = "text",
    server: Server = None,
) -> None:
    """What happened to a job."""
    client = client_of(context, server)
    if follow:
        _follow(client, job_id, after, is_json=output == "json")
        return
    found = client.all(f"/jobs/{job_id}/events", 10**9, after=str(after))
    if output == "json":
        show_json(found)
        return
    show_table(
        ("SEQ", "AT", "TYPE", "DATA"),
        [(event["seq"], when(event["created_at"]), event["type"], _brief(event["data"])) for event in found],
    )


@app.command()
def logs(
    context: typer.Context,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f")] = False,
    rank: int = 0,
    attempt: Annotated[int | None, typer.Option(help="Which try; the latest when left out.")] = None,
    server: Server = None,
) -> None:
    """What a rank wrote."""
    client = client_of(context, server)
    offset = 0
    while True:
        # Asked before the log is read: what the job wrote last is then in it.
        is_over = client.get(f"/jobs/{job_id}")["finished_at"] is not None
        offset, is_all = _copy_log(client, job_id, rank, attempt, offset)
        if is_all and (is_over or not follow):
            return
        if is_all:
            time.sleep(_LOG_POLL_S)


@app.command()
def cancel(context: typer.Context, job_id: JobId, output: Output = "text", server: Server = None) -> None:
    """Stop a job for good."""
    _do(client_of(context, server), job_id, "cancel", output)


@app.command()
def pause(context: typer.Context, job_id: JobId, output: Output = "text", server: Server = None) -> None:
    """Let a job write a checkpoint and rest."""
    _do(client_of(context, server), job_id, "pause", output)


@app.command()
def resume(context: typer.Context, job_id: JobId, output: Output = "text", server: Server = None) -> None:
    """Let a paused job go on."""
    _do(client_of(context, server), job_id, "resume", output)


@app.command()
def retry(context: typer.Context, job_id: JobId, output: Output = "text", server: Server = None) -> None:
    """Start a failed job again from its last checkpoint."""
    _do(client_of(context, server), job_id, "retry", output)


@app.command()
def results(
    context: typer.Context,
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB...", help="One, or several side by side.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
    output: Output = "text",
    server: Server = None,
) -> None:
    """What evaluations measured: mean and spread over templates."""
    from flan.evaluate.report import results_markdown, results_table

    client = client_of(context, server)
    found = [client.get(f"/jobs/{job_id}/results")["results"] for job_id in job_ids]
    if output == "json":
        show_json(found if len(found) > 1 else found[0])
    elif markdown:
        console.print(results_markdown(found), end="", markup=False, soft_wrap=True)
    else:
        console.print(results_table(found))


def _do(client: Client, job_id: str, verb: str, output: str) -> None:
    job = client.send("POST", f"/jobs/{job_id}/{verb}")
    if output == "json":
        show_json(job)
    else:
        console.print(f"{job['id']}  {_state(job)}")


def _follow(client: Client, job_id: str, after: int = 0, *, is_json: bool) -> None:
    """Show a job's events to its end; exits with FAILED unless it succeeded."""
    from api.commands.watching import watch, write_lines

    state = (write_lines if is_json else watch)(client.follow(job_id, after))
    if state in _ENDED_BADLY:
        job = client.get(f"/jobs/{job_id}")
        if job["error"] and not is_json:
            _show_failure(job["error"])
        raise typer.Exit(FAILED)


def _copy_log(client: Client, job_id: str, rank: int, attempt: int | None, offset: int) -> tuple[int, bool]:
    """Write what is new in a log to standard output: where to read on, and whether that was all."""
    piece = client.get(f"/jobs/{job_id}/logs", rank=rank, attempt=attempt, offset=offset)
    sys.stdout.write(piece["text"])
    sys.stdout.flush()
    return piece["next_offset"], piece["next_offset"] >= piece["size_bytes"] or not piece["text"]


def _show_failure(error: dict[str, Any]) -> None:
    console.print(f"{error['code']} (to be mended by: {error['blame']}): {error['message']}", markup=False)
    if error["hint"]:
        console.print(f"hint: {error['hint']}", markup=False)
    for line in error["log"]:
        console.print(f"  {line}", markup=False)


def _state(job: dict[str, Any]) -> str:
    queue = job.get("queue")
    waits = f" (needs {queue['needs']}, free {queue['free']})" if queue else ""
    return f"{job['state']}{waits}" if not job["stage"] else f"{job['state']} ({job['stage']})"


def _step(job: dict[str, Any]) -> str:
    progress = job["progress"] or {}
    done = progress.get("step", progress.get("done"))
    total = progress.get("total_steps", progress.get("total"))
    return "" if done is None else f"{done}/{total}" if total else str(done)


def _brief(data: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in data.items())[:160]
