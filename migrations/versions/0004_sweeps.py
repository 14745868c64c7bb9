"""Sweeps: jobs that hand in others, and jobs that wait for the model of another."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

EDGES = (
    "queued>running", "queued>paused", "queued>cancelled", "running>queued", "running>paused",
    "running>succeeded", "running>failed", "running>cancelled", "paused>queued", "paused>cancelled",
    "failed>queued",
)  # fmt: skip
NEW_EDGE = "queued>failed"
LEASE = ("lease_owner", "lease_ends", "lease_node")
COLUMNS = ("content_digest", "sweep_id", "max_parallel", "needs_id", "needs_role", "is_ready")


def guard(edges: tuple[str, ...]) -> str:
    """The trigger function that lets a job's state go along `edges` alone."""
    return f"""
CREATE OR REPLACE FUNCTION guard_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.fence < OLD.fence THEN
    RAISE EXCEPTION 'the fence of job % went back', OLD.id USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.state <> OLD.state AND NOT OLD.state || '>' || NEW.state IN
      ({", ".join(f"'{edge}'" for edge in edges)}) THEN
    RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$;
"""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("content_digest", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("sweep_id", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("max_parallel", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("needs_id", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("needs_role", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("is_ready", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    for column in ("sweep_id", "needs_id"):
        op.create_foreign_key(op.f(f"fk_jobs_{column}"), "jobs", "jobs", [column], ["id"])
    op.create_index(
        "ix_jobs_sweep_id",
        "jobs",
        ["sweep_id", "state"],
        postgresql_where=sa.text("sweep_id IS NOT NULL"),
    )
    op.create_index("ix_jobs_content_digest", "jobs", ["content_digest"])
    _hold("(state = 'running' AND kind <> 'sweep')")
    op.execute(guard((*EDGES, NEW_EDGE)))
    op.create_table(
        "sweep_children",
        sa.Column("sweep_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("labels", postgresql.JSONB(), nullable=False),
        sa.Column("cells", postgresql.JSONB(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("told", sa.Text(), server_default="queued", nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["jobs.id"], name=op.f("fk_sweep_children_sweep_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_sweep_children_job_id")),
        sa.PrimaryKeyConstraint("sweep_id", "position", name=op.f("pk_sweep_children")),
        sa.UniqueConstraint("sweep_id", "name", name=op.f("uq_sweep_children_sweep_id_name")),
    )
    op.create_index("ix_sweep_children_job_id", "sweep_children", ["job_id"])


def downgrade() -> None:
    """What only this version knows ends first: sweeps, and jobs that still wait for a model."""
    op.drop_table("sweep_children")
    # The old code knows no sweep: those that run end, and jobs without their model may not be claimed.
    op.execute(
        "UPDATE jobs SET state = 'cancelled', wish = 'cancel', finished_at = now(), fence = fence + 1"
        " WHERE (kind = 'sweep' OR NOT is_ready) AND state IN ('queued', 'running', 'paused')"
    )
    op.execute(guard(EDGES))
    _hold("(state = 'running')")
    for column in COLUMNS:
        op.drop_column("jobs", column)


def _hold(is_held: str) -> None:
    for column in LEASE:
        name = f"ck_jobs_{column}"
        op.drop_constraint(op.f(name), "jobs", type_="check")
        op.create_check_constraint(op.f(name), "jobs", f"{is_held} = ({column} IS NOT NULL)")
