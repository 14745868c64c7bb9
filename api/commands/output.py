"""How commands answer: tables and progress for people, JSON for machines; and with which exit status."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.client import Client, Refused, Unreachable, connect
from flan.cli import report
from flan.errors import FlanError

FAILED, USAGE, NOT_ALLOWED, UNREACHABLE = 1, 2, 3, 4
console = Console(highlight=False, soft_wrap=True)

Format = Literal["text", "json"]
Output = Annotated[Format, typer.Option("--output", "-o", help="text, or json for machines.")]
Server = Annotated[str | None, typer.Option("--server", help="Address of the platform [FLAN_SERVER].")]


def client_of(context: typer.Context, server: str | None) -> Client:
    """A client for the server named here, before the command, or in the environment; closed with the command."""
    client = connect(server or context.find_root().params.get("server"))
    context.call_on_close(client.close)
    return client


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under `columns`."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for i, column in enumerate(columns):
        # The first one names the thing: it is copied, so it is never cut.
        table.add_column(column, no_wrap=i == 0)
    for row in rows:
        # Text, not markup: what people named things is shown as it is.
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console.print(table)


def when(seconds: int | None) -> str:
    """A moment in local time."""
    return (
        "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    )


def run(application: typer.Typer) -> None:
    """Run a command line; an error raised on purpose is printed with its hint.

    Exit status: 0 = done, 1 = the job failed, 2 = bad request, 3 = not found or not allowed, 4 = no server.
    """
    try:
        application()
    except FlanError as error:
        report(error)
        sys.exit(_status(error))


def _status(error: FlanError) -> int:
    if isinstance(error, Unreachable) or (isinstance(error, Refused) and error.status >= 500):
        return UNREACHABLE
    return NOT_ALLOWED if isinstance(error, Refused) and error.status in (401, 403, 404) else USAGE
