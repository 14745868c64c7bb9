"""`flan nodes`"""

from typing import Any

import typer

from api.commands.output import Server, age, client_of
from flan.terminal import Output, show_json, show_table


def nodes(context: typer.Context, output: Output = "text", server: Server = None) -> None:
    """The machines that run jobs: what they offer, and what of it is free."""
    found = client_of(context, server).all("/nodes", 1_000)
    if output == "json":
        show_json(found)
        return
    show_table(
        ("NODE", "STATE", "FREE CPU SLOTS", "FREE GPUS", "GPUS", "SEEN"),
        [
            (
                node["id"],
                "here" if node["is_here"] else "away",
                f"{node['free_cpu_slots']}/{node['cpu_slots']}",
                f"{sum(gpu['is_free'] for gpu in node['gpus'])}/{len(node['gpus'])}",
                _kinds(node["gpus"]),
                f"{age(node['seen_at'])} ago",
            )
            for node in found
        ],
    )


def _kinds(gpus: list[dict[str, Any]]) -> str:
    return ", ".join(sorted({gpu["name"] for gpu in gpus}))
