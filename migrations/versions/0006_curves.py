"""One figure of a job is read without the others."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_metrics_curve", "metrics", ["job_id", "name", "step"], postgresql_include=["value"])


def downgrade() -> None:
    op.drop_index("ix_metrics_curve", "metrics")
