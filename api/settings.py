"""How the API is set up: the platform's environment, and what only HTTP needs."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

import workers.settings


class Settings(workers.settings.Settings):
    """Every field is `FLAN_<NAME>` in the environment."""

    models: Path | None = None
    """Folder below which a spec may name model directories; None = only registered, preset and hub models."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ("localhost", "127.0.0.1", "[::1]")
    """Host headers answered, without port. A page that rebinds its own name to this machine is not."""
    max_body_bytes: int = Field(default=2**20, ge=1024)
    max_upload_bytes: int = Field(default=2 * 2**30, ge=1024)
    pool_size: int = Field(default=20, ge=2)
    """Database connections kept; half as many again are opened under load."""
    stream_poll_s: float = Field(default=0.5, gt=0)
    """How often an event stream looks for news."""
    stream_heartbeat_s: float = Field(default=15, gt=0)
    """Longest silence of a stream: proxies cut what says nothing."""
    answer_timeout_s: float = Field(default=300, gt=0)
    """How long a served model may take between two bytes of an answer."""

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: Any) -> Any:
        return tuple(host.strip().lower() for host in value.split(",")) if isinstance(value, str) else value

    @field_validator("models")
    @classmethod
    def _resolved(cls, path: Path | None) -> Path | None:
        return path.expanduser().resolve() if path is not None else None

    @property
    def uploads_folder(self) -> Path:
        """Files on their way into the store."""
        return self.home / "uploads"

    @property
    def folders(self) -> dict[str, str]:
        """Setting → the folder it names, longest path first."""
        named = {"FLAN_HOME": self.home, "FLAN_DATA": self.data, "FLAN_MODELS": self.models}
        set_ = {name: str(path) for name, path in named.items() if path is not None}
        return dict(sorted(set_.items(), key=lambda item: -len(item[1])))
