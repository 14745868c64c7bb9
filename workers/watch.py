"""The loop of a supervisor: events up, wishes down, until the last rank is gone."""

import time
from pathlib import Path
from typing import Any

from flan import rundir
from flan.rundir import EXIT_STOPPED, Wish
from workers.classify import Facts
from workers.heart import Heart
from workers.launch import Ranks
from workers.ledger import journal
from workers.ledger.leases import Lease
from workers.link import Link
from workers.processes import oom_kills
from workers.publish import Publisher
from workers.settings import Settings
from workers.tail import Tail

POLL_S = 0.1
LOG_CHECK_S = 10.0
PEER_PATIENCE_S = 10.0
"""How long the other ranks may take to end, and to say why, when one has failed."""


class Reader:
    """Carries the events of one run directory into the journal."""

    def __init__(self, settings: Settings, link: Link, lease: Lease, directory: Path) -> None:
        self._lease_s = settings.lease_s
        self._link = link
        self._lease = lease
        self._tail = Tail(directory / rundir.EVENTS, after=0)
        self.heard_at = time.monotonic()
        self.is_serving = False
        self.results: dict[str, Any] | None = None
        """Data of the last `results.written`."""

    def go_on(self, heart: Heart, publisher: Publisher) -> bool:
        """Enter what is new; whether there was something and it is in the journal. Raises LeaseLost, BadEvent."""
        events = self._tail.read()
        if not events:
            return False
        self.heard_at = time.monotonic()
        wish = self._link.attempt(
            lambda session: journal.append(session, self._lease, events, lease_s=self._lease_s)
        )
        if wish is None:
            return False
        self._tail.advance()
        heart.has_beaten(wish)
        publisher.notice(events)
        for event in events:
            if event.type == "results.written":
                self.results = event.data
            self.is_serving = self.is_serving or event.type == "serve.ready"
        return True

    def has_more(self) -> bool:
        """Whether the ranks wrote something that is not in the journal yet."""
        return bool(self._tail.read())


class Watch:
    """Watches the ranks of one attempt."""

    def __init__(self, settings: Settings, ranks: Ranks, directory: Path) -> None:
        self._settings = settings
        self._ranks = ranks
        self._directory = directory
        self._wish: Wish = "run"
        self._asked_at: float | None = None
        self._failed_at: float | None = None
        self._next_log_check = 0.0
        self._stopped_at: float | None = None
        self._oom_kills_before = oom_kills()

    def until_the_end(
        self, heart: Heart, reader: Reader, publisher: Publisher, preemption: "Preemption"
    ) -> Facts:
        """Until the last rank is gone, by itself or by us. Raises LeaseLost, LedgerUnavailable, BadEvent."""
        was_killed, hung_s = False, None
        while not self._ranks.have_ended:
            has_news = reader.go_on(heart, publisher)
            heart.beat()
            publisher.go_on()
            self._obey("pause" if preemption.is_wanted and heart.wish == "run" else heart.wish)
            self._check_logs()
            if self._peer_is_lost():
                break
            if was_killed := self._patience_is_over():
                break
            silent_s = time.monotonic() - reader.heard_at
            if silent_s > self._settings.hang_s and not reader.is_serving:
                hung_s = silent_s
                break
            if (stopped_s := self._stopped_s()) > self._settings.stall_s:
                hung_s = stopped_s
                break
            if not has_news:
                time.sleep(POLL_S)
        exits = list(self._ranks.exits())  # how they ended by themselves, before we end the others
        is_lost = hung_s is not None or self._one_gave_up() or any(exit_.status < 0 for exit_ in exits)
        standings = self._ranks.standings() if is_lost and self._asked_at is None else []
        self._ranks.kill()
        return Facts(
            exits,
            rundir.read_outcome(self._directory),
            self._asked_at is not None,
            was_killed,
            hung_s,
            standings,
            oom_kills() - self._oom_kills_before,
        )

    def _obey(self, wish: Wish) -> None:
        """Pass a new wish on to the ranks."""
        if wish == self._wish:
            return
        self._wish = wish
        rundir.write_wish(self._directory, wish)
        self._asked_at = None if wish == "run" else time.monotonic()
        if wish != "run":
            # For a rank that has not come as far as to read the wish; it means the same.
            self._ranks.terminate()

    def _peer_is_lost(self) -> bool:
        """Whether a rank failed, and the others have had time to end as well."""
        failed = [exit_ for exit_ in self._ranks.exits() if exit_.status not in (0, EXIT_STOPPED)]
        if not failed:
            return False
        self._failed_at = self._failed_at or time.monotonic()
        return (
            any(exit_.status < 0 for exit_ in failed)
            or self._one_gave_up()
            or time.monotonic() - self._failed_at > PEER_PATIENCE_S
        )

    def _one_gave_up(self) -> bool:
        """Whether a rank ended because a step took too long: no other will end by itself."""
        outcome = rundir.read_outcome(self._directory)
        return outcome is not None and outcome.code == rundir.HUNG

    def _stopped_s(self) -> float:
        """How long a rank has been stopped by a signal; it cannot say so itself."""
        if not self._ranks.have_stopped():
            self._stopped_at = None
            return 0.0
        self._stopped_at = self._stopped_at or time.monotonic()
        return time.monotonic() - self._stopped_at

    def _patience_is_over(self) -> bool:
        grace_s = self._settings.grace_s
        if self._wish == "cancel":
            grace_s = min(grace_s, self._settings.cancel_grace_s)
        return self._asked_at is not None and time.monotonic() - self._asked_at > grace_s

    def _check_logs(self) -> None:
        if time.monotonic() >= self._next_log_check:
            self._next_log_check = time.monotonic() + LOG_CHECK_S
            self._ranks.rotate_logs()


class Preemption:
    """Whether the machine wants its place back. Set from a signal handler."""

    def __init__(self) -> None:
        self.is_wanted = False

    def want(self) -> None:
        """Have the ranks save and stop; the job waits for another place."""
        self.is_wanted = True
