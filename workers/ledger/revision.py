"""Whether the tables in the database are those that this code was written for."""

from typing import ClassVar

from sqlalchemy import Engine, text

import migrations
from flan.errors import FlanError
from workers.ledger.session import translated


class UnknownRevision(FlanError):
    """The database's tables are not those that this code was written for."""

    code: ClassVar[str] = "unknown_revision"
    blame = "user"


def check_revision(engine: Engine) -> None:
    """Raise UnknownRevision unless the tables are those of this code."""
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
