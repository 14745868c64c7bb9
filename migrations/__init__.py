"""The history of the tables. `python -m migrations` brings the database of this machine up to date."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

_FOLDER = Path(__file__).parent


def head() -> str:
    """The revision that this code was written for."""
    revision = ScriptDirectory(str(_FOLDER)).get_current_head()
    assert revision is not None
    return revision


def upgrade(database_url: str) -> None:
    """Bring the database to `head()`. Safe to run twice, and by two processes at once."""
    command.upgrade(_config(database_url), "head")


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["database_url"] = database_url
    return config
