"""A supervisor's line to the ledger, which may be away for a while without costing a run."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session, sessionmaker

from workers.ledger.session import LedgerUnavailable, insisting, translated

log = logging.getLogger(__name__)
T = TypeVar("T")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0


class Link:
    """Carries out transactions. While the database is away `attempt` gives None and does not block."""

    def __init__(self, sessions: sessionmaker[Session], *, outage_s: float) -> None:
        self._sessions = sessions
        self._outage_s = outage_s
        self._last_ok = time.monotonic()
        self._next_try = 0.0
        self._pause_s = _FIRST_PAUSE_S

    def insist(self, work: Callable[[Session], T]) -> T:
        """`work` in one transaction, tried again until it succeeds; it must bear being repeated.

        Raises LedgerUnavailable when the database stays away for longer than the outage we bear.
        """
        return insisting(lambda: self._transact(work), for_s=self._outage_s)

    def attempt(self, work: Callable[[Session], T]) -> T | None:
        """`work` in one transaction, or None while the database is away: ask again later.

        Raises LedgerUnavailable when it has been away for too long.
        """
        if time.monotonic() < self._next_try:
            return None
        try:
            return self._transact(work)
        except LedgerUnavailable as error:
            away_s = time.monotonic() - self._last_ok
            if away_s > self._outage_s:
                raise
            log.warning("database unavailable", extra={"error": error.message, "away_s": round(away_s)})
            self._next_try = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            return None

    def _transact(self, work: Callable[[Session], T]) -> T:
        with translated(), self._sessions.begin() as session:
            result = work(session)
        self._last_ok, self._next_try, self._pause_s = time.monotonic(), 0.0, _FIRST_PAUSE_S
        return result
