"""What the command line prints: whole in a pipe, within the line on a terminal, and never read as markup."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.table import Table

from flan.errors import FlanError, InvalidDocument, NotFound, problem
from flan.terminal import cut, exit_status_of, report, show_facts, show_results, show_table

LONG = "step=1 loss=2.5 " * 20
TABLE = f"from flan.terminal import show_table; show_table(('ID', 'DATA'), [('job_' + 30 * 'x', {LONG!r})])"


def on_a_terminal(program: str, columns: int) -> str:
    """What a program prints on a terminal of so many columns."""
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    subprocess.run([sys.executable, "-c", program], stdout=follower, check=True, env=environment)
    os.close(follower)
    with os.fdopen(leader, "rb") as terminal:
        return terminal.read1().decode().replace("\r\n", "\n")


def test_a_table_is_cut_on_a_terminal_and_whole_in_a_pipe() -> None:
    """One line a row both times; what names the row is never cut."""
    shown = on_a_terminal(TABLE, columns=60)
    piped = subprocess.run(
        [sys.executable, "-c", TABLE],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "60"},
    ).stdout

    lines = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in shown.splitlines()]
    assert [len(line) <= 60 for line in lines] == [True, True]
    assert lines[1].startswith("job_" + 30 * "x" + "  step=1")
    assert lines[1].endswith("…")
    assert piped.splitlines()[1].endswith(LONG.rstrip())


def test_figures_are_not_broken_into_lines_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However narrow the terminal that it leads away from; and names are no markup."""
    monkeypatch.setenv("COLUMNS", "20")
    table = Table("task", "model")
    table.add_row("a task of many words", "[red]a model of many words")
    show_results(table)

    assert "a task of many words │ [red]a model of many words" in capsys.readouterr().out


@given(st.text(), st.integers(1, 40))
def test_a_cut_text_fits_and_a_fitting_text_is_left_alone(text: str, width: int) -> None:
    """In cells of a terminal, where some characters take two."""
    shown = cut(text, width)

    assert cell_len(shown) <= width
    assert shown == text if cell_len(text) <= width else shown.endswith("…")


def test_what_would_steer_the_terminal_is_a_blank(capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks and escapes of what others wrote stay in their cell."""
    show_table(("NAME",), [("a\nb\x1b[31mc",)])
    show_facts({"name": "x\x1by", "none": None, "empty": "", "zero": 0})

    assert capsys.readouterr().out == "NAME\na b [31mc\nname  x y\nzero  0\n"


def test_an_error_is_told_as_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets are no markup, and no line is broken; the hint follows."""
    report(NotFound("no task '[bold]x[/bold]' " + 100 * "y", hint="see [link]"))

    assert capsys.readouterr().err.splitlines() == [
        f"error not_found no task '[bold]x[/bold]' {100 * 'y'}",
        "hint  see [link]",
    ]


def test_a_hint_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Whether one fault has it, several, or the whole document."""
    near = "did you mean 'steps'?"
    one = [problem("/stepz", "unknown", "unknown field 'stepz'", near)]
    report(InvalidDocument("job spec: /stepz: unknown field 'stepz'", one))
    single = capsys.readouterr().err
    report(
        InvalidDocument(
            "job spec: /stepz: unknown field 'stepz' (and 2 more)", [*one, *one, problem("/a", "b", "c")]
        )
    )
    several = capsys.readouterr().err

    assert single.splitlines() == [
        "error invalid_document job spec: /stepz: unknown field 'stepz'",
        f"hint  {near}",
    ]
    assert several.splitlines() == [
        "error invalid_document job spec: 3 faults",
        f"  /stepz: unknown field 'stepz' — {near}",
        "  /stepz: unknown field 'stepz'",
        "  /a: c",
    ]


def test_an_error_for_machines_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    """With the keys of the API's problems."""
    report(FlanError("it broke", hint="mend it", path=Path("/x")), "json")
    told = json.loads(capsys.readouterr().err)

    assert (told["code"], told["blame"], told["detail"], told["hint"]) == (
        "internal",
        "system",
        "it broke",
        "mend it",
    )
    assert told["values"] == {"path": "/x"}


def test_the_exit_status_says_whether_something_is_not_there() -> None:
    """3 = not found, 2 = any other fault of what was asked, unless the error says another."""

    class Failed(FlanError):
        exit_status = 1

    assert [exit_status_of(error("x")) for error in (NotFound, FlanError, Failed)] == [3, 2, 1]
