"""What the command line says: answers on standard output, errors on standard error, as text or as JSON.

Everything is plain text: what people named things, and what others wrote, is shown as it is. Lines are cut
to the width of a terminal; what goes into a file or a pipe is never cut.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from flan.errors import FlanError, InvalidDocument, NotFound

errors = Console(stderr=True, highlight=False, soft_wrap=True)
FAILED, USAGE, UNKNOWN, UNREACHABLE, INTERRUPTED = 1, 2, 3, 4, 130
EXIT_STATUSES = (
    "Exit status: 0 done, 1 the job failed (lint: there is an error), 2 the request has a fault, "
    "3 not found or not allowed, 4 the server cannot be reached or cannot answer now, 130 interrupted."
)
_FORMAT = "flan.format"
_GAP = 2  # blanks between columns
_NARROWEST = 4
_WIDEST = 1_000  # cells of a table that no terminal limits


def _remember(context: typer.Context, value: str) -> str:
    context.meta[_FORMAT] = value
    return value


Format = Literal["text", "json"]
Output = Annotated[
    Format, typer.Option("--output", "-o", callback=_remember, help="text, or json for machines.")
]


class Commands(TyperGroup):
    """A command line where an error raised on purpose is told as the command's output is, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error ends it with its exit status."""
        try:
            return super().invoke(ctx)
        except FlanError as error:
            report(error, ctx.meta.get(_FORMAT, "text"))
            raise typer.Exit(exit_status_of(error)) from error


def exit_status_of(error: FlanError) -> int:
    """The exit status that the error says; else UNKNOWN where something named is not there, else USAGE."""
    said: int | None = getattr(error, "exit_status", None)
    return said or (UNKNOWN if isinstance(error, NotFound) else USAGE)


def report(error: FlanError, format_: Format = "text") -> None:
    """Tell what went wrong and the way out: one line a fault, each with its own hint; or one JSON object."""
    problem = problem_of(error)
    if format_ == "json":
        typer.echo(json.dumps(problem, ensure_ascii=False, default=str), err=True)
        return
    head, *faults = _told(problem)
    errors.print(Text.assemble(("error", "bold red"), " ", (str(problem["code"]), "dim"), " ", head))
    for line in faults:
        errors.print(Text(f"  {line}"))
    for hint in _hints(problem, has_lines=bool(faults)):
        errors.print(Text.assemble(("hint", "bold"), "  ", hint))


def problem_of(error: FlanError) -> dict[str, Any]:
    """`error` as a problem document: the server's own where it is one that a server told."""
    told: Mapping[str, Any] | None = getattr(error, "problem", None)
    if told is not None:
        return {"code": error.code, "detail": error.message, "hint": error.hint, "errors": []} | dict(told)
    return {
        "type": f"urn:flan:problem:{error.code}",
        "code": error.code,
        "blame": error.blame,
        "detail": error.message,
        "hint": error.hint,
        "errors": error.problems if isinstance(error, InvalidDocument) else [],
        "values": {name: value for name, value in error.values.items() if name != "problems"},
    }


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def show_answer(answer: Mapping[str, Any], format_: Format) -> None:
    """What a model answered: its text; of a classification the choice, and how probable each option is."""
    if format_ == "json":
        show_json(answer)
    elif answer["object"] == "classifications":
        chosen = [
            (each["choice"], f"{100 * _probabilities(each)[each['index']]:.1f}%") for each in answer["data"]
        ]
        show_table(("CHOICE", "PROBABILITY"), chosen)
    elif answer["object"] == "classification":
        typer.echo(f"{answer['choice']}\n")
        options = [(each["option"], f"{100 * each['probability']:.1f}%") for each in answer["scores"]]
        show_table(("OPTION", "PROBABILITY"), options)
    else:
        texts = [choice["text"] for choice in answer["choices"]]
        numbered = texts if len(texts) == 1 else [f"{i}. {text}" for i, text in enumerate(texts, start=1)]
        typer.echo("\n".join(numbered))


def _probabilities(classification: Mapping[str, Any]) -> list[float]:
    return [score["probability"] for score in classification["scores"]]


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under `columns`, one line each; on a terminal the widest cells are cut until the line fits.

    The first column names the thing: it is copied, so it is never cut.
    """
    lines = [list(columns), *([_printable(cell) for cell in row] for row in rows)]
    widths = _fitting([max(map(cell_len, column)) for column in zip(*lines, strict=True)])
    for number, line in enumerate(lines):
        cells = (cut(cell, width) for cell, width in zip(line, widths, strict=True))
        padded = (set_cell_size(cell, width) for cell, width in zip(cells, widths, strict=True))
        typer.secho((" " * _GAP).join(padded).rstrip(), bold=True if number == 0 else None)


def show_results(table: Table) -> None:
    """A table of figures, as wide as a terminal; in a file or a pipe nothing of it is broken into lines."""
    Console(width=line_width() or _WIDEST, markup=False, highlight=False).print(table)


def show_facts(facts: Mapping[str, object]) -> None:
    """A name and its value a line; what is empty is left out."""
    shown = {name: _printable(value) for name, value in facts.items() if value not in (None, "")}
    width = max(map(len, shown), default=0) + _GAP
    for name, value in shown.items():
        typer.echo(f"{name:{width}}{value}")


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells of a terminal; a cut is marked."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def count(number: int, noun: str) -> str:
    """`1 template`, `2 templates`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def line_width() -> int | None:
    """How many cells a line has; None = no limit, because no terminal shows it."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _told(problem: Mapping[str, Any]) -> Iterator[str]:
    """What happened, then a line for each fault where there are several."""
    detail, faults = str(problem["detail"]), problem.get("errors") or []
    if len(faults) < 2:
        yield detail
        return
    # A message that is that of the first fault gives way to the lines: nothing is said twice.
    before, said, _ = detail.partition(faults[0]["message"])
    yield before.removesuffix(_place(faults[0])) + count(len(faults), "fault") if said else detail
    seen: set[str] = set()
    for fault in faults:
        hint = fault.get("hint")
        yield f"{_place(fault)}{fault['message']}" + (f" — {hint}" if hint and hint not in seen else "")
        seen.add(hint)


def _hints(problem: Mapping[str, Any], *, has_lines: bool) -> list[str]:
    """The hints that no line of a fault has said."""
    of_faults = [fault.get("hint") for fault in problem.get("errors") or []]
    mine = [problem.get("hint")]
    wanted = [hint for hint in mine if hint not in of_faults] if has_lines else [*mine, *of_faults]
    return list(dict.fromkeys(hint for hint in wanted if hint))


def _place(fault: Mapping[str, Any]) -> str:
    """Where a fault is, ready to stand before its message."""
    line, column = fault.get("line"), fault.get("column")
    parts = [f"line {line}"] if line else []
    parts += [f"column {column}"] if line and column else []
    parts += [place] if (place := fault.get("pointer") or fault.get("parameter")) else []
    return f"{', '.join(parts)}: " if parts else ""


def _fitting(widths: list[int]) -> list[int]:
    """`widths` with the widest columns but the first narrowed until a line fits."""
    limit = line_width()
    if limit is None:
        return widths
    spare = limit - _GAP * (len(widths) - 1) - sum(widths)
    while spare < 0 and len(widths) > 1:
        widest = max(range(1, len(widths)), key=lambda i: widths[i])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
        spare += 1
    return widths


def _printable(value: object) -> str:
    """`value` on one line; what would steer the terminal is a blank."""
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() else " " for character in text)
