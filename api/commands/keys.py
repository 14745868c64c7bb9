"""`flan keys …`"""

from typing import Annotated

import typer

from api.commands.output import Server, client_of, when
from flan.terminal import Output, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="API keys.")
SCOPES_HELP = (
    "What it may do; may be given several times: jobs:read, jobs:write, data:write, generate, metrics:read; "
    "admin = all of it, and keys."
)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose or what for.")],
    scope: Annotated[list[str], typer.Option(help=SCOPES_HELP)],
    output: Output = "text",
    server: Server = None,
) -> None:
    """Make a key. It is shown once."""
    made = client_of(context, server).send("POST", "/keys", json_body={"name": name, "scopes": scope})
    if output == "json":
        show_json(made)
    else:
        typer.echo(made["key"])


@app.command("list")
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


@app.command()
def revoke(context: typer.Context, key_id: str, server: Server = None) -> None:
    """Refuse a key from now on."""
    client_of(context, server).send("DELETE", f"/keys/{key_id}")
    typer.echo(f"{key_id} revoked")
