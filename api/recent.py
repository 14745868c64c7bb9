"""What the ledger has just said: who holds a key, who serves a model.

Every request asks both, and they change seldom: an answer counts for a second. It is never older than that when it is
used, whatever another process has changed; what this process changes, it knows at its next request (api/door.py forgets
all of it then). Refusals are not kept.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple, TypeVar

from anyio import to_thread

LASTS_S = 1.0
_KEPT = 10_000
T = TypeVar("T")


class _Said(NamedTuple):
    asked_at: float
    answer: asyncio.Task[Any]


class Recent:
    """Answers of the ledger by what was asked; `clock` in seconds. Used from the event loop alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._said: dict[Hashable, _Said] = {}

    async def recall(self, what: Hashable, look: Callable[[], T]) -> T:
        """What `look` returns, or returned to somebody within the last second. Raises what it raises.

        It is called beside the event loop, and once for all who ask meanwhile.
        """
        now = self.clock()
        said = self._said.get(what)
        if said is None or now - said.asked_at > LASTS_S:
            if len(self._said) >= _KEPT:
                self.forget()
            said = _Said(now, asyncio.ensure_future(to_thread.run_sync(look)))
            self._said[what] = said
            said.answer.add_done_callback(partial(self._drop_refusal, what))
        # Shielded: whoever asked first may go away while others wait for the same.
        found: T = said.answer.result() if said.answer.done() else await asyncio.shield(said.answer)
        return found

    def forget(self) -> None:
        """Something may have changed."""
        self._said.clear()

    def _drop_refusal(self, what: Hashable, answer: asyncio.Task[Any]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            said = self._said.get(what)
            if said is not None and said.answer is answer:
                del self._said[what]
