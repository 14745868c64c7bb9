"""Task files that are no good, on the command line: the file, the line, the place and the way out."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flan.cli import app
from flan.tasks.task import load_task

RUN = CliRunner()
HEAD = """name: mine
cluster: sentiment
source: {kind: hub, id: kit/mine, splits: {train: train}}
fields: {text: text}
answer: {column: label, choices: [bad, good]}
metrics: [accuracy]
"""
ASK = HEAD + "templates:\n  - input: "
FILES = {
    "stray brace": (ASK + "'{text'\n", "line 8, column 12, /templates/0/input: stray", "{{ and }}"),
    "unknown slot": (ASK + "'{txet}'\n", "line 8, column 12, /templates/0/input: no", "'text'"),
    "bare slot": (ASK + "{text}\n", "line 8, column 12, /templates/0/input: needs", "in quotes"),
    "missing role": (
        ASK + "a\n    target: '{text}'\n",
        "line 9, column 13, /templates/0/target", "role: inverted",
    ),
    "no templates": (HEAD, "line 1, column 1, /templates: this field is needed", ""),
    "no list": (HEAD + "templates: yes\n", "line 7, column 12, /templates: needs a list, not 'yes'", ""),
    "unknown field": (HEAD + "templats: []\n", "line 7, column 11, /templats: unknown field", "'templates'?"),
    "doubled name": (HEAD + "name: yours\n", "line 7, column 1: the name 'name' stands twice", "keep one"),
    "doubled choice": (
        HEAD.replace("bad, good", "a, a") + "templates: [{input: a}]\n",
        "line 5, column 38, /answer/choices/1", "leave",
    ),
    "colon": (HEAD + "description: a: b\n", "line 7, column 15", "in quotes"),
    "bomb": (
        "a: &a [" + "x, " * 1_000 + "]\nb: &b [" + "*a, " * 1_000 + "]\nc: [" + "*b, " * 9 + "]",
        "line 2, column", "counted",
    ),
    "brackets": ("[" * 300_000, "line 1, column 65: nested more than 64 deep", ""),
    "python": ("!!python/object:os.x {}", "line 1, column 1: the tag !!python/object:os.x", "leave it out"),
    "nothing": ("", "the document is empty", ""),
    "list": ("- a\n- b\n", "line 1, column 1, the document: needs an object", "its fields are name"),
    "long": (ASK + "" + "x" * 5_000_000, "at most 16,384 characters, not 5,000,000", ""),
    "NUL": (HEAD + 'description: "a\\0"\n', "line 7, column 14: text cannot hold the character U+0000", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_task_file_with_a_fault_is_refused_with_file_and_line(tmp_path: Path, name: str) -> None:
    """Exit status 2; what is wrong, where, and how to mend it."""
    text, says, hint = FILES[name]
    file = tmp_path / "mine.yaml"
    file.write_text(text)

    done = RUN.invoke(app, ["lint", str(file)])

    assert done.exit_code == 2, done.output
    assert f"{file}: " in done.stderr
    assert says in done.stderr
    assert hint in done.stderr


def test_bytes_that_are_no_text_are_refused_with_the_file(tmp_path: Path) -> None:
    """The byte is named."""
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"name: \xe9")

    said = RUN.invoke(app, ["lint", str(file)]).stderr

    assert f"{file}: byte 6 is 0xe9, which is not UTF-8" in said
    assert "save the file as UTF-8" in said


def test_each_of_several_faults_has_its_line(tmp_path: Path) -> None:
    """A line a fault, where there are several."""
    file = tmp_path / "mine.yaml"
    file.write_text(ASK + "'{a}'\n  - input: '{b}'\n")

    said = RUN.invoke(app, ["lint", str(file)]).stderr

    assert f"{file}: 2 faults\n" in said
    assert "line 8, column 12, /templates/0/input: no field for {a}" in said
    assert "line 9, column 12, /templates/1/input: no field for {b}" in said


def test_a_file_of_json_is_read_as_json(tmp_path: Path) -> None:
    """Escapes of characters beyond U+FFFF, as JSON writes them, stand for one character; backslashes stay."""
    document = {
        "name": "mine", "cluster": "sentiment", "source": {"kind": "hub", "id": "a", "splits": {"train": "train"}},
        "fields": {"text": "text"}, "answer": {"column": "label"}, "metrics": ["f1"],
        "description": "🧑‍🚀 \\ud83d\\ude00 \\\\", "templates": [{"input": "{text}"}],
    }  # fmt: skip
    file = tmp_path / "mine.json"
    for indent in (None, "\t"):
        file.write_text(json.dumps(document, indent=indent))
        assert load_task(file).description == document["description"]
