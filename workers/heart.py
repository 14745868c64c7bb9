"""Keeping a lease alive and hearing what is wished, also beside work that takes long."""

import time
from collections.abc import Callable
from typing import TypeVar

from flan.background import in_background
from flan.rundir import Wish
from workers.ledger import leases
from workers.ledger.leases import Lease
from workers.link import Link
from workers.settings import Settings

T = TypeVar("T")
WISH_POLL_S = 1.0


class Heart:
    """Beats for one lease. `wish` is the last that was heard."""

    def __init__(self, settings: Settings, link: Link, lease: Lease) -> None:
        self._settings = settings
        self._link = link
        self._lease = lease
        self._next_look = self._next_renewal = 0.0
        self.wish: Wish = "run"

    def beat(self) -> None:
        """Renew the lease when it is time; look at the wish once a second. Raises LeaseLost."""
        now = time.monotonic()
        if now >= self._next_renewal:
            lease_s = self._settings.lease_s
            wish = self._link.attempt(lambda session: leases.renew(session, self._lease, lease_s=lease_s))
            if wish is not None:
                self.has_beaten(wish)
        elif now >= self._next_look:
            wish = self._link.attempt(lambda session: leases.wish_of(session, self._lease))
            if wish is not None:
                self.wish, self._next_look = wish, now + WISH_POLL_S

    def has_beaten(self, wish: Wish) -> None:
        """Another transaction has renewed the lease, and read `wish`."""
        now = time.monotonic()
        self.wish = wish
        self._next_renewal = now + self._settings.heartbeat_s
        self._next_look = now + WISH_POLL_S

    def beat_beside(self, work: Callable[[], T]) -> T:
        """The result of `work`, done in a thread while the lease is kept. Raises LeaseLost.

        Reading gigabytes takes longer than a lease, and only the supervisor's own thread speaks to the database.
        """
        future = in_background(work)
        while not future.done():
            self.beat()
            time.sleep(0.02)
        return future.result()
