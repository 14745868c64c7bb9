"""One figure of a job over its steps, thinned: as many points as a chart has pixels, whatever the run's length."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Double, cast, func, select
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Session

from workers.ledger.tables import Metric

Keep = Literal["extremes", "mean"]
_PER_STRETCH: dict[Keep, int] = {"extremes": 3, "mean": 1}
_NOT_FINITE = (math.nan, math.inf, -math.inf)


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
    ours = (Metric.job_id == job_id, Metric.name == name)
    count, first, last = session.execute(
        select(func.count(), func.min(Metric.step), func.max(Metric.step)).where(*ours)
    ).one()
    if count <= most:
        found = session.execute(select(Metric.step, Metric.value).where(*ours).order_by(Metric.step))
        return [Point(step, name, value) for step, value in found]
    stretches = max(1, most // _PER_STRETCH[keep])
    stretch = (cast(Metric.step, BigInteger) - first) * stretches // (last - first + 1)
    wanted = select(*_COLUMNS[keep]).where(*ours).group_by(stretch).order_by(func.min(Metric.step))
    return [Point(step, name, value) for row in session.execute(wanted) for step, value in _points(row, keep)]


def _points(row: Sequence[Any], keep: Keep) -> list[tuple[int, float]]:
    """What is kept of one stretch, by step."""
    if keep == "mean":
        last, mean = row
        return [(last, math.nan if mean is None else mean)]
    lowest, highest, broken = row
    kept = {int(step): value for value, step in filter(None, (lowest, highest))}
    if broken is not None:
        kept[broken] = math.nan
    return sorted(kept.items())


_FINITE = Metric.value.not_in(_NOT_FINITE)
# Arrays are compared by their first element, so the value takes its step along.
_PLACED = array([Metric.value, cast(Metric.step, Double)])
_COLUMNS: dict[Keep, tuple[ColumnElement[Any], ...]] = {
    "extremes": (
        func.min(_PLACED).filter(_FINITE),
        func.max(_PLACED).filter(_FINITE),
        func.min(Metric.step).filter(~_FINITE),
    ),
    "mean": (func.max(Metric.step), func.avg(Metric.value).filter(_FINITE)),
}
