"""`flan jobs …`"""

import json
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from api.client import Client
from api.commands.output import Server, age, brief, client_of, when
from api.commands.watching import (
    JobFailed,
    leaving,
    log_of,
    models_of,
    state_of,
    step_of,
    tell_ending,
    watch,
    write_lines,
)
from flan.cli import Overrides, SpecFile, read_document
from flan.terminal import Output, show_facts, show_json, show_results, show_table

app = typer.Typer(no_args_is_help=True, help="Jobs: tune, evaluate, serve, sweep.")
JobId = Annotated[str, typer.Argument(help="Id of a job: job_…")]
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
        typer.echo(f"{made['id']}  {made['kind']} {made['name']}  {made['state']}")
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
        ("ID", "KIND", "NAME", "STATE", "STEP", "AGE"),
        [
            (job["id"], job["kind"], job["name"], job["state"], step_of(job), age(job["created_at"]))
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
    show_facts(
        {
            "id": job["id"],
            "kind": job["kind"],
            "name": job["name"],
            "state": state_of(job),
            "step": step_of(job),
            "attempt": job["attempt"] or None,
            "created": when(job["created_at"]),
            "started": when(job["started_at"]),
            "finished": when(job["finished_at"]),
            "models": models_of(job),
        }
    )
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
        ("SEQ", "AGE", "TYPE", "DATA"),
        [(event["seq"], age(event["created_at"]), event["type"], _told(event["data"])) for event in found],
    )


def _told(data: Mapping[str, Any]) -> str:
    """What goes with an event; a batch token by token is for machines."""
    return brief({name: value for name, value in data.items() if name != "segments"})


@app.command()
def metrics(
    context: typer.Context,
    job_id: JobId,
    name: Annotated[str | None, typer.Option(help="Only this figure, such as train/loss.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many points.")] = 10_000,
    output: Output = "text",
    server: Server = None,
) -> None:
    """Figures of a job, step by step."""
    found = client_of(context, server).all(f"/jobs/{job_id}/metrics", limit, name=name)
    if output == "json":
        show_json(found)
        return
    show_table(
        ("STEP", "NAME", "VALUE"), [(each["step"], each["name"], _value(each["value"])) for each in found]
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
def children(
    context: typer.Context,
    job_id: JobId,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 1_000,
    output: Output = "text",
    server: Server = None,
) -> None:
    """The jobs of a sweep, and how they stand."""
    found = client_of(context, server).all(f"/jobs/{job_id}/children", limit)
    if output == "json":
        show_json(found)
        return
    show_table(
        ("NAME", "JOB", "KIND", "STATE", "WHY"),
        [
            (each["id"], each["job_id"], each["kind"], each["state"], (each["error"] or {}).get("message"))
            for each in found
        ],
    )


@app.command()
def results(
    context: typer.Context,
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB...", help="One, or several side by side.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
    output: Output = "text",
    server: Server = None,
) -> None:
    """What evaluations measured: mean and spread over templates. Of a tune job, the shares of its mixture; of a sweep,
    what its evaluations have found out so far."""
    from flan.evaluate.report import results_markdown, results_table

    client = client_of(context, server)
    found = [client.get(f"/jobs/{job_id}/results")["results"] for job_id in job_ids]
    alone = [each for each in found if "kind" in each]  # an evaluation's has none
    tuned = [each for each in alone if each["kind"] == "tune"]
    if output == "json":
        show_json(found if len(found) > 1 else found[0])
    elif alone and len(found) > 1:
        what = "a tune job's" if tuned else "a sweep's"
        raise typer.BadParameter(f"{what} results stand alone", param_hint="JOB")
    elif alone and not tuned:
        _show_sweep(found[0], markdown=markdown)
    elif tuned:
        from flan.mixtures import show_tune_results

        show_tune_results(tuned[0])
    elif markdown:
        typer.echo(results_markdown(found), nl=False)
    else:
        show_results(results_table(found))


@app.command()
def samples(
    context: typer.Context,
    job_id: JobId,
    task: Annotated[str | None, typer.Option(help="Only questions of this task.")] = None,
    split: Annotated[str | None, typer.Option(help="Only questions about this split.")] = None,
    after: Annotated[int | None, typer.Option(min=0, help="Start after the question of this number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most this many.")] = 20,
    server: Server = None,
) -> None:
    """What an evaluation asked and what came back, a line of JSON for each question."""
    wanted = {"task": task, "split": split, "after": after, "limit": limit}
    for each in client_of(context, server).get(f"/jobs/{job_id}/results/samples", **wanted)["data"]:
        typer.echo(json.dumps(each, ensure_ascii=False))


def _show_sweep(document: dict[str, Any], *, markdown: bool) -> None:
    from flan.evaluate.sweep_results import SweepResults, sweep_markdown, sweep_table
    from flan.spec import parse

    found = parse(SweepResults, document)
    if markdown:
        typer.echo(sweep_markdown(found), nl=False)
        return
    show_results(sweep_table(found))
    if found.partial:
        done = sum(each.state == "succeeded" for each in found.children)
        typer.echo(f"so far: {done} of {len(found.children)} jobs have succeeded")


def _do(client: Client, job_id: str, verb: str, output: str) -> None:
    job = client.send("POST", f"/jobs/{job_id}/{verb}")
    if output == "json":
        show_json(job)
    else:
        typer.echo(f"{job['id']}  {state_of(job)}")


def _follow(client: Client, job_id: str, after: int = 0, *, is_json: bool) -> None:
    """Show a job's events to its end, and what an evaluation measured. Raises JobFailed unless it succeeded."""
    with leaving(job_id, f"flan jobs cancel {job_id}"):
        state = (write_lines if is_json else watch)(client.follow(job_id, after))
    job = client.get(f"/jobs/{job_id}")
    if state != "succeeded":
        raise JobFailed(job)
    if is_json:
        return
    tell_ending(job)
    if job["kind"] == "sweep":
        _show_sweep(client.get(f"/jobs/{job_id}/results")["results"], markdown=False)
    if job["kind"] == "evaluate":
        from flan.evaluate.report import results_table

        show_results(results_table([client.get(f"/jobs/{job_id}/results")["results"]]))


def _copy_log(client: Client, job_id: str, rank: int, attempt: int | None, offset: int) -> tuple[int, bool]:
    """Write what is new in a log to standard output: where to read on, and whether that was all."""
    piece = client.get(f"/jobs/{job_id}/logs", rank=rank, attempt=attempt, offset=offset)
    sys.stdout.write(piece["text"])
    sys.stdout.flush()
    return piece["next_offset"], piece["next_offset"] >= piece["size_bytes"] or not piece["text"]


def _show_failure(error: dict[str, Any]) -> None:
    lines = [f"{error['code']} (to be mended by: {error['blame']}): {error['message']}"]
    lines += [f"hint: {error['hint']}"] if error["hint"] else []
    typer.echo("\n".join([*lines, *log_of(error)]))


def _value(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6g}"
