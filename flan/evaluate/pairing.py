"""Two models on the same questions: how far apart, and whether chance alone could have put them there.

Both figures of a question hang together, as do those of a row through its templates: what is drawn or swapped is
the row (or the group of rows that are one question) with all its templates.

Sources: paired bootstrap, Efron and Tibshirani 1993; approximate randomisation of pairs, Noreen 1989, by
scipy.stats.permutation_test, which goes through all swaps where there are few enough.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import isnan
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flan.errors import FlanError
from flan.evaluate.metrics import METRICS
from flan.evaluate.metrics.reply import Figure, RowMetric, mean
from flan.evaluate.records import reply_of
from flan.evaluate.samples import Sample
from flan.spec import Document
from flan.tasks.metric_names import MetricName

RESAMPLES = 2_000
Weights = NDArray[np.float64]


class NotPaired(FlanError):
    """Two models were not asked the same questions."""

    code, blame = "not_paired", "user"


class Paired(Document):
    """The second model less the first, on the questions that both were asked."""

    difference: float
    """Of the means over templates, in the metric."""
    interval: tuple[float, float]
    """95%, percentiles of 2,000 paired bootstrap resamples over rows or questions."""
    p_value: float
    """Two-sided: how often a difference as large comes out when each row's two answers are swapped at random."""
    n: int
    """Rows or questions."""


class _Template(NamedTuple):
    """One template: the figure of the replies of both models, the first model's before the second's."""

    figure: Figure
    units: NDArray[np.intp]
    """Of each reply of one model: the number of what it is drawn with."""

    def difference(self, first: Weights, second: Weights) -> float:
        """What the second weighting of the units gets, less the first. `first` and `second`: (2, units)."""
        before, after = (
            np.concatenate([each[0][self.units], each[1][self.units]]) for each in (first, second)
        )
        return self.figure(after) - self.figure(before)


def paired(metric: MetricName, first: Iterable[Sample], second: Iterable[Sample]) -> Paired:
    """Compare two models on the samples of one task and split. Seeded: equal samples, equal figures.

    Raises NotPaired where the two were not asked about the same rows through the same templates.
    """
    one, other = _by_question(first), _by_question(second)
    if set(one) != set(other) or not one:
        raise NotPaired(
            f"{len(set(one) ^ set(other)) or 'no'} questions were asked of one model alone",
            hint="evaluate both models with the same spec but for the model",
        )
    templates, num_units = _templates(metric, one, other)
    ones, nothing = np.ones(num_units), np.zeros(num_units)

    def difference(swapped: Weights, drawn: Weights) -> float:
        """With the answers of the `swapped` units exchanged, each unit as often as it was `drawn`."""
        kept = (1 - swapped) * drawn
        before, after = np.stack([kept, swapped * drawn]), np.stack([swapped * drawn, kept])
        found = [each.difference(before, after) for each in templates]
        # A template that was measured on few rows may have none of those drawn.
        return fmean(value for value in found if not isnan(value))

    from scipy.stats import permutation_test

    test = permutation_test(
        (nothing, ones),
        lambda swapped, _: difference(swapped, ones),
        permutation_type="samples",
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    generator = np.random.Generator(np.random.Philox(key=0))
    resampled = []
    for _ in range(RESAMPLES):
        drawn = np.bincount(generator.integers(0, num_units, num_units), minlength=num_units)
        resampled.append(difference(nothing, drawn.astype(np.float64)))
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Paired(
        difference=float(test.statistic),
        interval=(float(low), float(high)),
        p_value=float(test.pvalue),
        n=num_units,
    )


def _by_question(samples: Iterable[Sample]) -> dict[tuple[int, int], Sample]:
    return {(sample["template"], sample["row"]): sample for sample in samples}


def _templates(
    metric: MetricName, one: Mapping[tuple[int, int], Sample], other: Mapping[tuple[int, int], Sample]
) -> tuple[list[_Template], int]:
    places: dict[tuple[str, ...] | int, int] = {}
    rows: dict[int, list[int]] = defaultdict(list)
    for template, row in sorted(one):
        rows[template].append(row)
    found = []
    for template, numbers in rows.items():
        mine = [one[template, row] for row in numbers]
        theirs = [other[template, row] for row in numbers]
        units = [
            places.setdefault(reply_of(sample).group or row, len(places))
            for sample, row in zip(mine, numbers, strict=True)
        ]
        found.append(_Template(_joint_figure(metric, mine, theirs), np.array(units)))
    return found, len(places)


def _joint_figure(metric: MetricName, mine: list[Sample], theirs: list[Sample]) -> Figure:
    kind = METRICS[metric]
    if isinstance(kind, RowMetric):
        return mean([sample["metrics"][metric] for sample in (*mine, *theirs)])
    replies = [reply_of(sample) for sample in mine]
    # A question that both models answer is two questions here: each has its own rows.
    replies += [
        reply._replace(group=("second", *reply.group)) if reply.group else reply
        for reply in map(reply_of, theirs)
    ]
    return kind.over(replies)
