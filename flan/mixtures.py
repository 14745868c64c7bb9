"""`flan mixture`: what a mixture is made of on this machine, before anything is trained."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from flan.spec import TuneSpec, parse
from flan.terminal import Output, count, errors, show_json, show_table

if TYPE_CHECKING:  # reading rows loads numpy: `--help` must not wait for it
    from flan.data.composition import Composition, Ruler, Share
    from flan.data.plan import Plan

_MOST_SHOWN = 40
"""Lines about what is left out or missing, as text; as JSON all of them."""


def show_mixture(
    document: dict[str, Any],
    *,
    data: Path | None,
    brought: Path | None,
    tokenizer: Path | None,
    rows_per_template: int,
    templates: bool,
    output: Output,
) -> None:
    """Resolve the mixture of `document`, a tune spec or a mixture, and show its shares."""
    from flan.data.composition import composition
    from flan.data.examples import Examples
    from flan.data.members import TRAIN
    from flan.data.resolve import open_pinned_rows, pinned_tasks, resolve
    from flan.data.rows import Places
    from flan.local import LocalLibrary
    from flan.store import Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        places = Places(data=data, store=store)
        spec, plan = resolve(_spec(document), LocalLibrary(store, brought), places)
        assert isinstance(spec, TuneSpec) and spec.pins is not None, "a tune spec stays one"
        tasks = {name: pinned_tasks(spec, store)[name] for name in spec.pins.train}
        rows = open_pinned_rows(spec, tasks, TRAIN, places)
        ruler = _ruler(tokenizer) if rows_per_template else None
        examples = Examples(spec, tasks, rows)
        found = composition(examples, spec.pins.clusters, ruler, rows_per_template=rows_per_template)
    if output == "json":
        left_out = {"missing": plan.missing, "excluded": plan.excluded, "warnings": plan.warnings}
        show_json(found.model_dump(mode="json") | left_out)
    else:
        _show(found, plan, templates=templates)


def _spec(document: dict[str, Any]) -> TuneSpec:
    if "mixture" in document:
        return parse(TuneSpec, {"kind": "tune", "name": "mixture", "base": "preset:nano"} | document)
    return parse(TuneSpec, {"name": "mixture", "base": "preset:nano", "mixture": document})


def _ruler(tokenizer: Path | None) -> "Ruler":
    from flan.data.composition import Ruler, words
    from flan.data.tokens import make_contract

    if tokenizer is None:
        return words()
    from flan.model.load import load_tokenizer

    loaded = load_tokenizer(tokenizer)
    return Ruler("tokens", loaded, make_contract(loaded, "decoder"))


def show_tune_results(document: dict[str, Any]) -> None:
    """The `results.json` of a tune job: what its mixture was to be, and what it was."""
    from flan.data.composition import TuneResults

    show_composition(parse(TuneResults, document).mixture)


def show_composition(found: "Composition", *, templates: bool = False) -> None:
    """Tables of parts, clusters and tasks: asked shares, and beside them those of a run where there was one."""
    titles = _titles(found)
    if found.parts:
        show_table(("PART", *titles), [(name, *_shares(each, titles)) for name, each in found.parts.items()])
        typer.echo()
    show_table(
        ("CLUSTER", *titles), [(name, *_shares(each, titles)) for name, each in found.clusters.items()]
    )
    typer.echo()
    part = ("PART",) if found.parts else ()
    end = (f"{found.unit.upper()} EACH", "DROPPED") if found.unit else ()
    number = "TEMPLATE" if templates else "TEMPLATES"
    show_table((*part, "TASK", number, *titles, *end), _lines(found, titles, templates=templates))


def _show(found: "Composition", plan: "Plan", *, templates: bool) -> None:
    show_composition(found, templates=templates)
    if found.unit == "words":
        typer.echo("\nlengths are in words: name a tokenizer for tokens (--tokenizer FOLDER)")
    _list(
        "missing", (f"{name} ({_percent(share) or 'size unknown'})" for name, share in plan.missing.items())
    )
    left_out = (f"{name} ({why})" for name, why in plan.excluded.items() if name not in plan.missing)
    _list("left out", left_out)
    for warning in plan.warnings:
        errors.print(f"warning: {warning}", markup=False)


def _lines(found: "Composition", titles: Sequence[str], *, templates: bool) -> Iterable[tuple[str, ...]]:
    for task in found.tasks:
        place = (task.part or "",) if found.parts else ()
        length = "" if task.mean_length is None else f"{task.mean_length:,.0f}"
        end = (length, _percent(task.unusable) if task.unusable else "") if found.unit else ()
        number = "" if templates else str(len(task.templates))
        yield (*place, task.name, number, *_shares(task, titles), *end)
        for i, each in enumerate(task.templates if templates else ()):
            yield (*place, "", str(i), *_shares(each, titles), *("" for _ in end))


def _titles(found: "Composition") -> tuple[str, ...]:
    asked = ("EXAMPLES",) + ((found.unit.upper(),) if found.unit else ())
    is_run = any(task.realised_examples is not None for task in found.tasks)
    return (*asked, "REALISED EXAMPLES", "REALISED TOKENS") if is_run else asked


def _shares(share: "Share", titles: Sequence[str]) -> tuple[str, ...]:
    every = {
        "EXAMPLES": share.examples,
        "TOKENS": share.tokens,
        "WORDS": share.tokens,
        "REALISED EXAMPLES": share.realised_examples,
        "REALISED TOKENS": share.realised_tokens,
    }
    return tuple(_percent(every[title]) for title in titles)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}%"


def _list(what: str, items: Iterable[str]) -> None:
    every = list(items)
    if not every:
        return
    typer.echo(f"\n{what}, {count(len(every), 'task')}:")
    for item in every[:_MOST_SHOWN]:
        typer.echo(f"  {item}")
    if len(every) > _MOST_SHOWN:
        typer.echo(f"  … and {len(every) - _MOST_SHOWN} more (-o json names all)")
