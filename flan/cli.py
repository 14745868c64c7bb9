"""The command line of `flan` alone: everything here works in a folder, without any server.

The console script adds the commands that speak to a server (api/cli.py). Heavy imports happen inside the
commands: `--help` must not wait for torch.
"""

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flan import downloads, exchange, leaks, previews, renderings, reports, reproduce
from flan.errors import NotFound
from flan.spec import OptionsPolicy, PromptFormat
from flan.tasks.importers.export import PerRow
from flan.tasks.task import Task
from flan.tasks.yaml_text import parse_yaml, read_text_file
from flan.terminal import (
    EXIT_STATUSES,
    INTERRUPTED,
    Commands,
    Output,
    count,
    show_answer,
    show_json,
    show_results,
)

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Instruction-tune language models in a folder, without a server.",
    epilog=EXIT_STATUSES,
)
downloads.data_app.command("leakage")(leaks.data_leakage)
app.command()(reports.report)
app.command()(reports.suites)
app.add_typer(downloads.data_app, name="data")
app.add_typer(exchange.import_app, name="import")
app.command("reproduce")(reproduce.reproduce)

SpecFile = Annotated[
    Path, typer.Option("--file", "-f", help="Job spec, YAML or JSON; - reads standard input.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override a field: steps=100, optimizer.name=adamw.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the run, its checkpoints and its result.")]
Data = Annotated[
    Path | None, typer.Option("--data", envvar="FLAN_DATA", help="Folder of datasets in hub layout.")
]
Brought = Annotated[
    Path | None,
    typer.Option(
        "--tasks",
        envvar="FLAN_TASKS",
        help="Folder of tasks that names may mean, as flan import writes them.",
    ),
]
ModelName = Annotated[str, typer.Argument(help="A model directory or a hub model on this machine.")]
TaskName = Annotated[str, typer.Argument(help="A task of the collection, or a YAML file.")]
RowsFile = Annotated[
    Path | None, typer.Option("--rows", help="Rows to use: .jsonl, .csv or .parquet; else the task's own.")
]
Limit = Annotated[int, typer.Option(min=1, help="At most this many rows.")]
RowNumber = Annotated[int, typer.Option("--row", min=0, help="Which row of the split.")]
TemplateNumber = Annotated[
    int | None, typer.Option("--template", min=0, help="Which template; all when left out.")
]
Split = Annotated[str | None, typer.Option(help="Whose rows; the first split when left out.")]
OptionsShown = Annotated[OptionsPolicy, typer.Option("--options", help="How answer choices are shown.")]
PromptForm = Annotated[
    PromptFormat,
    typer.Option("--format", help="Through the task's templates, behind its name, or the bare input."),
]
ShotsBefore = Annotated[
    int | None,
    typer.Option("--shots", min=1, max=64, help="Solved rows of the training split before the row."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn.")]
_HUB_ID = re.compile(r"\w[\w.-]*(/[\w.-]+)?")


def main() -> None:
    """Entry point of `python -m flan`."""
    app()


@app.command(hidden=True)
def run(directory: Annotated[Path, typer.Argument(help="A prepared run directory.")]) -> None:
    """Be one rank of a run. Rank and world come from the environment, as torchrun sets them."""
    from flan.run import run as run_rank

    sys.exit(run_rank(directory))


@app.command()
def tune(
    file: SpecFile, out: Out, data: Data = None, tasks: Brought = None, override: Overrides = None
) -> None:
    """Tune a model. Called again with the same folder, it goes on from the last checkpoint."""
    _run_here("tune", file, out, data, override, tasks)
    typer.echo(f"mixture, as it was: {out / 'run' / 'results.json'}")
    typer.echo(f"model: {out / 'run' / 'model'}")


@app.command()
def mixture(
    preset: Annotated[
        str | None, typer.Argument(help="A preset: flan2021, t0, super-ni, flan2022 …; or give --file.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="A tune spec, or a mixture alone; - reads standard input."),
    ] = None,
    data: Data = None,
    tasks: Brought = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of a model or tokenizer: measure tokens, not words.")
    ] = None,
    rows: Annotated[
        int,
        typer.Option(min=0, help="Rows of each task rendered through each template; 0 = measure nothing."),
    ] = 4,
    sample: Annotated[
        int, typer.Option(min=0, max=1_000, help="How many of a run's first examples are shown.")
    ] = 0,
    leakage: Annotated[
        int,
        typer.Option(min=0, help="Training rows of each task compared with what is held out; 0 = none."),
    ] = 0,
    templates: Annotated[bool, typer.Option("--templates", help="Show every template.")] = False,
    override: Overrides = None,
    output: Output = "text",
) -> None:
    """Show what a mixture is made of: shares of examples and tokens, what is left out and what is missing."""
    from flan.mixtures import show_mixture

    if (preset is None) == (file is None):
        raise typer.BadParameter("name a preset, or a file", param_hint="PRESET")
    document = (
        read_document(file, override or []) if file else read_assignments(override or [], {"preset": preset})
    )
    show_mixture(
        document,
        data=data,
        brought=tasks,
        tokenizer=tokenizer,
        rows_per_template=rows,
        num_sampled=sample,
        num_compared=leakage,
        templates=templates,
        output=output,
    )


@app.command()
def evaluate(
    file: SpecFile, out: Out, data: Data = None, tasks: Brought = None, override: Overrides = None
) -> None:
    """Measure a model on tasks, over all their templates."""
    _run_here("evaluate", file, out, data, override, tasks)
    from flan.evaluate.report import results_table

    results = json.loads((out / "run" / "results.json").read_text())
    show_results(results_table([results]))
    typer.echo(f"results: {out / 'run' / 'results.json'}")


@app.command()
def serve(
    model: ModelName,
    host: str = "127.0.0.1",
    port: int = 8100,
    token: Annotated[str | None, typer.Option(envvar="FLAN_SERVE_TOKEN", help="Bearer token.")] = None,
) -> None:
    """Serve one model until Ctrl-C."""
    from flan.serve.lifetime import serve_model

    serve_model(_model_here(model), host=host, port=port, token=token)


@app.command()
def generate(
    model: ModelName,
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads standard input.")],
    sampling: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="Any field of POST /generate: n=3, seed=7 …")
    ] = None,
    output: Output = "text",
) -> None:
    """Answer one prompt with a local model, as POST /generate would."""
    asked = {"prompt": text_of(prompt)} | read_assignments(sampling or [])
    show_answer(_ask(model, "generate", asked), output)


@app.command()
def classify(
    model: ModelName,
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads standard input.")],
    option: Annotated[
        list[str] | None, typer.Option(help="An answer to choose from; else the prompt's OPTIONS block.")
    ] = None,
    output: Output = "text",
) -> None:
    """Choose among options with a local model, as POST /classify would."""
    asked = {"prompt": text_of(prompt)} | ({"options": option} if option else {})
    show_answer(_ask(model, "classify", asked), output)


@app.command()
def lint(
    task: Annotated[
        str | None, typer.Argument(help="A task, or a YAML file; with --collection: flan or synthetic.")
    ] = None,
    collection: Annotated[
        bool, typer.Option("--collection", help="Look at every task of a collection, and count its clusters.")
    ] = False,
    data: Data = None,
    rows: RowsFile = None,
    limit: Limit = 500,
    tokenizer: Annotated[
        list[str] | None, typer.Option(help="A model or tokenizer folder: say what it loses of a text.")
    ] = None,
    output: Output = "text",
) -> None:
    """Look for faults in a task's templates, on real rows. Exit status 1 when there is an error."""
    from flan.tasks.lint import lint as find

    tokenizers = previews.round_trips(tokenizer or [])
    if collection:
        previews.lint_whole(task or "flan", data, limit, tokenizers, output)
        return
    if task is None:
        raise typer.BadParameter("name a task or a file, or say --collection", param_hint="TASK")
    loaded = _load(task)
    sample = previews.sample_of(loaded, data, rows, limit)
    findings = [finding._asdict() for finding in find(loaded, sample.rows, tokenizers=tokenizers)]
    looked_at = f"{count(len(loaded.templates), 'template')}, {sample.origin}"
    previews.show_findings(findings, looked_at, output)


@app.command()
def render(
    task: TaskName,
    row: RowNumber = 0,
    template: TemplateNumber = None,
    split: Split = None,
    options: OptionsShown = "flan2021",
    prompt_format: PromptForm = "instructions",
    shots: ShotsBefore = None,
    model: Annotated[
        Path | None, typer.Option(help="A model directory: what it reads and writes, token by token.")
    ] = None,
    seed: Seed = 0,
    data: Data = None,
    rows: RowsFile = None,
    output: Output = "text",
) -> None:
    """Show a row as a model sees it."""
    loaded = _load(task)
    asked = renderings.Asked(row, template, split, options, prompt_format, shots, seed)
    shown = renderings.render_here(loaded, asked, data, rows, model)
    if output == "json":
        show_json({"object": "rendering", "task": loaded.name, "data": shown})
    else:
        renderings.show_renderings(shown)


@app.command()
def export(
    task: TaskName,
    to: Annotated[Path, typer.Option(help="File to write, JSON lines.")],
    split: Annotated[str, typer.Option(help="Which split.")] = "train",
    per_row: Annotated[
        PerRow,
        typer.Option(help="every: each row through each template; one: through one that the seed draws."),
    ] = "every",
    options: OptionsShown = "flan2021",
    seed: Seed = 0,
    data: Data = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many rows.")] = None,
) -> None:
    """Write rendered examples for other trainers, each with all that says where it came from."""
    exchange.export(_load(task), split, to, data, seed=seed, per_row=per_row, options=options, limit=limit)


def _run_here(
    kind: str,
    file: Path,
    out: Path,
    data: Path | None,
    override: list[str] | None,
    brought: Path | None = None,
) -> None:
    from flan.local import prepare, watch
    from flan.spec import parse_spec

    spec = parse_spec({"kind": kind} | read_document(file, override or []))
    if spec.kind != kind:
        raise typer.BadParameter(f"{file} is a spec of kind {spec.kind}, not {kind}", param_hint="--file")
    outcome = watch(prepare(spec, out, data, brought))
    if outcome.status == "stopped":
        typer.echo(f"stopped; go on with: flan {kind} -f {file} --out {out}", err=True)
        raise typer.Exit(INTERRUPTED)


def read_document(file: Path, override: list[str]) -> dict[str, Any]:
    """A YAML or JSON mapping, `-` = from standard input, with `a.b=value` overrides applied; values are YAML."""
    document = parse_yaml(text_of("-") if str(file) == "-" else read_text_file(file))
    if not isinstance(document, dict):
        raise typer.BadParameter(f"{file} holds no mapping", param_hint="--file")
    return read_assignments(override, document)


def read_assignments(assignments: list[str], into: dict[str, Any] | None = None) -> dict[str, Any]:
    """`into` with every `a.b=value` set; values are YAML."""
    document = dict(into or {})
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise typer.BadParameter(f"{assignment!r} is not of the form field=value", param_hint="--set")
        *parents, last = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = parse_yaml(value)
    return document


def text_of(argument: str) -> str:
    """What an argument says; `-` = standard input."""
    return sys.stdin.read() if argument == "-" else argument


def _ask(model: str, what: Literal["generate", "classify"], request: dict[str, Any]) -> dict[str, Any]:
    directory = _model_here(model)
    from flan.serve.answers import ask_locally

    return ask_locally(directory, what, request)


def _model_here(reference: str) -> str:
    """The directory of a model that has weights. Raises NotFound."""
    from flan.data.bases import PRESET_PREFIX, model_directory

    if reference.startswith(PRESET_PREFIX):
        hint = "tune one from it first: flan tune -f spec.yaml --out run/"
        raise NotFound(f"{reference!r} is a network without weights: it cannot answer", hint=hint)
    try:
        return str(model_directory(reference))
    except NotFound as error:
        ways = ["give the directory of a model"]
        ways += [f"fetch one from the hub: hf download {reference}"] if _HUB_ID.fullmatch(reference) else []
        ways += ["ask one that a platform serves: --server ADDRESS"] if "/" not in reference else []
        raise NotFound(error.message, hint="; or ".join(ways)) from error


def _load(task: str) -> Task:
    from flan.local import find_task

    try:
        return find_task(task)
    except NotFound as error:
        elsewhere = "for one that was uploaded: flan templates lint, flan templates render"
        raise NotFound(
            error.message, hint=f"{error.hint}; {elsewhere}" if error.hint else elsewhere
        ) from error
