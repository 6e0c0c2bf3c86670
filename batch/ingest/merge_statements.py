"""The temporary table of a file's rows, and the SQL that merges it into `ratings` or `seen`."""

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


class Target(NamedTuple):
    """A table of pairs, and what merges staged rows into it."""

    table: Table
    any_pairs: _Statements
    distinct_pairs: _Statements  # for pairs that are staged once each and in order


RATINGS = Target(
    schema.ratings,
    _Statements(
        _insert_new(_best_of("ratings_stage")),
        # A pair that is staged several times is compared with the same stored rating each time.
        _supersede("ON CONFLICT (batch_id, user_id, movie_id) DO NOTHING"),
        _overwrite(_best_of(_SUPERSEDED_PAIRS)),
    ),
    _Statements(_insert_new("ratings_stage"), _supersede(""), _overwrite("ratings_stage")),
)


# Of two marks of a pair the earlier stays, so that the order of files does not matter. One
# without a time is the earliest: the film was seen at any time that a run asks about.
_FIRST_SEEN = """(
    SELECT user_id, movie_id, NULLIF(MIN(COALESCE(rated_at, -1)), -1) AS rated_at
    FROM ratings_stage GROUP BY user_id, movie_id)"""
"""The earliest of the staged marks of each pair."""


def _is_earlier(new: str) -> str:
    """Whether the mark `new` is earlier than the stored mark `s` of the same pair."""
    return f"COALESCE({new}, -1) < COALESCE(s.seen_at, -1)"


def _insert_seen(staged: str, on_conflict: str) -> TextClause:
    return _typed(f"""
        INSERT INTO seen AS s (user_id, movie_id, seen_at, batch_id)
        SELECT user_id, movie_id, rated_at, :batch_id FROM {staged} staged WHERE TRUE
        ON CONFLICT (user_id, movie_id) {on_conflict}
    """)  # noqa: S608  the names are constants


def _merge_seen(staged: str) -> _Statements:
    supersede = f"""
        INSERT INTO superseded_seen (batch_id, user_id, movie_id, seen_at, previous_batch_id)
        SELECT :batch_id, s.user_id, s.movie_id, s.seen_at, s.batch_id
        FROM {staged} n
        JOIN seen s ON s.user_id = n.user_id AND s.movie_id = n.movie_id
        WHERE {_is_earlier("n.rated_at")}
    """  # noqa: S608  the names are constants
    earlier = f"""
        DO UPDATE SET seen_at = excluded.seen_at, batch_id = :batch_id
        WHERE {_is_earlier("excluded.seen_at")}"""
    return _Statements(
        _insert_seen(staged, "DO NOTHING"), _typed(supersede), _insert_seen(staged, earlier)
    )


SEEN = Target(schema.seen, _merge_seen(_FIRST_SEEN), _merge_seen("ratings_stage"))
