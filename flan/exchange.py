"""`flan import …` and `flan export`: documents of other projects in, rendered examples out. No server needed."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from flan.spec import OptionsPolicy, canonical_json
from flan.store import write_atomically
from flan.tasks.importers.export import PerRow, export_examples, json_line
from flan.tasks.importers.natural_instructions import read_natural_instructions, task_name
from flan.tasks.importers.promptsource import promptsource_task, read_promptsource
from flan.tasks.task import Task
from flan.tasks.taxonomy import Taxonomy, load_taxonomy
from flan.tasks.template import RowError
from flan.tasks.yaml_text import read_text_file
from flan.terminal import count

import_app = typer.Typer(no_args_is_help=True, help="Template sets of other projects.")
To = Annotated[
    Path, typer.Option("--to", help="Folder for the task, and for its rows where the file has them.")
]


@import_app.command("promptsource")
def import_promptsource(
    file: Annotated[Path, typer.Argument(help="A templates.yaml of promptsource.")],
    to: To,
    cluster: Annotated[str, typer.Option(help="The cluster that the task joins.")],
    name: Annotated[str | None, typer.Option(help="Name of the task; else p3_, dataset and subset.")] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="ours=theirs; else train, validation and test as they are called."),
    ] = None,
    folder: Annotated[
        str | None, typer.Option(help="Folder of the rows in hub layout; else the name.")
    ] = None,
) -> None:
    """Make a task of a promptsource file. Its Jinja is walked by a bounded interpreter, never compiled."""
    found = read_promptsource(read_text_file(file))
    known = "_".join(filter(None, (found.dataset.rpartition("/")[2], found.subset)))
    splits = (
        dict(_pair(each) for each in split)
        if split
        else {each: each for each in ("train", "validation", "test")}
    )
    task = promptsource_task(
        found, name=name or task_name(f"p3_{known}"), cluster=cluster, splits=splits, folder=folder
    )
    for refused, reason in found.refused.items():
        typer.echo(f"refused: {refused}: {reason}", err=True)
    path = _write_task(task, to)
    typer.echo(f"{path}  {count(len(task.templates), 'template')}, {len(found.refused)} refused")
    _tell_unplaced(task, load_taxonomy("flan"))


@import_app.command("natural-instructions")
def import_natural_instructions(
    files: Annotated[list[Path], typer.Argument(help="Task files of Super-NaturalInstructions, JSON.")],
    to: To,
) -> None:
    """Make a task of each file, and its rows beside it: upload these as the dataset of the same name."""
    taxonomy = load_taxonomy("flan")
    for file in files:
        imported = read_natural_instructions(read_text_file(file), file.name)
        path = _write_task(imported.task, to)
        rows = b"".join(canonical_json(row).encode() + b"\n" for row in imported.rows)
        write_atomically(path.with_suffix(".jsonl"), rows)
        typer.echo(f"{path}  {count(len(imported.rows), 'row')}")
        _tell_unplaced(imported.task, taxonomy)


def export(
    task: Task,
    split: str,
    to: Path,
    data: Path | None,
    *,
    seed: int,
    per_row: PerRow,
    options: OptionsPolicy,
    limit: int | None,
) -> None:
    """Write the examples of one split as JSON lines; says how many rows could not be rendered.

    Raises what opening the rows raises.
    """
    from flan.data.rows import Places, open_rows

    rows = open_rows(task, split, Places(data=data, store=None))
    wanted = (rows[i] for i in range(len(rows) if limit is None else min(limit, len(rows))))
    skipped: list[RowError] = []
    unfinished, written = to.with_name(f".{to.name}.unfinished"), 0
    examples = export_examples(
        task, split, wanted, seed=seed, per_row=per_row, options_policy=options,
        skip=lambda _, error: skipped.append(error),
    )  # fmt: skip
    with unfinished.open("w", encoding="utf-8") as file:
        for example in examples:
            file.write(json_line(example))
            written += 1
    unfinished.replace(to)
    typer.echo(f"{to}  {count(written, 'example')}")
    if skipped:
        typer.echo(f"not rendered: {len(skipped):,}; first: {skipped[0].message}", err=True)


def _tell_unplaced(task: Task, taxonomy: Taxonomy) -> None:
    why = taxonomy.unplaced(task)
    if why is not None:
        typer.echo(f"{task.name}: {why}; nothing is proven unseen after training on it", err=True)


def _write_task(task: Task, to: Path) -> Path:
    to.mkdir(parents=True, exist_ok=True)
    path = to / f"{task.name}.yaml"
    document: dict[str, Any] = json.loads(task.model_dump_json(exclude_defaults=True))
    # What tells one kind from another is a default of its own kind.
    document["source"]["kind"] = task.source.kind
    for template, given in zip(task.templates, document["templates"], strict=True):
        given.update({"language": template.language} if template.language != "slots" else {})
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    write_atomically(path, text.encode())
    return path


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, below a bar."""


def _write_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _write_text)


def _pair(given: str) -> tuple[str, str]:
    ours, _, theirs = given.partition("=")
    return ours, theirs or ours
