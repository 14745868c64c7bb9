"""Answers of POSTs by idempotency key, kept for a day."""

from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.catalog.tables import IdempotencyRow

KEPT_FOR = timedelta(hours=24)
_WAIT = "5s"  # longest wait for the same request that came a moment earlier


def claim(session: Session, key_id: str, key: str, fingerprint: str) -> IdempotencyRow | None:
    """Enter the request: None when it is new, else the earlier one.

    Waits while another transaction holds the same key. Raises sqlalchemy's OperationalError after 5 s.
    """
    session.execute(
        delete(IdempotencyRow).where(
            IdempotencyRow.key_id == key_id,
            IdempotencyRow.key == key,
            IdempotencyRow.created_at < func.now() - KEPT_FOR,
        )
    )
    session.execute(text(f"SET LOCAL lock_timeout = '{_WAIT}'"))
    entered = session.execute(
        insert(IdempotencyRow)
        .values(key_id=key_id, key=key, fingerprint=fingerprint)
        .on_conflict_do_nothing()
        .returning(IdempotencyRow.key)
    ).scalar()
    session.execute(text("SET LOCAL lock_timeout = DEFAULT"))
    if entered is not None:
        return None
    return session.scalars(
        select(IdempotencyRow).where(IdempotencyRow.key_id == key_id, IdempotencyRow.key == key)
    ).one()


def keep(
    session: Session, key_id: str, key: str, status: int, body: dict[str, Any], headers: dict[str, str]
) -> None:
    """Keep the answer of a request entered in this transaction."""
    session.execute(
        update(IdempotencyRow)
        .where(IdempotencyRow.key_id == key_id, IdempotencyRow.key == key)
        .values(status=status, body=body, headers=headers)
    )


def forget_old(session: Session) -> None:
    """Delete what is older than a day."""
    session.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < func.now() - KEPT_FOR))
