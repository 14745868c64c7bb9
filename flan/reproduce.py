"""`flan reproduce`: an experiment of the paper in one command, in a folder, without a server."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flan.sweep_presets import expanded, preset_sweep
from flan.sweep_spec import PresetName, Scale, SweepSpec
from flan.sweeps import expand
from flan.terminal import INTERRUPTED, Output, count, errors, show_facts, show_json, show_results, show_table

if TYPE_CHECKING:  # resolving reads rows: `--help` must not wait for numpy
    from flan.data.sweep_plan import SweepPlan
    from flan.sweep_run import Told

_SHOWN = 20
"""Tasks that are not here, as text; as JSON all of them."""


def reproduce(
    preset: Annotated[
        PresetName, typer.Argument(metavar="EXPERIMENT", help="Which experiment of the paper.")
    ],
    scale: Annotated[
        Scale,
        typer.Option(help="tiny: minutes, self-made data; small: overnight, real data; full: as published."),
    ] = "tiny",
    home: Annotated[
        Path | None,
        typer.Option(help="Folder of the sweep; ./EXPERIMENT-SCALE when left out. Go on by repeating."),
    ] = None,
    base: Annotated[
        list[str] | None,
        typer.Option(help="Model to start from: a folder or a hub id; for scale, several."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what it would take.")] = False,
    print_: Annotated[
        bool, typer.Option("--print", help="Only print the sweep, ready for POST /jobs.")
    ] = False,
    on_failure: Annotated[
        Literal["continue", "stop"], typer.Option(help="When a job fails: go on with the others, or stop.")
    ] = "continue",
    data: Annotated[
        Path | None, typer.Option("--data", envvar="FLAN_DATA", help="Folder of datasets in hub layout.")
    ] = None,
    tasks: Annotated[
        Path | None, typer.Option("--tasks", envvar="FLAN_TASKS", help="Folder of tasks that names may mean.")
    ] = None,
    output: Output = "text",
) -> None:
    """Carry out an experiment of the paper. Started again, it goes on where it was and redoes nothing."""
    sweep = preset_sweep(preset, scale, [_here(each) for each in base or ()])
    sweep = sweep.model_copy(update={"on_failure": on_failure})
    if print_:
        show_json(expanded(sweep).model_dump(mode="json", exclude_defaults=True) | {"kind": "sweep"})
    elif plan:
        show_plan(_plan(sweep, data, tasks), output)
    else:
        _run(sweep, home or Path(f"{preset}-{scale}"), data, tasks, output)


def _here(base: str) -> str:
    """A folder by its whole path, so that the sweep means the same wherever it is started; a hub id as it is."""
    return str(Path(base).absolute()) if Path(base).is_dir() else base


def _plan(sweep: SweepSpec, data: Path | None, brought: Path | None) -> "SweepPlan":
    from flan.data.rows import Places
    from flan.data.sweep_plan import plan_sweep
    from flan.local import LocalLibrary
    from flan.store import Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        places = Places(data=data, store=store)
        plan, _ = plan_sweep(expand(expanded(sweep)), LocalLibrary(store, brought), places)
        return plan


def show_plan(plan: "SweepPlan", output: str) -> None:
    """Children and what they take; then the sums, and what is missing."""
    if output == "json":
        show_json(plan.model_dump(mode="json"))
        return
    show_table(
        ("CHILD", "KIND", "STEPS", "TOKENS", "PROMPTS", "NEEDS"),
        [
            (
                each.name,
                each.kind,
                _number(each.steps),
                _number(each.token_slots),
                _number(each.num_prompts),
                each.needs,
            )
            for each in plan.children
        ],
    )
    typer.echo()
    show_facts(
        {
            "cells": plan.num_cells,
            "children": len(plan.children),
            "steps": _number(plan.steps),
            "tokens": _number(plan.token_slots),
            "prompts": _number(plan.num_prompts),
            "memory of a rank": f"{_size(plan.memory_bytes)} for weights, gradients and moments",
            "disk": f"{_size(plan.disk_bytes)} at most",
            "time": f"{_duration(plan.cpu_s)} on one core, {_duration(plan.gpu_s)} on one GPU, in all",
        }
    )
    refused = [each for each in plan.children if each.refused]
    for each in refused[:_SHOWN]:
        typer.echo(f"cannot run: {each.name}: {each.refused}")
    for task, share in list(plan.missing.items())[:_SHOWN]:
        typer.echo(f"missing: {task}" + ("" if share is None else f", up to {share:.1%} of the examples"))
    for lines in (refused, plan.missing):
        if len(lines) > _SHOWN:
            typer.echo(f"… and {len(lines) - _SHOWN} more: -o json shows all")
    for warning in plan.warnings[:_SHOWN]:
        typer.echo(f"warning: {warning}")


def _run(sweep: SweepSpec, home: Path, data: Path | None, brought: Path | None, output: str) -> None:
    from flan.evaluate.sweep_results import sweep_table
    from flan.sweep_run import REPORT, RESULTS, TABLE, SweepFailed, SweepRun

    found = SweepRun(sweep, home, data, brought).carry_out(_tell)
    if output == "json":
        show_json(found.model_dump(mode="json"))
    else:
        show_results(sweep_table(found))
        written = [home / each for each in (RESULTS, TABLE, REPORT, "figure.svg") if (home / each).is_file()]
        typer.echo(f"results: {', '.join(map(str, written))}")
    states = [each.state for each in found.children]
    if "stopped" in states:
        errors.print(
            f"stopped; go on with the same command: {states.count('succeeded')} of {len(states)} are done"
        )
        raise typer.Exit(INTERRUPTED)
    failed = [each for each in found.children if each.state == "failed"]
    if failed:
        first = failed[0]
        raise SweepFailed(
            f"{len(failed)} of {count(len(states), 'job')} failed; the first, {first.name}: "
            f"{first.code}: {first.message}",
            hint="mend it and start the command again: what is done is not done again",
        )


def _tell(told: "Told") -> None:
    what = "done already" if told.is_old else told.state
    because = f": {told.message.splitlines()[0]}" if told.message else ""
    errors.print(f"[{told.number}/{told.total}] {told.name}: {what}{because}", markup=False)


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _size(num_bytes: int | None) -> str:
    return "unknown" if num_bytes is None else f"{num_bytes / 2**30:,.2f} GiB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    for unit, length in (("days", 86_400.0), ("hours", 3_600.0)):
        if seconds >= 2 * length:
            return f"about {seconds / length:,.0f} {unit}"
    return f"about {max(seconds / 60, 1):,.0f} minutes"
