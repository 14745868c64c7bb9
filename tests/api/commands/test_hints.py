"""What the dashboard's screens tell people to type is what the command line takes."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from api.cli import app

SOURCES = Path(__file__).parents[3] / "web" / "src"
SAID = re.compile(r"""(?<![\w./-])flan ([a-z][^`<"&\n]*)""")
"""A command, as far as its line goes in a text of a screen."""
VALUE = re.compile(r"\$?\{[^}]*\}")
"""What is put in when the screen is shown."""
HINTS = sorted(
    {
        VALUE.sub("value", found)
        for path in SOURCES.rglob("*.ts*")
        if ".test." not in path.name
        for found in SAID.findall(path.read_text().replace("\\n", "\n"))
    }
)


@pytest.mark.parametrize("hint", HINTS)
def test_every_command_that_a_screen_names_can_be_typed(hint: str) -> None:
    """It exists, with these options, and nothing that it needs is left out; one that is only named has none."""
    command = typer.main.get_command(app)
    arguments = shlex.split(hint, comments=True)
    while isinstance(command, TyperGroup):
        context = command.make_context("flan", arguments)
        _, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])

    assert command is not None
    if arguments:
        command.make_context("flan", arguments)


def test_the_screens_do_name_commands() -> None:
    """Looking for them finds them: several, of several screens."""
    assert {hint.split()[0] for hint in HINTS} >= {"jobs", "models", "classify", "keys", "up"}
