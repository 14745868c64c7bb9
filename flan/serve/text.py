"""Token ids → text as it comes: what has been shown is never taken back.

Two things hold text up: a character whose bytes are not all there yet, and the beginning of what may become
a stop string. Everything else is shown at once.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

_INCOMPLETE = "\ufffd"
"""What a tokenizer writes for bytes that are no character (yet)."""


class Characters:
    """Complete characters of a growing token sequence.

    Decodes a short window instead of the whole sequence: it begins where text was last known to be complete,
    one piece earlier, because some tokenizers drop the blank before a first word.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._core = tokenizer.backend_tokenizer
        self._window: list[int] = []
        self._num_shown = 0
        """How many tokens of the window have been shown."""
        self._shown = ""
        """The window's text that has been shown."""

    def push(self, token: int) -> str:
        """The text that is certain now that `token` has come; often one word, sometimes nothing."""
        self._window.append(token)
        text = self._decode(self._window)
        if text.endswith(_INCOMPLETE) or len(text) <= len(self._shown):
            return ""
        piece = text[len(self._shown) :]
        self._window = self._window[self._num_shown :]
        self._num_shown = len(self._window)
        self._shown = self._decode(self._window)
        return piece

    def rest(self) -> str:
        """What is left when no token comes any more: bytes that never became a character."""
        return self._decode(self._window)[len(self._shown) :]

    def _decode(self, tokens: Sequence[int]) -> str:
        # The core itself: what is around it takes ten times as long, for every token of everyone.
        return self._core.decode(tokens, skip_special_tokens=True)  # type: ignore[no-any-return]


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
