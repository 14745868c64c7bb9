"""What routes are given: the platform they act on."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from sqlalchemy.orm import Session, sessionmaker

from api.metrics import Metrics
from api.ranks import Ranks
from api.recent import Recent
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
    ranks: Ranks
    """Speaks to served models."""
    replicas: Replicas
    """What it has asked them."""
    recent: Recent
    """What the ledger has just said."""

    @property
    def places(self) -> Places:
        """Where rows are found."""
        return Places(data=self.settings.data, store=self.store)


async def platform(request: Request) -> Platform:
    """The platform of the application that answers `request`."""
    # A coroutine, like all that a request waits for and that computes next to nothing: a function gets a thread.
    here = request.app.state.platform
    assert isinstance(here, Platform)
    return here


Here = Annotated[Platform, Depends(platform)]
