"""Figures for operators, in Prometheus' text format. No label holds anything a user chose."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.types import Scope

from workers.ledger import states, tables

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter(
            "flan_http_requests_total", "Requests answered", labels, registry=self._registry
        )
        self._seconds = Histogram(
            "flan_http_request_seconds", "Time to answer", ("method", "route"), registry=self._registry
        )
        self._jobs = Gauge("flan_open_jobs", "Jobs that have not ended", ("state",), registry=self._registry)

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one answered request. Paths that no route has are one label: they are the client's text."""
        route = getattr(scope.get("route"), "path", "(none)")
        method = scope["method"] if scope["method"] in _METHODS else "(other)"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self, session: Session) -> bytes:
        """The exposition."""
        for state, count in _open_jobs(session).items():
            self._jobs.labels(state).set(count)
        return generate_latest(self._registry)


def _open_jobs(session: Session) -> dict[str, int]:
    """State → jobs in it, for states that are not an end: what has ended is never counted again."""
    counts: dict[str, int] = {state: 0 for state in states.STATES if state not in states.ENDED}
    wanted = select(tables.Job.state, func.count()).where(tables.Job.state.in_(counts))
    for state, count in session.execute(wanted.group_by(tables.Job.state)):
        counts[state] = count
    return counts


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
