"""Columns for how long a run's lists are stored, and views that leave out what was rated since."""

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Id
from batch.store.views import list_views

revision = "0010"
down_revision = "0009"

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
    replace_views(list_views(op.get_bind().dialect))


def downgrade() -> None:
    """Put back the views, which show whole lists down to `top_n`, and drop the columns."""
    is_postgres = op.get_bind().dialect.name == "postgresql"
    now = "CURRENT_TIMESTAMP" if is_postgres else "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')"
    before = {
        "current_recommendations": RECOMMENDATIONS_BEFORE.format(now=now),
        "current_popular": POPULAR_BEFORE.format(now=now),
    }
    replace_views(before)
    op.drop_column("runs", "preset")
    op.drop_column("runs", "spare")


def replace_views(queries: dict[str, str]) -> None:
    """Define these views anew: on Postgres replaced, not dropped, so that grants on them stay."""
    for name, query in queries.items():
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        else:
            op.execute(f"DROP VIEW IF EXISTS {name}")
            op.execute(f"CREATE VIEW {name} AS {query}")
