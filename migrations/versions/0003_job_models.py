"""A job names the models it made, also those that were there already under the same name and bytes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FILL = """
UPDATE jobs SET models = event.data->'models' FROM events AS event
WHERE event.job_id = jobs.id AND event.type = 'job.succeeded' AND event.data ? 'models'
"""


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column("models", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
    )
    op.execute(FILL)


def downgrade() -> None:
    op.drop_column("jobs", "models")
