"""The console script as a whole: what it loads, which server and key it finds, what it asks, how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from flan.terminal import EXIT_STATUSES
from tests.api.commands.conftest import Flan
from tests.api.conftest import make_key
from tests.api.world import World

ASK = ("hi", "-s", "seed=1", "-s", "max_new_tokens=4")
OPTIONS = ("hi", "--option", "a", "--option", "[b]")
SPEC = (
    "{kind: tune, name: tiny, base: 'preset:nano', mixture: {collection: synthetic, tasks: [shop_reviews]}}"
)


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


def test_help_shows_what_people_run_and_how_it_ends(flan: Flan) -> None:
    """Every noun; not the command that only workers use."""
    status, help_, _ = flan("--help")
    commands = {line.split()[1] for line in help_.splitlines() if line.startswith("│ ") and line[2] != " "}

    assert status == 0
    assert {
        "up",
        "generate",
        "classify",
        "jobs",
        "templates",
        "datasets",
        "models",
        "keys",
        "nodes",
    } <= commands
    assert "run" not in commands
    assert EXIT_STATUSES.split() == help_.split()[-len(EXIT_STATUSES.split()) :]


def test_an_answer_is_text_unless_json_is_asked_for(flan: Flan, world: World) -> None:
    """The text alone; of a classification the choice, and how probable each option is."""
    status, text, _ = flan("generate", "movies", *ASK)
    whole = json.loads(flan("generate", "movies", *ASK, "-o", "json")[1])
    chosen = flan("classify", "movies", *OPTIONS)[1].splitlines()
    scores = json.loads(flan("classify", "movies", *OPTIONS, "-o", "json")[1])["scores"]

    assert status == 0
    assert text == whole["choices"][0]["text"] + "\n"
    assert chosen[0] in ("a", "[b]")
    assert chosen[2].split() == ["OPTION", "PROBABILITY"]
    assert [line.split() for line in chosen[3:]] == [
        [score["option"], f"{100 * score['probability']:.1f}%"] for score in scores
    ]
    assert flan("generate", "movies", *ASK, "-s", "n=2")[1].startswith("1. ")


def test_a_stream_is_shown_while_it_is_written(flan: Flan, world: World) -> None:
    """The same text in the end; as JSON, an event a line."""
    whole = flan("generate", "movies", *ASK)[1]
    streamed = flan("generate", "movies", *ASK, "-s", "stream=true")[1]
    events = flan("generate", "movies", *ASK, "-s", "stream=true", "-o", "json")[1].splitlines()

    assert streamed == whole
    assert "".join(json.loads(line).get("text", "") for line in events) + "\n" == whole


def test_the_server_is_named_before_or_after_the_command_or_by_the_environment(
    flan: Flan, world: World, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With or without http://; where none is named, and for a folder, the model is one of this machine."""
    bare = platform.removeprefix("http://")
    monkeypatch.setenv("FLAN_SERVER", bare)
    assert flan("classify", "movies", *OPTIONS)[0] == 0
    assert "no model './movies': neither a directory" in flan("classify", "./movies", *OPTIONS)[2]
    monkeypatch.delenv("FLAN_SERVER")
    assert flan("classify", "movies", *OPTIONS, "--server", platform)[0] == 0
    assert flan("--server", bare, "classify", "movies", *OPTIONS)[0] == 0

    status, _, err = flan("classify", "movies", *OPTIONS)

    assert status == 3
    assert "no model 'movies': neither a directory" in err
    assert "--server ADDRESS" in err


def test_exit_statuses_tell_what_went_wrong(
    flan: Flan, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 bad request, 3 not found or not allowed, 4 no server; each with words on standard error."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(SPEC.replace("name: tiny", "stepz: 10"))
    assert flan("jobs", "create", "-f", str(bad))[0] == 2
    assert flan("jobs", "create", "-f", str(tmp_path / "none.yaml"))[0] == 3
    assert flan("jobs", "nonsense")[0] == 2
    assert flan("jobs", "show", "job_none")[0] == 3
    assert flan("generate", "absent", "hi")[0] == 3
    assert flan("datasets", "push", str(bad), "--name", "x")[0] == 2
    assert flan("lint", "no-such-task")[0] == 3
    monkeypatch.setenv("FLAN_API_KEY", "flan_a_b")
    assert flan("jobs", "list")[0] == 3
    assert flan("--server", "http://127.0.0.1:9", "jobs", "list")[0] == 4
    assert flan("jobs", "list", "--server", "127.0.0.1:9")[0] == 4
    assert flan("jobs", "list", "--server", "nonsense")[0] == 4


def test_every_fault_is_told_with_its_hint_once(flan: Flan, tmp_path: Path) -> None:
    """A line each under what is wrong; as JSON, the problem that the server told."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(SPEC.replace("name: tiny", "name: tiny, stepz: 10, sed: 1"))
    _, _, err = flan("jobs", "create", "-f", str(bad))
    told = json.loads(flan("jobs", "create", "-f", str(bad), "-o", "json")[2])

    assert err.splitlines()[0] == "error invalid_document job spec: 2 faults"
    assert err.count("did you mean 'steps'?") == err.count("did you mean 'seed'?") == 1
    assert told["code"] == "invalid_document"
    assert len(told["errors"]) == 2


def test_brackets_in_names_are_shown_as_they_are(flan: Flan) -> None:
    """What looks like markup is what somebody wrote."""
    _, _, err = flan("jobs", "show", "job_[red]x[/red]")

    assert "job_[red]x[/red]" in err


def test_the_key_is_found_in_flan_home(
    flan: Flan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sessions: sessionmaker[Session]
) -> None:
    """Where `flan up` has put it."""
    monkeypatch.delenv("FLAN_API_KEY")
    monkeypatch.setenv("FLAN_HOME", str(tmp_path))
    status, _, said = flan("jobs", "list")
    assert (status, said.count("set FLAN_API_KEY")) == (3, 1)

    (tmp_path / "key").write_text(make_key(sessions, ["jobs:read"]) + "\n")
    assert flan("jobs", "list")[0] == 0
