"""`seen`, films watched but not rated, and lists in the view without them."""

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Id
from batch.store.views import list_views

revision = "0012"
down_revision = "0011"

IS_OUT_BEFORE = """
    EXISTS (
        SELECT g.movie_id FROM ratings g WHERE g.user_id = r.user_id AND g.movie_id = r.movie_id)
    OR EXISTS (
        SELECT f.filter_id FROM item_filters f
        WHERE f.movie_id = r.movie_id AND (f.user_id IS NULL OR f.user_id = r.user_id)
          AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now}))"""

ON_SQLITE_BEFORE = """
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

ON_POSTGRES_BEFORE = """
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
    """Create the tables, empty, and replace the views of lists."""
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
    replace_views(list_views(op.get_bind().dialect))


def downgrade() -> None:
    """Put back the view of lists, drop the tables, and make their batches refused ones.

    None of their rows are merged any more, which is what `refused` means: where this version is
    entered again, their files are merged again.
    """
    now = "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')"
    query = ON_SQLITE_BEFORE
    if op.get_bind().dialect.name == "postgresql":
        now = "CURRENT_TIMESTAMP"
        query = ON_POSTGRES_BEFORE
    is_out = IS_OUT_BEFORE.format(now=now)
    replace_views({"current_recommendations": query.format(is_out=is_out)})
    op.drop_table("superseded_seen")
    op.drop_table("seen")
    op.execute(
        "UPDATE ingest_batches SET status = 'refused', error = 'films seen, without a table'"
        " WHERE status = 'merged' AND format IN ('seen films', 'seen films of a query')"
    )


def replace_views(queries: dict[str, str]) -> None:
    """Define these views anew: on Postgres replaced, not dropped, so that grants on them stay."""
    for name, query in queries.items():
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        else:
            op.execute(f"DROP VIEW IF EXISTS {name}")
            op.execute(f"CREATE VIEW {name} AS {query}")
