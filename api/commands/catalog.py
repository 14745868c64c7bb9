"""`flan templates …` and `flan datasets …`"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from api.commands.output import Output, Server, client_of, console, show_json, show_table, when
from flan.errors import NotFound

templates_app = typer.Typer(no_args_is_help=True, help="Template sets on the platform.")
datasets_app = typer.Typer(no_args_is_help=True, help="Datasets on the platform.")
_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_PIECE_BYTES = 1 << 20


@templates_app.command("push")
def push_templates(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A template set: YAML or JSON.")],
    output: Output = "text",
    server: Server = None,
) -> None:
    """Upload a template set. The same name again is a new version."""
    _require(file)
    kind = "application/json" if file.suffix == ".json" else "application/yaml"
    client = client_of(context, server)
    made = client.send("POST", "/template-sets", content=file.read_bytes(), headers={"Content-Type": kind})
    if output == "json":
        show_json(made)
    else:
        console.print(f"{made['name']}@{made['version']}  {made['num_templates']} templates")


@templates_app.command("list")
def list_templates(
    context: typer.Context, limit: int = 20, output: Output = "text", server: Server = None
) -> None:
    """Template sets, newest first."""
    found = client_of(context, server).all("/template-sets", limit)
    if output == "json":
        show_json(found)
        return
    show_table(
        ("NAME", "CLUSTER", "TEMPLATES", "CREATED"),
        [
            (
                f"{each['name']}@{each['version']}",
                each["cluster"],
                each["num_templates"],
                when(each["created_at"]),
            )
            for each in found
        ],
    )


@datasets_app.command("push")
def push_dataset(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Rows: .jsonl, .csv or .parquet.")],
    name: Annotated[str, typer.Option(help="Name of the dataset.")],
    split: Annotated[str, typer.Option(help="Which split these rows are.")] = "train",
    output: Output = "text",
    server: Server = None,
) -> None:
    """Upload one split of a dataset. Another split, or another file for it, is a new version."""
    _require(file)
    format_ = _FORMATS.get(file.suffix)
    if format_ is None:
        raise typer.BadParameter(f"{file.name} is none of {', '.join(_FORMATS)}")
    made = client_of(context, server).send(
        "POST",
        "/datasets",
        content=_pieces(file),
        params={"name": name, "split": split, "format": format_},
        headers={"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)},
    )
    if output == "json":
        show_json(made)
    else:
        console.print(f"{made['name']}@{made['version']}  {split}: {made['splits'][split]['num_rows']} rows")


@datasets_app.command("list")
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


def _require(file: Path) -> None:
    if not file.is_file():
        raise NotFound(f"no file {file}")


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE_BYTES):
            yield piece
