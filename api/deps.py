"""What routes are given: the platform they act on."""

from typing import Annotated, NamedTuple

import httpx
from fastapi import Depends, Request
from sqlalchemy.orm import Session, sessionmaker

from api.metrics import Metrics
from api.replicas import Replicas
from api.settings import Settings
from flan.data.rows import Places
from flan.store import Store
from workers.doorbell import Doorbell


class Platform(NamedTuple):
    """One application's connections; made once, in `create_app`."""

    settings: Settings
    sessions: sessionmaker[Session]
    store: Store
    doorbell: Doorbell
    metrics: Metrics
    ranks: httpx.AsyncClient
    """Speaks to served models."""
    replicas: Replicas
    """What it has asked them."""

    @property
    def places(self) -> Places:
        """Where rows are found."""
        return Places(data=self.settings.data, store=self.store)


def platform(request: Request) -> Platform:
    """The platform of the application that answers `request`."""
    here = request.app.state.platform
    assert isinstance(here, Platform)
    return here


Here = Annotated[Platform, Depends(platform)]
