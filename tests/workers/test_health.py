"""A container's health check: does the worker of this node still report?"""

from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from workers.health import check
from workers.ledger import nodes


def test_a_worker_is_healthy_while_it_reports(sessions: sessionmaker[Session]) -> None:
    """A node that has reported is healthy; one that fell silent, or never spoke, is not."""
    with sessions.begin() as session:
        nodes.report(session, "here", cpu_slots=4, gpus=[])
    assert check(sessions, "here") is None
    assert "'there'" in str(check(sessions, "there"))

    with sessions.begin() as session:
        session.execute(text("UPDATE nodes SET seen_at = now() - interval '2 minutes'"))

    assert "'here'" in str(check(sessions, "here"))
