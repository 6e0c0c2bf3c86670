"""`similar_items`, the films most like each film, and the view of the published run's."""

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Id, Real, Small
from batch.store.views import similar_query

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the table, empty: runs there are have no such lists; and the view."""
    op.create_table(
        "similar_items",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("movie_id", Id, nullable=False),
        sa.Column("rank", Small, nullable=False),
        sa.Column("other_id", Id, nullable=False),
        sa.Column("score", Real, nullable=False),
        sa.Column("support", Id, nullable=False),
        sa.CheckConstraint("rank >= 1", name=op.f("ck_similar_items_rank")),
        sa.CheckConstraint("score BETWEEN 0 AND 1", name=op.f("ck_similar_items_score")),
        sa.CheckConstraint("support >= 1", name=op.f("ck_similar_items_support")),
        sa.PrimaryKeyConstraint("run_id", "movie_id", "rank", name="pk_similar_items"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    query = similar_query(op.get_bind().dialect)
    op.execute(f"CREATE VIEW current_similar AS {query}")


def downgrade() -> None:
    """Drop the view and the table."""
    op.execute("DROP VIEW current_similar")
    op.drop_table("similar_items")
