"""`flan render` and `flan templates render` show the same; `flan templates diff` what changed."""

import json
from pathlib import Path

from tests.api.commands.conftest import Flan
from tests.api.world import World


def test_a_row_is_rendered_here_as_on_the_platform(flan: Flan, world: World, tmp_path: Path) -> None:
    """Text, solved rows and tokens, whatever is asked for: two doors to one renderer."""
    asked = (
        "shop_reviews", "--split", "validation", "--row", "3", "--shots", "2", "--options", "flan2022", "--seed", "9",
    )  # fmt: skip
    for more in ((), ("--format", "no_template"), ("--template", "1")):
        here = flan("render", *asked, *more, "--model", str(tmp_path / "movies"), "-o", "json")
        there = flan("templates", "render", *asked, *more, "--model", "movies", "-o", "json")

        assert here[0] == there[0] == 0, here[2] + there[2]
        assert json.loads(here[1]) == json.loads(there[1])
        assert all(len(each["exemplars"]) == 2 for each in json.loads(here[1])["data"])


def test_tokens_are_shown_by_part(flan: Flan, world: World, tmp_path: Path) -> None:
    """How many there are of each, whether the loss counts them, and their texts."""
    (tmp_path / "rows.jsonl").write_text('{"text": "Warm soup.", "label": "positive"}\n')
    asked = ("render", "shop_reviews", "--rows", str(tmp_path / "rows.jsonl"), "--template", "0")
    status, out, err = flan(*asked, "--model", str(tmp_path / "movies"))
    lines = out.splitlines()

    assert (status, err.splitlines()) == (0, ["template 0 answer"])
    assert "[tokens] 27 to read of 508, 4 to write" in lines
    table = [line.split(maxsplit=3) for line in lines[lines.index("PART       TOKENS  LOSS  TEXTS") + 1 :]]
    assert [row[:3] for row in table if row] == [
        ["input", "26", "no"], ["separator", "1", "no"], ["target", "3", "yes"], ["end", "1", "yes"],
    ]  # fmt: skip
    assert "⏎" in out
    assert flan(*asked, "--model", str(tmp_path / "nowhere"))[0] == 3
    assert flan(*asked, "--model", str(tmp_path))[0] == 3


def test_solved_rows_are_counted_and_options_are_left_out(flan: Flan, world: World) -> None:
    """What stands on standard error is what the text is, not the text."""
    _, out, err = flan("render", "shop_reviews", "--template", "0", "--shots", "3", "--options", "none")

    assert err.splitlines() == ["template 0 answer, 3 solved rows"]
    assert "OPTIONS" not in out
    assert flan("render", "shop_reviews", "--shots", "65")[0] == 2
    assert "no split 'dev'" in flan("render", "shop_reviews", "--split", "dev")[2]


def test_the_changes_between_two_versions_are_printed(flan: Flan, world: World) -> None:
    """A line that counts them, then each; nothing where nothing changed."""
    status, out, _ = flan("templates", "diff", "shop-mood")
    same = flan("templates", "diff", "shop-mood", "--from", "2", "--to", "2")
    whole = json.loads(flan("templates", "diff", "shop-mood@2", "--from", "1", "-o", "json")[1])

    assert status == 0
    assert out.splitlines()[0] == "shop-mood@1 → shop-mood@2: 1 changed, 1 added"
    assert "-  Good or bad?\n+  Good, or bad?\n" in out
    assert same[1] == "shop-mood@2 → shop-mood@2: nothing changed\n"
    assert [each["change"] for each in whole["templates"]] == ["changed", "added"]
    assert flan("templates", "diff", "shop-mood", "--to", "1")[0] == 2
    assert flan("templates", "diff", "shop-moods")[0] == 3
