"""Runs that refresh another run's lists, and which users are shown them."""

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Id, Moment
from batch.store.views import list_views

revision = "0014"
down_revision = "0013"

BEFORE = {
    "sqlite": """
    SELECT u.user_key, u.name AS user_name, k.model, shown.key + 1 AS rank, m.movie_key, m.title,
           l.score, l.predicted_rating, l.reason, l.run_id, p.published_at
    FROM publication p
    JOIN runs t ON t.run_id = p.run_id
    CROSS JOIN users u
    CROSS JOIN recommendations k ON k.run_id = t.run_id AND k.user_id = u.user_id AND k.rank = 1
    CROSS JOIN json_each((
        SELECT '[' || group_concat(rank) || ']' FROM (
            SELECT r.rank FROM recommendations r
            WHERE r.run_id = t.run_id AND r.user_id = u.user_id AND r.model = k.model
              AND NOT (
                EXISTS (
                    SELECT a.movie_id FROM ratings a
                    WHERE a.user_id = r.user_id AND a.movie_id = r.movie_id)
                OR EXISTS (
                    SELECT s.movie_id FROM seen s
                    WHERE s.user_id = r.user_id AND s.movie_id = r.movie_id)
                OR EXISTS (
                    SELECT f.filter_id FROM item_filters f
                    WHERE f.movie_id = r.movie_id AND (f.user_id IS NULL OR f.user_id = r.user_id)
                      AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now})))
            ORDER BY r.rank LIMIT (
                SELECT t.top_n FROM publication p JOIN runs t ON t.run_id = p.run_id)))) shown
    CROSS JOIN recommendations l ON l.run_id = t.run_id AND l.user_id = u.user_id
        AND l.model = k.model AND l.rank = shown.value
    CROSS JOIN movies m ON m.movie_id = l.movie_id""",
    "postgresql": """
    SELECT u.user_key, u.name AS user_name, l.model, CAST(l.place AS SMALLINT) AS rank,
           m.movie_key, m.title, l.score, l.predicted_rating, l.reason, l.run_id, p.published_at
    FROM publication p
    JOIN runs t ON t.run_id = p.run_id
    CROSS JOIN users u
    CROSS JOIN LATERAL (
        SELECT r.*, row_number() OVER (PARTITION BY r.model ORDER BY r.rank) AS place
        FROM recommendations r
        WHERE r.run_id = t.run_id AND r.user_id = u.user_id
          AND NOT (
                EXISTS (
                    SELECT a.movie_id FROM ratings a
                    WHERE a.user_id = r.user_id AND a.movie_id = r.movie_id)
                OR EXISTS (
                    SELECT s.movie_id FROM seen s
                    WHERE s.user_id = r.user_id AND s.movie_id = r.movie_id)
                OR EXISTS (
                    SELECT f.filter_id FROM item_filters f
                    WHERE f.movie_id = r.movie_id AND (f.user_id IS NULL OR f.user_id = r.user_id)
                      AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now})))) l
    JOIN movies m ON m.movie_id = l.movie_id
    WHERE l.place <= t.top_n""",
}
"""The view of version 0012, which shows the run itself."""

KIND = "kind TEXT NOT NULL DEFAULT 'night'"
CHECK = "CONSTRAINT ck_runs_kind CHECK (kind IN ('night', 'refresh'))"


def upgrade() -> None:
    """Add columns and tables: all runs there are, are nights; and the view that reads them."""
    op.execute(f"ALTER TABLE runs ADD COLUMN {KIND} {CHECK}")
    op.add_column("runs", sa.Column("base_run_id", Id))
    op.add_column("publication", sa.Column("refreshed_at", Moment()))
    op.create_table(
        "refreshed_users",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_refreshed_users"),
        sqlite_strict=True,
    )
    op.create_table(
        "undone_users",
        sa.Column("batch_id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "user_id", name="pk_undone_users"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    replace_view(list_views(op.get_bind().dialect)["current_recommendations"])


def downgrade() -> None:
    """Show the run itself again, and delete refreshes."""
    is_postgres = op.get_bind().dialect.name == "postgresql"
    now = "CURRENT_TIMESTAMP" if is_postgres else "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')"
    replace_view(BEFORE[op.get_bind().dialect.name].format(now=now))
    op.drop_table("undone_users")
    op.drop_table("refreshed_users")
    runs = sa.table("runs", sa.column("run_id"), sa.column("kind"))
    refreshes = sa.select(runs.c.run_id).where(runs.c.kind == "refresh")
    for name in ("run_metrics", "run_checks", "run_digests", "recommendations", "runs"):
        table = sa.table(name, sa.column("run_id"))
        op.execute(sa.delete(table).where(table.c.run_id.in_(refreshes)))
    op.drop_column("publication", "refreshed_at")
    op.drop_column("runs", "base_run_id")
    op.drop_column("runs", "kind")


def replace_view(query: str) -> None:
    """Define the view anew: on Postgres replaced, not dropped, so that grants on it stay."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"CREATE OR REPLACE VIEW current_recommendations AS {query}")
    else:
        op.execute("DROP VIEW IF EXISTS current_recommendations")
        op.execute(f"CREATE VIEW current_recommendations AS {query}")
