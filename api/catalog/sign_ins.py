"""Sign-ins: begun with a key, looked up, ended."""

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from api.catalog.tables import SignIn


def add(session: Session, *, token_sha256: str, key_id: str, lasts: timedelta) -> SignIn:
    """Enter a sign-in, and forget those that are over."""
    now = session.scalar(select(func.now()))
    assert now is not None
    session.execute(delete(SignIn).where(SignIn.expires_at <= now))
    begun = SignIn(token_sha256=token_sha256, key_id=key_id, expires_at=now + lasts)
    session.add(begun)
    session.flush()
    return begun


def find(session: Session, token_sha256: str) -> SignIn | None:
    """The sign-in, unless it is over."""
    wanted = select(SignIn).where(SignIn.token_sha256 == token_sha256, SignIn.expires_at > func.now())
    return session.scalar(wanted)


def end(session: Session, token_sha256: str) -> None:
    """Forget a sign-in; one that is not there is already forgotten."""
    session.execute(delete(SignIn).where(SignIn.token_sha256 == token_sha256))
