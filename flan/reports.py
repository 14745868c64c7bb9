"""`flan report`: evaluations side by side, as tables and pictures."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flan.terminal import Output, show_json, show_table

FIGURE_NAMES = (
    "clusters", "num-clusters", "scale", "instructions", "few-shot", "soft-prompt", "templates-per-task",
)  # fmt: skip


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Folders of evaluations (flan evaluate --out), or files results.json."
        ),
    ],
    label: Annotated[
        list[str] | None, typer.Option(help="What a column is called, one for each folder in turn.")
    ] = None,
    form: Annotated[
        Literal["markdown", "latex", "csv", "json"], typer.Option("--format", help="What is printed.")
    ] = "markdown",
    figure: Annotated[
        list[str] | None,
        typer.Option(
            help=f"A picture to draw beside --to: {', '.join(FIGURE_NAMES)}, or all that show a difference."
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="Folder to write report.md, .tex, .csv, .json and the pictures to, instead."),
    ] = None,
    system: Annotated[
        str, typer.Option(help="Whose published figures stand beside these: FLAN 137B, GPT-3 175B, T0 11B …")
    ] = "FLAN 137B",
) -> None:
    """Every figure of evaluations with its spread, n, interval and verdict, compared with the first folder's."""
    from flan.evaluate import tables
    from flan.evaluate.reporting import read_run
    from flan.evaluate.reporting import report as make

    if label and len(label) != len(folders):
        raise typer.BadParameter(
            f"{len(label)} for {len(folders)} folders: give one for each", param_hint="--label"
        )
    unknown = set(figure or ()) - {*FIGURE_NAMES, "all"}
    if unknown or (figure and to is None):
        said = f"there is no picture {min(unknown)!r}" if unknown else "pictures are files: say --to FOLDER"
        raise typer.BadParameter(said, param_hint="--figure")
    made = make([read_run(folder) for folder in folders], label or (), system=system)
    texts = {
        "markdown": ("md", tables.markdown),
        "latex": ("tex", tables.latex),
        "csv": ("csv", tables.csv_text),
        "json": ("json", lambda one: one.model_dump_json(indent=1) + "\n"),
    }
    if to is None:
        typer.echo(texts[form][1](made), nl=False)
        return
    to.mkdir(parents=True, exist_ok=True)
    for ending, write in texts.values():
        (to / f"report.{ending}").write_text(write(made))
    from flan.evaluate.plots import draw, save, telling

    is_unasked = figure is None or "all" in figure
    pictures = telling(made) if is_unasked else {name: draw(name, made) for name in figure or ()}
    for name, picture in pictures.items():
        for ending in ("svg", "png"):
            save(picture, to / f"{name}.{ending}")
    typer.echo(f"report: {to / 'report.md'}")


def suites(output: Output = "text") -> None:
    """Named evaluations, for `suite` of an evaluate spec: what a publication asks of a model."""
    from flan.data.suites import load_suites

    found = load_suites()
    if output == "json":
        show_json({name: suite.model_dump(mode="json") for name, suite in found.items()})
        return
    show_table(("SUITE", "WHAT IT ASKS"), [(name, suite.description) for name, suite in found.items()])
