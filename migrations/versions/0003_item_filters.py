"""`item_filters`, which runs remember having honoured, and views that hide what a filter keeps back."""

import sqlalchemy as sa
from alembic import op

from batch.store.schema import NOW, VIEWS, Id, Moment

revision = "0003"
down_revision = "0002"

VIEWS_BEFORE = {
    "current_recommendations": """
        SELECT u.user_key, u.name AS user_name, r.model, r.rank, m.movie_key, m.title, r.score, r.predicted_rating,
               r.reason, r.run_id, p.published_at
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
    """Make the table and its index, let runs name the newest filter they knew, and define the views anew."""
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
    _define(
        {name: query.format(now=NOW[op.get_bind().dialect.name]) for name, query in VIEWS.items()}
    )


def downgrade() -> None:
    """Put the views back as they were, and drop what they looked at."""
    _define(VIEWS_BEFORE)
    op.drop_column("runs", "last_filter_id")
    op.drop_table("item_filters")


def _define(views: dict[str, str]) -> None:
    """On Postgres without dropping them, so that whoever may read them still may."""
    postgres = op.get_bind().dialect.name == "postgresql"
    for name, query in views.items():
        if not postgres:
            op.execute(f"DROP VIEW IF EXISTS {name}")
        op.execute(f"CREATE {'OR REPLACE ' if postgres else ''}VIEW {name} AS {query}")
