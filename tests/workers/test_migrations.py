"""The tables in the database are those of the code."""

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

import migrations
from api.catalog.tables import Base
from tests.workers.ledger_steps import spec
from workers.ledger import jobs, journal
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


def test_jobs_of_before_know_their_models(database_url: str, sessions: sessionmaker[Session]) -> None:
    """What a job made stood in its last event alone, before jobs had a column for it."""
    with sessions.begin() as session:
        job_id, idle = jobs.submit(session, spec()).id, jobs.submit(session, spec()).id
        journal.record(session, jobs.get(session, job_id), "job.succeeded", {"models": [{"name": "m"}]})
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["database_url"] = database_url
    command.downgrade(config, "0002")

    migrations.upgrade(database_url)

    with sessions.begin() as session:
        assert [jobs.get(session, each).models for each in (job_id, idle)] == [[{"name": "m"}], []]


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
