"""A column for the moment when a run was due: a schedule may have several in a day."""

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Moment

revision = "0007"
down_revision = "0006"

NIGHTLY = sa.text("status = 'published' AND triggered_by <> 'manual'")


def upgrade() -> None:
    """Add the column, NULL in the rows there are; one published run a due moment, not a date."""
    op.add_column("runs", sa.Column("due_at", Moment()))
    op.drop_index("uq_runs_one_a_night", "runs")
    op.create_index(
        "uq_runs_one_a_due_moment",
        "runs",
        ["due_at"],
        unique=True,
        sqlite_where=NIGHTLY,
        postgresql_where=NIGHTLY,
    )


def downgrade() -> None:
    """Drop the column; fails where several runs of one date were published by the schedule."""
    op.drop_index("uq_runs_one_a_due_moment", "runs")
    op.create_index(
        "uq_runs_one_a_night",
        "runs",
        ["logical_date"],
        unique=True,
        sqlite_where=NIGHTLY,
        postgresql_where=NIGHTLY,
    )
    op.drop_column("runs", "due_at")
