"""Which replica of a model gets the next question: the one that has the fewest of ours in hand.

What is counted is what this process has sent and not yet seen the end of. It is exact at once, where a figure that a
replica reports would be as old as its last answer; with several API processes each spreads its own part.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from workers.ledger.models import Served

_TURNS_KEPT = 1_000


class Replicas:
    """Questions in hand, by where they were sent. Used from the event loop alone."""

    def __init__(self) -> None:
        self._in_hand: Counter[str] = Counter()
        self._turn: dict[str, int] = {}
        self._turns = count()

    def choose(self, replicas: Sequence[Served]) -> Served:
        """The replica with the fewest questions in hand; of equals the one whose turn is longest ago."""
        return min(replicas, key=lambda each: (self._in_hand[each.url], self._turn.get(each.url, -1)))

    @contextmanager
    def asking(self, replica: Served) -> Iterator[None]:
        """A question is in hand at `replica`."""
        url = replica.url
        self._in_hand[url] += 1
        self._turn[url] = next(self._turns)
        try:
            yield
        finally:
            self._in_hand[url] -= 1
            if not self._in_hand[url]:
                del self._in_hand[url]
                self._forget_old()

    def _forget_old(self) -> None:
        """Turns of replicas that may be long gone: one that is not, comes first once more."""
        if len(self._turn) > _TURNS_KEPT:
            self._turn = {url: turn for url, turn in self._turn.items() if url in self._in_hand}

    def in_hand(self, url: str) -> int:
        """How many questions this process has sent there and not seen the end of."""
        return self._in_hand[url]
