"""When a job was last heard of, which model it is about, and how full a node's disk is."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("heard_at", sa.DateTime(timezone=True)))
    pinned = sa.Computed("spec #>> '{pins,model}'", persisted=True)
    op.add_column("jobs", sa.Column("model_digest", sa.Text(), pinned))
    op.create_index("ix_jobs_model", "jobs", ["model_digest", "id"])
    op.add_column("nodes", sa.Column("disk_bytes", sa.BigInteger()))
    op.add_column("nodes", sa.Column("disk_free_bytes", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("nodes", "disk_free_bytes")
    op.drop_column("nodes", "disk_bytes")
    op.drop_index("ix_jobs_model", "jobs")
    op.drop_column("jobs", "model_digest")
    op.drop_column("jobs", "heard_at")
