"""`run_outcomes`, what became of the lists of each run, and the view of them by run."""

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Id, Real
from batch.store.views import outcomes_query

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the table, empty: the next night fills it for the runs there are; and the view."""
    op.create_table(
        "run_outcomes",
        sa.Column("run_id", Id, sa.ForeignKey("runs.run_id", name="fk_run_outcomes_run_id")),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("value", Real, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "model", "metric", name="pk_run_outcomes"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.execute(f"CREATE VIEW run_outcomes_by_run AS {outcomes_query()}")


def downgrade() -> None:
    """Drop the view and the table."""
    op.execute("DROP VIEW run_outcomes_by_run")
    op.drop_table("run_outcomes")
