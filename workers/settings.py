"""How a worker is set up: read once from the environment and passed down.

Nothing here changes the result of a job; what does is in its spec.
"""

import json
import os
import shlex
import socket
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveFloat, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from flan.errors import FlanError

SERVERS_FILE = Path("run") / "servers.json"
"""Below FLAN_HOME: where the embedded servers say how they are reached."""


class NoServers(FlanError):
    """Neither the environment nor FLAN_HOME says where PostgreSQL and Redis are."""

    code: ClassVar[str] = "no_servers"
    blame = "user"


class Settings(BaseSettings):
    """Every field is `FLAN_<NAME>` in the environment; DATABASE_URL and REDIS_URL have no prefix."""

    model_config = SettingsConfigDict(env_prefix="FLAN_", frozen=True, extra="ignore", populate_by_name=True)

    home: Path = Path(".flan")
    """Everything this machine keeps: artifacts, runs, embedded servers."""
    database_url: str = Field(default="", validation_alias="DATABASE_URL")
    """Empty: the embedded PostgreSQL of `home`."""
    redis_url: str = Field(default="", validation_alias="REDIS_URL")
    """Empty: the embedded Redis of `home`, or none: jobs then start at the next tick."""
    data: Path | None = None
    """Folder of datasets in hub layout."""
    node: str = Field(default_factory=socket.gethostname)
    cpu_slots: int = Field(default_factory=lambda: (os.cpu_count() or 1) + 2, ge=1)
    """Ranks that may run on the CPU at once."""
    serve_host: str = "127.0.0.1"
    """Address a serve rank listens on: reachable for the API, and nobody else."""
    rank_command: Annotated[tuple[str, ...], NoDecode] = (sys.executable, "-m", "flan", "run")
    """What a rank executes; the run directory is appended."""

    lease_s: PositiveFloat = 30
    heartbeat_s: PositiveFloat = 5
    tick_s: PositiveFloat = 5
    """How often a worker looks for work without being rung."""
    grace_s: PositiveFloat = 60
    """How long ranks may take to obey a wish."""
    cancel_grace_s: PositiveFloat = 15
    """The same for a cancel, which has nothing to save."""
    hang_s: PositiveFloat = 900
    """Ranks without any event for this long are taken for hung."""
    stall_s: PositiveFloat = 120
    """A training step may take this long, or ten times as long as steps do, before its ranks give up."""
    outage_s: PositiveFloat = 900
    """How long ranks compute on while the database cannot be reached."""
    retry_base_s: PositiveFloat = 5
    """Wait before the first retry; doubled at each further one, at most ten minutes."""
    log_cap_bytes: int = Field(default=50 * 2**20, ge=4096)
    """Size at which a rank's log is set aside; one older piece is kept."""

    @field_validator("home", "data")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path is not None else None

    @field_validator("rank_command", mode="before")
    @classmethod
    def _words(cls, command: Any) -> Any:
        return tuple(shlex.split(command)) if isinstance(command, str) else command

    @model_validator(mode="before")
    @classmethod
    def _embedded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Fill in the embedded servers of `home` where no address is set."""
        servers = read_servers(Path(values.get("home") or ".flan").expanduser())
        for name in ("DATABASE_URL", "REDIS_URL"):
            given = values.get(name) or values.get(name.lower())
            values[name] = given or servers.get(name, "")
            values.pop(name.lower(), None)
        return values

    @property
    def store_folder(self) -> Path:
        """Artifacts by digest."""
        return self.home / "store"

    @property
    def runs_folder(self) -> Path:
        """A folder for each job: its attempts, its checkpoints."""
        return self.home / "runs"

    def require_database(self) -> str:
        """The URL of the database. Raises NoServers."""
        if not self.database_url:
            raise NoServers(
                f"no DATABASE_URL is set, and {self.home / SERVERS_FILE} names none",
                hint="run `flan up`, or `python -m workers.embedded`, or set DATABASE_URL",
            )
        return self.database_url


def read_servers(home: Path) -> dict[str, str]:
    """DATABASE_URL and REDIS_URL of the embedded servers of `home`; empty when none was ever started."""
    try:
        servers: dict[str, str] = json.loads((home / SERVERS_FILE).read_text())
    except FileNotFoundError:
        return {}
    return servers
