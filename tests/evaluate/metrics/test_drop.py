"""DROP's exact match and F1, against values worked out by hand and against all ways to pair spans off."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.evaluate.metrics.drop import drop_exact_match, drop_f1
from flan.evaluate.metrics.reply import Reply


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "f1"),
    [
        ("The Packers", ["packers"], 1, 1),
        ("10,000", ["10000"], 1, 1),  # one number, written twice
        ("3.0 yards", ["3 yards"], 1, 1),
        ("4 yards", ["3 yards"], 0, 0),  # the number is wrong: no credit for the unit
        ("yards", ["3 yards"], 0, 0),
        ("3 metres", ["3 yards"], 0, 1 / 2),
        ("Kasay, Elam", ["Elam, Kasay"], 1, 1),  # in whatever order
        ("Elam", ["Elam, Kasay"], 0, 1 / 2),  # one of two spans
        ("Elam, Kasay, Brien", ["Elam, Kasay"], 0, 2 / 3),
        ("John Kasay, Elam", ["Elam, Kasay"], 0, (1 + 2 / 3) / 2),  # p = 1/2, r = 1 in one of the spans
        ("Jason Elam", ["Elam", "Jason Elam"], 1, 1),
        ("twenty-two", ["twenty two"], 1, 1),
        ("", ["Elam"], 0, 0),
    ],
)
def test_drop(prediction: str, references: list[str], exact: float, f1: float) -> None:
    """Spans are paired off at their best; a wrong number earns nothing (Dua et al. 2019, 5)."""
    reply = Reply(prediction, tuple(references))

    assert drop_exact_match(reply) == exact
    assert drop_f1(reply) == pytest.approx(f1)


SPANS = st.lists(st.lists(st.sampled_from("uvwx"), min_size=1, max_size=3), min_size=1, max_size=4)


@given(predicted=SPANS, gold=SPANS)
def test_no_other_pairing_is_better(predicted: list[list[str]], gold: list[list[str]]) -> None:
    """The figure is the largest over every way of pairing spans off."""

    def text(spans: list[list[str]]) -> str:
        return ", ".join(" ".join(span) for span in spans)

    def f1(a: list[str], b: list[str]) -> float:
        return 2 * len(set(a) & set(b)) / (len(set(a)) + len(set(b)))

    few, many = sorted((predicted, gold), key=len)
    best = max(sum(map(f1, few, some)) for some in permutations(many, len(few)))

    assert drop_f1(Reply(text(predicted), (text(gold),))) == pytest.approx(best / len(many))
