"""`flan mixture`: what a mixture is made of on this machine, before anything is trained."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from flan.leaks import show_shared
from flan.spec import TuneSpec, parse
from flan.terminal import Output, count, errors, show_json, show_table

if TYPE_CHECKING:  # reading rows loads numpy: `--help` must not wait for it
    from flan.data.composition import Composition, Ruler, Share
    from flan.data.mixture_preview import MixturePreview, SampledLeakage

_MOST_SHOWN = 40
"""Lines about what is left out or missing, as text; as JSON all of them."""


def show_mixture(
    document: dict[str, Any],
    *,
    data: Path | None,
    brought: Path | None,
    tokenizer: Path | None,
    rows_per_template: int,
    num_sampled: int,
    num_compared: int,
    templates: bool,
    output: Output,
) -> None:
    """Resolve the mixture of `document`, a tune spec or a mixture, and show its shares and some examples."""
    from flan.data.mixture_preview import preview_mixture
    from flan.data.rows import Places
    from flan.local import LocalLibrary
    from flan.store import Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        found = preview_mixture(
            _spec(document),
            LocalLibrary(store, brought),
            Places(data=data, store=store),
            _ruler(tokenizer),
            rows_per_template=rows_per_template,
            num_sampled=num_sampled,
            num_compared=num_compared,
        )
    if output == "json":
        show_json(found.model_dump(mode="json"))
    else:
        _show(found, templates=templates)


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


def _show(found: "MixturePreview", *, templates: bool) -> None:
    show_composition(found, templates=templates)
    if found.unit == "words":
        typer.echo("\nlengths are in words: name a tokenizer for tokens (--tokenizer FOLDER)")
    _list(
        "missing", (f"{name} ({_percent(share) or 'size unknown'})" for name, share in found.missing.items())
    )
    left_out = (f"{name} ({why})" for name, why in found.excluded.items() if name not in found.missing)
    _list("left out", left_out)
    _list("of unknown kin", (f"{name} ({why})" for name, why in found.unplaced.items()))
    if found.leakage is not None:
        _show_leakage(found.leakage)
    for each in found.sample:
        typer.secho(
            f"\nexample {each.number}: {each.task}, template {each.template}, row {each.row}", bold=True
        )
        typer.echo(
            f"dropped: {each.error.message}" if each.error else f"{each.input}\n[target] {each.target}"
        )
    for warning in found.warnings:
        errors.print(f"warning: {warning}", markup=False)


def _show_leakage(found: "SampledLeakage") -> None:
    typer.echo("")
    show_shared(found, num_shown=0)
    typer.echo(
        f"{count(sum(found.train.values()), 'training row')} compared with "
        f"{count(sum(found.held_out.values()), 'held-out row')}; flan data leakage shows shared passages"
    )


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
