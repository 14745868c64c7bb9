"""`flan models …`"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from api.commands.output import Server, client_of, when
from api.commands.watching import leaving, state_of, until_answering
from flan.cli import read_assignments
from flan.errors import NotFound
from flan.terminal import Output, show_facts, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="Models on the platform.")
ModelRef = Annotated[str, typer.Argument(help="A model: name, name@3 or name@alias.")]


@app.command("list")
def list_models(
    context: typer.Context, limit: int = 20, output: Output = "text", server: Server = None
) -> None:
    """The newest version of every model."""
    found = client_of(context, server).all("/models", limit)
    if output == "json":
        show_json(found)
        return
    show_table(
        ("MODEL", "ROLE", "PARAMETERS", "ALIASES", "SERVED AS", "CREATED"),
        [
            (
                model["id"],
                model["role"],
                f"{model['card']['num_parameters']:,}",
                ", ".join(model["aliases"]),
                ", ".join(model["served_as"]),
                when(model["created_at"]),
            )
            for model in found
        ],
    )


@app.command()
def show(context: typer.Context, model: ModelRef, output: Output = "text", server: Server = None) -> None:
    """One model: what it is, and what it has seen."""
    found = client_of(context, server).get(f"/models/{model}")
    if output == "json":
        show_json(found)
    else:
        show_facts(_facts(found))


@app.command()
def deploy(
    context: typer.Context,
    model: ModelRef,
    name: Annotated[
        str | None, typer.Option(help="Name that requests use; the model's when left out.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="Any field of a serve job: resources.device=cuda, max_batch=8 …"),
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, max=64, help="How many processes serve it.")] = 1,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Come back when the model answers.")] = True,
    output: Output = "text",
    server: Server = None,
) -> None:
    """Serve a model, until it is undeployed. Ctrl-C ends the waiting alone."""
    client = client_of(context, server)
    spec = {"kind": "serve", "name": name or model.partition("@")[0], "model": model}
    asked = read_assignments(override or [], spec)
    jobs = [client.send("POST", "/jobs", json_body=asked) for _ in range(replicas)]
    for number, job in enumerate(jobs):
        if wait:
            with leaving(job["id"], f"flan models undeploy {job['name']}"):
                if output == "text":
                    typer.echo(f"{job['id']}  {state_of(job)}", err=True)
                jobs[number] = until_answering(client, job["id"])
        if output == "text":
            said = f"{model} answers as" if wait else f"{state_of(job)}: {model} will answer as"
            typer.echo(f"{job['id']}  {said} {job['name']}")
    if output == "json":
        show_json(jobs[0] if replicas == 1 else jobs)


@app.command()
def deployments(
    context: typer.Context, limit: int = 20, output: Output = "text", server: Server = None
) -> None:
    """What is served under which name, and how busy each replica is."""
    found = client_of(context, server).all("/deployments", limit)
    if output == "json":
        show_json(found)
        return
    show_table(
        ("NAME", "MODEL", "JOB", "STATE", "NODE", "ACTIVE", "WAITING", "ANSWERED", "REFUSED"),
        [
            (
                deployment["id"],
                replica["model"],
                replica["job_id"],
                replica["state"],
                replica["node"] or "",
                *(
                    f"{replica['load'][figure]:,}" if replica["load"] else ""
                    for figure in ("active", "waiting", "requests", "refused")
                ),
            )
            for deployment in found
            for replica in deployment["replicas"]
        ],
    )


@app.command()
def undeploy(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the deployment.")],
    server: Server = None,
) -> None:
    """Stop serving a model."""
    client = client_of(context, server)
    jobs = [job for job in client.all("/jobs", 1000, kind="serve", name=name) if job["finished_at"] is None]
    if not jobs:
        raise NotFound(f"no deployment {name!r}", hint="see: flan models deployments")
    for job in jobs:
        stopped = client.send("POST", f"/jobs/{job['id']}/cancel")
        typer.echo(f"{stopped['id']}  {stopped['state']}")


@app.command()
def alias(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="name@version, such as flan@3.")],
    to: Annotated[str, typer.Argument(metavar="ALIAS", help="The movable name, such as default.")],
    server: Server = None,
) -> None:
    """Point an alias at a version."""
    client = client_of(context, server)
    version = client.get(f"/models/{model}")
    path = f"/models/{version['name']}/aliases/{to}"
    is_there = any(each["alias"] == to for each in client.get(f"/models/{version['name']}/aliases")["data"])
    headers = {"If-Match": "*"} if is_there else {}
    made = client.send("PUT", path, json_body={"version": version["version"]}, headers=headers)
    typer.echo(f"{made['id']} is version {made['version']}")


def _facts(model: Mapping[str, Any]) -> dict[str, object]:
    card, lineage = model["card"], model["card"]["lineage"]
    seen, clusters = lineage["tasks_seen"], lineage["clusters_seen"]
    return {
        "model": model["id"],
        "role": model["role"],
        "architecture": card["contract"]["architecture"],
        "parameters": f"{card['num_parameters']:,}",
        "context": f"{card['context_length']:,} tokens",
        "base": lineage["base"],
        "steps": lineage["steps"] or None,
        "tasks seen": "unknown" if seen is None else ", ".join(seen) or "none",
        "clusters seen": "unknown" if clusters is None else ", ".join(clusters) or "none",
        "made by": model["job_id"],
        "created": when(model["created_at"]),
        "aliases": ", ".join(model["aliases"]),
        "served as": ", ".join(model["served_as"]),
        "digest": model["digest"],
    }
