"""The command line of `flan` alone: everything here works in a folder, without any server.

The console script adds the commands that speak to a server (api/cli.py). Heavy imports happen inside the
commands: `--help` must not wait for torch.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from flan.errors import FlanError
from flan.tasks.task import Collection, Task, parse_yaml

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
data_app = typer.Typer(no_args_is_help=True, help="Datasets on this machine.")
app.add_typer(data_app, name="data")
errors = Console(stderr=True, highlight=False)

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
ModelName = Annotated[str, typer.Argument(help="A model directory or a hub model on this machine.")]
TaskName = Annotated[str, typer.Argument(help="A task of the collection, or a YAML file.")]
CollectionName = Annotated[Collection, typer.Option(help="flan or synthetic.")]


def main() -> None:
    """Entry point of `python -m flan`: our errors become one plain message and exit status 2."""
    run_app(app)


def run_app(application: typer.Typer) -> None:
    """Run a command line; an error raised on purpose is printed with its hint, and exits with 2."""
    try:
        application()
    except FlanError as error:
        report(error)
        sys.exit(2)


def report(error: FlanError) -> None:
    """Print what went wrong and the way out."""
    errors.print(f"[bold red]error[/] [dim]{error.code}[/] {error.message}")
    for problem in getattr(error, "problems", [])[1:]:
        errors.print(f"      {problem['pointer']}: {problem['message']}")
    hints = [error.hint, *(problem.get("hint") for problem in getattr(error, "problems", []))]
    for hint in filter(None, hints):
        errors.print(f"[bold]hint[/]  {hint}")


@app.command()
def run(directory: Annotated[Path, typer.Argument(help="A prepared run directory.")]) -> None:
    """Be one rank of a run. Rank and world come from the environment, as torchrun sets them."""
    from flan.run import run as run_rank

    sys.exit(run_rank(directory))


@app.command()
def tune(file: SpecFile, out: Out, data: Data = None, override: Overrides = None) -> None:
    """Tune a model. Called again with the same folder, it goes on from the last checkpoint."""
    _run_here("tune", file, out, data, override)
    typer.echo(f"model: {out / 'run' / 'model'}")


@app.command()
def evaluate(file: SpecFile, out: Out, data: Data = None, override: Overrides = None) -> None:
    """Measure a model on tasks, over all their templates."""
    _run_here("evaluate", file, out, data, override)
    from flan.evaluate.report import results_table

    results = json.loads((out / "run" / "results.json").read_text())
    Console().print(results_table([results]))
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

    serve_model(model, host=host, port=port, token=token)


@app.command()
def generate(
    model: ModelName,
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads standard input.")],
    sampling: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="Any field of POST /generate: n=3, seed=7 …")
    ] = None,
) -> None:
    """Answer one prompt with a local model, as POST /generate would."""
    _ask(model, "generate", {"prompt": _text(prompt)} | read_assignments(sampling or []))


@app.command()
def classify(
    model: ModelName,
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads standard input.")],
    option: Annotated[
        list[str] | None, typer.Option(help="An answer to choose from; else the prompt's OPTIONS block.")
    ] = None,
) -> None:
    """Choose among options with a local model, as POST /classify would."""
    _ask(model, "classify", {"prompt": _text(prompt)} | ({"options": option} if option else {}))


@app.command()
def lint(task: TaskName, collection: CollectionName = "flan", data: Data = None, rows: int = 500) -> None:
    """Look for faults in a task's templates, on its real rows. Exit status 1 when there is an error."""
    from flan.tasks.lint import lint as find

    loaded, split, table = _task_rows(task, collection, data)
    findings = find(loaded, [table[i] for i in range(min(rows, len(table)))])
    for finding in findings:
        where = "" if finding.template is None else f" template {finding.template}"
        typer.echo(f"{finding.severity}: {finding.code}{where}: {finding.message}")
    typer.echo(
        f"{len(findings)} findings in {len(loaded.templates)} templates, {min(rows, len(table))} {split} rows"
    )
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


@app.command()
def render(
    task: TaskName,
    row: Annotated[int, typer.Option(help="Which row of the split.")] = 0,
    template: Annotated[int | None, typer.Option(help="Which template; all when left out.")] = None,
    collection: CollectionName = "flan",
    data: Data = None,
) -> None:
    """Show a row as a model sees it."""
    from flan.tasks.render import instance
    from flan.tasks.render import render as render_row

    loaded, _, table = _task_rows(task, collection, data)
    if not 0 <= row < len(table):
        raise typer.BadParameter(f"{loaded.name} has rows 0 to {len(table) - 1}", param_hint="--row")
    if template is not None and not 0 <= template < len(loaded.templates):
        raise typer.BadParameter(f"{loaded.name} has templates 0 to {len(loaded.templates) - 1}")
    found = instance(loaded, table[row])
    for i, each in enumerate(loaded.templates):
        if template in (None, i):
            shown = render_row(found, each)
            errors.print(f"[bold]template {i}[/] [dim]{each.role}[/]")
            typer.echo(f"{shown.input}\n[target] {shown.target}\n")


@data_app.command("pull")
def data_pull(task: TaskName, to: Annotated[Path, typer.Option(help="Folder; becomes FLAN_DATA.")]) -> None:
    """Fetch a task's dataset from the hub into a folder, where jobs find it."""
    from flan.data.pull import pull

    typer.echo(f"wrote {pull(_load(task, 'flan'), to)}")


def _run_here(kind: str, file: Path, out: Path, data: Path | None, override: list[str] | None) -> None:
    from flan.local import prepare, watch
    from flan.spec import parse_spec

    spec = parse_spec({"kind": kind} | read_document(file, override or []))
    if spec.kind != kind:
        raise typer.BadParameter(f"{file} is a spec of kind {spec.kind}, not {kind}", param_hint="--file")
    outcome = watch(prepare(spec, out, data))
    if outcome.status == "stopped":
        errors.print(f"stopped; go on with: flan {kind} -f {file} --out {out}")
        raise typer.Exit(128 + signal.SIGINT)


def read_document(file: Path, override: list[str]) -> dict[str, Any]:
    """A YAML or JSON mapping, `-` = from standard input, with `a.b=value` overrides applied; values are YAML."""
    from flan.errors import NotFound

    if str(file) != "-" and not file.is_file():
        raise NotFound(f"no file {file}")
    document = parse_yaml(_text("-") if str(file) == "-" else file.read_text())
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


def _text(argument: str) -> str:
    return sys.stdin.read() if argument == "-" else argument


def _ask(model: str, what: Literal["generate", "classify"], request: dict[str, Any]) -> None:
    from flan.serve.answers import ask_locally

    typer.echo(json.dumps(ask_locally(model, what, request), indent=2, ensure_ascii=False))


def _load(task: str, collection: Collection) -> Task:
    from flan.local import find_task

    return find_task(task, collection)


def _task_rows(task: str, collection: Collection, data: Path | None) -> tuple[Task, str, Any]:
    from flan.data.rows import Places, open_rows

    loaded = _load(task, collection)
    split = next(iter(loaded.source.splits))
    return loaded, split, open_rows(loaded, split, Places(data=data, store=None))
