"""One figure of a job over its steps, thinned: as many points as a chart has pixels, whatever the run's length."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import LargeBinary, func, literal, select
from sqlalchemy.orm import Session

from workers.ledger.tables import Metric

Keep = Literal["extremes", "mean"]
_PER_STRETCH: dict[Keep, int] = {"extremes": 3, "mean": 1}
_POINT = np.dtype([("step", ">i8"), ("value", ">f8")])
"""A point as PostgreSQL sends one."""


class Point(NamedTuple):
    """One figure of one step, or of a stretch of steps."""

    step: int
    name: str
    value: float


def thinned(session: Session, job_id: str, name: str, *, most: int, keep: Keep) -> list[Point]:
    """The figure `name` of a job, by step: all of it where that is at most `most` points.

    Else its steps are cut into stretches of equal length. `extremes` keeps of each the lowest point, the highest and
    the first that is not finite, as they are: no peak is lost. `mean` gives the mean of what is finite in a stretch, at
    its last step; where nothing is, not a number.
    """
    steps, values = _curve(session, job_id, name)
    if len(steps) > most:
        thin = _extremes if keep == "extremes" else _means
        steps, values = thin(steps, values, most // _PER_STRETCH[keep])
    return [Point(step, name, value) for step, value in zip(steps.tolist(), values.tolist(), strict=True)]


_Steps = npt.NDArray[np.int64]
_Values = npt.NDArray[np.float64]


def _curve(session: Session, job_id: str, name: str) -> tuple[_Steps, _Values]:
    """The whole figure, by step. In one piece: a row for each of 30,000 points takes fifteen times as long."""
    point = func.int8send(Metric.step, type_=LargeBinary).concat(func.float8send(Metric.value))
    whole = select(func.string_agg(point, literal(b""), type_=LargeBinary))
    packed: bytes | None = session.scalar(whole.where(Metric.job_id == job_id, Metric.name == name))
    points = np.frombuffer(packed or b"", _POINT)
    order = np.argsort(points["step"])
    return points["step"].astype(np.int64)[order], points["value"].astype(np.float64)[order]


def _stretches(steps: _Steps, most: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Where each stretch that has points begins, and in which of these each point is; at most `most` of them."""
    length = steps[-1] - steps[0] + 1
    number = (steps - steps[0]) * max(1, most) // length
    is_first = np.diff(number, prepend=-1) > 0
    return np.flatnonzero(is_first), np.cumsum(is_first) - 1


def _extremes(steps: _Steps, values: _Values, most: int) -> tuple[_Steps, _Values]:
    starts, stretch = _stretches(steps, most)
    is_finite = np.isfinite(values)
    lowest = np.minimum.reduceat(np.where(is_finite, values, math.inf), starts)[stretch]
    highest = np.maximum.reduceat(np.where(is_finite, values, -math.inf), starts)[stretch]
    kept = [_first_of_each(stretch, found) for found in (values == lowest, values == highest, ~is_finite)]
    places = np.unique(np.concatenate(kept))
    return steps[places], np.where(is_finite, values, math.nan)[places]


def _first_of_each(stretch: npt.NDArray[Any], is_wanted: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Of each stretch that has one, the place of the first point that is wanted."""
    places = np.flatnonzero(is_wanted)
    return places[np.unique(stretch[places], return_index=True)[1]]


def _means(steps: _Steps, values: _Values, most: int) -> tuple[_Steps, _Values]:
    starts, _ = _stretches(steps, most)
    is_finite = np.isfinite(values)
    total = np.add.reduceat(np.where(is_finite, values, 0.0), starts)
    count = np.add.reduceat(is_finite.astype(np.int64), starts)
    mean = np.divide(total, count, out=np.full(len(starts), math.nan), where=count > 0)
    return steps[np.append(starts[1:], len(steps)) - 1], mean
