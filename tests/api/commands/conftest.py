"""A platform that listens, with a key for it in the environment, and `flan` to speak to it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api import cli
from api.app import create_app
from api.auth import SCOPES
from api.settings import Settings
from tests.api.conftest import make_key, with_key
from tests.api.live import listening
from tests.api.world import World, settled
from tests.kit.commands import running

Flan = Callable[..., tuple[int, str, str]]
Started = Callable[..., AbstractContextManager[subprocess.Popen[str]]]


@pytest.fixture
def platform(
    settings: Settings, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The address of a platform; FLAN_SERVER names it, FLAN_API_KEY opens it."""
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
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def started(platform: str) -> Started:
    """Starts one command as a process, for what happens while it runs."""

    def start(*arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
        return running("api.cli", *arguments)

    return start


@pytest.fixture
def world(
    anyone: TestClient, sessions: sessionmaker[Session], tmp_path: Path, platform: str
) -> Iterator[World]:
    """Jobs in every state, on the same database."""
    with settled(with_key(anyone, make_key(sessions, SCOPES)), sessions, tmp_path) as made:
        yield made
