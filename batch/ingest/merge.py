"""Rows of one file -> staged, judged, merged into `users`, `movies`, `ratings`; the order of files never matters."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

import numpy as np
from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    Table,
    TextClause,
    bindparam,
    delete,
    insert,
    select,
    text,
    update,
)

from batch.ingest.fast_ratings import Block
from batch.ingest.parsing import MovieRow, RatingRow, Reading, RefusedError, Reject
from batch.ratings import Ints
from batch.store import schema
from batch.store.bulk_insert import bulk_insert, insert_columns
from batch.store.database import next_id

ALWAYS_TOLERATED = 10
"""Rejected rows that never refuse a file: a share of few rows says little."""

_stage = Table(
    "ratings_stage",
    MetaData(),
    Column("user_id", schema.Id),
    Column("movie_id", schema.Id),
    Column("rating", schema.Real),
    Column("rated_at", schema.Id),
    prefixes=["TEMPORARY"],
)
_STAGED = [column.name for column in _stage.columns]

# Of two ratings of a pair the later wins, then the higher, then the one with a time of its own: a rule that forgets in
# which order files came. A rating without a time is as old as the file that brought it.
_BEST = """(
    SELECT * FROM (
        SELECT s.*, ROW_NUMBER() OVER (
            PARTITION BY user_id, movie_id
            ORDER BY COALESCE(rated_at, :snapshot_at) DESC, rating DESC, COALESCE(rated_at, -1) DESC) AS place
        FROM ratings_stage s) ranked
    WHERE place = 1)"""


def _merge_from(staged: str) -> TextClause:
    # WHERE TRUE tells SQLite that the ON which follows belongs to no join.
    statement = f"""
        INSERT INTO ratings (user_id, movie_id, rating, rated_at, batch_id)
        SELECT user_id, movie_id, rating, rated_at, :batch_id FROM {staged} staged WHERE TRUE
        ON CONFLICT (user_id, movie_id) DO UPDATE
        SET rating = excluded.rating, rated_at = excluded.rated_at, batch_id = excluded.batch_id
        WHERE (COALESCE(excluded.rated_at, :snapshot_at), excluded.rating, COALESCE(excluded.rated_at, -1)) > (
            COALESCE(
                ratings.rated_at, (SELECT b.snapshot_at FROM ingest_batches b WHERE b.batch_id = ratings.batch_id)),
            ratings.rating, COALESCE(ratings.rated_at, -1))
    """  # noqa: S608  names of this program's own
    return text(statement).bindparams(
        bindparam("snapshot_at", type_=schema.Id), bindparam("batch_id", type_=schema.Id)
    )


_MERGE, _MERGE_DISTINCT = _merge_from(_BEST), _merge_from("ratings_stage")
"""Whatever is staged; and pairs that are staged once each and in order, which need not be sorted for that."""


@dataclass(frozen=True)
class Limits:
    """When bad rows mean a bad file."""

    max_rejects: int
    max_reject_share: float


@dataclass
class Counts:
    """What became of the rows of one file: read = accepted + rejected + duplicate."""

    read: int = 0
    accepted: int = 0
    rejects: list[Reject] = field(default_factory=list)
    lowest: float | None = None  # stars, of the ratings read
    highest: float | None = None
    all_timed: bool = False  # each rating has its own time

    def saw(self, low: float, high: float, all_timed: bool = True) -> None:
        """Take note of some more ratings: the lowest, the highest, and whether each has its own time."""
        self.all_timed = all_timed and (self.all_timed or self.lowest is None)
        self.lowest = min(low, low if self.lowest is None else self.lowest)
        self.highest = max(high, high if self.highest is None else self.highest)

    @property
    def duplicate(self) -> int:
        """Rows that said what was known already, or something older."""
        return self.read - self.accepted - len(self.rejects)


@dataclass
class Batch:
    """One file's place in `ingest_batches`, and what has become of its rows so far."""

    batch_id: int
    snapshot_at: int  # seconds since 1970 UTC: the age of whatever in it has no time of its own
    counts: Counts = field(default_factory=Counts)


@dataclass
class Keys:
    """Keys -> ids of what the database knows; new keys are numbered here."""

    table: Table
    ids: dict[str, int]
    fresh: list[str]
    next: int

    def id_of(self, key: str) -> int:
        """The id of a key, a new one if need be."""
        known = self.ids.get(key)
        if known is None:
            known = self.ids[key] = self.next
            self.next += 1
            self.fresh.append(key)
        return known

    def ids_of(self, numbers: Ints) -> Ints:
        """The ids of keys that are numbers as text, (k,); new ones in order of appearance."""
        keys, first, place = np.unique(numbers, return_index=True, return_inverse=True)
        ids = np.empty(len(keys), dtype=np.int64)
        for each in np.argsort(first).tolist():
            ids[each] = self.id_of(str(keys[each]))
        return ids[place]


def known_keys(connection: Connection, table: Table) -> Keys:
    """All keys of `users` or `movies`."""
    id_column, key_column = list(table.columns)[:2]
    known = dict(connection.execute(select(key_column, id_column)).all())
    return Keys(table, known, [], next_id(connection, id_column))


def merge_ratings(
    connection: Connection, rows: Iterable[Any], reading: Reading, into: Batch, limits: Limits
) -> None:
    """Stage, judge and merge the ratings of one file. Raises RefusedError, having written what a rollback undoes."""
    users, movies, counts = (
        known_keys(connection, schema.users),
        known_keys(connection, schema.movies),
        into.counts,
    )
    _stage.create(connection)
    distinct = _fill_stage(connection, _judged(rows, counts, limits), users, movies, counts)
    judge(counts, limits)
    names, titles = reading.names, reading.titles
    _write_names(connection, names)
    _write_titles(connection, titles)
    bulk_insert(
        connection,
        schema.users,
        ["user_id", "user_key", "name"],
        ((users.ids[key], key, names.get(key)) for key in users.fresh),
    )
    unrated = [
        key for key in titles if key not in movies.ids
    ]  # films of a wide matrix that nobody rated
    for key in unrated:
        movies.id_of(key)
    bulk_insert(
        connection,
        schema.movies,
        ["movie_id", "movie_key", "title"],
        ((movies.ids[key], key, titles.get(key, key)) for key in movies.fresh),
    )
    merged = connection.execute(
        _MERGE_DISTINCT if distinct else _MERGE,
        {"batch_id": into.batch_id, "snapshot_at": into.snapshot_at},
    )
    counts.accepted = merged.rowcount
    _stage.drop(connection)


def _write_names(connection: Connection, names: dict[str, str]) -> None:
    """Names for users who were known by their key only. Of several the first by text stays, whatever came first."""
    u = schema.users
    known = dict(connection.execute(select(u.c.user_key, u.c.name)).all()) if names else {}
    changed = [
        {"key": k, "text": n}
        for k, n in names.items()
        if k in known and (known[k] is None or n < known[k])
    ]
    if changed:
        named: dict[str, Any] = {"name": bindparam("text")}
        connection.execute(update(u).where(u.c.user_key == bindparam("key")).values(named), changed)


def _write_titles(connection: Connection, titles: dict[str, str]) -> None:
    """Titles for films that no catalogue has described, by the same rule; a key stands for a title until then."""
    m = schema.movies
    undescribed = select(m.c.movie_key, m.c.title).where(m.c.batch_id.is_(None))
    known = dict(connection.execute(undescribed).all()) if titles else {}
    changed = [{"key": k, "text": t} for k, t in titles.items() if k in known and t < known[k]]
    if changed:
        titled: dict[str, Any] = {"title": bindparam("text")}
        connection.execute(
            update(m).where(m.c.movie_key == bindparam("key")).values(titled), changed
        )


def _judged(rows: Iterable[Any], counts: Counts, limits: Limits) -> Iterator[Any]:
    """The rows that are not rejects; stops early where there are too many of those."""
    for row in rows:
        counts.read += len(row.stars) if isinstance(row, Block) else 1
        if isinstance(row, Reject):
            counts.rejects.append(row)
            if len(counts.rejects) > max(limits.max_rejects, ALWAYS_TOLERATED):
                raise _too_many(counts)
        else:
            yield row


def _fill_stage(
    connection: Connection,
    rows: Iterator[Block | RatingRow],
    users: Keys,
    movies: Keys,
    counts: Counts,
) -> bool:
    """Stage blocks and rows; returns whether it is known that no pair comes twice, and that they are in order."""
    distinct, last = True, (0, 0)
    for by_block, some in groupby(rows, lambda row: isinstance(row, Block)):
        if not by_block:
            distinct = False
            bulk_insert(
                connection,
                _stage,
                _STAGED,
                _staged(cast("Iterator[RatingRow]", some), users, movies, counts),
            )
            continue
        for block in cast("Iterator[Block]", some):
            user_ids, movie_ids = users.ids_of(block.users), movies.ids_of(block.movies)
            order = np.lexsort((movie_ids, user_ids))
            user_ids, movie_ids = user_ids[order], movie_ids[order]
            same, step = np.diff(user_ids) == 0, np.diff(movie_ids)
            distinct = (
                distinct and last < (user_ids[0], movie_ids[0]) and not (same & (step == 0)).any()
            )
            last = (user_ids[-1], movie_ids[-1])
            counts.saw(float(block.stars.min()), float(block.stars.max()))
            columns = (user_ids, movie_ids, block.stars[order], block.times[order])
            insert_columns(connection, _stage, {}, dict(zip(_STAGED, columns, strict=True)))
    return distinct


def _staged(
    rows: Iterator[RatingRow], users: Keys, movies: Keys, counts: Counts
) -> Iterator[tuple[Any, ...]]:
    low, high, all_timed = float("inf"), float("-inf"), True
    for _, user_key, movie_key, rating, rated_at in rows:
        if rating < low:
            low = rating
        if rating > high:
            high = rating
        if rated_at is None:
            all_timed = False
        yield users.id_of(user_key), movies.id_of(movie_key), rating, rated_at
    if low <= high:
        counts.saw(low, high, all_timed)


def judge(counts: Counts, limits: Limits) -> None:
    """Raise RefusedError where the rejected rows say that the file is broken."""
    bad = len(counts.rejects)
    too_many = bad > max(
        ALWAYS_TOLERATED, min(limits.max_rejects, limits.max_reject_share * counts.read)
    )
    if too_many or (bad and bad == counts.read):
        raise _too_many(counts)


def _too_many(counts: Counts) -> RefusedError:
    first = counts.rejects[0]
    message = f"{len(counts.rejects):,} of {counts.read:,} rows cannot be read; the first: {first.message}"
    return RefusedError("TOO_MANY_REJECTS", message, first.line)


def merge_movies(connection: Connection, rows: Iterable[Any], into: Batch, limits: Limits) -> None:
    """Judge and merge a catalogue of films: of two descriptions of a film the one from the later file wins.

    Raises RefusedError. A film that a file describes twice in different ways keeps the first.
    """
    counts, at = into.counts, into.snapshot_at
    described: dict[str, MovieRow] = {}
    for row in _judged(rows, counts, limits):
        first = described.setdefault(row.movie_key, row)
        if first[1:] != row[1:]:
            message = f"film {row.movie_key} was described otherwise at line {first.line}; remove one of the two"
            counts.rejects.append(
                Reject(row.line, None, "CONFLICTING_DUPLICATE", message, row.title)
            )
    judge(counts, limits)
    keys, known = known_keys(connection, schema.movies), _descriptions(connection)
    taken = [
        row
        for row in described.values()
        if (at, row.title, row.genres) > known.get(row.movie_key, ())
    ]
    counts.accepted = len(taken)
    _write_movies(connection, taken, keys, into.batch_id)


def _descriptions(connection: Connection) -> dict[str, tuple[Any, ...]]:
    """movie_key -> (snapshot, title, genres) of every film that a catalogue has described."""
    m, g, b = schema.movies, schema.genres, schema.ingest_batches
    genres: dict[int, list[str]] = {}
    pairs = select(schema.movie_genres.c.movie_id, g.c.name).join(
        g, g.c.genre_id == schema.movie_genres.c.genre_id
    )
    for movie_id, name in connection.execute(pairs):
        genres.setdefault(movie_id, []).append(name)
    films = select(m.c.movie_id, m.c.movie_key, m.c.title, b.c.snapshot_at).join(
        b, b.c.batch_id == m.c.batch_id
    )
    return {
        key: (at, title, tuple(sorted(genres.get(i, ()))))
        for i, key, title, at in connection.execute(films)
    }


def _write_movies(connection: Connection, rows: list[MovieRow], keys: Keys, batch_id: int) -> None:
    if not rows:
        return
    films = [
        {
            "id": keys.id_of(row.movie_key),
            "movie_key": row.movie_key,
            "title": row.title,
            "batch_id": batch_id,
        }
        for row in rows
    ]
    fresh = set(keys.fresh)
    bulk_insert(
        connection,
        schema.movies,
        ["movie_id", "movie_key", "title", "batch_id"],
        (
            (film["id"], film["movie_key"], film["title"], batch_id)
            for film in films
            if film["movie_key"] in fresh
        ),
    )
    movies, links = schema.movies, schema.movie_genres
    changed = [film for film in films if film["movie_key"] not in fresh]
    if changed:
        values: dict[str, Any] = {"title": bindparam("title"), "batch_id": bindparam("batch_id")}
        connection.execute(
            update(movies).where(movies.c.movie_id == bindparam("id")).values(values), changed
        )
        connection.execute(
            delete(links).where(links.c.movie_id == bindparam("id")),
            [{"id": f["id"]} for f in changed],
        )
    genre_ids = _genre_ids(connection, {name for row in rows for name in row.genres})
    pairs = ((keys.ids[row.movie_key], genre_ids[name]) for row in rows for name in row.genres)
    bulk_insert(connection, links, ["movie_id", "genre_id"], pairs)
    connection.execute(
        delete(schema.genres).where(schema.genres.c.genre_id.not_in(select(links.c.genre_id)))
    )


def _genre_ids(connection: Connection, names: set[str]) -> dict[str, int]:
    """name -> id, new genres written."""
    genres = schema.genres
    known = {
        name: number
        for number, name in connection.execute(select(genres.c.genre_id, genres.c.name))
    }
    first = next_id(connection, genres.c.genre_id)
    fresh = {name: first + place for place, name in enumerate(sorted(names - set(known)))}
    if fresh:
        connection.execute(
            insert(genres), [{"genre_id": number, "name": name} for name, number in fresh.items()]
        )
    return known | fresh
