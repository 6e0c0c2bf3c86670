"""The temporary table of a file's ratings, and the SQL that merges it into `ratings`."""

from typing import NamedTuple

from sqlalchemy import Column, MetaData, Table, TextClause, bindparam, text

from batch.store import schema

STAGE = Table(
    "ratings_stage",
    MetaData(),
    Column("user_id", schema.Id),
    Column("movie_id", schema.Id),
    Column("rating", schema.Real),
    Column("rated_at", schema.Id),
    prefixes=["TEMPORARY"],
)
STAGE_COLUMNS = [column.name for column in STAGE.columns]


# Of two ratings of a pair the later wins, then the higher, then the one with a time of its own,
# so that the order of files does not matter. A rating without a time is as old as its file.
def _wins(new: str) -> str:
    """Whether the rating `new` wins against the stored rating `r` of the same pair."""
    return f"""
    (
        COALESCE({new}.rated_at, :snapshot_at),
        {new}.rating,
        COALESCE({new}.rated_at, -1)
    ) > (
        COALESCE(r.rated_at, (
            SELECT b.snapshot_at FROM ingest_batches b WHERE b.batch_id = r.batch_id
        )),
        r.rating,
        COALESCE(r.rated_at, -1)
    )"""  # noqa: S608  the names are constants


_SUPERSEDED_PAIRS = """(
    SELECT s.* FROM ratings_stage s
    JOIN superseded_ratings o
        ON o.batch_id = :batch_id AND o.user_id = s.user_id AND o.movie_id = s.movie_id)"""
"""The staged ratings of pairs whose stored rating is in `superseded_ratings` by now."""


def _best_of(staged: str) -> str:
    """The best of the staged ratings of each pair."""
    return f"""(
    SELECT * FROM (
        SELECT s.*, ROW_NUMBER() OVER (
            PARTITION BY user_id, movie_id
            ORDER BY COALESCE(rated_at, :snapshot_at) DESC,
                rating DESC,
                COALESCE(rated_at, -1) DESC
            ) AS place
        FROM {staged} s) ranked
    WHERE place = 1)"""  # noqa: S608  the names are constants


def _insert_new(staged: str) -> TextClause:
    """Inserts the ratings of pairs that have none."""
    return _insert(staged, "DO NOTHING")


def _overwrite(staged: str) -> TextClause:
    """Overwrites the stored ratings that staged ones win against."""
    # Not an UPDATE with FROM: SQLite would first copy all of the rows.
    update = "SET rating = excluded.rating, rated_at = excluded.rated_at, batch_id = :batch_id"
    return _insert(staged, f"DO UPDATE {update} WHERE {_wins('excluded')}")


def _insert(staged: str, on_conflict: str) -> TextClause:
    # WHERE TRUE tells SQLite that the ON which follows belongs to no join.
    return _typed(f"""
        INSERT INTO ratings AS r (user_id, movie_id, rating, rated_at, batch_id)
        SELECT user_id, movie_id, rating, rated_at, :batch_id FROM {staged} staged WHERE TRUE
        ON CONFLICT (user_id, movie_id) {on_conflict}
    """)  # noqa: S608  the names are constants


def _typed(sql: str) -> TextClause:
    names = [name for name in ("batch_id", "snapshot_at") if f":{name}" in sql]
    return text(sql).bindparams(*(bindparam(name, type_=schema.Id) for name in names))


def _supersede(if_repeated: str) -> TextClause:
    """Copies the stored ratings that staged ones win against."""
    return _typed(f"""
        INSERT INTO superseded_ratings
            (batch_id, user_id, movie_id, rating, rated_at, previous_batch_id)
        SELECT :batch_id, r.user_id, r.movie_id, r.rating, r.rated_at, r.batch_id
        FROM ratings_stage s
        JOIN ratings r ON r.user_id = s.user_id AND r.movie_id = s.movie_id
        WHERE {_wins("s")}
        {if_repeated}
    """)  # noqa: S608  the names are constants


class _Statements(NamedTuple):
    """The statements of a merge, in the order they are executed."""

    insert: TextClause
    supersede: TextClause
    overwrite: TextClause


ANY_PAIRS = _Statements(
    _insert_new(_best_of("ratings_stage")),
    # A pair that is staged several times is compared with the same stored rating each time.
    _supersede("ON CONFLICT (batch_id, user_id, movie_id) DO NOTHING"),
    _overwrite(_best_of(_SUPERSEDED_PAIRS)),
)
DISTINCT_PAIRS = _Statements(
    _insert_new("ratings_stage"), _supersede(""), _overwrite("ratings_stage")
)
"""For pairs that are staged once each and in order, which need not be sorted first."""
