"""Answers that are read out of a text before they are compared: numbers, and what follows a chain of thought."""

import re
from fractions import Fraction

from flan.evaluate.metrics.reply import Reply

ANSWER_MARK = "Answer:"
"""What stands before the answer in the targets of the collection's chain-of-thought tasks."""
_UNKNOWN = re.compile(r"^[A-Za-z]\s*=\s*")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(\s*/\s*\d*[1-9]\d*)?")
_MAX_CHARS = 64


def math_match(reply: Reply) -> float:
    """1 if the text is a reference, or both are the same number: 1,080 and 1080.0, x = 1/2 and 0.5."""
    return float(any(_are_equal(reply.text, reference) for reference in reply.references))


def is_number_where_due(reply: Reply) -> bool:
    """Whether the text is a number; it need not be where no reference is one."""
    return number(reply.text) is not None or all(number(one) is None for one in reply.references)


def final_answer(reply: Reply) -> float:
    """1 if the line after the last mark is that of a reference, as text or as a number (math_match).

    A reference without the mark, as where a row is asked without its instructions, is the answer itself.
    """
    given = _last_answer(reply.text)
    pairs = (
        (given, _last_answer(one)) if ANSWER_MARK in one else (reply.text, one) for one in reply.references
    )
    return float(any(a is not None and b is not None and _are_equal(a, b) for a, b in pairs))


def has_answer(reply: Reply) -> bool:
    """Whether an answer stands after a mark; it need not where no reference has one."""
    return _last_answer(reply.text) is not None or not any(ANSWER_MARK in one for one in reply.references)


def number(text: str) -> Fraction | None:
    """The number that the whole text is: digits, with sign, thousands, decimals, a divisor, a leading "x =" or $."""
    text = _UNKNOWN.sub("", text.strip()[: _MAX_CHARS + 1]).removesuffix(".").replace("$", "", 1).strip()
    text = _THOUSANDS.sub("", text)
    if len(text) > _MAX_CHARS or not (match := _NUMBER.fullmatch(text)):
        return None
    numerator, _, divisor = match.group().partition("/")
    return Fraction(numerator.strip()) / int(divisor or 1)


def _are_equal(a: str, b: str) -> bool:
    if a.strip() == b.strip():
        return True
    first = number(a)
    return first is not None and first == number(b)


def _last_answer(text: str) -> str | None:
    """What stands in the line of the last mark, after it; None without a mark, or with nothing after it."""
    _, mark, after = text.rpartition(ANSWER_MARK)
    line = after.strip().partition("\n")[0].strip()
    return line if mark and line else None
