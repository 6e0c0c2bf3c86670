"""The first tables: films, users, ratings, runs and their lists, and the published run."""

import sqlalchemy as sa
from alembic import op

from batch.store.schema import Day, Id, Json, Moment, Real, Small

revision = "0001"
down_revision = None

VIEWS = {  # as they were at this version
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
    """Create every table, then the views that applications read."""
    op.create_table(
        "genres",
        sa.Column("genre_id", Id, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("genre_id", name="pk_genres"),
        sa.UniqueConstraint("name", name="uq_genres_name"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "ingest_batches",
        sa.Column("batch_id", Id, autoincrement=False, nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("settings_sha256", sa.Text(), nullable=False),
        sa.Column("snapshot_at", Id, nullable=False),
        sa.Column("ingested_at", Moment(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("rows_read", Id, nullable=False),
        sa.Column("rows_accepted", Id, nullable=False),
        sa.Column("rows_rejected", Id, nullable=False),
        sa.Column("rows_duplicate", Id, nullable=False),
        sa.Column("all_timed", Small, nullable=False),
        sa.Column("scale_min", Real, nullable=True),
        sa.Column("scale_max", Real, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('merged', 'refused')", name=op.f("ck_ingest_batches_status")
        ),
        sa.CheckConstraint(
            "rows_read = rows_accepted + rows_rejected + rows_duplicate",
            name=op.f("ck_ingest_batches_every_row_accounted_for"),
        ),
        sa.PrimaryKeyConstraint("batch_id", name="pk_ingest_batches"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "popular_items",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("rank", Small, nullable=False),
        sa.Column("movie_id", Id, nullable=False),
        sa.Column("score", Real, nullable=False),
        sa.CheckConstraint("rank >= 1", name=op.f("ck_popular_items_rank")),
        sa.CheckConstraint("score BETWEEN 0 AND 1e12", name=op.f("ck_popular_items_score")),
        sa.PrimaryKeyConstraint("run_id", "rank", name="pk_popular_items"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "recommendations",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("rank", Small, nullable=False),
        sa.Column("movie_id", Id, nullable=False),
        sa.Column("score", Real, nullable=False),
        sa.Column("predicted_rating", Real, nullable=True),
        sa.Column("support", Real, nullable=False),
        sa.Column("reason", Json, nullable=True),
        sa.CheckConstraint(
            "predicted_rating BETWEEN -1e6 AND 1e6",
            name=op.f("ck_recommendations_predicted_rating"),
        ),
        sa.CheckConstraint("rank >= 1", name=op.f("ck_recommendations_rank")),
        sa.CheckConstraint("score BETWEEN -1e6 AND 1e6", name=op.f("ck_recommendations_score")),
        sa.CheckConstraint("support BETWEEN 0 AND 1e12", name=op.f("ck_recommendations_support")),
        sa.PrimaryKeyConstraint("run_id", "user_id", "model", "rank", name="pk_recommendations"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runs",
        sa.Column("run_id", Id, autoincrement=False, nullable=False),
        sa.Column("logical_date", Day(), nullable=False),
        sa.Column("triggered_by", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("finished_at", Moment(), nullable=True),
        sa.Column("published_at", Moment(), nullable=True),
        sa.Column("purged_at", Moment(), nullable=True),
        sa.Column("forced", Small, nullable=False),
        sa.Column("n_users", Id, nullable=True),
        sa.Column("n_movies", Id, nullable=True),
        sa.Column("n_ratings", Id, nullable=True),
        sa.Column("top_n", Id, nullable=False),
        sa.Column("rows_written", Id, nullable=True),
        sa.Column("rating_min", Real, nullable=True),
        sa.Column("rating_max", Real, nullable=True),
        sa.Column("seed", Id, nullable=False),
        sa.Column("config_sha256", sa.Text(), nullable=False),
        sa.Column("data_sha256", sa.Text(), nullable=True),
        sa.Column("last_batch_id", Id, nullable=True),
        sa.Column("known_until", Id, nullable=True),
        sa.Column("versions", Json, nullable=False),
        sa.Column("artifact", sa.Text(), nullable=True),
        sa.Column("artifact_sha256", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('running', 'ready', 'published', 'rejected', 'failed', 'abandoned')",
            name=op.f("ck_runs_status"),
        ),
        sa.CheckConstraint(
            "triggered_by IN ('manual', 'schedule', 'catchup')", name=op.f("ck_runs_triggered_by")
        ),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    for name, column, where in (
        ("uq_runs_one_running", "status", "status = 'running'"),
        (
            "uq_runs_one_a_night",
            "logical_date",
            "status = 'published' AND triggered_by <> 'manual'",
        ),
    ):
        op.create_index(
            name,
            "runs",
            [column],
            unique=True,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
    op.create_table(
        "users",
        sa.Column("user_id", Id, autoincrement=False, nullable=False),
        sa.Column("user_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("user_id", name="pk_users"),
        sa.UniqueConstraint("user_key", name="uq_users_user_key"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "ingest_rejects",
        sa.Column("batch_id", Id, nullable=False),
        sa.Column("reject_no", Id, nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("line", Id, nullable=False),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["ingest_batches.batch_id"], name="fk_ingest_rejects_batch_id"
        ),
        sa.PrimaryKeyConstraint("batch_id", "reject_no", name="pk_ingest_rejects"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "movies",
        sa.Column("movie_id", Id, autoincrement=False, nullable=False),
        sa.Column("movie_key", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("batch_id", Id, nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["ingest_batches.batch_id"], name="fk_movies_batch_id"
        ),
        sa.PrimaryKeyConstraint("movie_id", name="pk_movies"),
        sa.UniqueConstraint("movie_key", name="uq_movies_movie_key"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "publication",
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("previous_run_id", Id, nullable=True),
        sa.Column("published_at", Moment(), nullable=False),
        sa.CheckConstraint("slot = 'current'", name=op.f("ck_publication_slot")),
        sa.ForeignKeyConstraint(
            ["previous_run_id"], ["runs.run_id"], name="fk_publication_previous_run_id"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_publication_run_id"),
        sa.PrimaryKeyConstraint("slot", name="pk_publication"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    op.create_table(
        "run_checks",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", Real, nullable=False),
        sa.Column("threshold", Real, nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("passed", Small, nullable=False),
        sa.CheckConstraint(
            "severity IN ('integrity', 'gate')", name=op.f("ck_run_checks_severity")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_run_checks_run_id"),
        sa.PrimaryKeyConstraint("run_id", "name", name="pk_run_checks"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_metrics",
        sa.Column("run_id", Id, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("value", Real, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_run_metrics_run_id"),
        sa.PrimaryKeyConstraint("run_id", "model", "metric", name="pk_run_metrics"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "movie_genres",
        sa.Column("movie_id", Id, nullable=False),
        sa.Column("genre_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["genre_id"], ["genres.genre_id"], name="fk_movie_genres_genre_id"),
        sa.ForeignKeyConstraint(["movie_id"], ["movies.movie_id"], name="fk_movie_genres_movie_id"),
        sa.PrimaryKeyConstraint("movie_id", "genre_id", name="pk_movie_genres"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ratings",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("movie_id", Id, nullable=False),
        sa.Column("rating", Real, nullable=False),
        sa.Column("rated_at", Id, nullable=True),
        sa.Column("batch_id", Id, nullable=False),
        sa.CheckConstraint("rating BETWEEN -1e6 AND 1e6", name=op.f("ck_ratings_rating")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["ingest_batches.batch_id"], name="fk_ratings_batch_id"
        ),
        sa.ForeignKeyConstraint(["movie_id"], ["movies.movie_id"], name="fk_ratings_movie_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_ratings_user_id"),
        sa.PrimaryKeyConstraint("user_id", "movie_id", name="pk_ratings"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")
