"""Connections to the ledger: one engine a process, one short transaction a fact."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, TypeVar

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from flan.errors import FlanError

log = logging.getLogger(__name__)
T = TypeVar("T")

# PostgreSQL's error classes that pass by themselves: connection, rolled back, resources, not available, lock.
_PASSING_CLASSES = ("08", "40", "53", "55", "57")
_PASSING_STATES = ("25006", "25P03")  # read-only for now; cut off because we slept inside a transaction
_SESSION = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    # A process that is stopped inside a transaction holds its row locks: without this nobody could take a
    # job from a stopped supervisor. Less than a lease.
    "idle_in_transaction_session_timeout": "15s",
    "timezone": "UTC",
}


class LedgerUnavailable(FlanError):
    """The database cannot be reached, or cannot write now. Trying again later may help."""

    code: ClassVar[str] = "storage_unavailable"
    blame = "infra"


class UnknownRevision(FlanError):
    """The database's tables are not those that this code was written for."""

    code: ClassVar[str] = "unknown_revision"
    blame = "user"


def open_ledger(database_url: str, *, pool_size: int = 5) -> sessionmaker[Session]:
    """Sessions on the database; nothing is connected yet. Objects stay readable after the commit."""
    url = make_url(database_url)
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size // 2,
        pool_pre_ping=True,  # a connection that a server restart has cut is replaced unseen
        pool_timeout=10,
        connect_args={
            "connect_timeout": 5,
            "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
            # A server that vanished without a word is given up after this, not after hours.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
    )
    return sessionmaker(engine, expire_on_commit=False)


def engine_of(sessions: sessionmaker[Session]) -> Engine:
    """The engine behind `sessions`: one, for the whole process."""
    engine = sessions.kw["bind"]
    assert isinstance(engine, Engine)
    return engine


def check_revision(engine: Engine) -> None:
    """Raise UnknownRevision unless the tables are those of this code."""
    # Here, because a supervisor never asks and need not wait for Alembic: a third of its start.
    import migrations

    with translated(), engine.connect() as connection:
        if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            revision = None
        else:
            revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if revision != migrations.head():
        raise UnknownRevision(
            f"the database is at revision {revision or 'none'}, this code needs {migrations.head()}",
            hint="run `python -m migrations` with this version of the code",
        )


@contextmanager
def translated() -> Iterator[None]:
    """Raise LedgerUnavailable for a database error that may pass; others go through unchanged."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        if is_passing(error):
            raise LedgerUnavailable(f"the database cannot be used now: {_first_line(error)}") from error
        raise


def is_passing(error: Exception) -> bool:
    """Whether a database error may be gone at the next try."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # it came from the client library: the connection is broken or was never made
        return error.connection_invalidated or type(error.orig).__name__ in (
            "OperationalError",
            "InterfaceError",
        )
    return state[:2] in _PASSING_CLASSES or state in _PASSING_STATES


def insisting(operation: Callable[[], T], *, for_s: float, pause_s: float = 0.2) -> T:
    """The result of `operation`, tried again while LedgerUnavailable is raised, for at most `for_s`.

    The operation must be one whole transaction that may be repeated.
    """
    deadline = time.monotonic() + for_s
    while True:
        try:
            return operation()
        except LedgerUnavailable as error:
            if time.monotonic() + pause_s > deadline:
                raise
            log.warning("database unavailable", extra={"error": error.message, "again_in_s": pause_s})
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 10)


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
