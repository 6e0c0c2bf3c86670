"""The tables, defined once for SQLite and Postgres, with the meaning of each column."""

from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql

from batch.store.column_types import Day as Day
from batch.store.column_types import Id as Id
from batch.store.column_types import Json as Json
from batch.store.column_types import JsonValue as JsonValue
from batch.store.column_types import Moment as Moment
from batch.store.column_types import Real as Real
from batch.store.column_types import Small as Small

HEAD = "0015"
"""The newest migration: the version that a database must have for this program to use it."""

VIEWS = (
    "current_recommendations",
    "current_popular",
    "current_shelves",
    "current_similar",
    "run_outcomes_by_run",
)
"""The views that applications read; `batch.store.views` has their SQL."""

WITH_LISTS = ("published", "ready", "rejected")
"""The statuses of runs that have lists, until they are purged."""

MAX_SUPPORT = 1e12
"""The largest value of `recommendations.support`."""


def quoted(name: str) -> str:
    """A name as it is written in a Postgres statement: in double quotes where it needs them."""
    preparer = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]
    return str(preparer.quote(name))


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
    """A STRICT table; with `rowid=False` its rows are stored in order of the primary key."""
    return Table(name, metadata, *parts, sqlite_strict=True, sqlite_with_rowid=rowid)


def _id(name: str, **options: Any) -> Column[int]:
    """A primary key that this program numbers itself, one writer at a time."""
    return Column(name, Id, primary_key=True, autoincrement=False, **options)


def _key(name: str, refers_to: str) -> Column[int]:
    """A foreign key that is part of the primary key."""
    return Column(name, Id, ForeignKey(refers_to), primary_key=True)


def _undone_batch_id() -> Column[int]:
    """A mark on users and films that no ratings name: of an undone batch, or of films seen."""
    return Column(
        "undone_batch_id",
        Id,
        doc="The batch that brought it, undone since or of films that were seen, where only "
        "stored lists, filters or `seen` name it now: runs leave it out; NULL otherwise.",
    )


users = _table(
    "users",
    _id("user_id"),
    Column("user_key", Text, nullable=False),
    Column("name", Text),
    _undone_batch_id(),
    UniqueConstraint("user_key"),
)

movies = _table(
    "movies",
    _id("movie_id"),
    Column("movie_key", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column(
        "batch_id",
        Id,
        ForeignKey("ingest_batches.batch_id"),
        doc="The catalogue that describes it; NULL: only ratings have named it so far.",
    ),
    _undone_batch_id(),
    UniqueConstraint("movie_key"),
)

genres = _table(
    "genres",
    _id("genre_id"),
    Column("name", Text, nullable=False, doc="As the catalogue writes it."),
    UniqueConstraint("name"),
)

movie_genres = _table(
    "movie_genres",
    _key("movie_id", "movies.movie_id"),
    _key("genre_id", "genres.genre_id"),
    rowid=False,
)

ingest_batches = _table(
    "ingest_batches",
    _id("batch_id"),
    Column(
        "file",
        Text,
        nullable=False,
        doc="Its path; for a file in an archive, followed by the path inside.",
    ),
    Column("format", Text, doc="NULL where it was not recognised."),
    Column("sha256", Text, doc="Hash of the unpacked content; NULL where it could not be read."),
    Column("settings_sha256", Text, nullable=False, doc="Hash of the settings it was read with."),
    Column(
        "snapshot_at",
        Id,
        nullable=False,
        doc="The time assumed for its ratings that have none, seconds since 1970 UTC.",
    ),
    Column("ingested_at", Moment, nullable=False, doc="UTC."),
    Column(
        "status",
        Text,
        nullable=False,
        doc="`refused`: none of its rows were merged; `undone`: they were, and were taken back.",
    ),
    Column(
        "rows_read",
        Id,
        nullable=False,
        doc="Rows in the file; for a wide matrix, cells that are not 0.",
    ),
    Column("rows_accepted", Id, nullable=False, doc="Rows that were merged."),
    Column("rows_rejected", Id, nullable=False, doc="Rows kept in `ingest_rejects`."),
    Column(
        "rows_duplicate",
        Id,
        nullable=False,
        doc="Rows that repeat an earlier row, of this file or one before it.",
    ),
    Column(
        "all_timed",
        Small,
        nullable=False,
        doc="1: every rating has its own time, so that `snapshot_at` has no effect.",
    ),
    Column("scale_min", Real, doc="Lowest rating, stars; NULL for a file without ratings."),
    Column("scale_max", Real, doc="Highest rating, stars; NULL for a file without ratings."),
    Column("error", Text, doc="Why it was refused."),
    Column(
        "rows_superseded",
        Id,
        doc="Rows that it overwrote, whose earlier values are in `superseded_ratings` or "
        "`superseded_seen`; NULL: they are not stored, or it is a catalogue.",
    ),
    Column(
        "lost_to_batch_id",
        Id,
        doc="A batch, undone since, that may have kept rows of this one out of `ratings` or "
        "`seen`: the same file is merged again when it is read next; NULL: there is none.",
    ),
    Column("undone_at", Moment, doc="When it was undone, UTC."),
    CheckConstraint("status IN ('merged', 'refused', 'undone')", name="status"),
    CheckConstraint(
        "rows_read = rows_accepted + rows_rejected + rows_duplicate",
        name="every_row_accounted_for",
    ),
)

ingest_rejects = _table(
    "ingest_rejects",
    _key("batch_id", "ingest_batches.batch_id"),
    Column("reject_no", Id, primary_key=True),
    Column("file", Text, nullable=False, doc="Its path."),
    Column("line", Id, nullable=False, doc="Counted as editors do, from 1."),
    Column("field", Text, doc="The column at fault, if it is one column."),
    Column("code", Text, nullable=False, doc="The kind of fault, one word."),
    Column("message", Text, nullable=False, doc="The fault as a sentence."),
    Column("text", Text, nullable=False, doc="The row as it was in the file."),
    rowid=False,
)

# No foreign keys: three look-ups per row take most of the time of a large
# ingest on Postgres. `load` refuses rows without a user or film.
ratings = _table(
    "ratings",
    Column("user_id", Id, primary_key=True, autoincrement=False),
    Column("movie_id", Id, primary_key=True, autoincrement=False),
    Column("rating", Real, nullable=False, doc="Stars."),
    Column("rated_at", Id, doc="Seconds since 1970 UTC; NULL where the file had no times."),
    Column("batch_id", Id, nullable=False, doc="The batch that brought it."),
    CheckConstraint("rating BETWEEN -1e6 AND 1e6", name="rating"),
    rowid=False,
)

# No foreign keys and no check, for the same reason: its rows were rows of `ratings`.
superseded_ratings = _table(
    "superseded_ratings",
    Column(
        "batch_id",
        Id,
        primary_key=True,
        autoincrement=False,
        doc="The batch that overwrote it.",
    ),
    Column("user_id", Id, primary_key=True, autoincrement=False),
    Column("movie_id", Id, primary_key=True, autoincrement=False),
    Column("rating", Real, nullable=False, doc="Stars."),
    Column("rated_at", Id, doc="Seconds since 1970 UTC; NULL where the file had no times."),
    Column("previous_batch_id", Id, nullable=False, doc="The batch that had brought it."),
    rowid=False,
)

# No foreign keys, as in `ratings`.
seen = _table(
    "seen",
    Column("user_id", Id, primary_key=True, autoincrement=False),
    Column("movie_id", Id, primary_key=True, autoincrement=False),
    Column("seen_at", Id, doc="Seconds since 1970 UTC; NULL where a file had no time."),
    Column("batch_id", Id, nullable=False, doc="The batch that brought it."),
    rowid=False,
)

superseded_seen = _table(
    "superseded_seen",
    Column(
        "batch_id",
        Id,
        primary_key=True,
        autoincrement=False,
        doc="The batch that overwrote it.",
    ),
    Column("user_id", Id, primary_key=True, autoincrement=False),
    Column("movie_id", Id, primary_key=True, autoincrement=False),
    Column("seen_at", Id, nullable=False, doc="Seconds since 1970 UTC, later than it is now."),
    Column("previous_batch_id", Id, nullable=False, doc="The batch that had brought it."),
    rowid=False,
)

item_filters = _table(
    "item_filters",
    _id("filter_id"),
    Column("movie_id", Id, ForeignKey("movies.movie_id"), nullable=False),
    Column(
        "user_id",
        Id,
        ForeignKey("users.user_id"),
        doc="The user it applies to; NULL: everyone.",
    ),
    Column("starts_at", Moment, nullable=False, doc="UTC."),
    Column(
        "ends_at",
        Moment,
        doc="The filter is active until just before this time, UTC; NULL: it does not end.",
    ),
    Column("reason", Text, doc="A note for people."),
    Column(
        "setting",
        Text,
        doc="`films` or `genres`: the row was made from `filters.films` or `filters.genres`, "
        "and ends when the setting no longer names the film; NULL: a person added it.",
    ),
    CheckConstraint("ends_at >= starts_at", name="window"),
    CheckConstraint("setting IN ('films', 'genres')", name="setting"),
    Index("ix_item_filters_movie_id", "movie_id"),
)

_RUNNING = text("status = 'running'")
_NIGHTLY = text("status = 'published' AND triggered_by <> 'manual'")

runs = _table(
    "runs",
    _id("run_id"),
    Column("logical_date", Day, nullable=False, doc="The night that the run is for."),
    Column(
        "due_at",
        Moment,
        doc="When the run was due, UTC: a moment of `schedule.cron`. NULL: a run of the past "
        "(`--as-of`), or one before schema version 0007.",
    ),
    Column("triggered_by", Text, nullable=False, doc="A person or the schedule."),
    Column(
        "kind",
        Text,
        nullable=False,
        server_default="night",
        doc="`refresh`: new lists of the users whose ratings changed since the run `base_run_id`.",
    ),
    Column("base_run_id", Id, doc="The run that a refresh brings up to date; NULL for a night."),
    Column(
        "status",
        Text,
        nullable=False,
        doc="`ready`: complete, not published; `rejected`: by a check; `abandoned`: its "
        "process was ended from outside.",
    ),
    Column(
        "owner",
        Text,
        nullable=False,
        doc="The token of the process that opened the run; no other process may publish it.",
    ),
    Column("started_at", Moment, nullable=False, doc="UTC."),
    Column("finished_at", Moment, doc="UTC."),
    Column("published_at", Moment, doc="When it was last published, UTC."),
    Column("purged_at", Moment, doc="When its lists were deleted, UTC."),
    Column("forced", Small, nullable=False, doc="1 where a person overrode a gate."),
    Column("n_users", Id, doc="Users in the tables."),
    Column("n_movies", Id, doc="Films in the tables."),
    Column("n_ratings", Id, doc="Ratings that it used."),
    Column("top_n", Id, nullable=False, doc="Maximum number of films that are shown of a list."),
    Column(
        "spare",
        Id,
        doc="Films that are stored of each list beyond `top_n`: they move up where others were "
        "rated, seen or filtered since; 0 once the run is neither current nor the one before it; "
        "NULL: none, before schema version 0010.",
    ),
    Column(
        "preset",
        Text,
        doc="`models.preset`: lists of `plain` are not filled; NULL: before schema version 0010.",
    ),
    Column("rows_written", Id, doc="Rows in the lists of all models, without spare ones."),
    Column("rating_min", Real, doc="Lowest rating of the scale, stars."),
    Column("rating_max", Real, doc="Highest rating of the scale, stars."),
    Column("seed", Id, nullable=False, doc="The seed of all random numbers."),
    Column(
        "config_sha256", Text, nullable=False, doc="Hash of every setting that rows may depend on."
    ),
    Column("data_sha256", Text, doc="Hash of the ratings and genres that it was computed from."),
    Column(
        "last_batch_id",
        Id,
        doc="The newest batch whose ratings it used, and whose films in `seen` it left out.",
    ),
    Column("last_filter_id", Id, doc="The newest filter when the run began; NULL: there was none."),
    Column(
        "known_until",
        Id,
        doc="Ratings and films seen from this time on were left out, seconds since 1970 UTC; "
        "NULL: all were used.",
    ),
    Column(
        "versions",
        Json,
        nullable=False,
        doc="Versions of this program and of the packages that its results depend on.",
    ),
    Column(
        "headline",
        Text,
        doc="The cut that it was judged by: `next`, the newest part of time, or `own`, a fifth of "
        "each user's ratings; NULL: not measured, or before schema version 0009: `own`.",
    ),
    Column(
        "half_life",
        Real,
        doc="Days after which a rating counts half in `popular`; NULL: all ratings count the same.",
    ),
    Column(
        "least_ratings",
        Id,
        doc="Users with fewer ratings got popular films: `publish.least_ratings`, or chosen.",
    ),
    Column("artifact", Text, doc="The file of its trained weights."),
    Column("artifact_sha256", Text, doc="Hash of that file."),
    Column("error", Text, doc="Why it failed."),
    Column(
        "warnings",
        JsonValue,
        doc="What it warned of: a list of objects with `kind` (`source`, `scale`, `unjudged`), "
        "`about` and `message`; NULL: it did not come as far as its sources.",
    ),
    CheckConstraint("triggered_by IN ('manual', 'schedule', 'catchup')", name="triggered_by"),
    CheckConstraint(
        "status IN ('running', 'ready', 'published', 'rejected', 'failed', 'abandoned')",
        name="status",
    ),
    CheckConstraint("kind IN ('night', 'refresh')", name="kind"),
    Index(
        "uq_runs_one_running",
        "status",
        unique=True,
        sqlite_where=_RUNNING,
        postgresql_where=_RUNNING,
    ),
    Index(
        "uq_runs_one_a_due_moment",
        "due_at",
        unique=True,
        sqlite_where=_NIGHTLY,
        postgresql_where=_NIGHTLY,
    ),
)

run_metrics = _table(
    "run_metrics",
    _key("run_id", "runs.run_id"),
    Column("model", Text, primary_key=True, doc="`night`: the run itself."),
    Column("metric", Text, primary_key=True, doc="Name of the metric."),
    Column("value", Real, nullable=False, doc="In the unit of the metric."),
    rowid=False,
)

run_outcomes = _table(
    "run_outcomes",
    _key("run_id", "runs.run_id"),
    Column(
        "model",
        Text,
        primary_key=True,
        doc="`popular`: the popular list of the run, less what each user had rated.",
    ),
    Column("metric", Text, primary_key=True, doc="Name of the metric."),
    Column("value", Real, nullable=False, doc="In the unit of the metric."),
    rowid=False,
)

run_checks = _table(
    "run_checks",
    _key("run_id", "runs.run_id"),
    Column("name", Text, primary_key=True, doc="Name of the check."),
    Column("value", Real, nullable=False, doc="What was measured."),
    Column("threshold", Real, nullable=False, doc="What it was compared with."),
    Column("severity", Text, nullable=False, doc="`integrity`: nobody can override it."),
    Column("passed", Small, nullable=False, doc="1 or 0."),
    CheckConstraint("severity IN ('integrity', 'gate')", name="severity"),
    rowid=False,
)

run_digests = _table(
    "run_digests",
    _key("run_id", "runs.run_id"),
    Column(
        "model",
        Text,
        primary_key=True,
        doc="`popular`: the rows of `popular_items`; `similar`: those of `similar_items`.",
    ),
    Column("n_rows", Id, nullable=False, doc="Rows of the model."),
    Column(
        "digest",
        Text,
        nullable=False,
        doc="The sum of a hash of each row, 16 hex digits: rows that were changed by hand no "
        "longer have it.",
    ),
    rowid=False,
)

# No foreign keys in the lists: the audit checks millions of rows in one
# join instead of one trigger call per row. The range of score refuses NaN and
# infinity on both databases.
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
        "support",
        Real,
        nullable=False,
        doc="The evidence behind the predicted rating, in the model's own unit; 0: the row is "
        "a fallback.",
    ),
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

similar_items = _table(
    "similar_items",
    Column("run_id", Id, primary_key=True),
    Column("movie_id", Id, primary_key=True),
    Column("rank", Small, primary_key=True),
    Column("other_id", Id, nullable=False, doc="The film in that place of its list."),
    Column("score", Real, nullable=False, doc="How alike they are, from 0 to 1."),
    Column("support", Id, nullable=False, doc="How many users liked both."),
    CheckConstraint("rank >= 1", name="rank"),
    CheckConstraint("score BETWEEN 0 AND 1", name="score"),
    CheckConstraint("support >= 1", name="support"),
    rowid=False,
)

publication = _table(
    "publication",
    Column("slot", Text, primary_key=True, doc="Always `current`, so that there is one row."),
    Column(
        "run_id", Id, ForeignKey("runs.run_id"), nullable=False, doc="The run that readers see."
    ),
    Column(
        "previous_run_id",
        Id,
        ForeignKey("runs.run_id"),
        doc="The run that 'recbatch rollback' publishes.",
    ),
    Column("published_at", Moment, nullable=False, doc="UTC."),
    Column(
        "refreshed_at",
        Moment,
        doc="When 'recbatch refresh' last looked for what is new, UTC; NULL: not since that run "
        "became current.",
    ),
    CheckConstraint("slot = 'current'", name="slot"),
)

# No foreign keys, as in the lists that it leads to.
refreshed_users = _table(
    "refreshed_users",
    _id("user_id"),
    Column("run_id", Id, nullable=False, doc="The refresh whose lists the user is shown."),
)

undone_users = _table(
    "undone_users",
    Column("batch_id", Id, primary_key=True, autoincrement=False, doc="A batch that was undone."),
    Column("user_id", Id, primary_key=True, autoincrement=False, doc="It had rows of this user."),
    rowid=False,
)
