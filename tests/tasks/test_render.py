"""Row → text: what is shown, what is asked, and which rows cannot be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.tasks.options import Layout
from flan.tasks.render import instance, longest_field, render
from flan.tasks.template import NotAnOption, RowError, Template
from tests.tasks.samples import review_task


def test_a_row_becomes_input_target_and_options() -> None:
    """The OPTIONS block shows the choices in label order; the target is the answer's text."""
    task = review_task(
        answer={
            "column": "label",
            "choices": ["negative", "positive"],
            "labels": {"0": "negative", "1": "positive"},
        }
    )

    rendered = render(instance(task, {"text": "Fine.", "label": 1}), task.templates[0])

    assert rendered.input == "Fine. Good?\nOPTIONS:\n- negative\n- positive"
    assert rendered.target == rendered.answer == "positive"
    assert rendered.choices == ("negative", "positive")


def test_without_options_their_slot_is_gone_and_the_ends_are_trimmed() -> None:
    """The released code's rule: delete the slot, strip the prompt."""
    task = review_task()

    rendered = render(instance(task, {"text": " Fine.", "label": "positive"}), task.templates[0], layout=None)

    assert rendered.input == "Fine. Good?"
    assert rendered.choices == ("negative", "positive")


def test_a_layout_that_names_the_choices_gives_the_name_as_target() -> None:
    """Flan 2022: the target is the mark before the right choice, wherever the order has put it."""
    found = instance(review_task(), {"text": "Fine.", "label": "positive"})
    layout = Layout("Pick one:", ("(A) ", "(B) "), ";", (1, 0))

    rendered = render(found, Template(input="{review}\n{options_}", target="It is {answer}"), layout)

    assert rendered.input == "Fine.\nPick one:\n(A) positive;\n(B) negative;"
    assert rendered.target == "It is (A)"
    assert rendered.answer == "positive"


def test_a_template_that_shows_no_options_is_answered_in_words() -> None:
    """A mark that the reader has not seen would mean nothing; neither does it to an inverted template."""
    found = instance(review_task(), {"text": "Fine.", "label": "positive"})
    layout = Layout(marks=("A. ", "B. "), order=(0, 1))

    assert render(found, Template(input="{review} Good?"), layout).target == "positive"
    inverted = Template(input="Write a {answer} review.", target="{review}", role="inverted")
    assert render(found, inverted, layout).input == "Write a positive review."


@given(st.text(), st.sampled_from(["negative", "positive"]))
def test_any_text_is_shown_as_it_is(text: str, label: str) -> None:
    """Rendering neither escapes nor expands what a row holds."""
    task = review_task(templates=[{"input": "<{review}>"}])

    rendered = render(instance(task, {"text": text, "label": label}), task.templates[0])

    assert rendered.input == f"<{text}>"
    assert rendered.target == label


@pytest.mark.parametrize(
    ("answer", "row", "expected"),
    [
        ({"choices_from": "options"}, {"options": ["a", "b"], "label": 1}, "b"),
        ({"choices_from": "options"}, {"options": ["a", "b"], "label": "a"}, "a"),
        (
            {"choices_from": "o.text", "keys_from": "o.key"},
            {"o": {"text": ["x", "y"], "key": ["A", "B"]}, "label": "B"},
            "y",
        ),
        ({"choices_from": "options"}, {"options": ["two\nlines", "b"], "label": 0}, "two lines"),
        ({"choices": ["false", "true"]}, {"label": True}, "true"),
        ({"choices": ["0", "1"]}, {"label": 1}, "1"),
        ({}, {"label": 7}, "7"),
    ],
)
def test_an_answer_is_found_wherever_a_dataset_keeps_it(
    answer: dict[str, Any], row: dict[str, Any], expected: str
) -> None:
    """An index, a key, the text itself, a boolean, a number."""
    task = review_task(answer={"column": "label", **answer}, templates=[{"input": "{review}"}])

    assert instance(task, {"text": "t", **row}).answer == expected


@pytest.mark.parametrize(
    ("answer", "row", "says"),
    [
        ({"choices": ["a", "b"]}, {"text": "t"}, "no column 'label'; the row has ['text']"),
        ({"choices": ["a", "b"]}, {"label": "a"}, "no column 'text'"),
        ({"choices": ["a", "b"]}, {"text": None, "label": "a"}, "column 'text' holds NoneType, not text"),
        ({"choices": ["a", "b"]}, {"text": ["t"], "label": "a"}, "column 'text' holds list"),
        (
            {"choices": ["a"], "labels": {"0": "a"}},
            {"text": "t", "label": -1},
            "label '-1' is none of ['0']",
        ),
        (
            {"choices_from": "o"},
            {"text": "t", "o": ["a", "b"], "label": 2},
            "answer 2 is no index into 2 choices",
        ),
        ({"choices_from": "o"}, {"text": "t", "o": ["a", "b"], "label": -1}, "answer -1 is no index"),
        ({"choices_from": "o"}, {"text": "t", "o": ["a", "a"], "label": 0}, "are not distinct"),
        ({"choices_from": "o"}, {"text": "t", "o": [], "label": 0}, "are not distinct"),
        ({"choices_from": "o"}, {"text": "t", "o": "ab", "label": 0}, "column 'o' holds str, not a list"),
        (
            {"choices_from": "o", "keys_from": "k"},
            {"text": "t", "o": ["a"], "k": ["A"], "label": "B"},
            "none of the keys",
        ),
    ],
)
def test_a_row_that_lacks_something_says_what(answer: dict[str, Any], row: dict[str, Any], says: str) -> None:
    """Column and value are named; nothing is guessed."""
    task = review_task(answer={"column": "label", **answer}, templates=[{"input": "{review}"}])

    with pytest.raises(RowError) as refused:
        instance(task, row)

    assert says in refused.value.message


def test_an_answer_outside_the_options_is_its_own_fault() -> None:
    """It points to the label map, which is where it is mended."""
    with pytest.raises(NotAnOption, match=r"'neutral' is not among the options"):
        instance(review_task(), {"text": "t", "label": "neutral"})


def test_references_begin_with_the_answer_and_hold_nothing_twice() -> None:
    """Metrics take the best over them; training takes the first."""
    task = review_task(
        answer={"column": "a.0", "references_from": "a"}, templates=[{"input": "{review}"}], metrics=["f1"]
    )

    assert instance(task, {"text": "t", "a": ["x", "y", "x"]}).references == ("x", "y")


def test_the_field_to_cut_is_the_long_one_that_is_shown() -> None:
    """The task's own choice where the template shows it, else the longest shown, else none."""
    fields = {"title": "title", "body": "body"}
    task = review_task(fields=fields, long_field="title", templates=[{"input": "{title} {body}"}])
    seen = instance(task, {"title": "t", "body": "longer", "label": "positive"})

    assert longest_field(task, seen, task.templates[0]) == "title"
    assert longest_field(task, seen, Template(input="{body}")) == "body"
    assert longest_field(task, seen, Template(input="What?")) is None
