"""How the engine is, and what it has done."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass
class Tally:
    """What the engine has done since its start."""

    requests: int = 0
    """Answered."""
    tokens: int = 0
    """Drawn."""
    read_tokens: int = 0
    """Prompt tokens computed."""
    copied_tokens: int = 0
    """Prompt tokens that were not, because the cache had them."""

    def answer(self, future: Future[Any], result: object) -> None:
        """Give what was asked for, unless nobody waits for it any more."""
        if future.set_running_or_notify_cancel():
            self.requests += 1
            future.set_result(result)


class Status(NamedTuple):
    """How the engine is."""

    is_alive: bool
    beat_age_s: float
    """Seconds since the last pass, or since an idle engine looked for work."""
    active: int
    """Sequences in flight."""
    waiting: int
    """Requests that have not begun, or not with all their answers."""
    requests: int
    """Finished since the start."""
    tokens: int
    """Drawn since the start."""
    waiting_tokens: int = 0
    """Tokens of the requests that wait, what they may write included."""
    cache_places: int = 0
    """Tokens whose keys and values the cache has room for."""
    cache_used: int = 0
    """Places taken by sequences in flight; the others are free or remember prompts."""
    read_tokens: int = 0
    """Prompt tokens computed since the start."""
    copied_tokens: int = 0
    """Prompt tokens that were not, because the cache had them."""
