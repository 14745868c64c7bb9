"""The console script `flan`: the commands of flan/cli.py, which need no server, and those that speak to one."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import flan.cli
from api.commands import catalog, jobs, models
from api.commands.output import Server, client_of, run, show_json
from flan.cli import read_assignments

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Instruction-tune language models, prove what they do zero-shot, and serve them.",
)
_REPLACED = (flan.cli.generate, flan.cli.classify)
app.registered_commands += [
    command for command in flan.cli.app.registered_commands if command.callback not in _REPLACED
]
app.registered_groups += flan.cli.app.registered_groups
app.add_typer(jobs.app, name="jobs")
app.add_typer(catalog.templates_app, name="templates")
app.add_typer(catalog.datasets_app, name="datasets")
app.add_typer(models.models_app, name="models")
app.add_typer(models.keys_app, name="keys")

ModelName = Annotated[
    str, typer.Argument(help="A model directory or hub model on this machine; with --server, a served model.")
]
Prompt = Annotated[str, typer.Argument(help="What to ask; - reads standard input.")]
Fields = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Any field of POST /generate: n=3, seed=7 …")
]
Options = Annotated[
    list[str] | None, typer.Option(help="An answer to choose from; else the prompt's OPTIONS block.")
]


@app.callback()
def root(server: Server = None) -> None:
    """The platform that commands speak to; its key comes from FLAN_API_KEY or FLAN_HOME/key."""


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 8000,
    home: Annotated[Path, typer.Option(envvar="FLAN_HOME", help="Where everything is kept.")] = Path(".flan"),
) -> None:
    """Run the whole platform on this machine, until Ctrl-C."""
    from api.up import up as run_platform

    run_platform(home, host=host, port=port)


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="Folder of real datasets; generated rows else.")] = None,
    base: Annotated[
        str, typer.Option(help="What to tune: a preset, a directory, a hub model.")
    ] = "preset:nano",
    home: Annotated[Path, typer.Option(envvar="FLAN_HOME", help="Where everything is kept.")] = Path(".flan"),
) -> None:
    """Run the main job here: tune with a cluster held out, evaluate, serve, ask."""
    from api.demo import demo as run_demo

    run_demo(home.absolute(), data, base)


@app.command()
def generate(
    context: typer.Context, model: ModelName, prompt: Prompt, sampling: Fields = None, server: Server = None
) -> None:
    """Answer one prompt: with a model here, or with one that a server serves."""
    if not _is_remote(context, server):
        flan.cli.generate(model, prompt, sampling)
        return
    asked = {"model": model, "prompt": _text(prompt)} | read_assignments(sampling or [])
    _ask(context, server, "/generate", asked)


@app.command()
def classify(
    context: typer.Context, model: ModelName, prompt: Prompt, option: Options = None, server: Server = None
) -> None:
    """Choose among options: with a model here, or with one that a server serves."""
    if not _is_remote(context, server):
        flan.cli.classify(model, prompt, option)
        return
    asked: dict[str, Any] = {"model": model, "prompt": _text(prompt)}
    _ask(context, server, "/classify", asked | ({"options": option} if option else {}))


def main() -> None:
    """Entry point of the console script."""
    run(app)


def _is_remote(context: typer.Context, server: str | None) -> bool:
    return bool(server or context.find_root().params.get("server"))


def _ask(context: typer.Context, server: str | None, path: str, asked: dict[str, Any]) -> None:
    client = client_of(context, server)
    if not asked.get("stream"):
        show_json(client.send("POST", path, json_body=asked))
        return
    for event in client.stream("POST", path, asked):
        if event.type == "token":
            sys.stdout.write(event.data["text"])
            sys.stdout.flush()
    sys.stdout.write("\n")


def _text(argument: str) -> str:
    return sys.stdin.read() if argument == "-" else argument


if __name__ == "__main__":
    main()
