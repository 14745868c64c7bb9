"""An API on a database of the test's own, and clients with keys for it."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api.app import create_app
from api.auth import SCOPES, new_key
from api.catalog import keys
from api.recent import LASTS_S
from api.settings import Settings

AsCaller = Callable[..., TestClient]


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """A platform in the test's folder; without Redis, so that jobs stay queued, and with no datasets at hand."""
    return Settings(
        home=tmp_path / "home",
        data=tmp_path / "data",
        database_url=database_url,
        allowed_hosts=("testserver",),
        stream_poll_s=0.05,
    )


@pytest.fixture
def anyone(settings: Settings) -> Iterator[TestClient]:
    """A client without a key, for an application that has started."""
    app = create_app(settings)
    # Tests change the ledger as workers do, behind the application's back: between two of its looks a second passes.
    app.state.platform.recent.clock = partial(next, count(step=2 * LASTS_S))
    with TestClient(app) as client:
        yield client


@pytest.fixture
def app(anyone: TestClient) -> FastAPI:
    """The application, started."""
    assert isinstance(anyone.app, FastAPI)
    return anyone.app


def make_key(sessions: sessionmaker[Session], scopes: Sequence[str]) -> str:
    """A fresh key with `scopes`."""
    made = new_key()
    # Behind every key that was never used: lists of keys begin the same way each time.
    id_ = "f" + made.id[1:]
    with sessions.begin() as session:
        keys.add(session, key_id=id_, secret_sha256=made.secret_sha256, name="test", scopes=scopes)
    return made.text.replace(made.id, id_)


@pytest.fixture
def caller(anyone: TestClient, sessions: sessionmaker[Session]) -> AsCaller:
    """Clients whose key has the named scopes (none named: all)."""

    def make(*scopes: str) -> TestClient:
        return with_key(anyone, make_key(sessions, scopes or SCOPES))

    return make


def with_key(anyone: TestClient, key: str) -> TestClient:
    """A client with a key, in the event loop in which the application was started."""
    client = TestClient(anyone.app, headers={"Authorization": f"Bearer {key}"})
    client.portal = anyone.portal
    return client


@pytest.fixture
def client(caller: AsCaller) -> TestClient:
    """A client that may do everything."""
    return caller()
