"""`item_filters`, the number of the newest filter of each run, and views that apply filters."""

import sqlalchemy as sa
from alembic import op

from batch.store.schema import Id, Moment

revision = "0003"
down_revision = "0002"

NOW = {
    "sqlite": "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')",
    "postgresql": "CURRENT_TIMESTAMP",
}

VIEWS = {  # as they were at this version
    "current_recommendations": """
        SELECT u.user_key, u.name AS user_name, r.model, r.rank, m.movie_key, m.title,
               r.score, r.predicted_rating, r.reason, r.run_id, p.published_at
        FROM publication p
        CROSS JOIN users u
        JOIN recommendations r ON r.run_id = p.run_id AND r.user_id = u.user_id
        JOIN movies m ON m.movie_id = r.movie_id
        WHERE NOT EXISTS (
            SELECT 1 FROM item_filters f
            WHERE f.movie_id = r.movie_id AND (f.user_id IS NULL OR f.user_id = r.user_id)
            AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now}))""",
    "current_popular": """
        SELECT i.rank, m.movie_key, m.title, i.score, i.run_id, p.published_at
        FROM publication p
        JOIN popular_items i ON i.run_id = p.run_id
        JOIN movies m ON m.movie_id = i.movie_id
        WHERE NOT EXISTS (
            SELECT 1 FROM item_filters f
            WHERE f.movie_id = i.movie_id AND f.user_id IS NULL
            AND f.starts_at <= {now} AND (f.ends_at IS NULL OR f.ends_at > {now}))""",
}

VIEWS_BEFORE = {
    "current_recommendations": """
        SELECT u.user_key, u.name AS user_name, r.model, r.rank, m.movie_key, m.title,
               r.score, r.predicted_rating, r.reason, r.run_id, p.published_at
        FROM publication p
        JOIN recommendations r ON r.run_id = p.run_id
        JOIN users u ON u.user_id = r.user_id
        JOIN movies m ON m.movie_id = r.movie_id""",
    "current_popular": """
        SELECT i.rank, m.movie_key, m.title, i.score, i.run_id, p.published_at
        FROM publication p
        JOIN popular_items i ON i.run_id = p.run_id
        JOIN movies m ON m.movie_id = i.movie_id""",
}


def upgrade() -> None:
    """Create the table and its index, add the column to runs, and define the views again."""
    op.create_table(
        "item_filters",
        sa.Column("filter_id", Id, autoincrement=False, nullable=False),
        sa.Column("movie_id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=True),
        sa.Column("starts_at", Moment(), nullable=False),
        sa.Column("ends_at", Moment(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("ends_at >= starts_at", name=op.f("ck_item_filters_window")),
        sa.ForeignKeyConstraint(["movie_id"], ["movies.movie_id"], name="fk_item_filters_movie_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_item_filters_user_id"),
        sa.PrimaryKeyConstraint("filter_id", name="pk_item_filters"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_index("ix_item_filters_movie_id", "item_filters", ["movie_id"])
    op.add_column("runs", sa.Column("last_filter_id", Id, nullable=True))
    now = NOW[op.get_bind().dialect.name]
    define_views({name: query.format(now=now) for name, query in VIEWS.items()})


def downgrade() -> None:
    """Put the views back as they were, and drop the table and the column."""
    define_views(VIEWS_BEFORE)
    op.drop_column("runs", "last_filter_id")
    op.drop_table("item_filters")


def define_views(views: dict[str, str]) -> None:
    """Replace the views; on Postgres without dropping them, so that grants on them stay."""
    for name, query in views.items():
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        else:
            op.execute(f"DROP VIEW IF EXISTS {name}")
            op.execute(f"CREATE VIEW {name} AS {query}")
