"""`python -m workers.health`: exit status 0 when this node's worker has told the ledger lately that it is here."""

import sys

from sqlalchemy.orm import Session, sessionmaker

from workers.ledger.nodes import all_nodes
from workers.ledger.session import open_ledger
from workers.settings import Settings


def check(sessions: sessionmaker[Session], node: str) -> str | None:
    """What is wrong with the worker of `node`; None when it reports."""
    with sessions.begin() as session:
        here = [each.name for each in all_nodes(session) if each.is_here]
    return None if node in here else f"no worker of {node!r} has reported within a minute; here: {here}"


if __name__ == "__main__":
    settings = Settings()
    sys.exit(check(open_ledger(settings.require_database()), settings.node))
