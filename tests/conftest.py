"""Fixtures of every room: real servers for the session, an own database for each test."""

from collections.abc import Iterator
from itertools import count

import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.kit.servers import Servers, running_servers
from workers.ledger.session import engine_of, open_ledger

_redis_databases = count()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Redis for the whole session. Never kill these: take `own_servers`."""
    with running_servers() as running:
        yield running


@pytest.fixture
def own_servers() -> Iterator[Servers]:
    """PostgreSQL and Redis that a test may kill."""
    with running_servers() as running:
        yield running


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A database of the test's own, with all tables and no rows."""
    with servers.fresh_database() as url:
        yield url


@pytest.fixture
def sessions(database_url: str) -> Iterator[sessionmaker[Session]]:
    """Sessions on the test's own database."""
    opened = open_ledger(database_url)
    yield opened
    engine_of(opened).dispose()


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """The session's Redis, one of its sixteen databases. Nothing of value is ever in it."""
    return f"{servers.redis_url}?virtual_host={next(_redis_databases) % 16}"
