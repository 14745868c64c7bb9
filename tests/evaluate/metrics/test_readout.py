"""Numbers and final answers read out of texts."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.evaluate.metrics.readout import (
    final_answer,
    has_answer,
    is_number_where_due,
    math_match,
    number,
)
from flan.evaluate.metrics.reply import Reply


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6", 6),
        (" -6. ", -6),
        ("+6.50", Fraction(13, 2)),
        ("x = 3", 3),
        ("1,080", 1080),
        ("12,345,678.5", Fraction(24691357, 2)),
        ("1,08", None),  # no thousands
        ("$5", 5),
        ("-1/2", Fraction(-1, 2)),
        ("3 / 4", Fraction(3, 4)),
        ("1/0", None),
        (".5", Fraction(1, 2)),
        ("1e9", None),  # an exponent could name a number of any size
        ("9" * 65, None),
        ("six", None),
        ("6 apples", None),
        ("", None),
    ],
)
def test_numbers(text: str, expected: Fraction | None) -> None:
    """Exact, whatever their form; a text with anything besides is none."""
    assert number(text) == expected


@pytest.mark.parametrize(
    ("text", "reference", "expected", "is_read"),
    [
        ("1080", "1,080", 1, True),
        ("0.5", "1/2", 1, True),
        ("5", "6", 0, True),
        ("about 6", "6", 0, False),
        ("n squared", "n squared", 1, True),  # texts match as texts, and no number is due
        ("n", "n squared", 0, True),
    ],
)
def test_math_match(text: str, reference: str, expected: float, is_read: bool) -> None:
    """Equal as texts or as numbers; where a number is due, what is none is counted."""
    reply = Reply(text, (reference,))

    assert math_match(reply) == expected
    assert is_number_where_due(reply) is is_read


@pytest.mark.parametrize(
    ("text", "expected", "is_read"),
    [
        ("6 and 8 make 14.\nAnswer: 14", 1, True),
        ("Another way.\nAnswer: 14.0", 1, True),
        ("Answer: 12? No.\nAnswer: 14", 1, True),  # the last one
        ("So.\nAnswer: 14\n\nQuestion: and 8 + 1?", 1, True),  # its line
        ("So.\nAnswer:\n14", 1, True),
        ("6 and 8 make 14.", 0, False),  # no mark
        ("6 and 8 make 14.\nAnswer:", 0, False),  # nothing after it
        ("", 0, False),
        ("Answer: 15", 0, True),
    ],
)
def test_final_answer(text: str, expected: float, is_read: bool) -> None:
    """The reasoning is free; the answer after the last mark counts, and a text without one is counted as unread."""
    reply = Reply(text, ("8 and 6 make 14.\nAnswer: 14",))

    assert final_answer(reply) == expected
    assert has_answer(reply) is is_read


def test_without_instructions_the_answer_stands_alone() -> None:
    """A row asked through no template has the bare answer for a target."""
    assert final_answer(Reply(" yes", ("yes",))) == 1
    assert final_answer(Reply("no", ("yes",))) == 0
    assert has_answer(Reply("yes", ("yes",)))


def test_options_are_compared_letter_by_letter() -> None:
    """An answer that is no number: its letter alone is not it."""
    reply = Reply("Answer: (B) 22", ("Answer: (B) 22",))

    assert final_answer(reply) == 1
    assert final_answer(reply._replace(text="Answer: B")) == 0
    assert final_answer(reply._replace(text="Answer: 22")) == 0


@given(st.fractions(max_denominator=10_000).filter(lambda value: abs(value) < 10**12))
def test_a_number_is_read_as_it_was_written(value: Fraction) -> None:
    """Digits, with a divisor or without."""
    assert number(str(value)) == value
    assert number(f"{value.numerator:,}") == value.numerator
