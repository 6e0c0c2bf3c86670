"""Columns for what a run chose: the cut it is judged by, a half-life and a number of ratings."""

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Id, Real

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns, NULL in the rows there are: those runs chose nothing."""
    op.add_column("runs", sa.Column("headline", sa.Text()))
    op.add_column("runs", sa.Column("half_life", Real))
    op.add_column("runs", sa.Column("least_ratings", Id))


def downgrade() -> None:
    """Drop the columns; no view reads them."""
    for name in ("least_ratings", "half_life", "headline"):
        op.drop_column("runs", name)
