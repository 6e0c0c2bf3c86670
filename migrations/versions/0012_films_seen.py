"""`seen`, films watched but not rated, and lists in the view without them."""

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Id

revision = "0012"
down_revision = "0011"

IS_OUT_BEFORE = """
    EXISTS (
        SELECT g.movie_id FROM ratings g WHERE g.user_id = r.user_id AND g.movie_id = r.movie_id)
    OR EXISTS (
        SELECT f.filter_id FROM item_filters f
        WHERE f.movie_id = r.movie_id AND (f.user_id IS NULL OR f.user_id = r.user_id)
          AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now}))"""

IS_SEEN = """
    EXISTS (
        SELECT s.movie_id FROM seen s WHERE s.user_id = r.user_id AND s.movie_id = r.movie_id)"""

ON_SQLITE = """
    SELECT u.user_key, u.name AS user_name, k.model, shown.key + 1 AS rank, m.movie_key, m.title,
           l.score, l.predicted_rating, l.reason, l.run_id, p.published_at
    FROM publication p JOIN runs t ON t.run_id = p.run_id
    CROSS JOIN users u
    CROSS JOIN recommendations k ON k.run_id = t.run_id AND k.user_id = u.user_id AND k.rank = 1
    CROSS JOIN json_each((
        SELECT '[' || group_concat(rank) || ']' FROM (
            SELECT r.rank FROM recommendations r
            WHERE r.run_id = t.run_id AND r.user_id = u.user_id AND r.model = k.model
              AND NOT ({is_out})
            ORDER BY r.rank LIMIT (
                SELECT t.top_n FROM publication p JOIN runs t ON t.run_id = p.run_id)))) shown
    CROSS JOIN recommendations l ON l.run_id = t.run_id AND l.user_id = u.user_id
        AND l.model = k.model AND l.rank = shown.value
    CROSS JOIN movies m ON m.movie_id = l.movie_id"""

ON_POSTGRES = """
    SELECT u.user_key, u.name AS user_name, l.model, CAST(l.place AS SMALLINT) AS rank,
           m.movie_key, m.title, l.score, l.predicted_rating, l.reason, l.run_id, p.published_at
    FROM publication p JOIN runs t ON t.run_id = p.run_id
    CROSS JOIN users u
    CROSS JOIN LATERAL (
        SELECT r.*, row_number() OVER (PARTITION BY r.model ORDER BY r.rank) AS place
        FROM recommendations r
        WHERE r.run_id = t.run_id AND r.user_id = u.user_id AND NOT ({is_out})) l
    JOIN movies m ON m.movie_id = l.movie_id
    WHERE l.place <= t.top_n"""


def upgrade() -> None:
    """Create the tables, empty, and replace the view of lists."""
    op.create_table(
        "seen",
        sa.Column("user_id", Id, autoincrement=False, nullable=False),
        sa.Column("movie_id", Id, autoincrement=False, nullable=False),
        sa.Column("seen_at", Id, nullable=True),
        sa.Column("batch_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "movie_id", name="pk_seen"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "superseded_seen",
        sa.Column("batch_id", Id, autoincrement=False, nullable=False),
        sa.Column("user_id", Id, autoincrement=False, nullable=False),
        sa.Column("movie_id", Id, autoincrement=False, nullable=False),
        sa.Column("seen_at", Id, nullable=False),
        sa.Column("previous_batch_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "user_id", "movie_id", name="pk_superseded_seen"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    replace_view(f"{IS_SEEN} OR {IS_OUT_BEFORE}")


def downgrade() -> None:
    """Put back the view of lists, drop the tables, and make their batches refused ones.

    None of their rows are merged any more, which is what `refused` means: where this version is
    entered again, their files are merged again.
    """
    replace_view(IS_OUT_BEFORE)
    op.drop_table("superseded_seen")
    op.drop_table("seen")
    op.execute(
        "UPDATE ingest_batches SET status = 'refused', error = 'films seen, without a table'"
        " WHERE status = 'merged' AND format IN ('seen films', 'seen films of a query')"
    )


def replace_view(is_out: str) -> None:
    """Define the view anew: on Postgres replaced, not dropped, so that grants on it stay."""
    if op.get_bind().dialect.name == "postgresql":
        query = ON_POSTGRES.format(is_out=is_out.format(now="CURRENT_TIMESTAMP"))
        op.execute(f"CREATE OR REPLACE VIEW current_recommendations AS {query}")
    else:
        now = "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')"
        query = ON_SQLITE.format(is_out=is_out.format(now=now))
        op.execute("DROP VIEW IF EXISTS current_recommendations")
        op.execute(f"CREATE VIEW current_recommendations AS {query}")
