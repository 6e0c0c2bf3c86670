"""The tables and views, once for SQLite and Postgres."""

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

HEAD = "0003"
"""The newest migration: what the tables of a database must be at for this program to work on it."""

MOST_SUPPORT = 1e12

# SQLite's STRICT tables, which refuse text in a number column, know these five names only.
Id = BigInteger().with_variant(sqlite.INTEGER(), "sqlite")
Small = SmallInteger().with_variant(sqlite.INTEGER(), "sqlite")
Real: Double[float] = Double().with_variant(sqlite.REAL(), "sqlite")
Json = Text().with_variant(JSONB(), "postgresql")


class Moment(TypeDecorator[datetime]):
    """An instant in UTC: timestamptz on Postgres, ISO 8601 text on SQLite, where text then sorts by time."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(
            DateTime(timezone=True) if dialect.name == "postgresql" else Text()
        )

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


class Day(TypeDecorator[date]):
    """A calendar date: date on Postgres, ISO 8601 text on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Date() if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: date | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name == "postgresql" else value.isoformat()

    def process_result_value(self, value: Any, dialect: Dialect) -> date | None:
        return date.fromisoformat(value) if isinstance(value, str) else value


def quoted(name: str) -> str:
    """A name as Postgres reads it in a statement, in quotes where it needs them."""
    return str(postgresql.dialect().identifier_preparer.quote(name))  # type: ignore[no-untyped-call]


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _table(name: str, *parts: Any, rowid: bool = True) -> Table:
    """A STRICT table; without a rowid where its primary key is how it is read."""
    return Table(name, metadata, *parts, sqlite_strict=True, sqlite_with_rowid=rowid)


def _id(name: str, **options: Any) -> Column[int]:
    """A primary key that this program numbers itself, one writer at a time."""
    return Column(name, Id, primary_key=True, autoincrement=False, **options)


users = _table(
    "users",
    _id("user_id"),
    Column("user_key", Text, nullable=False),
    Column("name", Text),
    UniqueConstraint("user_key"),
)

movies = _table(
    "movies",
    _id("movie_id"),
    Column("movie_key", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column(
        "batch_id", Id, ForeignKey("ingest_batches.batch_id")
    ),  # NULL: only ratings have named it so far
    UniqueConstraint("movie_key"),
)

genres = _table(
    "genres", _id("genre_id"), Column("name", Text, nullable=False), UniqueConstraint("name")
)

movie_genres = _table(
    "movie_genres",
    Column("movie_id", Id, ForeignKey("movies.movie_id"), primary_key=True),
    Column("genre_id", Id, ForeignKey("genres.genre_id"), primary_key=True),
    rowid=False,
)

ingest_batches = _table(
    "ingest_batches",
    _id("batch_id"),
    Column("file", Text, nullable=False),  # its path, and behind it the place within an archive
    Column("format", Text),  # NULL where it could not be told
    Column("sha256", Text),  # of the content, unpacked; NULL where it could not be read
    Column("settings_sha256", Text, nullable=False),  # of the settings it was read by
    Column(
        "snapshot_at", Id, nullable=False
    ),  # how old its ratings without a time are, seconds since 1970 UTC
    Column("ingested_at", Moment, nullable=False),  # UTC
    Column("status", Text, nullable=False),  # refused: nothing of it was taken
    Column("rows_read", Id, nullable=False),  # of a wide matrix: cells that are not 0
    Column("rows_accepted", Id, nullable=False),  # taken
    Column("rows_rejected", Id, nullable=False),  # kept in ingest_rejects
    Column("rows_duplicate", Id, nullable=False),  # said already, in the file or before it
    Column(
        "all_timed", Small, nullable=False
    ),  # 1: each rating has its own time, so that the file's age says nothing
    Column("scale_min", Real),  # stars; NULL for a file without ratings
    Column("scale_max", Real),  # likewise
    Column("error", Text),  # why it was refused
    CheckConstraint("status IN ('merged', 'refused')", name="status"),
    CheckConstraint(
        "rows_read = rows_accepted + rows_rejected + rows_duplicate", name="every_row_accounted_for"
    ),
)

ingest_rejects = _table(
    "ingest_rejects",
    Column("batch_id", Id, ForeignKey("ingest_batches.batch_id"), primary_key=True),
    Column("reject_no", Id, primary_key=True),
    Column("file", Text, nullable=False),  # its path
    Column("line", Id, nullable=False),  # as an editor counts them, from 1
    Column("field", Text),  # the column that is at fault, if it is one
    Column("code", Text, nullable=False),  # the kind of fault, one word
    Column("message", Text, nullable=False),  # the fault in plain words
    Column("text", Text, nullable=False),  # the row as it stood
    rowid=False,
)

# No foreign keys: three look-ups a row take most of a large ingest on Postgres. `load` refuses what they would.
ratings = _table(
    "ratings",
    Column("user_id", Id, primary_key=True, autoincrement=False),
    Column("movie_id", Id, primary_key=True, autoincrement=False),
    Column("rating", Real, nullable=False),  # stars
    Column("rated_at", Id),  # seconds since 1970 UTC; NULL where the file had no times
    Column("batch_id", Id, nullable=False),  # the batch it came with
    CheckConstraint("rating BETWEEN -1e6 AND 1e6", name="rating"),
    rowid=False,
)

item_filters = _table(
    "item_filters",
    _id("filter_id"),
    Column("movie_id", Id, ForeignKey("movies.movie_id"), nullable=False),
    Column("user_id", Id, ForeignKey("users.user_id")),  # NULL: the film is kept from everyone
    Column("starts_at", Moment, nullable=False),  # UTC
    Column("ends_at", Moment),  # the first moment at which it holds no more; NULL: none
    Column("reason", Text),  # a note for people
    CheckConstraint("ends_at >= starts_at", name="window"),
    Index("ix_item_filters_movie_id", "movie_id"),
)

_RUNNING = text("status = 'running'")
_NIGHTLY = text("status = 'published' AND triggered_by <> 'manual'")

runs = _table(
    "runs",
    _id("run_id"),
    Column("logical_date", Day, nullable=False),  # the night it answers
    Column("triggered_by", Text, nullable=False),  # who asked for it
    Column(
        "status", Text, nullable=False
    ),  # ready: not published; rejected: by a check; abandoned: ended from outside
    Column(
        "owner", Text, nullable=False
    ),  # who may publish it: a token of the process that opened it
    Column("started_at", Moment, nullable=False),  # UTC
    Column("finished_at", Moment),  # UTC
    Column("published_at", Moment),  # UTC; when it was published last
    Column("purged_at", Moment),  # when its lists were deleted
    Column("forced", Small, nullable=False),  # 1 where a person overrode a gate
    Column("n_users", Id),  # what it knew
    Column("n_movies", Id),  # likewise
    Column("n_ratings", Id),  # likewise
    Column("top_n", Id, nullable=False),  # films in a list, at most
    Column("rows_written", Id),  # of all models
    Column("rating_min", Real),  # the scale the ratings are on, stars
    Column("rating_max", Real),  # likewise
    Column("seed", Id, nullable=False),  # where all its randomness starts
    Column("config_sha256", Text, nullable=False),  # of every setting that rows may depend on
    Column("data_sha256", Text),  # of the ratings and genres it learnt from
    Column("last_batch_id", Id),  # the newest batch whose ratings it saw
    Column("last_filter_id", Id),  # the newest filter it honoured; NULL: it knew of none
    Column(
        "known_until", Id
    ),  # seconds since 1970 UTC: ratings from then on were left out; NULL: none were
    Column(
        "versions", Json, nullable=False
    ),  # of this program and the packages that numbers depend on
    Column("artifact", Text),  # where the trained weights lie
    Column("artifact_sha256", Text),  # of that file
    Column("error", Text),  # why it failed
    CheckConstraint("triggered_by IN ('manual', 'schedule', 'catchup')", name="triggered_by"),
    CheckConstraint(
        "status IN ('running', 'ready', 'published', 'rejected', 'failed', 'abandoned')",
        name="status",
    ),
    Index(
        "uq_runs_one_running",
        "status",
        unique=True,
        sqlite_where=_RUNNING,
        postgresql_where=_RUNNING,
    ),
    Index(
        "uq_runs_one_a_night",
        "logical_date",
        unique=True,
        sqlite_where=_NIGHTLY,
        postgresql_where=_NIGHTLY,
    ),
)

run_metrics = _table(
    "run_metrics",
    Column("run_id", Id, ForeignKey("runs.run_id"), primary_key=True),
    Column("model", Text, primary_key=True),  # 'night': of the run itself
    Column("metric", Text, primary_key=True),  # its name
    Column("value", Real, nullable=False),  # in the metric's unit
    rowid=False,
)

run_checks = _table(
    "run_checks",
    Column("run_id", Id, ForeignKey("runs.run_id"), primary_key=True),
    Column("name", Text, primary_key=True),  # of the check
    Column("value", Real, nullable=False),  # what was measured
    Column("threshold", Real, nullable=False),  # what it is held against
    Column("severity", Text, nullable=False),  # integrity: nobody can override it
    Column("passed", Small, nullable=False),  # 1 or 0
    CheckConstraint("severity IN ('integrity', 'gate')", name="severity"),
    rowid=False,
)

# No foreign keys here: the audit checks millions of rows in one join instead of one trigger call a row. The range
# of score refuses NaN and infinity on both databases.
recommendations = _table(
    "recommendations",
    Column("run_id", Id, primary_key=True),
    Column("user_id", Id, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("rank", Small, primary_key=True),
    Column("movie_id", Id, nullable=False),
    Column("score", Real, nullable=False),
    Column("predicted_rating", Real),
    Column(
        "support", Real, nullable=False
    ),  # the evidence behind the rating, in the model's own unit
    Column("reason", Json),
    CheckConstraint("rank >= 1", name="rank"),
    CheckConstraint("score BETWEEN -1e6 AND 1e6", name="score"),
    CheckConstraint("predicted_rating BETWEEN -1e6 AND 1e6", name="predicted_rating"),
    CheckConstraint("support BETWEEN 0 AND 1e12", name="support"),
    rowid=False,
)

popular_items = _table(
    "popular_items",
    Column("run_id", Id, primary_key=True),
    Column("rank", Small, primary_key=True),
    Column("movie_id", Id, nullable=False),
    Column("score", Real, nullable=False),
    CheckConstraint("rank >= 1", name="rank"),
    CheckConstraint("score BETWEEN 0 AND 1e12", name="score"),
    rowid=False,
)

publication = _table(
    "publication",
    Column("slot", Text, primary_key=True),  # so that there is one row
    Column("run_id", Id, ForeignKey("runs.run_id"), nullable=False),  # what readers see
    Column("previous_run_id", Id, ForeignKey("runs.run_id")),  # where 'recbatch rollback' leads
    Column("published_at", Moment, nullable=False),
    CheckConstraint("slot = 'current'", name="slot"),
)

WITH_LISTS = ("published", "ready", "rejected")
"""How a run ended that has lists, until they are purged."""

NOW = {"sqlite": "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')", "postgresql": "CURRENT_TIMESTAMP"}
"""This moment by the database's clock, as `Moment` is stored; the same all through a statement."""

VIEWS = {
    "current_recommendations": """
        SELECT u.user_key, u.name AS user_name, r.model, r.rank, m.movie_key, m.title, r.score, r.predicted_rating,
               r.reason, r.run_id, p.published_at
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
"""What applications read: the published run, less what a filter keeps back at this moment; `{now}` is from NOW.

CROSS JOIN keeps SQLite to this order: it does not know that `publication` has one row, and would read every kept run.
"""
