"""A column for what a run warned of: sources without data, a stretched scale, nobody judged."""

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import JsonValue

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column, NULL in the rows there are: what those runs warned of was not recorded."""
    op.add_column("runs", sa.Column("warnings", JsonValue()))


def downgrade() -> None:
    """Drop the column; no view reads it."""
    op.drop_column("runs", "warnings")
