"""Fixtures of every room: real servers for the session, an own database for each test.

And the only five reasons to skip a test: what it needs is not on this machine.
"""

import ctypes
import gc
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy.orm import Session, sessionmaker

from tests.kit.servers import Servers, running_servers
from workers.ledger.session import engine_of, open_ledger

# How long an example takes is up to the machine.
settings.register_profile("flan", deadline=None)
settings.load_profile("flan")

# Tests run side by side, one process for each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_redis_databases = count()
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def _has_netns() -> bool:
    """Whether a child of ours may make a network namespace."""
    child = os.fork()
    if child == 0:
        os._exit(ctypes.CDLL(None).unshare(_CLONE_NEWNET | (_CLONE_NEWUSER if os.getuid() else 0)) != 0)
    return os.waitpid(child, 0)[1] == 0


NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "gpu": (lambda: shutil.which("nvidia-smi") is not None, "run on a machine with an NVIDIA GPU"),
    "data": (lambda: Path(os.environ.get("FLAN_DATA", "/none")).is_dir(), "make test FLAN_DATA=folder"),
    "netns": (_has_netns, "run as root, or allow user namespaces"),
    "compiler": (lambda: shutil.which(os.environ.get("CC", "cc")) is not None, "install a C compiler"),
    "browser": (lambda: shutil.which("chromium") is not None, "make browser"),
}


def pytest_configure(config: pytest.Config) -> None:
    """Stop where a thing is missing that `FLAN_TESTS_NEED` (marks, comma separated) says must be here."""
    for mark in filter(None, os.environ.get("FLAN_TESTS_NEED", "").split(",")):
        is_here, command = NEEDS[mark]
        if not is_here():
            raise pytest.UsageError(f"no test that needs {mark!r} may be skipped here: {command}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a thing that is not here, the reason says how to run it; and begin with what takes long."""
    # Side by side, the files that start whole platforms would else be left for one process at the end.
    items.sort(key=lambda item: item.path.parent.name not in ("whole", "workers", "train"))
    for mark, (is_here, command) in NEEDS.items():
        if not is_here():
            for item in items:
                if item.get_closest_marker(mark):
                    item.add_marker(pytest.mark.skip(reason=f"{mark}: {command}"))


def pytest_collection_finish() -> None:
    """What imports have made is there to stay: the collector need not walk it in the middle of tests."""
    gc.collect()
    gc.freeze()


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
