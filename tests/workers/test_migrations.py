"""The tables in the database are those of the code."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

import migrations
from api.catalog.tables import Base
from workers.ledger.session import UnknownRevision, check_revision, engine_of


def test_migrations_lead_to_the_tables_of_the_code(sessions: sessionmaker[Session]) -> None:
    """Nobody forgot a migration: what the code declares is what the history builds."""
    with engine_of(sessions).connect() as connection:
        context = MigrationContext.configure(connection)

        assert compare_metadata(context, Base.metadata) == []


def test_upgrade_may_run_twice(database_url: str, sessions: sessionmaker[Session]) -> None:
    """Every process may ask for an upgrade at its start."""
    migrations.upgrade(database_url)

    check_revision(engine_of(sessions))


@pytest.mark.parametrize(
    "statement", ["UPDATE alembic_version SET version_num = 'f00d'", "DROP TABLE alembic_version"]
)
def test_unknown_revision_is_refused(sessions: sessionmaker[Session], statement: str) -> None:
    """Code never writes into tables that it was not written for."""
    engine = engine_of(sessions)
    with engine.begin() as connection:
        connection.execute(text(statement))

    with pytest.raises(UnknownRevision, match="this code needs"):
        check_revision(engine)
