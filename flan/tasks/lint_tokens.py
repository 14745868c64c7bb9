"""Whether a tokenizer keeps a text: T5's drops line breaks, and some have no token for a brace."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from flan.tasks.lint_findings import Fault, RoundTrip
from flan.tasks.options import write_options
from flan.tasks.template import OPTIONS_SLOT, Template, fill, slots


class Encoding(Protocol):
    """Ids of a text."""

    @property
    def ids(self) -> list[int]:
        """In order."""


class Tokenizer(Protocol):
    """The face of `tokenizers.Tokenizer`, which a fast tokenizer of transformers has as `backend_tokenizer`."""

    def encode(self, sequence: str, *, add_special_tokens: bool) -> Encoding:
        """The ids of a text."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        """The text of ids."""


def round_trip(tokenizer: Tokenizer) -> RoundTrip:
    """Text → ids → text, where an unknown piece comes back as the tokenizer's sign for it."""

    def there_and_back(text: str) -> str:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        return tokenizer.decode(ids, skip_special_tokens=False)

    return there_and_back


def loss(text: str, round_trip: RoundTrip) -> str | None:
    """What of `text` a tokenizer loses, in words; None when nothing but a blank at the ends."""
    back = round_trip(text)
    if back.strip(" ") == text.strip(" "):
        return None
    if back.split() == text.split():
        return "line breaks or runs of blanks become one blank"
    pairs = enumerate(zip(text, back, strict=False))
    start = next((i for i, (ours, theirs) in pairs if ours != theirs), min(len(text), len(back)))
    return f"{text[start : start + 20]!r} comes back as {back[start : start + 20]!r}"


def token_faults(template: Template, tokenizers: Mapping[str, RoundTrip]) -> Iterator[Fault]:
    """What tokenizers lose of the words of a template, its slots filled with a plain letter."""
    for pattern in (template.input, template.target):
        values = dict.fromkeys(slots(pattern), "x") | {OPTIONS_SLOT: write_options(("x", "y"))}
        for name, trip in tokenizers.items():
            if lost := loss(fill(pattern, values), trip):
                yield Fault("tokenizer_lossy", "warning", f"{name}: {lost}")
