"""Correlation of the numbers a model gives with the right ones: Pearson's and Spearman's.

0 where either does not vary, for there the correlation has no value. A text that is no number from the lowest
to the highest choice counts as the end of that scale which is farther from the right number.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flan.evaluate.metrics.reply import Figure, Reply, Weights

Values = NDArray[np.float64]


def is_number(reply: Reply) -> bool:
    """Whether a number on the scale was given."""
    return _given(reply) is not None


def pearson(replies: Sequence[Reply]) -> Figure:
    """Pearson's correlation, from -1 to 1: how far one is a linear function of the other."""
    given, right = _numbers(replies)
    return _unless_constant(given, right, lambda weights: _weighted_pearson(given, right, weights))


def spearman(replies: Sequence[Reply]) -> Figure:
    """Spearman's correlation, from -1 to 1: Pearson's of the ranks, of which equal numbers share the mean."""
    given, right = _numbers(replies)
    levels_given, levels_right = _levels(given), _levels(right)

    def figure(weights: Weights) -> float:
        return _weighted_pearson(_ranks(levels_given, weights), _ranks(levels_right, weights), weights)

    return _unless_constant(given, right, figure)


def _given(reply: Reply) -> float | None:
    scale = [float(choice) for choice in reply.choices]
    try:
        number = float(reply.text if reply.choice is None else reply.choice)
    except ValueError:
        return None
    return number if min(scale) <= number <= max(scale) else None


def _numbers(replies: Sequence[Reply]) -> tuple[Values, Values]:
    right = [float(reply.answer) if reply.value is None else reply.value for reply in replies]
    given = [_or_farthest(reply, value) for reply, value in zip(replies, right, strict=True)]
    return np.array(given), np.array(right)


def _or_farthest(reply: Reply, right: float) -> float:
    number = _given(reply)
    if number is not None:
        return number
    return max((float(choice) for choice in reply.choices), key=lambda end: abs(end - right))


def _unless_constant(given: Values, right: Values, figure: Figure) -> Figure:
    def guarded(weights: Weights) -> float:
        counted = weights > 0
        if not counted.any():
            return float("nan")
        return figure(weights) if np.ptp(given[counted]) and np.ptp(right[counted]) else 0.0

    return guarded


def _weighted_pearson(a: Values, b: Values, weights: Weights) -> float:
    total = weights.sum()
    from_mean_a, from_mean_b = a - weights @ a / total, b - weights @ b / total
    covariance = weights @ (from_mean_a * from_mean_b)
    spread = np.sqrt((weights @ from_mean_a**2) * (weights @ from_mean_b**2))
    return float(np.clip(covariance / spread, -1, 1))


def _levels(values: Values) -> NDArray[np.intp]:
    return np.unique(values, return_inverse=True)[1]


def _ranks(levels: NDArray[np.intp], weights: Weights) -> Values:
    """Rank of each value among the weighted ones; from 1, equal values share the mean of their places."""
    counts = np.bincount(levels, weights)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[levels])
