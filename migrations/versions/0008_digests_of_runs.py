"""A table with a digest of the rows of each run and model."""

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Id

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table, empty: rows of the runs there are may have been changed already."""
    op.create_table(
        "run_digests",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("n_rows", Id, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "model", name="pk_run_digests"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_run_digests_run_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the table; no view reads it."""
    op.drop_table("run_digests")
