"""Where the time of a request goes: waiting, reading, writing."""

import time

from flan.serve.replies import Timing
from flan.serve.sequences import Piece


class Watch:
    """Runs from its making. The engine's thread tells it how far it is, the server's asks it."""

    def __init__(self) -> None:
        self._came = time.monotonic()
        self._began: float | None = None
        self._spoke: float | None = None

    @property
    def age_s(self) -> float:
        """How long ago the request came."""
        return time.monotonic() - self._came

    def began(self) -> None:
        """The model takes the request up; of several prompts the first one counts."""
        if self._began is None:
            self._began = time.monotonic()

    def spoke(self, _piece: Piece) -> None:
        """There is text to be shown; the first one counts."""
        if self._spoke is None:
            self._spoke = time.monotonic()

    def timing(self) -> Timing:
        """Where the time went, up to now."""
        now = time.monotonic()
        began = now if self._began is None else self._began
        first = now if self._spoke is None else self._spoke
        return Timing(
            queue_s=round(began - self._came, 6),
            prefill_s=round(first - began, 6),
            decode_s=None if self._spoke is None else round(now - first, 6),
            total_s=round(now - self._came, 6),
        )
