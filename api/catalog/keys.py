"""API keys: made, looked up, revoked."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from api.catalog.tables import ApiKey
from flan.errors import NotFound

_USE_NOTED_EVERY = timedelta(minutes=1)


def add(
    session: Session,
    *,
    key_id: str,
    secret_sha256: str,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
) -> ApiKey:
    """Enter a key."""
    key = ApiKey(
        id=key_id, name=name, secret_sha256=secret_sha256, scopes=sorted(set(scopes)), expires_at=expires_at
    )
    session.add(key)
    session.flush()
    return key


def usable(session: Session, key_id: str) -> ApiKey | None:
    """The key, if it is there and neither revoked nor expired; notes that it was used."""
    now = func.now()
    valid = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now)
    is_noted = ApiKey.used_at > now - _USE_NOTED_EVERY
    wanted = select(ApiKey, is_noted).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None), valid)
    found = session.execute(wanted).one_or_none()
    if found is None:
        return None
    key, was_noted = found
    if not was_noted:
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(used_at=now))
    return key


def page(session: Session, after: str | None, limit: int) -> Sequence[ApiKey]:
    """Keys by id, revoked ones too; one more than `limit` where there are more."""
    wanted = select(ApiKey).order_by(ApiKey.id).limit(limit + 1)
    return session.scalars(wanted.where(ApiKey.id > after) if after else wanted).all()


def revoke(session: Session, key_id: str) -> ApiKey:
    """The key, revoked from now on. Raises NotFound."""
    key = session.get(ApiKey, key_id, with_for_update=True)
    if key is None:
        raise NotFound(f"no key {key_id!r}")
    key.revoked_at = key.revoked_at or session.scalar(select(func.now()))
    session.flush()
    return key
