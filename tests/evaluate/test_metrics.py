"""Every metric against values worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.evaluate.metrics import METRICS, MetricName, accuracy, exact_match, f1, normalised, rouge_l


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("yes", ["yes"], 1.0),
        (" yes\n", ["yes"], 1.0),  # white space around it
        ("Yes", ["yes"], 0.0),  # case counts
        ("yes.", ["yes"], 0.0),  # so does punctuation
        ("b", ["a", "b"], 1.0),  # any reference
        ("", ["yes"], 0.0),
    ],
)
def test_accuracy(prediction: str, references: list[str], expected: float) -> None:
    """Letter by letter."""
    assert accuracy(prediction, references) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat!", "cat"),
        ("a an the", ""),
        ("then another theatre", "then another theatre"),  # articles are whole words
        ("U.S.A.", "usa"),
        ("don't", "dont"),
        ("3,000 km", "3000 km"),
    ],
)
def test_normalisation_is_that_of_squad(text: str, expected: str) -> None:
    """Lower case, no punctuation, no articles, single spaces, in this order."""
    assert normalised(text) == expected


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("The Cat!", ["cat"], 1.0),
        ("a cat sat", ["cat"], 0.0),
        ("dog", ["cat", "The dog."], 1.0),
        ("", ["the"], 1.0),
    ],
)
def test_exact_match(prediction: str, references: list[str], expected: float) -> None:
    """Equal after normalisation, to any reference."""
    assert exact_match(prediction, references) == expected


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("the cat sat", ["a cat stood"], 0.5),  # {cat, sat} and {cat, stood}: p = r = 1/2
        ("cat cat cat", ["cat"], 0.5),  # a word counts as often as both have it: p = 1/3, r = 1
        ("in 1990", ["1990", "the year 1990"], 2 / 3),  # best reference: p = 1/2, r = 1
        ("dog", ["cat"], 0.0),
        ("", [""], 1.0),
        ("cat", [""], 0.0),
    ],
)
def test_f1(prediction: str, references: list[str], expected: float) -> None:
    """Harmonic mean of word precision and recall."""
    assert f1(prediction, references) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("the cat sat on the mat", ["the cat is on the mat"], 5 / 6),  # the cat · on the mat: 5 of 6 and 6
        ("police kill the gunman", ["police killed the gunman"], 3 / 4),  # Lin 2004: no stemming
        ("the gunman police killed", ["police killed the gunman"], 2 / 4),  # order counts
        ("A b c d", ["x y", "a B"], 2 * (2 / 4) * 1 / (2 / 4 + 1)),  # case does not; best reference
        ("", ["a b"], 0.0),
    ],
)
def test_rouge_l(prediction: str, references: list[str], expected: float) -> None:
    """F-measure of the longest common subsequence."""
    assert rouge_l(prediction, references) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
@given(text=st.text(min_size=1), others=st.lists(st.text(), max_size=3))
def test_between_nothing_and_one_and_more_references_never_hurt(
    name: MetricName, text: str, others: list[str]
) -> None:
    """Every metric is a share, and a further acceptable answer cannot make a prediction worse."""
    alone = METRICS[name](text, ["reference"])
    with_others = METRICS[name](text, ["reference", *others])

    assert 0 <= alone <= with_others <= 1
