"""What the commands that speak to a server share: the client, and how moments and figures are written."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from api.client import Client, connect

console = Console(highlight=False, soft_wrap=True)

Server = Annotated[str | None, typer.Option("--server", help="Address of the platform; else FLAN_SERVER.")]
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def client_of(context: typer.Context, server: str | None) -> Client:
    """A client for the server named here, before the command, or in the environment; closed with the command."""
    client = connect(server or context.find_root().params.get("server"))
    context.call_on_close(client.close)
    return client


def when(seconds: int | None) -> str:
    """A moment in local time."""
    return (
        "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    )


def age(seconds: int | None) -> str:
    """How long ago a moment was, in its largest unit: `3 min`."""
    return "" if seconds is None else duration(max(0.0, time.time() - seconds))


def duration(seconds: float) -> str:
    """A length of time in its largest whole unit."""
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def brief(data: Mapping[str, Any]) -> str:
    """Fields as key=value, nested ones by their inner names; figures to 4 significant digits."""
    return " ".join(f"{name}={value}" for name, value in _flat(data))


def _flat(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif isinstance(value, list):
            yield name, ",".join(_item(each) for each in value) or "none"
        elif value is not None:
            yield name, _item(value)


def _item(value: Any) -> str:
    if isinstance(value, Mapping):
        # A model that was made; of other things in lists, what they are is in their fields.
        named = f"{value['name']}@{value['version']}" if {"name", "version"} <= set(value) else None
        return named or ":".join(text for _, text in _flat(value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
