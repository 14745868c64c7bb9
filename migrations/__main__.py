"""Bring the database named by DATABASE_URL, or the embedded one of FLAN_HOME, up to date."""

import sys

import migrations
from flan.errors import FlanError
from workers.settings import Settings

try:
    migrations.upgrade(Settings().require_database())
except FlanError as error:
    sys.exit(f"{error.message}\n{error.hint or ''}")
print(f"the database is at revision {migrations.head()}")
