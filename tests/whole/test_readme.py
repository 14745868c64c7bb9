"""README, taken at its word: its commands, one after the other, on a platform that runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.platform import Platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STEPS = re.compile(r"(?<=\bsteps)(=|: )\d+")
"""The one thing that is changed: how long a model is tuned."""
PATIENCE_S = 900


@pytest.fixture(scope="module")
def said(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each block printed, in one folder and in one shell, after the line that `flan up` said to paste."""
    blocks = [STEPS.sub(r"\g<1>2", block) for block in BLOCK.findall(README.read_text())]
    (pasted,) = re.findall(r"export FLAN_SERVER=.*", (platform.home / "up.log").read_text())
    script = "\n".join(["set -eu", pasted, *(f"{block}\necho '=== end'" for block in blocks)])
    # The console script of this Python, and nothing that a developer's own shell says of a platform.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLAN_")}
    ended = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path_factory.mktemp("readme"),
        env=environment | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}\n{platform.logs()}"
    return ended.stdout.split("=== end\n")[:-1]


def test_the_tour_ends_in_an_answer(said: list[str]) -> None:
    """Rows and templates are pushed, a model is tuned, deployed and asked."""
    tour = said[0]

    assert "dinners@1  train: 2 rows" in tour
    assert "Cold food and a rude waiter.\nHow was the dinner?\nOPTIONS:\n- bad\n- good\n[target] bad" in tour
    assert "models  mine@1 (tuned), mine-base@1 (base)" in tour
    assert re.search(r"mine answers as mine\n(bad|good)\n\nOPTION +PROBABILITY\n", tour)


def test_what_was_held_out_is_proven_to_be(said: list[str]) -> None:
    """And what was trained on is not, but for the model that was not tuned."""
    tuned, base = said[1].split("job.submitted kind=evaluate")[1:]

    assert re.search(r"rule_pairs .*proven", tuned)
    assert re.search(r"shop_reviews .*violated", tuned)
    assert re.search(r"shop_reviews .*proven", base)


def test_the_same_files_do_without_a_server(said: list[str]) -> None:
    """A model in a folder, measured and asked there."""
    assert "model: run/run/model" in said[2]
    assert re.search(r"rule_pairs .*proven", said[2])
    assert re.search(r"^(bad|good)\n\nOPTION +PROBABILITY$", said[2], re.MULTILINE)


def test_a_request_by_hand_is_answered(said: list[str]) -> None:
    """By rank classification, because the prompt ends in options."""
    assert '"mode":"classify"' in said[3].replace(" ", "")
