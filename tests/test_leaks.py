"""`flan data leakage`."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flan.cli import app
from tests.data.leaks import sentence
from tests.kit.tasks import make_task, write_hub

RUN = CliRunner()
SHARED = sentence(1)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Tasks `seen` (3 rows to train on) and `asked` (4 to be asked, one of them seen); `gone` has no rows."""
    written = {}
    for name, splits in (
        ("seen", ("train",)),
        ("asked", ("validation", "test")),
        ("gone", ("train", "test")),
    ):
        source = {"kind": "hub", "id": f"test/{name}", "splits": dict(zip(splits, splits, strict=True))}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(make_task(name, source=source).model_dump(mode="json")))
        written[name] = str(path)
    rows = [{"text": sentence(seed), "label": "sad"} for seed in range(10, 20)]
    write_hub(tmp_path, "seen", {"train": [*rows[:2], {"text": f"Well: {SHARED}", "label": "glad"}]})
    asked = {"validation": rows[2:4], "test": [rows[4], {"text": SHARED + " Or not.", "label": "sad"}]}
    write_hub(tmp_path, "asked", asked)
    return written | {"data": str(tmp_path)}


def test_what_is_shared_is_shown_with_its_places(files: dict[str, str]) -> None:
    """A line for each pair of tasks, the passage with both its places, and how much was compared."""
    done = RUN.invoke(
        app, ["data", "leakage", files["seen"], "--against", files["asked"], "--data", files["data"]]
    )

    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["seen", "asked/test", "1", "of", "3", "1", "of", "2", "0"]
    assert lines[3] == "seen ↔ asked/test"
    end = len(SHARED) - 1
    assert lines[4].startswith(f"  row 2 text[6:{6 + end}] ↔ row 1 text[0:{end}]: 20 words, 91% of the field")
    assert SHARED.startswith(lines[5].strip(" …"))
    assert (
        lines[-1]
        == "3 training rows of 1 task compared with 4 held-out rows of 2 splits: 1 and 1 share a passage"
    )


def test_made_up_tasks_are_clean() -> None:
    """Rows that are made need no folder; those of one task share nothing with another's."""
    asked = [
        "data",
        "leakage",
        "question_kinds",
        "--against",
        "rule_pairs",
        "--collection",
        "synthetic",
        "--fail",
    ]
    done = RUN.invoke(app, asked)

    assert done.exit_code == 0, done.output
    assert done.stdout.endswith(": 0 and 0 share a passage\n")


def test_a_script_can_ask_for_a_verdict(files: dict[str, str]) -> None:
    """--fail ends with status 1 where anything is shared, -o json is the whole report."""
    asked = ["data", "leakage", files["seen"], "--against", files["asked"], "--data", files["data"], "--fail"]
    unclean = RUN.invoke(app, [*asked, "-o", "json"])
    clean = RUN.invoke(app, [*asked, "--split", "validation"])

    assert unclean.exit_code == 1
    assert json.loads(unclean.stdout)["train_rows"] == {"seen": [2]}
    assert clean.exit_code == 0
    assert clean.stdout.startswith(
        "3 training rows of 1 task compared with 2 held-out rows of 1 split: 0 and 0"
    )


def test_rows_that_are_not_here_are_told(files: dict[str, str]) -> None:
    """A task that is named must have rows; nothing to compare is a fault of the request."""
    named = RUN.invoke(app, ["data", "leakage", files["gone"], "--against", "*", "--data", files["data"]])
    nothing = RUN.invoke(
        app, ["data", "leakage", files["seen"], "--against", "cluster:qa", "--data", files["data"]]
    )
    neither = RUN.invoke(app, ["data", "leakage", files["seen"], "--against", "*", "--data", files["data"]])

    assert named.exit_code == 2
    assert "no rows for gone" in named.stderr
    assert nothing.exit_code == 3
    assert neither.exit_code == 2
    assert "no rows to compare" in neither.stderr
