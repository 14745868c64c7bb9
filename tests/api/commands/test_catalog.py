"""`flan templates …` and `flan datasets …` against a real platform."""

import json
from pathlib import Path

import pytest

from tests.api.commands.conftest import Flan
from tests.api.world import World

ROWS = '{"text": "Warm soup.", "label": "good"}\n{"text": "Cold [b]soup[/b].", "label": "awful"}\n'
SET = """
name: dinners
cluster: sentiment
source: {kind: dataset, name: dinners}
fields: {text: text}
answer: {column: label, choices: [bad, good]}
metrics: [accuracy]
templates: [{input: "{text}\\nHow was the dinner?\\n{options_}"}, {input: "Judge: {text}\\n{options_}"}]
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder we are in: rows, one of whose answers is no choice, and a template set for them."""
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "good.jsonl").write_text(ROWS.replace("awful", "bad"))
    (tmp_path / "set.yaml").write_text(SET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pushed(flan: Flan, files: Path) -> None:
    """Both are on the platform."""
    assert flan("datasets", "push", "rows.jsonl", "--name", "dinners")[0] == 0
    assert flan("templates", "push", "set.yaml")[0] == 0


def test_template_sets_and_datasets_are_pushed_and_listed(flan: Flan, world: World, tmp_path: Path) -> None:
    """Each answer names the version."""
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nextends: shop_reviews\ntemplates: [{input: '{review} {options_}'}]\n"
    )
    (tmp_path / "rows.csv").write_text("text,label\na,bad\n")

    assert "mine@1  1 template\n" in flan("templates", "push", str(tmp_path / "mine.yaml"))[1]
    made = flan("datasets", "push", str(tmp_path / "rows.csv"), "--name", "mine", "--split", "test")
    assert "mine@1  test: 1 row\n" in made[1]
    assert "mine@1" in flan("templates", "list")[1]
    assert "test 1" in flan("datasets", "list")[1]


def test_a_push_says_what_is_odd_about_the_templates(flan: Flan, files: Path) -> None:
    """It is stored all the same."""
    flan("datasets", "push", "rows.jsonl", "--name", "dinners")
    status, out, _ = flan("templates", "push", "set.yaml")

    assert (status, out.splitlines()[0]) == (0, "dinners@1  2 templates")
    assert "error: target_not_in_options" in out


def test_a_template_set_and_a_dataset_are_shown(flan: Flan, pushed: None) -> None:
    """Cluster, source and patterns; splits and columns."""
    _, shown, _ = flan("templates", "show", "dinners")
    _, rows, _ = flan("datasets", "show", "dinners")

    assert "source        dataset dinners\n" in shown
    assert "{text} How was the dinner? {options_} → {answer}" in shown
    assert rows.splitlines()[0] == "dataset  dinners@1"
    assert "text (string) label (string)" in rows
    assert json.loads(flan("templates", "show", "dinners", "-o", "json")[1])["num_templates"] == 2
    assert (
        json.loads(flan("datasets", "show", "dinners@1", "-o", "json")[1])["splits"]["train"]["num_rows"] == 2
    )
    assert flan("templates", "show", "lunches")[0] == flan("datasets", "show", "lunches")[0] == 3


def test_what_needs_uploaded_rows_is_said_with_the_ways_out(flan: Flan, files: Path) -> None:
    """Linted and rendered here, a set whose rows are on the platform asks for rows, or to be asked for there."""
    for command in ("lint", "render"):
        status, out, err = flan(command, "set.yaml")

        assert (status, out) == (2, "")
        assert "dinners reads the uploaded dataset 'dinners', which is not on this machine" in err
        assert "--rows FILE" in err
        assert "flan templates lint dinners" in err


def test_a_set_is_linted_and_rendered_on_rows_of_a_file(flan: Flan, files: Path) -> None:
    """The file takes the place of the dataset; a row that it lacks is said."""
    bad = flan("lint", "set.yaml", "--rows", "rows.jsonl")
    good = flan("lint", "set.yaml", "--rows", "good.jsonl")
    status, out, _ = flan("render", "set.yaml", "--rows", "good.jsonl", "--row", "1", "--template", "1")

    assert bad[0] == 1
    assert "target_not_in_options" in bad[1]
    assert good[0] == 0
    assert good[1].splitlines()[-1].endswith(" in 2 templates, 2 rows of good.jsonl")
    assert (status, out) == (0, "Judge: Cold [b]soup[/b].\nOPTIONS:\n- bad\n- good\n[target] bad\n\n")
    assert (
        "no row 2 among 2 rows of good.jsonl"
        in flan("render", "set.yaml", "--rows", "good.jsonl", "--row", "2")[2]
    )
    assert flan("lint", "set.yaml", "--rows", "set.yaml")[0] == 2
    assert flan("lint", "set.yaml", "--rows", "none.csv")[0] == 3


def test_an_uploaded_set_is_linted_where_its_rows_are(flan: Flan, pushed: None) -> None:
    """On its dataset, with status 1 for an error; on rows of a file, which the platform has not."""
    status, out, _ = flan("templates", "lint", "dinners")
    whole = flan("templates", "lint", "dinners", "-o", "json")

    assert status == whole[0] == 1
    assert "answer 'awful' is not among the options" in out
    assert out.splitlines()[-1].endswith(" in dinners@1, 2 rows")
    assert json.loads(whole[1])["is_clean"] is False
    assert flan("templates", "lint", "dinners", "--limit", "1")[0] == 0
    assert flan("templates", "lint", "dinners", "--rows", "good.jsonl")[0] == 0
    assert flan("templates", "lint", "lunches")[0] == 3


def test_an_uploaded_set_is_rendered_where_its_rows_are(flan: Flan, pushed: None) -> None:
    """The row that is asked for, through one template or all; tasks of the platform's collections too."""
    status, out, err = flan("templates", "render", "dinners")
    _, one, _ = flan(
        "templates", "render", "dinners", "--rows", "good.jsonl", "--row", "1", "--template", "1"
    )
    _, task, _ = flan("templates", "render", "shop_reviews", "--template", "0", "-o", "json")

    assert status == 0
    assert err.splitlines() == ["template 0 answer", "template 1 answer"]
    assert out.startswith("Warm soup.\nHow was the dinner?\nOPTIONS:\n- bad\n- good\n[target] good\n")
    assert one == "Judge: Cold [b]soup[/b].\nOPTIONS:\n- bad\n- good\n[target] bad\n\n"
    assert json.loads(task)["task"] == "shop_reviews"
    assert "has rows 0 to 1, not 2" in flan("templates", "render", "dinners", "--row", "2")[2]
