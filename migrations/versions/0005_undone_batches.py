"""`superseded_ratings`, batches that can be undone, and marks on what undone ones leave."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Id, Moment, Real, Small

revision = "0005"
down_revision = "0004"

STATUS = "ck_ingest_batches_status"
STATUSES_BEFORE = "status IN ('merged', 'refused')"
STATUSES = "status IN ('merged', 'refused', 'undone')"
COLUMNS_BEFORE = (
    "batch_id, file, format, sha256, settings_sha256, snapshot_at, ingested_at, status, "
    "rows_read, rows_accepted, rows_rejected, rows_duplicate, all_timed, scale_min, scale_max, "
    "error"
)
NEW_COLUMNS = ("rows_superseded", "lost_to_batch_id", "undone_at")


def upgrade() -> None:
    """Create the table, add the columns, NULL in the rows there are, and allow the status."""
    op.create_table(
        "superseded_ratings",
        sa.Column("batch_id", Id, autoincrement=False, nullable=False),
        sa.Column("user_id", Id, autoincrement=False, nullable=False),
        sa.Column("movie_id", Id, autoincrement=False, nullable=False),
        sa.Column("rating", Real, nullable=False),
        sa.Column("rated_at", Id, nullable=True),
        sa.Column("previous_batch_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "user_id", "movie_id", name="pk_superseded_ratings"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    for table in ("users", "movies"):
        op.add_column(table, sa.Column("undone_batch_id", Id, nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        op.add_column("ingest_batches", sa.Column("rows_superseded", Id, nullable=True))
        op.add_column("ingest_batches", sa.Column("lost_to_batch_id", Id, nullable=True))
        op.add_column("ingest_batches", sa.Column("undone_at", Moment(), nullable=True))
        replace_status_check(STATUSES)
        return
    new_columns = [
        sa.Column("rows_superseded", Id, nullable=True),
        sa.Column("lost_to_batch_id", Id, nullable=True),
        sa.Column("undone_at", Moment(), nullable=True),
    ]
    rebuild_batches(STATUSES, new_columns)


def downgrade() -> None:
    """Drop the table and the columns; undone batches become refused ones.

    None of their rows are merged, which is what `refused` means. The earlier
    version merges their files again where it meets them.
    """
    for table in ("users", "movies"):
        op.drop_column(table, "undone_batch_id")
    op.drop_table("superseded_ratings")
    op.execute(
        "UPDATE ingest_batches SET status = 'refused', error = 'undone' WHERE status = 'undone'"
    )
    if op.get_bind().dialect.name == "postgresql":
        for column in NEW_COLUMNS:
            op.drop_column("ingest_batches", column)
        replace_status_check(STATUSES_BEFORE)
        return
    rebuild_batches(STATUSES_BEFORE, [])


def replace_status_check(condition: str) -> None:
    """Postgres: allow other values of `status`."""
    op.drop_constraint(op.f(STATUS), "ingest_batches", type_="check")
    op.create_check_constraint(op.f(STATUS), "ingest_batches", condition)


def rebuild_batches(statuses: str, new_columns: list[sa.Column[Any]]) -> None:
    """SQLite, which cannot change a check: copy the rows into a new table of the same name.

    Rows of other tables refer to these. Their foreign keys are checked when the
    transaction commits, by when the rows are back under the same numbers.
    """
    op.execute("PRAGMA defer_foreign_keys = ON")
    kept_rows = f"SELECT {COLUMNS_BEFORE} FROM ingest_batches"  # noqa: S608  names are constants
    op.execute(f"CREATE TABLE ingest_batches_kept AS {kept_rows}")
    op.drop_table("ingest_batches")
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
        *new_columns,
        sa.CheckConstraint(statuses, name=op.f(STATUS)),
        sa.CheckConstraint(
            "rows_read = rows_accepted + rows_rejected + rows_duplicate",
            name=op.f("ck_ingest_batches_every_row_accounted_for"),
        ),
        sa.PrimaryKeyConstraint("batch_id", name="pk_ingest_batches"),
        sqlite_strict=True,
        sqlite_with_rowid=True,
    )
    kept = f"SELECT {COLUMNS_BEFORE} FROM ingest_batches_kept"  # noqa: S608
    op.execute(f"INSERT INTO ingest_batches ({COLUMNS_BEFORE}) {kept}")
    op.drop_table("ingest_batches_kept")
