"""Paired comparisons against values worked out by hand, and against the exact test."""

import numpy as np
import pytest
from scipy.stats import binomtest

from flan.evaluate.pairing import NotPaired, paired
from flan.evaluate.samples import Sample


def samples(values: list[float], template: int = 0, **more: object) -> list[Sample]:
    return [
        {"template": template, "row": row, "metrics": {"accuracy": value}, "reply": {"text": "", **more}}
        for row, value in enumerate(values)
    ]


def test_few_swaps_are_all_gone_through() -> None:
    """Of 2^8 ways to swap 8 rows, of which 6 differ in one direction: 2 of 64 give a difference as large."""
    before, after = [0.0] * 6 + [1.0, 0.0], [1.0] * 6 + [1.0, 0.0]

    found = paired("accuracy", samples(before), samples(after))

    assert found.difference == pytest.approx(0.75)
    assert found.p_value == pytest.approx(2 / 64) == pytest.approx(binomtest(6, 6).pvalue)
    assert found.n == 8


def test_many_swaps_are_drawn_and_come_near_mcnemars_exact_test() -> None:
    """40 rows differ, 28 of them for the second model."""
    before = [0.0] * 28 + [1.0] * 12 + [1.0] * 60
    after = [1.0] * 28 + [0.0] * 12 + [1.0] * 60

    found = paired("accuracy", samples(before), samples(after))

    assert found.difference == pytest.approx(0.16)
    assert found.p_value == pytest.approx(binomtest(28, 40).pvalue, abs=0.006)
    # ± 1.96 · sqrt((0.4 - 0.16²) / 100) = ± 0.120.
    assert found.interval == (pytest.approx(0.04, abs=0.02), pytest.approx(0.28, abs=0.02))
    assert found == paired("accuracy", samples(before), samples(after))


def test_templates_of_a_row_are_swapped_together() -> None:
    """Two templates that say the same are no more evidence than one."""
    before, after = [0.0] * 6 + [1.0] * 2, [1.0] * 8
    one = paired("accuracy", samples(before), samples(after))
    two = paired(
        "accuracy",
        [*samples(before), *samples(before, template=3)],
        [*samples(after), *samples(after, template=3)],
    )

    assert two == one


def test_the_same_answers_do_not_differ() -> None:
    """Difference 0, p 1."""
    found = paired("accuracy", samples([1.0, 0.0, 1.0]), samples([1.0, 0.0, 1.0]))

    assert (found.difference, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


def judged(choices: list[str], answers: list[str], groups: list[str]) -> list[Sample]:
    return [
        {
            "template": 0, "row": row, "metrics": {},
            "reply": {
                "text": choice, "references": [answer], "choices": ["no", "yes"], "choice": choice,
                "answer": answer, "group": [group],
            },
        }
        for row, (choice, answer, group) in enumerate(zip(choices, answers, groups, strict=True))
    ]  # fmt: skip


def test_figures_that_are_no_means_are_worked_out_anew() -> None:
    """F1 of the second model, 4/5, less that of the first, 2/3; rows of a question are one unit."""
    answers, groups = ["yes", "yes", "no", "no"], ["p", "p", "q", "q"]
    first = judged(["yes", "no", "no", "no"], answers, groups)
    second = judged(["yes", "yes", "yes", "no"], answers, groups)

    assert paired("positive_f1", first, second).difference == pytest.approx(4 / 5 - 2 / 3)
    # Question p: 0 → 1; question q: 1 → 0.
    whole = paired("question_exact_match", first, second)
    assert (whole.difference, whole.n, whole.p_value) == (pytest.approx(0.0), 2, 1.0)
    assert np.allclose(whole.interval, (-1.0, 1.0))


def test_other_questions_are_no_pairs() -> None:
    """Neither other rows nor other templates."""
    for other in (samples([1.0]), samples([1.0, 1.0], template=1), []):
        with pytest.raises(NotPaired):
            paired("accuracy", samples([1.0, 0.0]), other)
