"""Metrics of classifications that are no mean over rows: from counts of what was chosen and what was right.

A text that is no choice counts as wrong: as the other one of two choices, like the released code's F1 "with
invalid" answers; of more, as none of them.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flan.evaluate.metrics.reply import Figure, Reply, additive

Sums = NDArray[np.float64]


def is_choice(reply: Reply) -> bool:
    """Whether a choice was made."""
    return reply.choice is not None


def positive_f1(replies: Sequence[Reply]) -> Figure:
    """F1 of the second of two choices, over all rows: F1a of MultiRC (Khashabi et al. 2018), F1 of MRPC and QQP.

    0 where nothing is positive, neither chosen nor right, as in scikit-learn.
    """
    return additive([_outcome(reply) for reply in replies], _f1_of_outcomes)


def matthews_correlation(replies: Sequence[Reply]) -> Figure:
    """Correlation of two choices with the right ones, from -1 to 1 (Matthews 1975).

    0 where the chosen or the right ones are all the same, as in scikit-learn.
    """
    return additive([_outcome(reply) for reply in replies], _matthews_of_outcomes)


def macro_f1(replies: Sequence[Reply]) -> Figure:
    """Mean of each choice's F1, over choices that were made or right at least once, as in scikit-learn."""
    statistics = []
    for reply in replies:
        of_one = np.zeros((len(reply.choices), 2))
        for place, choice in enumerate(reply.choices):
            was_made, was_right = choice == reply.choice, choice == reply.answer
            of_one[place] = (was_made and was_right, was_made + was_right)
        statistics.append(of_one.ravel().tolist())
    return additive(statistics, _mean_f1)


def question_exact_match(replies: Sequence[Reply]) -> Figure:
    """Share of questions, which are groups of rows, that are answered rightly in every row that was measured."""
    are_right: dict[tuple[str, ...], bool] = {}
    for reply in replies:
        are_right[reply.group] = are_right.get(reply.group, True) and reply.choice == reply.answer
    # Rows of a group have one weight; the first stands for all.
    waiting, statistics = dict(are_right), []
    for reply in replies:
        is_first = reply.group in waiting
        statistics.append([float(is_first and waiting.pop(reply.group)), float(is_first)])
    return additive(statistics, lambda sums: float(sums[0] / sums[1]) if sums[1] else float("nan"))


def _outcome(reply: Reply) -> list[float]:
    """Which it is: true positive, false positive, false negative or true negative."""
    is_right = reply.choice == reply.answer
    is_positive = (reply.answer == reply.choices[1]) == is_right
    return [
        float(is_right and is_positive),
        float(not is_right and is_positive),
        float(not is_right and not is_positive),
        float(is_right and not is_positive),
    ]


def _f1_of_outcomes(sums: Sums) -> float:
    true_positive, false_positive, false_negative, _ = sums
    total = 2 * true_positive + false_positive + false_negative
    return float(2 * true_positive / total) if total else 0.0


def _matthews_of_outcomes(sums: Sums) -> float:
    tp, fp, fn, tn = (float(count) for count in sums)
    margins = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return (tp * tn - fp * fn) / margins if margins else 0.0


def _mean_f1(sums: Sums) -> float:
    both, either = sums.reshape(-1, 2).T
    seen = either > 0
    return float(np.mean(2 * both[seen] / either[seen]))
