"""`flan mixture` shows what a mixture is made of, here and now."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flan.cli import app
from flan.data.composition import Composition, Share, TaskShare
from flan.mixtures import show_tune_results

RUN = CliRunner()
NESTED = """
parts:
  - {name: words, weight: 3, collection: synthetic, tasks: ["cluster:sentiment"], few_shot: {share: 0.5, shots: 2}}
  - name: rest
    collection: synthetic
    tasks: ["*", "-cluster:sentiment"]
    hold_out: {clusters: [entailment]}
"""


def test_a_mixture_is_shown_by_part_cluster_and_task(tmp_path: Path) -> None:
    """Asked shares of examples, estimated shares of words, and what is left out with its reason."""
    file = tmp_path / "mixture.yaml"
    file.write_text(NESTED)

    text = RUN.invoke(app, ["mixture", "-f", str(file), "--rows", "1"])
    found = RUN.invoke(app, ["mixture", "-f", str(file), "--rows", "1", "-o", "json"])

    assert text.exit_code == found.exit_code == 0, text.output
    shown = json.loads(found.stdout)
    assert {name: part["examples"] for name, part in shown["parts"].items()} == {
        "rest": pytest.approx(0.25),
        "words": pytest.approx(0.75),
    }
    assert sum(task["tokens"] for task in shown["tasks"]) == pytest.approx(1)
    assert "held out: cluster entailment" in shown["excluded"].values()
    assert text.stdout.startswith("PART")
    assert "lengths are in words" in text.stdout
    assert "left out, " in text.stdout


def test_a_preset_whose_tasks_are_not_here_is_refused() -> None:
    """With what is missing and its share; nothing is measured then."""
    done = RUN.invoke(app, ["mixture", "t0"])
    neither = RUN.invoke(app, ["mixture"])

    assert done.exit_code == 2
    assert "(and 37 more tasks); 100.0% of the examples" in done.stderr
    assert "missing: drop" in done.stderr
    assert neither.exit_code == 2


def test_a_run_is_shown_beside_what_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Realised shares have columns of their own."""
    asked = {"examples": 1.0, "tokens": 1.0, "realised_examples": 1.0, "realised_tokens": 1.0}
    task = TaskShare(name="mood", cluster="sentiment", part=None, templates=(Share(examples=1.0),), **asked)
    found = Composition(
        unit="tokens", sampled=4, parts={}, clusters={"sentiment": Share(**asked)}, tasks=(task,)
    )

    show_tune_results({"kind": "tune", "mixture": found.model_dump(mode="json")})

    assert "REALISED TOKENS" in capsys.readouterr().out
