"""`flan` in an empty folder, with no server anywhere: tune, evaluate, answer, serve."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flan import rundir
from flan.store import file_sha256
from tests.kit.commands import running
from tests.kit.killing import Outcome
from tests.kit.ranks import PATIENCE_S, free_port, wait_until
from tests.kit.real_trainer import CHECKPOINT_EVERY, STEPS, TUNE
from tests.kit.runs import metrics

pytestmark = pytest.mark.timeout(900)
PROMPT = "The kettle leaks.\n\nWas it good?\n\nOPTIONS:\n- negative\n- positive"
SMALL = TUNE | {
    "name": "small",
    "steps": 6,
    "checkpoint_every": 6,
    "resources": {"ranks": 1, "device": "cpu"},
}
EVALUATE = {
    "name": "measured",
    "model": "out/run/model",
    "collection": "synthetic",
    "tasks": ["rule_pairs", "shop_reviews"],
    "limit": 8,
    "templates_per_task": 2,
    "input_length": 128,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the commands run: nothing is in it but specs."""
    specs = {"tune": TUNE, "small": SMALL, "evaluate": EVALUATE}
    for name, spec in specs.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(_plain(spec)))
    return tmp_path


def _plain(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec as one writes it for `flan tune`: the command says the kind."""
    return {name: value for name, value in json.loads(json.dumps(spec)).items() if name != "kind"}


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`flan …` while it runs in `folder`, with no platform in reach."""
    unset = ("FLAN_", "DATABASE_URL", "REDIS_URL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    with running("flan", *arguments, cwd=folder, env=environment) as process:
        yield process


def flan(folder: Path, *arguments: str, status: int = 0) -> tuple[str, str]:
    """What a command printed: standard output, standard error. It must end with `status`."""
    with started(folder, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, f"{arguments} ended with {process.returncode}\n{out}\n{err}"
    return out, err


def test_a_model_is_tuned_measured_and_asked_without_a_server(folder: Path) -> None:
    """Four commands, each of which finds what the one before left in the folder."""
    tuned, _ = flan(folder, "tune", "-f", "small.yaml", "--out", "out")
    measured, _ = flan(folder, "evaluate", "-f", "evaluate.yaml", "--out", "measured")
    chosen = json.loads(flan(folder, "classify", "out/run/model", PROMPT, "-o", "json")[0])
    ask = ("generate", "out/run/model", "Once upon", "-s", "seed=5", "-s", "max_new_tokens=6")
    drawn = json.loads(flan(folder, *ask, "-o", "json")[0])
    told = flan(folder, *ask)[0]

    assert tuned.strip().endswith("model: out/run/model")
    results = json.loads((folder / "measured" / "run" / "results.json").read_text())
    assert results["verdicts"] == {"rule_pairs": "proven", "shop_reviews": "violated"}
    assert results["unclean"] == {"rule_pairs": 0, "shop_reviews": None}
    assert "rule_pairs" in measured
    assert chosen["choice"] in ("negative", "positive")
    assert chosen["contract"] == drawn["contract"] == results["contract_digest"]
    assert drawn["usage"]["completion_tokens"] <= 6
    assert drawn["seed"] == 5
    assert told == drawn["choices"][0]["text"] + "\n"


@pytest.mark.slow
def test_an_interrupted_tune_goes_on_when_it_is_called_again(folder: Path, undisturbed: Outcome) -> None:
    """Ctrl-C saves the step; the second call redoes none, and ends with the weights of the platform's own run."""
    command = ("tune", "-f", "tune.yaml", "--out", "out")
    run = folder / "out" / "run"
    with started(folder, *command) as process:
        wait_until(
            lambda: run.joinpath(rundir.EVENTS).exists() and max(metrics(run), default=0) > CHECKPOINT_EVERY,
            "a step after the first checkpoint",
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    first = metrics(run)
    assert process.returncode == 130
    assert "go on with: flan tune -f tune.yaml --out out" in err.replace("\n", " ")
    assert max(first) < STEPS

    flan(folder, *command)

    both = first | metrics(run)
    assert min(metrics(run)) == max(first) + 1
    assert tuple(both.items()) == undisturbed.losses
    assert file_sha256(run / "model" / "model.safetensors") == undisturbed.weights


@pytest.mark.slow
def test_a_served_model_answers_until_it_is_told_to_stop(folder: Path) -> None:
    """`flan serve` alone: an answer over HTTP, and SIGTERM ends it well."""
    flan(folder, "tune", "-f", "small.yaml", "--out", "out", "-s", "steps=1")
    port = free_port()
    with started(folder, "serve", "out/run/model", "--port", str(port)) as process:
        assert process.stdout is not None
        assert f"answers at http://127.0.0.1:{port}" in process.stdout.readline()
        answer = httpx.post(f"http://127.0.0.1:{port}/classify", json={"prompt": PROMPT}, timeout=60)
        process.terminate()
        status = process.wait(timeout=PATIENCE_S)

    assert answer.status_code == 200
    assert answer.json()["choice"] in ("negative", "positive")
    assert status == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/readyz")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("tune", "-f", "absent.yaml", "--out", "out"), 3, "no file absent.yaml"),
        (("tune", "-f", "small.yaml", "--out", "out", "-s", "stepz=3"), 2, "did you mean 'steps'?"),
        (("tune", "-f", "small.yaml", "--out", "out", "-s", "base=preset:giga"), 3, "there are preset:nano"),
        (
            ("tune", "-f", "small.yaml", "--out", "out", "-s", "mixture.tasks=[shop_reviewz]"),
            3,
            "did you mean 'shop_reviews'?",
        ),
        (("evaluate", "-f", "evaluate.yaml", "--out", "out"), 3, "out/run/model"),
        (("evaluate", "-f", "small.yaml", "--out", "out"), 2, "did you mean"),
        (("classify", "nowhere", "Is it?"), 3, "neither a directory nor in the hub cache"),
        (("classify", "preset:nano", "Is it?"), 3, "a network without weights"),
        (("lint", "shop_reviewz"), 3, "did you mean 'shop_reviews'?"),
        (("lint", "[red]x[/red]"), 3, "[red]x[/red]"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_way_out(
    folder: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    """One plain message on standard error, as it was written; no traceback, and nothing on standard output."""
    out, err = flan(folder, *arguments, status=status)

    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert out == ""
