"""Token ids → text as it comes: a character whose bytes are not all there yet is held up, the rest shown at once."""

from collections.abc import Sequence

from flan.data.tokens import AnyTokenizer, backend_of

_INCOMPLETE = "\ufffd"
"""What a tokenizer writes for bytes that are no character (yet)."""


class Characters:
    """Complete characters of a growing token sequence.

    Decodes a short window instead of the whole sequence: it begins where text was last known to be complete,
    one piece earlier, because some tokenizers drop the blank before a first word.
    """

    def __init__(self, tokenizer: AnyTokenizer, *, shows_special: bool = False) -> None:
        # The core itself: what is around it takes ten times as long, for every token of everyone.
        self._core = backend_of(tokenizer)
        self._shows_special = shows_special
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
        return str(self._core.decode(tokens, skip_special_tokens=not self._shows_special))


def texts_of_ids(tokenizer: AnyTokenizer, ids: Sequence[int]) -> list[str]:
    """What each id, special ones too, adds to the text of those before it; together they are the whole text.

    Where one character takes several ids the last has it, and the others have nothing.
    """
    characters = Characters(tokenizer, shows_special=True)
    texts = [characters.push(int(number)) for number in ids]
    if texts:
        texts[-1] += characters.rest()
    return texts
