"""The console script `flan`: the commands of flan/cli.py, which need no server, and those that speak to one."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import flan.cli
from api.client import SERVER_VARIABLE, Client, Refused
from api.commands import datasets, jobs, keys, models, nodes, templates
from api.commands.output import Server, client_of
from flan.cli import read_assignments, text_of
from flan.terminal import EXIT_STATUSES, Commands, Format, Output, show_answer

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Instruction-tune language models, prove what they do zero-shot, and serve them.",
    epilog=EXIT_STATUSES,
)
_REPLACED = (flan.cli.generate, flan.cli.classify)
app.registered_commands += [
    command for command in flan.cli.app.registered_commands if command.callback not in _REPLACED
]
app.registered_groups += flan.cli.app.registered_groups
app.add_typer(jobs.app, name="jobs")
app.add_typer(templates.app, name="templates")
app.add_typer(datasets.app, name="datasets")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.command()(nodes.nodes)

ModelName = Annotated[
    str,
    typer.Argument(
        help="With --server or FLAN_SERVER, the name of a served model; else a model directory or hub model here. "
        "What has a / or begins with . or ~ is here, unless --server is given."
    ),
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
    dashboard: Annotated[bool, typer.Option(help="Build the dashboard where it is missing.")] = True,
) -> None:
    """Run the whole platform on this machine, until Ctrl-C."""
    from api.up import up as run_platform

    run_platform(home, host=host, port=port, dashboard=dashboard)


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


@app.command("demo-data")
def demo_data(
    context: typer.Context,
    steps: Annotated[int, typer.Option(min=6, help="Steps of the longest run that is to end.")] = 240,
    server: Server = None,
) -> None:
    """Fill a platform that runs with tiny jobs of every kind and state, to look at."""
    from api.demo_data import demo_data as fill

    fill(client_of(context, server), steps=steps)


@app.command()
def generate(
    context: typer.Context,
    model: ModelName,
    prompt: Prompt,
    sampling: Fields = None,
    output: Output = "text",
    server: Server = None,
) -> None:
    """Answer one prompt: with a model here, or with one that a server serves."""
    if not _is_served(context, server, model):
        flan.cli.generate(model, prompt, sampling, output)
        return
    asked = {"model": model, "prompt": text_of(prompt)} | read_assignments(sampling or [])
    client = client_of(context, server)
    if asked.get("stream"):
        _show_stream(client, asked, output)
    else:
        show_answer(client.send("POST", "/generate", json_body=asked), output)


@app.command()
def classify(
    context: typer.Context,
    model: ModelName,
    prompt: Prompt,
    option: Options = None,
    output: Output = "text",
    server: Server = None,
) -> None:
    """Choose among options: with a model here, or with one that a server serves."""
    if not _is_served(context, server, model):
        flan.cli.classify(model, prompt, option, output)
        return
    asked = {"model": model, "prompt": text_of(prompt)} | ({"options": option} if option else {})
    show_answer(client_of(context, server).send("POST", "/classify", json_body=asked), output)


def main() -> None:
    """Entry point of the console script."""
    app()


def _is_served(context: typer.Context, server: str | None, model: str) -> bool:
    """Whether a server is to be asked. FLAN_SERVER is not for what can only be a folder or a hub model."""
    if server or context.find_root().params.get("server"):
        return True
    return bool(os.environ.get(SERVER_VARIABLE)) and "/" not in model and not model.startswith((".", "~"))


def _show_stream(client: Client, asked: dict[str, Any], format_: Format) -> None:
    """The answer while it is written: its text, or the events as lines of JSON. Raises Refused."""
    for event in client.stream("POST", "/generate", asked):
        if event.type == "error":
            raise Refused(event.data["status"], event.data)
        if format_ == "json":
            typer.echo(json.dumps(event.data, ensure_ascii=False))
        elif event.type == "token":
            sys.stdout.write(event.data["text"])
            sys.stdout.flush()
    if format_ == "text":
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
