"""Figures of a task against values worked out by hand."""

from statistics import stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.evaluate.answering import Answered
from flan.evaluate.questions import Question
from flan.evaluate.summary import Measured, NothingMeasured, blind_guesses, bootstrap_interval, summarise
from flan.tasks.task import load_collection

TASK = load_collection("synthetic")["shop_reviews"]
HOW = Measured("validation", "rank", 200, {0: 0, 1: 1}, "0" * 64, num_shots=2)


def question(template: int, row: int, answers: tuple[str, ...], choices: tuple[str, ...]) -> Question:
    nothing = np.zeros(1, np.int32)
    return Question(template, row, "", nothing, template == 1, 2 - template, choices, (), answers, answers)


def answered(template: int, row: int, answer: str, is_right: bool) -> Answered:
    asked = question(template, row, (answer,), ("negative", "positive"))
    return Answered(asked, "", {"accuracy": float(is_right)}, is_finished=row != 2)


def test_mean_and_spread_are_over_templates() -> None:
    """Template 0 is right in 3 of 4 rows, template 1 in 1 of 4: mean 1/2, spread sqrt(1/8)."""
    given_ = [answered(0, row, "positive" if row else "negative", row != 3) for row in range(4)]
    given_ += [answered(1, row, "positive" if row else "negative", row == 0) for row in range(4)]

    result = summarise(TASK, HOW, given_)

    assert [template.metric_value for template in result.templates] == [0.75, 0.25]
    assert result.mean == 0.5
    assert result.spread == pytest.approx(stdev([0.75, 0.25])) == pytest.approx(0.125**0.5)
    assert (result.n, result.num_rows, result.chance, result.majority) == (4, 200, 0.5, 0.75)
    counts = [(t.n, t.num_skipped, t.num_pruned, t.num_cut, t.num_unfinished) for t in result.templates]
    assert counts == [(4, 0, 0, 0, 1), (4, 1, 4, 4, 1)]


def test_a_single_template_has_no_spread() -> None:
    """None, not zero: nothing is known about other wordings. A template without a row is named."""
    result = summarise(TASK, HOW, [answered(0, row, "positive", True) for row in range(3)])

    assert result.spread is None
    assert result.unmeasured_templates == (1,)


def test_blind_guesses_follow_the_rows() -> None:
    """Chance and majority of rows with several right options, and with options of their own."""
    fixed = [question(0, i, ("b",) if i < 3 else ("a",), ("a", "b")) for i in range(4)]
    several = [question(0, 0, ("a", "b"), ("a", "b", "c", "d"))]
    # Right at places 1, 1, 0: always giving the second option is right twice.
    own = [
        question(0, 0, ("y",), ("x", "y")),
        question(0, 1, ("q",), ("p", "q", "r", "s")),
        question(0, 2, ("k",), ("k", "l")),
    ]

    assert blind_guesses(fixed) == (0.5, 0.75)
    assert blind_guesses(several) == (0.5, 1.0)
    assert blind_guesses(own) == (pytest.approx((1 / 2 + 1 / 4 + 1 / 2) / 3), pytest.approx(2 / 3))
    assert blind_guesses([question(0, 0, ("text",), ())]) == (None, None)


def test_nothing_measured_is_an_error() -> None:
    """A task whose every prompt was too long has no figure, not zero."""
    with pytest.raises(NothingMeasured, match="7 prompts skipped"):
        summarise(TASK, HOW._replace(num_skipped={0: 7}), [])


@settings(max_examples=20, deadline=None)
@given(values=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60))
def test_interval_holds_the_mean_and_stays_within_the_values(values: list[float]) -> None:
    """Seeded: the same rows give the same interval."""
    low, high = bootstrap_interval(values)

    assert min(values) <= low <= float(np.mean(values)) + 1e-12
    assert float(np.mean(values)) - 1e-12 <= high <= max(values)
    assert bootstrap_interval(values) == (low, high)


def test_interval_has_the_width_of_theory() -> None:
    """400 rows, half of them right: ± 1.96 · 0.5 / 20 = ± 0.049."""
    low, high = bootstrap_interval([0.0, 1.0] * 200)

    assert low == pytest.approx(0.5 - 0.049, abs=0.006)
    assert high == pytest.approx(0.5 + 0.049, abs=0.006)
