"""A template: a pair of patterns over the fields of a task.

    pattern := (text | "{{" | "}}" | "{" name "}")*

Nothing in a pattern computes: no attribute, index, filter or expression, so a template from anyone is safe
to render and its longest output is known beforehand. Two slots are typed: `{options_}` is the OPTIONS block,
`{answer}` the answer. Braces are written `{{` and `}}`.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal, Self

from pydantic import Field, model_validator

from flan.errors import FlanError
from flan.faults import Wrong, refuse
from flan.spec import Document

OPTIONS_SLOT = "options_"
ANSWER_SLOT = "answer"
MAX_PATTERN_CHARS = 16_384
PATTERNS_KEPT = 8_192
"""Patterns whose parts are remembered."""
_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]{0,63})\}|[{}]")


class BadPattern(FlanError):
    """A pattern is not well formed."""

    code, blame = "template_invalid", "user"


class RowError(FlanError):
    """A row does not have what its task needs."""

    code, blame = "row_invalid", "user"


class NotAnOption(RowError):
    """A row's answer is none of its choices."""


class Template(Document):
    """One way of asking. `inverted` templates are turned around: they ask for what was the input."""

    language: Literal["slots"] = "slots"
    """How the patterns are written: slots, text with {fields}."""
    input: str = Field(min_length=1, max_length=MAX_PATTERN_CHARS)
    """What is asked: text with {fields}, and {options_} where the OPTIONS block stands."""
    target: str = Field(default="{answer}", min_length=1, max_length=MAX_PATTERN_CHARS)
    """What is to be answered; {answer} is the right answer."""
    role: Literal["answer", "inverted"] = "answer"
    """answer: asks for the answer. inverted: asks for what was the input; never evaluated."""

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        refuse("Template", self._stray_braces())
        refuse("Template", self._misplaced_slots())
        return self

    def _stray_braces(self) -> Iterator[Wrong]:
        for name, pattern in (("input", self.input), ("target", self.target)):
            try:
                slots(pattern)
            except BadPattern as error:
                yield Wrong((name,), "stray_brace", error.message, error.hint)

    def _misplaced_slots(self) -> Iterator[Wrong]:
        if OPTIONS_SLOT in slots(self.target):
            said = "the OPTIONS block belongs to the input, not to the target"
            yield Wrong(("target",), "misplaced_slot", said, "write {options_} in the input, or nowhere")
        if self.role == "inverted":
            return
        if ANSWER_SLOT not in slots(self.target):
            said = "the target has no {answer}, so no answer can be asked for"
            hint = "write {answer} where it stands; or set role: inverted if the template asks for something else"
            yield Wrong(("target",), "missing_slot", said, hint)
        if ANSWER_SLOT in slots(self.input):
            said = "the input gives the {answer} away"
            hint = "take it out; or set role: inverted if the template asks for something else"
            yield Wrong(("input",), "misplaced_slot", said, hint)


@lru_cache(PATTERNS_KEPT)
def slots(pattern: str) -> frozenset[str]:
    """Names of the slots of `pattern`. Raises BadPattern with the place of a stray brace."""
    return frozenset(text for is_slot, text in _parts(pattern) if is_slot)


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """`pattern` with each slot replaced, once: braces inside values are text. KeyError is our own bug."""
    return "".join([values[text] if is_slot else text for is_slot, text in _parts(pattern)])


@lru_cache(PATTERNS_KEPT)
def _parts(pattern: str) -> tuple[tuple[bool, str], ...]:
    """The pattern in order: names of slots (True) and literal text (False). Raises BadPattern."""
    parts: list[tuple[bool, str]] = []
    literal, end = "", 0
    for match in _TOKEN.finditer(pattern):
        literal += pattern[end : match.start()]
        end = match.end()
        if match.group(1):
            parts += [(False, literal), (True, match.group(1))]
            literal = ""
        elif match.group() in ("{", "}"):
            near = pattern[max(0, match.start() - 20) : match.end() + 20]
            hint = "write {{ and }} for braces; a slot is {name}: letters, digits and _, up to 64, no digit first"
            hint += "; Jinja needs language: promptsource" if pattern.startswith("{%", match.start()) else ""
            raise BadPattern(f"stray {match.group()!r} at character {match.start()} near {near!r}", hint=hint)
        else:
            literal += match.group()[0]
    parts.append((False, literal + pattern[end:]))
    return tuple(part for part in parts if part[1])
