"""F1, macro-F1, Matthews and whole questions, against published values and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from flan.evaluate.metrics.classes import macro_f1, matthews_correlation, positive_f1, question_exact_match
from flan.evaluate.metrics.reply import Reply

YES_NO, THREE = ("no", "yes"), ("Yes", "No", "Maybe")


def reply(choices: tuple[str, ...], choice: int | None, answer: int, group: str = "") -> Reply:
    made = None if choice is None else choices[choice]
    return Reply(made or "?", (choices[answer],), choices, made, choices[answer], group=(group,))


def once(replies: list[Reply]) -> np.ndarray:
    return np.ones(len(replies))


# 12 cats and dogs of Wikipedia's "Phi coefficient": 6 true positives, 2 misses, 1 false alarm, 3 true negatives.
CATS = (
    [reply(YES_NO, 1, 1)] * 6 + [reply(YES_NO, 0, 1)] * 2 + [reply(YES_NO, 1, 0)] + [reply(YES_NO, 0, 0)] * 3
)


def test_published_table() -> None:
    """MCC 0.478; p = 6/7 and r = 6/8 make an F1 of 4/5."""
    assert matthews_correlation(CATS)(once(CATS)) == pytest.approx(0.478, abs=5e-4)
    assert positive_f1(CATS)(once(CATS)) == pytest.approx(0.8)
    # Of the other class p = 3/5, r = 3/4: F1 2/3.
    assert macro_f1(CATS)(once(CATS)) == pytest.approx((0.8 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("answer", "f1", "matthews"),
    [
        # Besides one hit and one true negative, a text that is no option: as a miss …
        (1, 2 / 3, 0.5),
        # … or as a false alarm.
        (0, 2 / 3, 0.5),
    ],
)
def test_a_text_that_is_no_option_is_the_other_one(answer: int, f1: float, matthews: float) -> None:
    """Wrong, never left out: leaving it out would make an evasive model perfect."""
    replies = [reply(YES_NO, 1, 1), reply(YES_NO, 0, 0), reply(YES_NO, None, answer)]

    assert positive_f1(replies)(once(replies)) == pytest.approx(f1)
    assert matthews_correlation(replies)(once(replies)) == pytest.approx(matthews)


def test_of_three_it_is_none_of_them() -> None:
    """It misses its class (p = 1, r = 1/2: F1 2/3) and is no false alarm of another."""
    replies = [reply(THREE, 0, 0), reply(THREE, None, 0), reply(THREE, 1, 1)]

    assert macro_f1(replies)(once(replies)) == pytest.approx((2 / 3 + 1) / 2)


PAIRS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)
TRIPLES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30)


@given(pairs=PAIRS)
def test_two_choices_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    """F1 of the second choice, and Matthews' correlation, degenerate tables included."""
    replies = [reply(YES_NO, *pair) for pair in pairs]
    made, right = zip(*pairs, strict=True)

    assert positive_f1(replies)(once(replies)) == pytest.approx(f1_score(right, made, zero_division=0))
    if len(set(made)) == len(set(right)) == 2:
        # It warns about a table of one class.
        expected = matthews_corrcoef(right, made)
        assert matthews_correlation(replies)(once(replies)) == pytest.approx(expected)
    else:
        assert matthews_correlation(replies)(once(replies)) == 0


@given(pairs=TRIPLES)
def test_macro_f1_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    """The mean over classes that occur."""
    replies = [reply(THREE, *pair) for pair in pairs]
    made, right = zip(*pairs, strict=True)

    assert macro_f1(replies)(once(replies)) == pytest.approx(
        f1_score(right, made, average="macro", zero_division=0)
    )


def test_a_question_is_right_in_all_its_rows() -> None:
    """MultiRC's exact match: of three questions one has every option judged rightly, in whatever order they come."""
    replies = [
        reply(YES_NO, 1, 1, "p"), reply(YES_NO, 1, 0, "q"), reply(YES_NO, 0, 0, "p"), reply(YES_NO, 0, 0, "q"),
        reply(YES_NO, None, 0, "r"),
    ]  # fmt: skip

    assert question_exact_match(replies)(once(replies)) == pytest.approx(1 / 3)
    # Question p drawn twice, q not at all.
    assert question_exact_match(replies)(np.array([2.0, 0, 2, 0, 1])) == pytest.approx(2 / 3)
