"""A row as a model sees it, on the command line: rendered here or by a platform, shown the same way."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from flan.errors import NotFound
from flan.previews import sample_of
from flan.spec import FewShot, OptionsPolicy, PromptFormat
from flan.tasks.task import Task
from flan.terminal import count, show_table

if TYPE_CHECKING:  # reading rows loads numpy: `--help` must not wait for it
    from flan.data.token_view import Speller
    from flan.evaluate.preview import Preview


class Asked(NamedTuple):
    """Which row is rendered, and how."""

    row: int
    template: int | None
    split: str | None
    options: OptionsPolicy
    prompt_format: PromptFormat
    shots: int | None
    seed: int


def render_here(
    task: Task, asked: Asked, data: Path | None, rows: Path | None, model: Path | None
) -> list[dict[str, Any]]:
    """The row through the templates, as POST /render answers; solved rows come from the task's training split.

    Raises NotFound where row, template or model is not there, and what reading rows raises.
    """
    from flan.data.rows import Places, open_rows
    from flan.data.shots import Shots
    from flan.evaluate.preview import Form, previews
    from flan.tasks.formats import formatted
    from flan.tasks.render import instance

    task = formatted(task, asked.prompt_format)
    sample = sample_of(task, data, rows, asked.row + 1, asked.split)
    if asked.row >= len(sample.rows):
        raise NotFound(f"no row {asked.row} among {sample.origin}", hint="rows count from 0")
    form = Form(asked.options, asked.seed, sample.split)
    shots = None
    if asked.shots is not None:
        few_shot = FewShot(shots=asked.shots)
        shots = Shots(form, few_shot, task, open_rows(task, few_shot.split, Places(data, None)))
    found = instance(task, sample.rows[asked.row])
    speller = _speller(model) if model else None
    templates = _templates(task, asked.template)
    # A row of no split has no number there: it is the first that is asked, as in a request to a platform.
    number = asked.row if sample.split else 0
    shown = previews(task, form, number, found, templates, shots=shots, model=speller)
    return [_plain(task, asked.row, each) for each in shown]


def show_renderings(renderings: Iterable[Mapping[str, Any]]) -> None:
    """Prompt, target and tokens of each; what they are, and what could not be asked, stands on standard error."""
    for each in renderings:
        if each["error"]:
            typer.echo(f"template {each['template']}: {each['error']['message']}", err=True)
            continue
        solved = f", {count(len(each['exemplars']), 'solved row')}" if each["exemplars"] else ""
        typer.secho(f"template {each['template']} {each['role']}{solved}", bold=True, err=True)
        typer.echo(f"{each['input']}\n[target] {each['target']}")
        if each["tokens"]:
            _show_tokens(each["tokens"])
        typer.echo()


def _templates(task: Task, template: int | None) -> Sequence[int]:
    last = len(task.templates) - 1
    if template is None:
        return range(last + 1)
    if template > last:
        raise NotFound(f"{task.name} has templates 0 to {last}, not {template}")
    return [template]


def _speller(directory: Path) -> "Speller":
    from flan.card import read_card
    from flan.data.token_view import read_speller

    if not directory.is_dir():
        raise NotFound(f"no folder {directory}", hint="--model takes the directory of a model")
    return read_speller(directory, read_card(directory))


def _plain(task: Task, row: int, preview: "Preview") -> dict[str, Any]:
    rendered, view, error = preview.rendered, preview.tokens, preview.error
    nothing: dict[str, Any] = {"input": None, "target": None, "choices": [], "answer": None, "references": []}
    parts = [part._asdict() for part in view.parts] if view else []
    return {
        "row": row,
        "template": preview.template,
        "role": task.templates[preview.template].role,
        **(rendered._asdict() if rendered else nothing),
        "exemplars": list(preview.exemplars),
        "tokens": view._asdict()
        | {
            "parts": parts,
            "num_tokens": sum(len(part["ids"]) for part in parts),
            "cut": view.cut._asdict() if view.cut else None,
        }
        if view
        else None,
        "error": {"code": error.code, "message": error.message, "hint": error.hint} if error else None,
    }


def _show_tokens(tokens: Mapping[str, Any]) -> None:
    notes = [f"{tokens['num_input']} to read of {tokens['input_length']}, {tokens['num_target']} to write"]
    if tokens["cut"]:
        notes.append(f"{count(len(tokens['cut']['text']), 'character')} of {tokens['cut']['field']} cut off")
    if not tokens["target_fits"]:
        notes.append("the target is too long")
    typer.echo(f"[tokens] {'; '.join(notes)}")
    show_table(
        ("PART", "TOKENS", "LOSS", "TEXTS"),
        [
            (each["name"], len(each["ids"]), "yes" if 1 in each["loss_mask"] else "no", _spelt(each["texts"]))
            for each in tokens["parts"]
        ],
    )


def _spelt(texts: Iterable[str]) -> str:
    return "|".join(texts).replace("\n", "⏎")
