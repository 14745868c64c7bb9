"""What comes from other projects, and what goes to other trainers, by the command line alone."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flan.cli import app
from flan.data.formats import encode_row
from flan.tasks.task import load_task
from tests.kit.tasks import make_rows, make_task, write_hub
from tests.tasks.test_promptsource_task import FILE

DATA = os.environ.get("FLAN_DATA", "")
RUN = CliRunner(env={"FLAN_DATA": None})
INSTRUCTIONS = {
    "Categories": ["Title Generation"],
    "Definition": ["Give the text a title."],
    "Positive Examples": [{"input": "A cat sat.", "output": "A Cat", "explanation": "It names the cat."}],
    "Negative Examples": [],
    "Instances": [{"id": "task7-a", "input": "Rain fell.", "output": ["Rain", "A Rain"]}],
    "Source": ["stories"],
}


def test_a_file_of_promptsource_is_imported_and_rendered(tmp_path: Path) -> None:
    """The task that is written renders rows, and says which templates could not be read."""
    file = tmp_path / "templates.yaml"
    file.write_text(FILE + "  c: !Template {id: c, name: bad, jinja: '{{ a|pprint }} ||| b'}\n")
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(encode_row({"text": "Fine.", "label": 1}) + b"\n")

    made = RUN.invoke(
        app, ["import", "promptsource", str(file), "--to", str(tmp_path), "--cluster", "sentiment"]
    )
    shown = RUN.invoke(app, ["render", str(tmp_path / "p3_reviews_short.yaml"), "--rows", str(rows)])

    assert made.exit_code == shown.exit_code == 0, made.output
    assert "refused: bad: line 1" in made.stderr
    assert made.stdout.endswith("p3_reviews_short.yaml  2 templates, 1 refused\n")
    assert shown.stdout == "Fine.\n[target] good\n\nWrite.\n[target] Fine.\n\n"


def test_a_task_of_super_ni_is_imported_with_its_rows(tmp_path: Path) -> None:
    """Two files: the task, and the rows that its dataset holds."""
    file = tmp_path / "task7_titles.json"
    file.write_text(json.dumps(INSTRUCTIONS))

    made = RUN.invoke(app, ["import", "natural-instructions", str(file), "--to", str(tmp_path / "out")])
    task = tmp_path / "out" / "task7_titles.yaml"
    shown = RUN.invoke(app, ["render", str(task), "--rows", str(task.with_suffix(".jsonl"))])

    assert made.exit_code == 0, made.output
    assert load_task(task).cluster == "title_generation"
    assert "Give the text a title." in shown.stdout
    assert shown.stdout.endswith("[target] Rain\n\n")


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"\xff\xfe", "which is not UTF-8"), (b"dataset: [", "not YAML"), (b"{}", "no mapping with")],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    """Nothing is written."""
    file = tmp_path / "templates.yaml"
    file.write_bytes(data)

    made = RUN.invoke(
        app, ["import", "promptsource", str(file), "--to", str(tmp_path / "out"), "--cluster", "a"]
    )

    assert made.exit_code == 2
    assert says in made.stderr
    assert not (tmp_path / "out").exists()


def test_rendered_examples_are_exported(tmp_path: Path) -> None:
    """A line for each row and template; rows that cannot be rendered are counted."""
    file, to = tmp_path / "mood.yaml", tmp_path / "mood.jsonl"
    file.write_text(yaml.safe_dump(make_task().model_dump(mode="json")))
    write_hub(tmp_path, "mood", {"train": [*make_rows(3), {"text": "x", "label": "?"}]})

    done = RUN.invoke(app, ["export", str(file), "--to", str(to), "--data", str(tmp_path)])

    examples = [json.loads(line) for line in to.read_text().splitlines()]
    assert done.exit_code == 0, done.output
    assert [(each["row"], each["template"]) for each in examples] == [
        (r, t) for r in range(3) for t in range(3)
    ]
    assert "not rendered: 1; first: " in done.stderr
    assert list(tmp_path.glob(".*")) == []


def test_a_whole_collection_is_linted() -> None:
    """Its clusters are counted, as tasks and as the paper counts datasets; without an error the status is 0."""
    text = RUN.invoke(app, ["lint", "--collection"])
    machine = RUN.invoke(app, ["lint", "--collection", "flan", "-o", "json"])

    assert text.exit_code == machine.exit_code == 0, text.output
    assert "flan2021: 63 datasets in 12 clusters" in text.stdout
    counted = json.loads(machine.stdout)
    assert sum(each["tasks"] for each in counted["clusters"]) == 80
    assert counted["presets"]["flan2021"]["Translation"] == 9
    assert counted["findings"] == []


def test_a_collection_with_faults_fails_its_lint() -> None:
    """A generated collection has more alike templates than FLAN's may have."""
    assert RUN.invoke(app, ["lint", "--collection", "synthetic"]).exit_code == 1
    unknown = RUN.invoke(app, ["lint", "--collection", "superglue"])
    assert unknown.exit_code == 3
    assert "flan or synthetic" in unknown.stderr


def test_lint_wants_to_know_what_to_look_at() -> None:
    """Without a name there is nothing to lint."""
    assert "--collection" in RUN.invoke(app, ["lint"]).stderr


@pytest.mark.data
def test_lint_says_what_a_tokenizer_loses(tmp_path: Path) -> None:
    """T5's pieces have no line break; GPT-2's keep every text."""
    models = Path(DATA) / "models"
    shutil.copy(models / "tokenizer-t5" / "spiece.model", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')

    lossy = RUN.invoke(app, ["lint", "rte", "--tokenizer", str(tmp_path)])
    whole = RUN.invoke(app, ["lint", "rte", "--tokenizer", str(models / "tokenizer-gpt2")])

    assert lossy.stdout.count("tokenizer_lossy") >= 10
    assert "tokenizer_lossy" not in whole.stdout


def test_a_tokenizer_that_is_not_there_is_an_error() -> None:
    """It is not fetched from anywhere."""
    assert RUN.invoke(app, ["lint", "rte", "--tokenizer", "google/flan-t5-small"]).exit_code == 3


def test_a_spec_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """No traceback, but the file and the byte."""
    file = tmp_path / "spec.yaml"
    file.write_bytes(b"name: \xff")

    done = RUN.invoke(app, ["tune", "-f", str(file), "--out", str(tmp_path / "out")])

    assert done.exit_code == 2
    assert "spec.yaml: byte 6 is 0xff, which is not UTF-8" in done.stderr
