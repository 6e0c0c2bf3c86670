"""A column that marks filters made from the settings, and views made from the one predicate."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Moment

revision = "0004"
down_revision = "0003"

CHECK = "CONSTRAINT ck_item_filters_setting CHECK (setting IN ('films', 'genres'))"

RECOMMENDATIONS = """
    SELECT u.user_key, u.name AS user_name, r.model, r.rank, m.movie_key, m.title,
           r.score, r.predicted_rating, r.reason, r.run_id, p.published_at
    FROM publication p
    CROSS JOIN users u
    JOIN recommendations r ON r.run_id = p.run_id AND r.user_id = u.user_id
    JOIN movies m ON m.movie_id = r.movie_id
    WHERE NOT EXISTS (
        SELECT f.filter_id FROM item_filters f
        WHERE f.movie_id = r.movie_id AND (f.user_id IS NULL OR f.user_id = r.user_id)
          AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now}))"""

POPULAR = """
    SELECT i.rank, m.movie_key, m.title, i.score, i.run_id, p.published_at
    FROM publication p
    JOIN popular_items i ON i.run_id = p.run_id
    JOIN movies m ON m.movie_id = i.movie_id
    WHERE NOT EXISTS (
        SELECT f.filter_id FROM item_filters f
        WHERE f.movie_id = i.movie_id AND f.user_id IS NULL
          AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now}))"""


def upgrade() -> None:
    """Add the column, NULL in the rows there are, and define the views again.

    The views show the same rows as before.
    """
    op.execute(f"ALTER TABLE item_filters ADD COLUMN setting TEXT {CHECK}")
    is_postgres = op.get_bind().dialect.name == "postgresql"
    now = "CURRENT_TIMESTAMP" if is_postgres else "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')"
    queries = {"current_recommendations": RECOMMENDATIONS, "current_popular": POPULAR}
    for name, template in queries.items():
        query = template.format(now=now)
        if is_postgres:
            # Replaced, not dropped, so that grants on it stay.
            op.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        else:
            op.execute(f"DROP VIEW IF EXISTS {name}")
            op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    """End the filters of the settings, which nothing would end later, and drop the column.

    The views stay: they do not read the column.
    """
    now = datetime.now(UTC)
    ends_at = sa.column("ends_at", Moment())
    setting = sa.column("setting", sa.Text())
    filters = sa.table("item_filters", ends_at, setting)
    open_ended = sa.or_(ends_at.is_(None), ends_at > now)
    ended = sa.update(filters).where(setting.is_not(None), open_ended)
    op.execute(ended.values(ends_at=now))
    op.drop_column("item_filters", "setting")
