"""Run by Alembic: one connection, one transaction, one migration at a time."""

from alembic import context
from sqlalchemy import text

from api.catalog import tables as catalog_tables
from workers.ledger import tables as ledger_tables
from workers.ledger.session import engine_of, open_ledger

# Both rooms declare their tables on one Base.
METADATA = catalog_tables.Base.metadata
assert METADATA is ledger_tables.Base.metadata
_ONE_AT_A_TIME = 0x666C616E  # advisory lock of migrations

engine = engine_of(open_ledger(context.config.attributes["database_url"]))
with engine.begin() as connection:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
    # Rather fail than stand in the way of a working platform.
    connection.execute(text("SET LOCAL lock_timeout = '2s'"))
    context.configure(connection=connection, target_metadata=METADATA)
    context.run_migrations()
engine.dispose()
