"""`flan models …`, `flan keys …`, `flan nodes` against a real platform."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from api.auth import SCOPES
from api.commands.keys import SCOPES_HELP
from tests.api.commands.conftest import Flan, Started
from tests.api.world import World, claim, finish, say, serving
from workers.ledger import nodes
from workers.ledger.leases import Ending, Failure
from workers.ledger.tables import Job

PATIENCE_S = 30


@pytest.fixture
def movies(sessions: sessionmaker[Session], tmp_path: Path) -> Iterator[None]:
    """The registered model `movies`, and nothing that waits to be done."""
    with serving(sessions, tmp_path):
        yield


def waited_for(process: subprocess.Popen[str]) -> str:
    """The id of the job that a command says it waits for."""
    assert process.stderr is not None
    job_id, state = process.stderr.readline().split(maxsplit=1)
    assert state.startswith("queued")
    return job_id


def test_a_model_is_listed_shown_named_and_undeployed(flan: Flan, world: World) -> None:
    """What it is, what it has seen, and who answers with it."""
    _, shown, _ = flan("models", "show", "movies")
    facts = dict(line.split(maxsplit=1) for line in shown.splitlines())

    assert "movies@1" in flan("models", "list")[1]
    assert (facts["model"], facts["role"], facts["aliases"]) == ("movies@1", "tuned", "default")
    assert facts["digest"] == world.model
    assert json.loads(flan("models", "show", "movies@default", "-o", "json")[1])["id"] == "movies@1"
    assert flan("models", "show", "moviez")[0] == 3
    assert flan("models", "alias", "movies@1", "best")[1] == "movies@best is version 1\n"
    assert flan("models", "alias", "movies@1", "best")[0] == 0
    assert "cancelling" in flan("models", "undeploy", "movies")[1]
    assert flan("models", "undeploy", "absent")[0] == 3


def test_deploy_comes_back_when_the_model_answers(
    started: Started, movies: None, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Not before its job says that it is ready; any field of a serve job can be set."""
    with started("models", "deploy", "movies", "--name", "again", "-s", "max_batch=3") as process:
        job_id = waited_for(process)
        with started("models", "list") as other:
            other.communicate(timeout=PATIENCE_S)
        assert process.poll() is None, "a whole command later it is still waiting"
        say(sessions, claim(sessions, tmp_path), ("serve.ready", {"url": "http://127.0.0.1:9"}))
        out, _ = process.communicate(timeout=PATIENCE_S)

    with sessions.begin() as session:
        assert session.get_one(Job, job_id).spec["max_batch"] == 3
    assert process.returncode == 0
    assert out == f"{job_id}  movies answers as again\n"


def test_deploy_fails_as_its_job_fails(
    started: Started, movies: None, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Status 1, with the reason."""
    with started("models", "deploy", "movies", "--name", "again") as process:
        waited_for(process)
        fault = Failure(code="no_memory", blame="user", message="it does not fit", hint="take a smaller one")
        finish(sessions, claim(sessions, tmp_path), Ending("fault", fault))
        _, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    assert "it does not fit" in err
    assert err.count("take a smaller one") == 1


def test_ctrl_c_ends_the_waiting_and_not_the_deployment(started: Started, flan: Flan, movies: None) -> None:
    """It says that the job goes on, and how to undeploy."""
    with started("models", "deploy", "movies", "--name", "again") as process:
        job_id = waited_for(process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 130
    assert f"{job_id} runs on without you" in err
    assert "flan models undeploy again" in err
    assert json.loads(flan("jobs", "show", job_id, "-o", "json")[1])["state"] == "queued"


def test_deploy_without_waiting_says_what_will_be(flan: Flan, movies: None) -> None:
    """The job's id, in text and as JSON."""
    status, out, _ = flan("models", "deploy", "movies", "--name", "later", "--no-wait")
    made = json.loads(flan("models", "deploy", "movies", "--no-wait", "-o", "json")[1])

    two = flan("models", "deploy", "movies", "--name", "twice", "--replicas", "2", "--no-wait")[1]
    listed = flan("models", "deployments")[1].splitlines()

    assert [line.split()[1] for line in two.splitlines()] == ["queued"] * 2
    assert [line.split()[3] for line in listed if line.startswith("twice")] == ["queued"] * 2
    assert status == 0
    assert "queued" in out
    assert "movies will answer as later" in out
    assert (made["kind"], made["name"]) == ("serve", "movies")


def test_keys_are_made_listed_and_revoked(flan: Flan) -> None:
    """The help names every scope there is."""
    key = flan("keys", "create", "guest", "--scope", "jobs:read")[1].strip()
    _, help_, _ = flan("keys", "create", "--help")

    assert key.startswith("flan_")
    assert flan("keys", "revoke", key.split("_")[1])[0] == 0
    assert "guest" in flan("keys", "list")[1]
    assert set(SCOPES) <= set(SCOPES_HELP.replace(",", " ").replace(";", " ").split())
    assert "metrics:read" in help_


def test_nodes_are_listed_with_what_is_free(flan: Flan, sessions: sessionmaker[Session]) -> None:
    """CPU slots and GPUs."""
    gpus = [{"uuid": f"GPU-{i}", "name": "H100", "memory_bytes": 1} for i in range(2)]
    with sessions.begin() as session:
        nodes.report(session, "node-g", cpu_slots=4, gpus=gpus)

    assert flan("nodes")[1].splitlines()[1].split()[:5] == ["node-g", "here", "4/4", "2/2", "H100"]
    assert json.loads(flan("nodes", "-o", "json")[1])[0]["id"] == "node-g"
