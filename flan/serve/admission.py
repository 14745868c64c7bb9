"""Who may come in: bounded by requests and by characters in one step, before anything is read or tokenised.

A request that would wait too long is refused at once, with the time after which it is worth coming again: what
waits is bounded, so whoever is let in is answered. While all places that work are taken, a caller gets one that waits
only as long as at least as many are free as it has: one alone fills half of them, the next half of the rest, and so
nobody locks the others out (Choudhury and Hahne 1998, dynamic thresholds).

Used from the event loop alone, so nothing here is locked.
"""

import math
import time
from collections import Counter
from types import TracebackType
from typing import Self

from flan.serve.outcomes import Overloaded

MAX_RETRY_AFTER_S = 30
_WEIGHT = 0.1
"""Of the newest request in the running mean of how far apart requests end."""


class Admission:
    """The places of one served model."""

    def __init__(self, *, max_batch: int, max_waiting: int, max_chars: int) -> None:
        self._max_batch, self._max_waiting, self._max_chars = max_batch, max_waiting, max_chars
        self._inside: Counter[str] = Counter()
        self._num_inside = self._chars_inside = 0
        self._ended_at: float | None = None
        self._apart_s: float | None = None
        self.num_refused = 0

    @property
    def num_inside(self) -> int:
        """Requests that are worked at or wait."""
        return self._num_inside

    def check(self, caller: str | None, num_chars: int) -> None:
        """Whether `enter` would give a place. Raises Overloaded with `retry_after_s` where it would not."""
        has_room = self._num_inside < self._max_batch + self._max_waiting
        # One alone may always come in, however long it is: other bounds say whether it is read.
        has_chars = self._num_inside == 0 or self._chars_inside + num_chars <= self._max_chars
        if not (has_room and has_chars and self._has_share(caller)):
            self.num_refused += 1
            raise Overloaded(
                f"{self._num_inside} requests of {self._chars_inside:,} characters are inside"
                + ("" if self._has_share(caller) else f", {self._inside[caller or '']} of them yours"),
                hint="try again after retry_after_s, or serve with a larger max_waiting",
                retry_after_s=self._retry_after_s(),
                max_batch=self._max_batch, max_waiting=self._max_waiting,
            )  # fmt: skip

    def enter(self, caller: str | None, num_chars: int) -> "Place":
        """A place for a request of so many characters; `caller` None is whoever asks without a key.

        Raises Overloaded.
        """
        self.check(caller, num_chars)
        self._inside[caller or ""] += 1
        self._num_inside += 1
        self._chars_inside += num_chars
        return Place(self, caller or "", num_chars)

    def leave(self, caller: str, num_chars: int) -> None:
        """Give a place back."""
        now = time.monotonic()
        if self._ended_at is not None:
            apart = now - self._ended_at
            self._apart_s = (
                apart if self._apart_s is None else (1 - _WEIGHT) * self._apart_s + _WEIGHT * apart
            )
        self._inside[caller] -= 1
        if self._inside[caller] == 0:
            del self._inside[caller]
        self._num_inside -= 1
        self._chars_inside -= num_chars
        # Between two busy times nothing ends, and that says nothing about the pace.
        self._ended_at = now if self._num_inside else None

    def _has_share(self, caller: str | None) -> bool:
        if caller is None:
            return True
        free = self._max_batch + self._max_waiting - self._num_inside
        return self._num_inside < self._max_batch or self._inside[caller] <= free

    def _retry_after_s(self) -> int:
        """When half of those that wait will have ended, at the pace of late."""
        waiting = max(1, self._num_inside - self._max_batch)
        seconds = (self._apart_s or 0.0) * waiting / 2
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(seconds)))


class Place:
    """A request that is inside. Given back once, however often that is said."""

    def __init__(self, admission: Admission, caller: str, num_chars: int) -> None:
        self._admission, self._num_chars = admission, num_chars
        self.caller = caller
        """Whose it is; "" where nobody has to say."""
        self._is_held = True

    def kept(self) -> "Place":
        """The same place in other hands: whoever had it gives nothing back any more."""
        other = Place(self._admission, self.caller, self._num_chars)
        self._is_held = False
        return other

    def give_back(self) -> None:
        """The request is over."""
        if self._is_held:
            self._is_held = False
            self._admission.leave(self.caller, self._num_chars)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
