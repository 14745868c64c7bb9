"""`flan models …` and `flan keys …`"""

from typing import Annotated

import typer

from api.commands.output import Output, Server, client_of, console, show_json, show_table, when
from flan.errors import NotFound

models_app = typer.Typer(no_args_is_help=True, help="Models on the platform.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys.")
ModelRef = Annotated[str, typer.Argument(help="A model: name, name@3 or name@alias.")]


@models_app.command("list")
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


@models_app.command()
def deploy(
    context: typer.Context,
    model: ModelRef,
    name: Annotated[
        str | None, typer.Option(help="Name that requests use; the model's when left out.")
    ] = None,
    output: Output = "text",
    server: Server = None,
) -> None:
    """Serve a model, until it is undeployed."""
    spec = {"kind": "serve", "name": name or model.partition("@")[0], "model": model}
    job = client_of(context, server).send("POST", "/jobs", json_body=spec)
    if output == "json":
        show_json(job)
    else:
        console.print(f"{job['id']}  serves {model} as {job['name']}, once it is running")


@models_app.command()
def undeploy(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the deployment.")],
    server: Server = None,
) -> None:
    """Stop serving a model."""
    client = client_of(context, server)
    jobs = [job for job in client.all("/jobs", 1000, kind="serve", name=name) if job["finished_at"] is None]
    if not jobs:
        raise NotFound(f"no deployment {name!r}", hint="see: flan models list")
    for job in jobs:
        stopped = client.send("POST", f"/jobs/{job['id']}/cancel")
        console.print(f"{stopped['id']}  {stopped['state']}")


@models_app.command()
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
    console.print(f"{made['id']} is version {made['version']}")


@keys_app.command("create")
def create_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose or what for.")],
    scope: Annotated[list[str], typer.Option(help="May be given several times: jobs:read, generate …")],
    output: Output = "text",
    server: Server = None,
) -> None:
    """Make a key. It is shown once."""
    made = client_of(context, server).send("POST", "/keys", json_body={"name": name, "scopes": scope})
    if output == "json":
        show_json(made)
    else:
        console.print(made["key"])


@keys_app.command("list")
def list_keys(
    context: typer.Context, limit: int = 100, output: Output = "text", server: Server = None
) -> None:
    """All keys, without their secrets."""
    found = client_of(context, server).all("/keys", limit)
    if output == "json":
        show_json(found)
        return
    show_table(
        ("ID", "NAME", "SCOPES", "CREATED", "USED", "REVOKED"),
        [
            (
                key["id"],
                key["name"],
                " ".join(key["scopes"]),
                when(key["created_at"]),
                when(key["used_at"]),
                when(key["revoked_at"]),
            )
            for key in found
        ],
    )


@keys_app.command("revoke")
def revoke_key(context: typer.Context, key_id: str, server: Server = None) -> None:
    """Refuse a key from now on."""
    client_of(context, server).send("DELETE", f"/keys/{key_id}")
    console.print(f"{key_id} revoked")
