"""`ratings` without foreign keys, whose checks take most of the time of a large ingest.

On Postgres they are three look-ups a row.
"""

import sqlalchemy as sa
from alembic import op

from batch.store.schema import Id, Real

revision = "0002"
down_revision = "0001"

COLUMNS = "user_id, movie_id, rating, rated_at, batch_id"


def upgrade() -> None:
    """Drop the keys; on SQLite, which cannot, copy the rows into a table without them."""
    if op.get_bind().dialect.name == "postgresql":
        for column in ("batch_id", "movie_id", "user_id"):
            op.drop_constraint(f"fk_ratings_{column}", "ratings", type_="foreignkey")
        return
    op.rename_table("ratings", "ratings_0001")
    op.create_table(
        "ratings",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("movie_id", Id, nullable=False),
        sa.Column("rating", Real, nullable=False),
        sa.Column("rated_at", Id, nullable=True),
        sa.Column("batch_id", Id, nullable=False),
        sa.CheckConstraint("rating BETWEEN -1e6 AND 1e6", name=op.f("ck_ratings_rating")),
        sa.PrimaryKeyConstraint("user_id", "movie_id", name="pk_ratings"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    rows = f"SELECT {COLUMNS} FROM ratings_0001 ORDER BY user_id, movie_id"  # noqa: S608
    op.execute(f"INSERT INTO ratings ({COLUMNS}) {rows}")
    op.drop_table("ratings_0001")
