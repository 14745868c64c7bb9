"""Run by Alembic: one connection, one transaction, one migration at a time."""

from alembic import context
from sqlalchemy import text

from workers.ledger.session import engine_of, open_ledger
from workers.ledger.tables import Base

_ONE_AT_A_TIME = 0x666C616E  # advisory lock of migrations

engine = engine_of(open_ledger(context.config.attributes["database_url"]))
with engine.begin() as connection:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
    # Rather fail than stand in the way of a working platform.
    connection.execute(text("SET LOCAL lock_timeout = '2s'"))
    context.configure(connection=connection, target_metadata=Base.metadata)
    context.run_migrations()
engine.dispose()
