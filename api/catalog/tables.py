"""Tables of what people handed in. They are on the ledger's `Base`: one database, one history."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from workers.ledger.tables import Base

Json = dict[str, Any]


class ApiKey(Base):
    """Who may call. The secret itself is nowhere."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    secret_sha256: Mapped[str]
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    """To the minute."""


class SignIn(Base):
    """A browser that showed a key. It may do what the key may, for as long as the key may. The token is nowhere."""

    __tablename__ = "sign_ins"

    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    expires_at: Mapped[datetime] = mapped_column(index=True)


class IdempotencyRow(Base):
    """A POST that was answered. Its answer is there as soon as the row can be seen."""

    __tablename__ = "idempotency"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status: Mapped[int | None]
    body: Mapped[Json | None] = mapped_column(JSON)
    """As text: a replay has the order of the first answer, too."""
    headers: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class TemplateSetRow(Base):
    """One version of a template set: a whole task document. Never changed."""

    __tablename__ = "template_sets"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    sha256: Mapped[str]
    document: Mapped[Json]
    key_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (UniqueConstraint("name", "version"),)


class DatasetRow(Base):
    """One version of a dataset: its splits, each a file in the artifact store. Never changed."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    format: Mapped[str]
    splits: Mapped[Json]
    """Split → {"sha256", "num_rows", "size_bytes", "columns"}."""
    key_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (UniqueConstraint("name", "version"),)
