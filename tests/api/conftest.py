"""An API on a database of the test's own, and clients with keys for it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api.app import create_app
from api.auth import SCOPES, new_key
from api.catalog import keys
from api.settings import Settings

AsCaller = Callable[..., TestClient]


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """A platform in the test's folder; without Redis, so that jobs stay queued."""
    return Settings(
        home=tmp_path / "home", database_url=database_url, allowed_hosts=("testserver",), stream_poll_s=0.05
    )


@pytest.fixture
def app(settings: Settings) -> Iterator[FastAPI]:
    """The application, started."""
    made = create_app(settings)
    with TestClient(made):
        yield made


def make_key(sessions: sessionmaker[Session], scopes: Sequence[str]) -> str:
    """A fresh key with `scopes`."""
    made = new_key()
    with sessions.begin() as session:
        keys.add(session, key_id=made.id, secret_sha256=made.secret_sha256, name="test", scopes=scopes)
    return made.text


@pytest.fixture
def caller(app: FastAPI, sessions: sessionmaker[Session]) -> AsCaller:
    """Clients whose key has the named scopes (none named: all)."""

    def make(*scopes: str) -> TestClient:
        key = make_key(sessions, scopes or SCOPES)
        return TestClient(app, headers={"Authorization": f"Bearer {key}"})

    return make


@pytest.fixture
def client(caller: AsCaller) -> TestClient:
    """A client that may do everything."""
    return caller()
