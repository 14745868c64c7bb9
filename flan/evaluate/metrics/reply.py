"""What a metric sees of an answer, and the two kinds of metric there are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
"""How often each reply counts: 1 for the figure itself, what was drawn for a bootstrap resample."""
Figure = Callable[[Weights], float]
"""The figure of some replies as a function of their weights; NaN where all weights are 0."""


class Reply(NamedTuple):
    """What a model said to one question, and what would have been right."""

    text: str
    """The text written, or the option chosen."""
    references: tuple[str, ...]
    """Texts that are right."""
    choices: tuple[str, ...] = ()
    """Of a classification, in label order."""
    choice: str | None = None
    """The one that was made; None for a text that is none of them."""
    answer: str = ""
    """The right one."""
    value: float | None = None
    """The right answer as a number, where the row has one that is finer than the choices."""
    group: tuple[str, ...] = ()
    """Replies of equal groups belong to one question."""


def any_text(_: Reply) -> bool:
    """Every reply can be read: the metric compares texts."""
    return True


def ours(_: Sequence[Reply]) -> str:
    """No package computes it."""
    return ""


@dataclass(frozen=True, kw_only=True)
class RowMetric:
    """Worth of each reply by itself; the figure is the mean."""

    worth: Callable[[Reply], float]
    version: int = 1
    """Raised when reading or normalising texts changes."""
    range: tuple[float, float] = (0.0, 1.0)
    better: Literal["higher", "lower"] = "higher"
    is_read: Callable[[Reply], bool] = any_text
    """False for a reply that the metric cannot make out: it counts as wrong, and is counted."""
    tool: Callable[[Sequence[Reply]], str] = ours
    """Package and settings that compute it."""


@dataclass(frozen=True, kw_only=True)
class CorpusMetric:
    """A figure of all replies together, not the mean of anything a single one has."""

    over: Callable[[Sequence[Reply]], Figure]
    version: int = 1
    range: tuple[float, float] = (0.0, 1.0)
    better: Literal["higher", "lower"] = "higher"
    is_read: Callable[[Reply], bool] = any_text
    tool: Callable[[Sequence[Reply]], str] = ours


def additive(statistics: Sequence[Sequence[float]], figure: Callable[[NDArray[np.float64]], float]) -> Figure:
    """A figure that depends on the sums over replies of their `statistics` alone."""
    table = np.asarray(statistics, np.float64)

    def weighted(weights: Weights) -> float:
        return figure(weights @ table) if weights.any() else float("nan")

    return weighted


def mean(values: Sequence[float]) -> Figure:
    """The mean of one value of each reply."""
    table = np.asarray(values, np.float64)

    def weighted(weights: Weights) -> float:
        total = weights.sum()
        return float(weights @ table / total) if total else float("nan")

    return weighted
