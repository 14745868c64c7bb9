"""A figure thinned for a chart keeps its shape: no peak is lost, and what is not finite is seen."""

import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert
from sqlalchemy.orm import Session, sessionmaker

from tests.workers.ledger_steps import queued
from workers.ledger.curves import thinned
from workers.ledger.tables import Metric

values = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf]))
curves = st.dictionaries(st.integers(0, 2**31 - 1), values, min_size=1, max_size=40)


def put(session: Session, job_id: str, curve: dict[int, float]) -> None:
    """These points and no others, beside a figure of another name."""
    session.execute(delete(Metric))
    rows = [{"job_id": job_id, "attempt": 1, "step": step} for step in curve]
    named = {"loss": curve, "other": dict.fromkeys(curve, 1e9)}
    for name, points in named.items():
        session.execute(insert(Metric), [row | {"name": name, "value": points[row["step"]]} for row in rows])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(curve=curves, most=st.integers(3, 30))
def test_thinning_loses_no_peak_and_no_break(
    sessions: sessionmaker[Session], curve: dict[int, float], most: int
) -> None:
    """Few points, in order; each was there; lowest and highest stay, and so does that something was not finite."""
    job_id = queued(sessions)
    with sessions.begin() as session:
        put(session, job_id, curve)
        kept = thinned(session, job_id, "loss", most=most, keep="extremes")
        means = thinned(session, job_id, "loss", most=most, keep="mean")

    finite = [value for value in curve.values() if math.isfinite(value)]
    shown = [point.value for point in kept if math.isfinite(point.value)]
    assert max(len(kept), len(means)) <= most
    for points in (kept, means):
        assert [point.step for point in points] == sorted({point.step for point in points})
        assert {point.step for point in points} <= set(curve)
    assert all(curve[point.step] == point.value for point in kept if math.isfinite(point.value))
    assert (min(shown, default=None), max(shown, default=None)) == (
        min(finite, default=None),
        max(finite, default=None),
    )
    assert any(not math.isfinite(point.value) for point in kept) == (len(finite) < len(curve))
    if len(curve) <= most:
        assert [point.step for point in kept] == sorted(curve)


def test_the_mean_of_a_stretch_is_that_of_its_finite_points(sessions: sessionmaker[Session]) -> None:
    """At its last step; nothing finite, no mean."""
    job_id = queued(sessions)
    curve = dict(enumerate([1.0, 3.0, math.nan, 5.0, math.nan, math.inf], start=1))
    with sessions.begin() as session:
        put(session, job_id, curve)
        means = thinned(session, job_id, "loss", most=3, keep="mean")

    assert [point.step for point in means] == [2, 4, 6]
    assert [point.value for point in means[:2]] == [2.0, 5.0]
    assert math.isnan(means[2].value)
