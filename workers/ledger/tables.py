"""The ledger: what was asked, what happened, what came of it.

Every table of the platform is on this `Base`; those of the API are in `api/catalog/tables.py`.
"""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]


class Base(DeclarativeBase):
    """Root of all tables; constraints have names, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        int: BigInteger,
        float: Double,
        bool: Boolean,
        datetime: DateTime(timezone=True),
        Json: JSONB(none_as_null=True),
        list[str]: JSONB,
        list[Json]: JSONB,
    }


_HELD = "(state = 'running' AND kind <> 'sweep')"  # a sweep runs in its jobs, and nobody holds it


class Job(Base):
    """What was asked. `fence` grows at every claim and at every end of a lease, and never shrinks."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    spec: Mapped[Json]
    spec_digest: Mapped[str]
    num_ranks: Mapped[int]
    device: Mapped[str]
    """What the spec asks for: auto | cpu | cuda."""
    max_retries: Mapped[int]

    state: Mapped[str] = mapped_column(server_default="queued")
    wish: Mapped[str] = mapped_column(server_default="run")
    stage: Mapped[str | None]
    not_before: Mapped[datetime] = mapped_column(server_default=func.now())

    fence: Mapped[int] = mapped_column(server_default=text("0"))
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    retries: Mapped[int] = mapped_column(server_default=text("0"))
    """New attempts that faults of the machine have cost."""
    barren: Mapped[int] = mapped_column(server_default=text("0"))
    """Attempts begun since the last progress that survives one: a published checkpoint, a ready server."""
    lease_owner: Mapped[str | None]
    """The process that holds the lease, as `workers.processes.identity` names it."""
    lease_node: Mapped[str | None]
    lease_ends: Mapped[datetime | None]
    heard_at: Mapped[datetime | None]
    """When the holder of its lease last said that it is alive."""
    gpus: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    """UUIDs of the GPUs the lease holds; none while running = it holds `num_ranks` CPU slots."""

    event_seq: Mapped[int] = mapped_column(server_default=text("0"))
    progress: Mapped[Json | None]
    checkpoint_step: Mapped[int | None]
    """Step of the newest published checkpoint."""
    url: Mapped[str | None]
    """Where the model of a serve job answers, while it does."""
    error: Mapped[Json | None]
    """Why it failed, or why it is tried again: workers.ledger.leases.Failure."""
    results: Mapped[Json | None]
    models: Mapped[list[Json]] = mapped_column(server_default=text("'[]'::jsonb"))
    """The models it made: name, version, role (tuned or base), digest."""

    model_digest: Mapped[str | None] = mapped_column(Computed("spec #>> '{pins,model}'", persisted=True))
    """Of the model that it starts from, measures or serves, as its pins say; None: a preset, or not settled yet."""
    content_digest: Mapped[str | None]
    """Of what a tune or evaluate job does, whatever it is called: flan.sweeps.content_digest."""
    sweep_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    """The sweep that handed it in."""
    max_parallel: Mapped[int | None]
    """Of a sweep: at most this many of the jobs it handed in run at a time."""
    needs_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    """The job whose model it starts from, where that was not there when it was accepted."""
    needs_role: Mapped[str | None]
    """Which of that job's models: tuned | base."""
    is_ready: Mapped[bool] = mapped_column(server_default=text("true"))
    """Whether the model it needs is there and pinned; nobody may claim it before."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(
            "state IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')", name="state"
        ),
        CheckConstraint("wish IN ('run', 'pause', 'cancel')", name="wish"),
        CheckConstraint(f"{_HELD} = (lease_owner IS NOT NULL)", name="lease_owner"),
        CheckConstraint(f"{_HELD} = (lease_ends IS NOT NULL)", name="lease_ends"),
        CheckConstraint(f"{_HELD} = (lease_node IS NOT NULL)", name="lease_node"),
        CheckConstraint(
            "(state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name="finished"
        ),
        Index("ix_jobs_queued", "id", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_leased", "lease_ends", postgresql_where=text("state = 'running'")),
        Index("ix_jobs_state", "state", "id"),
        Index("ix_jobs_kind", "kind", "id"),
        Index("ix_jobs_name", "name", "id"),
        Index("ix_jobs_sweep_id", "sweep_id", "state", postgresql_where=text("sweep_id IS NOT NULL")),
        Index("ix_jobs_content_digest", "content_digest"),
        Index("ix_jobs_model", "model_digest", "id"),
    )


class SweepChild(Base):
    """A job that a sweep consists of: one that it handed in, or one that did the same already."""

    __tablename__ = "sweep_children"

    sweep_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """Behind that of the child it needs."""
    name: Mapped[str]
    job: Mapped[str]
    """Which of the sweep's jobs it is."""
    labels: Mapped[Json]
    """Axis → setting, for the axes that shape it."""
    cells: Mapped[list[Json]]
    """The cells it stands in: [{"at": place among all cells, "labels": {axis: setting}, "job": ...}]."""
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    told: Mapped[str] = mapped_column(server_default="queued")
    """The state that the sweep's journal has told last."""

    __table_args__ = (UniqueConstraint("sweep_id", "name"), Index("ix_sweep_children_job_id", "job_id"))


class Attempt(Base):
    """One try at a job."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    fence: Mapped[int]
    node: Mapped[str]
    gpus: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    run_directory: Mapped[str | None]
    resumed_from: Mapped[int | None]
    """Step of the checkpoint it started from; None = from the start."""
    lines_read: Mapped[int] = mapped_column(server_default=text("0"))
    """Lines of its events.jsonl that are in the journal."""
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    ending: Mapped[str | None]
    """succeeded | cancelled | paused | preempted | failed | fault | lost."""
    error: Mapped[Json | None]


class Event(Base):
    """One thing that happened, appended and never changed. `seq` counts from 1 in each job, without gaps."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    type: Mapped[str]
    data: Mapped[Json]
    attempt: Mapped[int | None]
    line: Mapped[int | None]
    """For what a rank wrote: the line of its attempt's events.jsonl."""

    __table_args__ = (
        UniqueConstraint("job_id", "attempt", "line"),
        Index("ix_events_models", "job_id", "seq", postgresql_where=text("type = 'model.written'")),
    )


class Metric(Base):
    """One figure of one step. A step that is done again overwrites it."""

    __tablename__ = "metrics"
    __table_args__ = (Index("ix_metrics_curve", "job_id", "name", "step", postgresql_include=["value"]),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]
    attempt: Mapped[int]


class Checkpoint(Base):
    """A resumable state on disk. It counts once it is `published`: read again and verified, under a fence."""

    __tablename__ = "checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int]
    attempt: Mapped[int]
    manifest_sha256: Mapped[str]
    size_bytes: Mapped[int]
    state: Mapped[str] = mapped_column(server_default="written")
    written_at: Mapped[datetime] = mapped_column(server_default=func.now())
    published_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("state IN ('written', 'published', 'corrupt', 'deleted')", name="state"),
        Index("ix_checkpoints_step", "job_id", "step"),
    )


class ModelVersion(Base):
    """Servable weights under a name. The same bytes under the same name are the same version."""

    __tablename__ = "model_versions"

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str]
    """The directory in the artifact store."""
    card: Mapped[Json]
    """flan.json: how text becomes token ids, and what the weights have seen."""
    role: Mapped[str]
    """tuned | base."""
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        UniqueConstraint("name", "digest"),
        Index("ix_model_versions_digest", "digest"),
        Index("ix_model_versions_job_id", "job_id"),
    )


class ModelAlias(Base):
    """A movable name of one version of a model."""

    __tablename__ = "model_aliases"

    model_name: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    __table_args__ = (
        ForeignKeyConstraint(
            ["model_name", "version"],
            ["model_versions.name", "model_versions.version"],
            name="fk_alias_version",
        ),
    )


class Node(Base):
    """A machine that runs ranks, and what it offers."""

    __tablename__ = "nodes"

    name: Mapped[str] = mapped_column(primary_key=True)
    cpu_slots: Mapped[int]
    gpus: Mapped[list[Json]]
    """[{"uuid", "name", "memory_bytes"}]; empty = ranks run on the CPU."""
    disk_bytes: Mapped[int | None]
    """Of the file system of its FLAN_HOME; None = it has not said."""
    disk_free_bytes: Mapped[int | None]
    """Of these, what is free."""
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
