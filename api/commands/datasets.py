"""`flan datasets …`"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api.commands.output import Server, client_of, when
from flan.previews import row_format
from flan.terminal import Output, count, show_facts, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="Datasets on the platform.")
_PIECE_BYTES = 1 << 20


@app.command()
def push(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Rows: .jsonl, .csv or .parquet.")],
    name: Annotated[str, typer.Option(help="Name of the dataset.")],
    split: Annotated[str, typer.Option(help="Which split these rows are.")] = "train",
    output: Output = "text",
    server: Server = None,
) -> None:
    """Upload one split of a dataset. Another split, or another file for it, is a new version."""
    params = {"name": name, "split": split, "format": row_format(file)}
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
    client = client_of(context, server)
    made = client.send("POST", "/datasets", content=_pieces(file), params=params, headers=headers)
    if output == "json":
        show_json(made)
    else:
        num_rows = count(made["splits"][split]["num_rows"], "row")
        typer.echo(f"{made['name']}@{made['version']}  {split}: {num_rows}")


@app.command("list")
def list_datasets(
    context: typer.Context, limit: int = 20, output: Output = "text", server: Server = None
) -> None:
    """Datasets, newest first."""
    found = client_of(context, server).all("/datasets", limit)
    if output == "json":
        show_json(found)
        return
    show_table(
        ("NAME", "FORMAT", "SPLITS", "CREATED"),
        [
            (
                f"{each['name']}@{each['version']}",
                each["format"],
                ", ".join(f"{split} {entry['num_rows']}" for split, entry in each["splits"].items()),
                when(each["created_at"]),
            )
            for each in found
        ],
    )


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A dataset: name or name@3.")],
    output: Output = "text",
    server: Server = None,
) -> None:
    """One dataset: its splits and their columns."""
    found = client_of(context, server).get(f"/datasets/{name}")
    if output == "json":
        show_json(found)
        return
    show_facts(
        {
            "dataset": f"{found['name']}@{found['version']}",
            "format": found["format"],
            "created": when(found["created_at"]),
        }
    )
    typer.echo()
    show_table(
        ("SPLIT", "ROWS", "BYTES", "COLUMNS"),
        [
            (name, f"{split['num_rows']:,}", f"{split['size_bytes']:,}", _columns(split["columns"]))
            for name, split in found["splits"].items()
        ],
    )


def _columns(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Each column with its types, and in how many rows it is missing."""
    shown = []
    for name, column in columns.items():
        lacking = f", {column['num_missing']:,} missing" if column["num_missing"] else ""
        shown.append(f"{name} ({'|'.join(column['types'])}{lacking})")
    return " ".join(shown)


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE_BYTES):
            yield piece
