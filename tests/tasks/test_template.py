"""Patterns: text, slots and written braces, nothing that computes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flan.errors import InvalidDocument
from flan.spec import parse
from flan.tasks.template import BadPattern, Template, fill, slots


def test_slots_are_the_names_in_single_braces() -> None:
    """Written braces are text, even around a name."""
    assert slots("{a} and {b_2}, {{not}} {a}") == {"a", "b_2"}


@pytest.mark.parametrize("pattern", ["{", "a } b", "{a.b}", "{a[0]}", "{a!r}", "{0}", "{ a }", "{}", "{{a}"])
def test_anything_but_a_slot_in_braces_is_refused(pattern: str) -> None:
    """No attribute, index, conversion or expression: a pattern from anyone is safe to render."""
    with pytest.raises(BadPattern):
        slots(pattern)


def test_a_stray_brace_is_shown_with_its_place() -> None:
    """The error names the character and what stands around it."""
    with pytest.raises(BadPattern, match=r"stray '\{' at character 6 near 'Write \{ here'"):
        slots("Write { here")


@given(st.text(), st.text())
@example("{b}", "{{a}} {")
def test_values_are_text_whatever_they_hold(first: str, second: str) -> None:
    """Braces and slots inside a value are never read as a pattern."""
    filled = fill("{a}|{b}|{{a}}", {"a": first, "b": second})

    assert filled == f"{first}|{second}|{{a}}"


@given(st.text())
def test_any_text_can_be_written_in_a_pattern(text: str) -> None:
    """Doubling the braces of a text makes the pattern that yields it."""
    pattern = text.replace("{", "{{").replace("}", "}}")

    assert fill(pattern, {}) == text
    assert slots(pattern) == frozenset()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"input": "{text}", "target": "{answer} {options_}"}, "belongs to the input"),
        ({"input": "{text}", "target": "{text}"}, "no {answer}"),
        ({"input": "{text} {answer}"}, "gives the {answer} away"),
        ({"input": "{text"}, "stray"),
        ({"input": "x" * 16_385}, "at most 16,384 characters"),
        ({"input": ""}, "cannot be empty"),
    ],
)
def test_a_template_that_cannot_ask_is_refused(value: dict[str, str], says: str) -> None:
    """Each fault is named in words."""
    with pytest.raises(InvalidDocument) as refused:
        parse(Template, value)

    assert says in refused.value.message


def test_an_inverted_template_may_show_the_answer() -> None:
    """It asks for what was the input, so the answer is given."""
    template = parse(Template, {"input": "Write a {answer} review.", "target": "{text}", "role": "inverted"})

    assert template.target == "{text}"
