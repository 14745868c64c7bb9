"""What of a written answer is compared. The answer itself is kept as it was written.

as_written    all of it
first_line    up to the first line break: what follows is another text to a model that was never tuned
first_word    up to the first blank or sign of punctuation
"""

import re
from collections.abc import Callable, Mapping
from typing import Literal

PostProcessing = Literal["as_written", "first_line", "first_word"]
VERSIONS: Mapping[PostProcessing, int] = {"as_written": 1, "first_line": 1, "first_word": 1}
"""Raised when one reads the same answer differently than before; results quote it."""
_WORD = re.compile(r"[\w'’-]+")


def processed(how: PostProcessing, text: str) -> str:
    """The part of `text` that is compared with what is right."""
    return _STEPS[how](text)


def signature_of(how: PostProcessing) -> str:
    """What figures have to be quoted with."""
    return f"{how} v{VERSIONS[how]}"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip()


def _first_word(text: str) -> str:
    match = _WORD.search(text)
    return match.group() if match else ""


_STEPS: Mapping[PostProcessing, Callable[[str], str]] = {
    "as_written": lambda text: text,
    "first_line": _first_line,
    "first_word": _first_word,
}
