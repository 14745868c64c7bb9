"""The command line against a real platform: what it prints, and with which status it ends."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api import cli
from api.app import create_app
from api.auth import SCOPES
from api.commands.output import run
from api.settings import Settings
from tests.api.conftest import make_key, with_key
from tests.api.live import listening
from tests.api.world import World, settled

Flan = Callable[..., tuple[int, str, str]]


@pytest.fixture
def platform(
    settings: Settings, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A platform that listens; the environment has a key for it."""
    here = settings.model_copy(update={"allowed_hosts": ("127.0.0.1",)})
    monkeypatch.setenv("FLAN_API_KEY", make_key(sessions, SCOPES))
    with listening(create_app(here)) as url:
        monkeypatch.setenv("FLAN_SERVER", url)
        yield url


@pytest.fixture
def flan(platform: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Flan:
    """Runs one command: its exit status, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["flan", *arguments])
        with pytest.raises(SystemExit) as ended:
            run(cli.app)
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def world(
    anyone: TestClient, sessions: sessionmaker[Session], tmp_path: Path, platform: str
) -> Iterator[World]:
    """Jobs in every state, on the same database."""
    with settled(with_key(anyone, make_key(sessions, SCOPES)), sessions, tmp_path) as made:
        yield made


SPEC = """
kind: tune
name: tiny
base: preset:nano
steps: 10
mixture: {collection: synthetic, tasks: [shop_reviews]}
"""


def test_help_loads_nothing_heavy() -> None:
    """`flan --help` waits for no torch, no database and no HTTP."""
    heavy = (
        "torch",
        "transformers",
        "deepspeed",
        "sqlalchemy",
        "celery",
        "fastapi",
        "httpx",
        "pydantic_settings",
        "numpy",
    )
    program = f"import sys, api.cli; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


def test_a_job_from_a_file_is_handed_in_shown_and_cancelled(flan: Flan, tmp_path: Path) -> None:
    """JSON for machines, overrides applied, the same job throughout."""
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC)
    status, made, _ = flan("jobs", "create", "-f", str(file), "-s", "steps=12", "-o", "json")
    job = json.loads(made)
    shown = json.loads(flan("jobs", "show", job["id"], "-o", "json")[1])
    _, plan, _ = flan("jobs", "create", "-f", str(file), "--dry-run")

    assert (status, job["spec"]["steps"], shown["id"]) == (0, 12, job["id"])
    assert json.loads(plan)["plan"]["steps"] == 10
    assert job["id"] in flan("jobs", "list")[1]
    assert "cancelled" in flan("jobs", "cancel", job["id"])[1]


def test_following_a_job_ends_as_the_job_ends(flan: Flan, world: World) -> None:
    """0 when it succeeded; 1 when not, with the reason and the way out."""
    assert flan("jobs", "events", world.tuned, "--follow")[0] == 0
    status, out, _ = flan("jobs", "events", world.failed, "--follow")
    lines = flan("jobs", "events", world.failed, "--follow", "-o", "json")

    assert status == 1
    assert "loss_not_finite" in out
    assert "lower optimizer.learning_rate" in out
    assert lines[0] == 1
    assert [json.loads(line)["seq"] for line in lines[1].splitlines()] == list(
        range(1, len(lines[1].splitlines()) + 1)
    )


def test_logs_events_and_results_are_shown(flan: Flan, world: World) -> None:
    """What the ranks wrote, what happened, what was measured."""
    assert flan("jobs", "logs", world.tuned)[1] == "rank 0 of 1 on cpu\nstep 10 loss 3.41\n"
    assert flan("jobs", "logs", world.tuned, "-f")[0] == 0
    assert "checkpoint.published" in flan("jobs", "events", world.tuned)[1]
    assert "61.0" in flan("jobs", "results", world.evaluated)[1]
    assert json.loads(flan("jobs", "results", world.evaluated, "-o", "json")[1])["model"] == "movies"
    assert len(json.loads(flan("jobs", "results", *2 * [world.evaluated], "-o", "json")[1])) == 2
    assert "| rule_pairs |" in flan("jobs", "results", world.evaluated, "--markdown")[1]


def test_template_sets_datasets_models_and_keys(flan: Flan, world: World, tmp_path: Path) -> None:
    """Each noun's commands, on the real thing."""
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nextends: shop_reviews\ntemplates: [{input: '{review} {options_}'}]\n"
    )
    (tmp_path / "rows.csv").write_text("text,label\na,bad\n")

    assert "mine@1  1 templates" in flan("templates", "push", str(tmp_path / "mine.yaml"))[1]
    pushed = flan("datasets", "push", str(tmp_path / "rows.csv"), "--name", "mine", "--split", "test")
    assert "mine@1  test: 1 rows" in pushed[1]
    assert "mine@1" in flan("templates", "list")[1]
    assert "test 1" in flan("datasets", "list")[1]
    assert "movies@1" in flan("models", "list")[1]
    assert flan("models", "alias", "movies@1", "best")[1] == "movies@best is version 1\n"
    assert flan("models", "alias", "movies@1", "best")[0] == 0
    assert "cancelling" in flan("models", "undeploy", "movies")[1]
    key = flan("keys", "create", "guest", "--scope", "jobs:read")[1].strip()
    assert key.startswith("flan_")
    assert flan("keys", "revoke", key.split("_")[1])[0] == 0
    assert "guest" in flan("keys", "list")[1]


def test_a_served_model_answers_on_the_command_line(flan: Flan, world: World, platform: str) -> None:
    """With --server, before or after the command."""
    answered = flan(
        "generate", "movies", "hi", "-s", "seed=1", "-s", "max_new_tokens=4", "--server", platform
    )
    classified = flan("--server", platform, "classify", "movies", "hi", "--option", "a", "--option", "b")
    streamed = flan("generate", "movies", "hi", "-s", "stream=true", "-s", "seed=1", "-s", "max_new_tokens=4",
                    "--server", platform)  # fmt: skip

    text = json.loads(answered[1])["choices"][0]["text"]
    assert json.loads(classified[1])["choice"] in ("a", "b")
    assert streamed[1] == text + "\n"


def test_exit_statuses_tell_what_went_wrong(
    flan: Flan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 bad request, 3 not found or not allowed, 4 no server; each with words on standard error."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(SPEC.replace("steps", "stepz"))
    assert flan("jobs", "create", "-f", str(bad))[::2][0] == 2
    assert "did you mean 'steps'?" in flan("jobs", "create", "-f", str(bad))[2]
    assert flan("jobs", "create", "-f", str(tmp_path / "none.yaml"))[0] == 2
    assert flan("jobs", "nonsense")[0] == 2
    assert flan("jobs", "show", "job_none")[0] == 3
    assert flan("datasets", "push", str(bad), "--name", "x")[0] == 2
    monkeypatch.setenv("FLAN_API_KEY", "flan_a_b")
    assert flan("jobs", "list")[0] == 3
    assert flan("--server", "http://127.0.0.1:9", "jobs", "list")[0] == 4
    assert flan("jobs", "list", "--server", "nonsense")[0] == 4


def test_the_key_is_found_in_flan_home(
    flan: Flan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sessions: sessionmaker[Session]
) -> None:
    """Where `flan up` has put it."""
    monkeypatch.delenv("FLAN_API_KEY")
    monkeypatch.setenv("FLAN_HOME", str(tmp_path))
    status, _, said = flan("jobs", "list")
    assert (status, "set FLAN_API_KEY" in said) == (3, True)

    (tmp_path / "key").write_text(make_key(sessions, ["jobs:read"]) + "\n")
    assert flan("jobs", "list")[0] == 0
