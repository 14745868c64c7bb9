"""What template sets and datasets share: versions under a name, found by `name`, `name@3` or id."""

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, aliased

from api.catalog.tables import DatasetRow, TemplateSetRow
from flan.errors import NotFound, did_you_mean

R = TypeVar("R", TemplateSetRow, DatasetRow)
_SHOWN = 5  # names listed where none is like the one that was given


def next_version(session: Session, table: type[R], name: str) -> int:
    """The number of the version about to be added; others wait until this transaction ends."""
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
    session.execute(lock, {"name": f"{table.__tablename__}/{name}"})
    return (session.scalar(select(func.max(table.version)).where(table.name == name)) or 0) + 1


def newest(session: Session, table: type[R], name: str) -> R | None:
    """The newest version under a name."""
    return session.scalar(select(table).where(table.name == name).order_by(table.version.desc()).limit(1))


def find(session: Session, table: type[R], reference: str, what: str) -> R:
    """The version called `name` (the newest), `name@3` or by its id. Raises NotFound with what there is."""
    name, at, version = reference.partition("@")
    found = None
    if not at:
        found = session.get(table, reference) or newest(session, table, name)
    elif version.isdecimal() and len(version) < 10:
        found = session.scalar(select(table).where(table.name == name, table.version == int(version)))
    if found is None:
        raise NotFound(f"there is no {what} {reference!r}", hint=_instead(session, table, name))
    return found


def names(session: Session, table: type[R]) -> Sequence[str]:
    """Every name that has a version, in order."""
    return session.scalars(select(table.name).distinct().order_by(table.name)).all()


def _instead(session: Session, table: type[R], name: str) -> str | None:
    """The versions of a name, the name that is spelt like it, or some of the names there are."""
    last = newest(session, table, name)
    if last is not None:
        return f"{name} has the versions @1 to @{last.version}"
    known = names(session, table)
    return did_you_mean(name, known) or (f"there are: {', '.join(known[:_SHOWN])}" if known else None)


def newest_page(session: Session, table: type[R], after: str | None, limit: int) -> Sequence[R]:
    """The newest version of each name, newest first; one more than `limit` where there are more."""
    later = aliased(table)
    superseded = select(later.id).where(later.name == table.name, later.version > table.version).exists()
    wanted = select(table).where(~superseded).order_by(table.id.desc()).limit(limit + 1)
    return session.scalars(wanted.where(table.id < after) if after else wanted).all()


def versions_page(session: Session, table: type[R], name: str, after: str | None, limit: int) -> Sequence[R]:
    """All versions of a name, newest first; one more than `limit` where there are more."""
    wanted = select(table).where(table.name == name).order_by(table.id.desc()).limit(limit + 1)
    return session.scalars(wanted.where(table.id < after) if after else wanted).all()
