"""Columns for how long a run's lists are stored, and views that leave out what was rated since."""

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Id

revision = "0010"
down_revision = "0009"

RECOMMENDATIONS = {
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
                    SELECT f.filter_id FROM item_filters f
                    WHERE f.movie_id = r.movie_id AND (f.user_id IS NULL OR f.user_id = r.user_id)
                      AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now})))) l
    JOIN movies m ON m.movie_id = l.movie_id
    WHERE l.place <= t.top_n""",
}

POPULAR = """
    SELECT CAST(i.place AS SMALLINT) AS rank, m.movie_key, m.title, i.score, i.run_id,
           p.published_at
    FROM publication p
    JOIN runs t ON t.run_id = p.run_id
    JOIN (
        SELECT i.*, row_number() OVER (PARTITION BY i.run_id ORDER BY i.rank) AS place
        FROM popular_items i
        WHERE NOT EXISTS (
            SELECT f.filter_id FROM item_filters f
            WHERE f.movie_id = i.movie_id AND f.user_id IS NULL
              AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now}))
    ) i ON i.run_id = p.run_id
    JOIN movies m ON m.movie_id = i.movie_id
    WHERE i.place <= t.top_n"""

RECOMMENDATIONS_BEFORE = """
    SELECT u.user_key, u.name AS user_name, r.model, r.rank, m.movie_key, m.title,
           r.score, r.predicted_rating, r.reason, r.run_id, p.published_at
    FROM publication p
    CROSS JOIN users u
    JOIN recommendations r ON r.run_id = p.run_id AND r.user_id = u.user_id
    JOIN runs t ON t.run_id = p.run_id AND r.rank <= t.top_n
    JOIN movies m ON m.movie_id = r.movie_id
    WHERE NOT EXISTS (
        SELECT f.filter_id FROM item_filters f
        WHERE f.movie_id = r.movie_id AND (f.user_id IS NULL OR f.user_id = r.user_id)
          AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now}))"""

POPULAR_BEFORE = """
    SELECT i.rank, m.movie_key, m.title, i.score, i.run_id, p.published_at
    FROM publication p
    JOIN popular_items i ON i.run_id = p.run_id
    JOIN runs t ON t.run_id = p.run_id AND i.rank <= t.top_n
    JOIN movies m ON m.movie_id = i.movie_id
    WHERE NOT EXISTS (
        SELECT f.filter_id FROM item_filters f
        WHERE f.movie_id = i.movie_id AND f.user_id IS NULL
          AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now}))"""


def upgrade() -> None:
    """Add the columns, NULL in the rows there are, and replace the views.

    Stored lists are as long as they are shown until the next run.
    """
    op.add_column("runs", sa.Column("spare", Id))
    op.add_column("runs", sa.Column("preset", sa.Text()))
    replace_views(RECOMMENDATIONS[op.get_bind().dialect.name], POPULAR)


def downgrade() -> None:
    """Put back the views, which show whole lists down to `top_n`, and drop the columns."""
    replace_views(RECOMMENDATIONS_BEFORE, POPULAR_BEFORE)
    op.drop_column("runs", "preset")
    op.drop_column("runs", "spare")


def replace_views(recommendations: str, popular: str) -> None:
    """Define both views anew: on Postgres replaced, not dropped, so that grants on them stay."""
    is_postgres = op.get_bind().dialect.name == "postgresql"
    now = "CURRENT_TIMESTAMP" if is_postgres else "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')"
    queries = {"current_recommendations": recommendations, "current_popular": popular}
    for name, template in queries.items():
        query = template.format(now=now)
        if is_postgres:
            op.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        else:
            op.execute(f"DROP VIEW IF EXISTS {name}")
            op.execute(f"CREATE VIEW {name} AS {query}")
