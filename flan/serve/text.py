"""Stop strings in text as it comes: what has been shown is never taken back.

The beginning of what may become a stop string is held up; everything else is shown at once.
"""

from collections.abc import Sequence


class Stops:
    """Ends a text before the first stop string that is completed, wherever the pieces are cut."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.is_met = False

    def push(self, piece: str) -> str:
        """The text that can no longer be part of a stop string."""
        self._held += piece
        ends = [
            (self._held.index(stop) + len(stop), -len(stop)) for stop in self._stops if stop in self._held
        ]
        if ends:
            # The one completed first; of two that end together, the longer.
            end, minus_length = min(ends)
            self.is_met = True
            return self._held[: end + minus_length]
        num_held = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        certain = self._held[: len(self._held) - num_held]
        self._held = self._held[len(certain) :]
        return certain

    def rest(self) -> str:
        """What was held back for a stop string that never came."""
        return self._held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
