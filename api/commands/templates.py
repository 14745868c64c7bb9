"""`flan templates …`: template sets, and how the platform's tasks look to a model."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from api.commands.output import Server, client_of, when
from flan.cli import (
    Limit,
    OptionsShown,
    PromptForm,
    RowNumber,
    RowsFile,
    Seed,
    ShotsBefore,
    Split,
    TemplateNumber,
)
from flan.errors import NotFound
from flan.previews import list_findings, read_rows_file, show_findings
from flan.renderings import show_renderings
from flan.terminal import Output, count, show_facts, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="Template sets on the platform.")
SetName = Annotated[str, typer.Argument(help="A template set: name or name@3.")]
_MAX_LINT_ROWS = 500
"""The server looks at no more in one request."""


@app.command()
def push(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A template set: YAML or JSON.")],
    output: Output = "text",
    server: Server = None,
) -> None:
    """Upload a template set, and see what is odd about it. The same name again is a new version."""
    if not file.is_file():
        raise NotFound(f"no file {file}")
    kind = "application/json" if file.suffix == ".json" else "application/yaml"
    client = client_of(context, server)
    made = client.send("POST", "/template-sets", content=file.read_bytes(), headers={"Content-Type": kind})
    if output == "json":
        show_json(made)
    else:
        typer.echo(f"{made['name']}@{made['version']}  {count(made['num_templates'], 'template')}")
        list_findings(made["findings"])


@app.command("list")
def list_sets(
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


@app.command()
def show(context: typer.Context, name: SetName, output: Output = "text", server: Server = None) -> None:
    """One template set: the task it stands for, and its templates."""
    found = client_of(context, server).get(f"/template-sets/{name}")
    if output == "json":
        show_json(found)
        return
    document = found["document"]
    show_facts(
        {
            "template set": f"{found['name']}@{found['version']}",
            "cluster": found["cluster"],
            "source": _source(document["source"]),
            "fields": ", ".join(document["fields"]),
            "choices": ", ".join((document["answer"] or {}).get("choices", [])),
            "metrics": ", ".join(document["metrics"]),
            "created": when(found["created_at"]),
            "digest": found["sha256"],
        }
    )
    typer.echo()
    show_table(
        ("TEMPLATE", "LANGUAGE", "PATTERN"),
        [(i, each.get("language", "slots"), _pattern(each)) for i, each in enumerate(document["templates"])],
    )


@app.command()
def lint(
    context: typer.Context,
    name: SetName,
    split: Split = None,
    rows: RowsFile = None,
    limit: Limit = _MAX_LINT_ROWS,
    output: Output = "text",
    server: Server = None,
) -> None:
    """Look for faults in an uploaded template set, on its dataset's rows. Exit status 1 when there is an error."""
    client = client_of(context, server)
    limit = min(limit, _MAX_LINT_ROWS)
    wanted: dict[str, Any] = (
        {"rows": read_rows_file(rows, limit)} if rows else {"split": split, "limit": limit}
    )
    found = client.send("POST", f"/template-sets/{name}/lint", json_body=wanted)
    if output == "json":
        show_json(found)
        raise typer.Exit(0 if found["is_clean"] else 1)
    looked_at = f"{found['name']}@{found['version']}, {count(found['num_rows'], 'row')}"
    show_findings(found["findings"], looked_at)


@app.command()
def render(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A template set, or a task of the platform's collections.")],
    row: RowNumber = 0,
    template: TemplateNumber = None,
    split: Split = None,
    options: OptionsShown = "flan2021",
    prompt_format: PromptForm = "instructions",
    shots: ShotsBefore = None,
    model: Annotated[
        str | None, typer.Option(help="A registered model: what it reads and writes, token by token.")
    ] = None,
    seed: Seed = 0,
    rows: RowsFile = None,
    output: Output = "text",
    server: Server = None,
) -> None:
    """Show a row as a model sees it, with the rows and models that the platform has."""
    client = client_of(context, server)
    wanted: dict[str, Any] = {"task": name, "template": template, "options": options, "seed": seed}
    wanted |= {
        "prompt_format": prompt_format,
        "model": model,
        "few_shot": {"shots": shots} if shots else None,
    }
    wanted |= {"rows": [_row_of(rows, row)]} if rows else {"split": split, "indices": [row]}
    found = client.send("POST", "/render", json_body=wanted)
    if output == "json":
        show_json(found)
        return
    show_renderings(found["data"])


@app.command()
def diff(
    context: typer.Context,
    name: SetName,
    before: Annotated[
        int | None, typer.Option("--from", min=1, help="A version; else the one before.")
    ] = None,
    after: Annotated[int | None, typer.Option("--to", min=1, help="A version; else the newest.")] = None,
    output: Output = "text",
    server: Server = None,
) -> None:
    """What changed between two versions of a template set: its templates line by line, then other fields."""
    path = f"/template-sets/{name}/diff"
    found = client_of(context, server).send("GET", path, params={"from": before, "to": after})
    if output == "json":
        show_json(found)
        return
    changed = [each["change"] for each in found["templates"]]
    counts = [f"{changed.count(kind)} {kind}" for kind in dict.fromkeys(changed)]
    fields = [count(len(found["fields"]), "other field")] if found["fields"] else []
    said = ", ".join([*counts, *fields]) or "nothing changed"
    typer.echo(f"{found['name']}@{found['before']} → {found['name']}@{found['after']}: {said}")
    for each in found["templates"]:
        typer.echo(each["diff"] or f"template {each['before']} is now template {each['after']}")
    for each in found["fields"]:
        typer.echo(f"{each['pointer']}: {json.dumps(each['before'])} → {json.dumps(each['after'])}")


def _row_of(file: Path, number: int) -> Any:
    found = read_rows_file(file, number + 1)
    if number >= len(found):
        raise NotFound(
            f"no row {number} in {file}: it has {count(len(found), 'row')}", hint="rows count from 0"
        )
    return found[number]


def _source(source: dict[str, Any]) -> str:
    """Where the rows come from: its kind and its name."""
    named = source.get("name") or source.get("id") or source.get("generator")
    # The splits of an uploaded dataset are those of its newest version: they are not the template set's.
    splits = f"({', '.join(source['splits'])})" if source["splits"] else None
    return " ".join(filter(None, (source["kind"], named, splits)))


def _pattern(template: dict[str, Any]) -> str:
    """What is asked, and what is to be answered."""
    jinja: str | None = template.get("jinja")
    return jinja if jinja is not None else f"{template['input']} → {template['target']}"
