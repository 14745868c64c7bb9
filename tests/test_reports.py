"""`flan report` on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flan.cli import app
from flan.data.suites import load_suites
from flan.evaluate.suite import RESULTS
from tests.evaluate.test_plots import measured


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Two evaluations."""
    for name, run in (("base", measured()), ("tuned", measured(level=0.7, steps=5))):
        (tmp_path / name).mkdir()
        (tmp_path / name / RESULTS).write_text(run.results.model_dump_json())
    return [str(tmp_path / "base"), str(tmp_path / "tuned")]


def flan(*words: str) -> str:
    result = CliRunner().invoke(app, ["report", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_report_is_printed_in_every_form(folders: list[str]) -> None:
    """Markdown unless another is asked for; labels name the columns."""
    labels = ["--label", "before", "--label", "after"]

    assert "| task | n | chance | majority | before | after | zero-shot |" in flan(*folders, *labels)
    assert "\\begin{tabular}" in flan(*folders, "--format", "latex")
    assert flan(*folders, "--format", "csv").startswith("column,task,cluster")
    printed = json.loads(flan(*folders, "--format", "json"))
    assert [column["label"] for column in printed["columns"]] == ["m", "m (2)"]


def test_a_folder_is_filled_with_tables_and_pictures(folders: list[str], tmp_path: Path) -> None:
    """What cannot be drawn is left out, unless it was asked for by name."""
    to = tmp_path / "report"
    flan(*folders, "--to", str(to))
    names = {path.name for path in to.iterdir()}

    assert {"report.md", "report.tex", "report.csv", "report.json", "clusters.svg", "clusters.png"} <= names
    assert "scale.svg" not in names
    flan(*folders, "--to", str(tmp_path / "one"), "--figure", "few-shot")
    assert {path.name for path in (tmp_path / "one").iterdir() if path.suffix in (".svg", ".png")} == {
        "few-shot.svg",
        "few-shot.png",
    }


@pytest.mark.parametrize(
    "wrong",
    [["--figure", "clusters"], ["--figure", "pie", "--to", "x"], ["--label", "one"]],
    ids=["no folder", "unknown picture", "labels"],
)
def test_bad_options_are_refused(folders: list[str], wrong: list[str]) -> None:
    """With the way out, before anything is read."""
    result = CliRunner().invoke(app, ["report", *folders, *wrong])

    assert result.exit_code == 2


def test_suites_are_listed_with_what_they_ask() -> None:
    """Every name that a spec may give; as JSON with all that it stands for."""
    listed = CliRunner().invoke(app, ["suites"], catch_exceptions=False).stdout
    found = json.loads(CliRunner().invoke(app, ["suites", "-o", "json"], catch_exceptions=False).stdout)

    assert all(name in listed for name in load_suites())
    assert list(found) == list(load_suites())
    assert found["super-ni/test"]["max_new_tokens"] == 128
