"""Tables -> Ratings: ids become rows and columns here, in order of key."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from sqlalchemy import Connection, Table, func, or_, select

from batch import schema
from batch.ratings import Floats, Ints, Ratings

CHUNK = 100_000
"""Rows fetched at a time."""
UNKNOWN_TIME = -1
"""Stands for a missing time between the database and numpy; before 1970 there were no ratings."""
DEFAULT_SCALE = (1.0, 5.0)
"""Where there are no ratings to tell."""


@dataclass(frozen=True)
class Loaded:
    """Ratings, and what a run records to tell which they were."""

    ratings: Ratings
    user_keys: list[str]  # of the rows, in order
    movie_keys: list[str]  # of the columns
    sha256: str  # of keys, ratings, times and genres: the same content gives the same, however it came
    last_batch_id: int


def load(connection: Connection, *, scale: tuple[float, float] | None = None, known_until: int | None = None) -> Loaded:
    """Read everything in the caller's one snapshot.

    `known_until`, seconds since 1970 UTC, leaves out ratings from then on; those without a time count as known.
    `scale` overrides what the ingested files were on.
    """
    user_ids, user_keys = _by_key(connection, schema.users)
    movie_ids, movie_keys = _by_key(connection, schema.movies)
    genres, genre_names = _genres(connection, movie_ids)
    users, items, stars, times = _cells(connection, user_ids, movie_ids, known_until)
    order = np.lexsort((items, users))
    users, items, stars, times = users[order], items[order], stars[order], times[order]
    matrix = sparse.csr_array((stars, (users, items)), shape=(len(user_ids), len(movie_ids)))
    ratings = Ratings(
        matrix=matrix,
        user_ids=user_ids,
        movie_ids=movie_ids,
        genres=genres,
        scale=scale or _seen_scale(connection),
        rated_at=None if np.isnan(times).all() else times,
    )
    digest = hashlib.sha256(repr((user_keys, movie_keys, genre_names)).encode("utf-8", "surrogatepass"))
    for array in (users, items, stars, times, genres):
        digest.update(np.ascontiguousarray(array).tobytes())
    last = connection.execute(select(func.coalesce(func.max(schema.ingest_batches.c.batch_id), 0))).scalar_one()
    return Loaded(ratings, user_keys, movie_keys, digest.hexdigest(), last)


def place(loaded: Loaded, pairs: Mapping[tuple[str, str], float]) -> Ratings:
    """Ratings from elsewhere, (user_key, movie_key) -> stars, as rows and columns; unknown users and films left out."""
    rows = {key: row for row, key in enumerate(loaded.user_keys)}
    columns = {key: column for column, key in enumerate(loaded.movie_keys)}
    known = sorted((rows[u], columns[m], stars) for (u, m), stars in pairs.items() if u in rows and m in columns)
    users, items, stars = (np.array(part) for part in zip(*known, strict=True)) if known else (np.empty(0),) * 3
    matrix = sparse.csr_array((stars.astype(np.float64), (users, items)), shape=loaded.ratings.matrix.shape)
    return replace(loaded.ratings, matrix=matrix, rated_at=None)


def _by_key(connection: Connection, table: Table) -> tuple[Ints, list[str]]:
    """Ids (n,) and keys, ordered by key as Python orders text: a database's own order depends on its locale."""
    id_column, key_column = list(table.columns)[:2]
    rows = sorted((key, number) for key, number in connection.execute(select(key_column, id_column)))
    return np.array([number for _, number in rows], dtype=np.int64), [key for key, _ in rows]


def _genres(connection: Connection, movie_ids: Ints) -> tuple[Floats, list[str]]:
    """0/1 (n_items, n_genres), columns in order of name."""
    genre_ids, names = _by_key(connection, schema.genres)
    matrix = np.zeros((len(movie_ids), len(genre_ids)))
    pairs = connection.execute(select(schema.movie_genres.c.movie_id, schema.movie_genres.c.genre_id)).all()
    if pairs:
        pair = np.array(pairs, dtype=np.int64)  # (n_pairs, 2)
        matrix[_places(movie_ids, pair[:, 0]), _places(genre_ids, pair[:, 1])] = 1.0
    return matrix, names


def _cells(
    connection: Connection, user_ids: Ints, movie_ids: Ints, known_until: int | None
) -> tuple[Ints, Ints, Floats, Floats]:
    """Row, column, stars and time (nan = unknown) of each rating, each (n_ratings,)."""
    r = schema.ratings.c
    query = select(r.user_id, r.movie_id, r.rating, func.coalesce(r.rated_at, UNKNOWN_TIME))
    if known_until is not None:
        query = query.where(or_(r.rated_at.is_(None), r.rated_at < known_until))
    result = connection.execution_options(yield_per=CHUNK).execute(query)
    parts: list[Any] = [np.array([tuple(row) for row in rows], dtype=np.float64) for rows in result.partitions()]
    table = np.concatenate(parts) if parts else np.empty((0, 4))  # ids below 2**53 are exact as floats
    times = np.where(table[:, 3] == UNKNOWN_TIME, np.nan, table[:, 3])
    users = _places(user_ids, table[:, 0].astype(np.int64))
    return users, _places(movie_ids, table[:, 1].astype(np.int64)), table[:, 2], times


def _places(ids: Ints, wanted: Ints) -> Ints:
    """The position of each wanted id in `ids`, which are distinct and in any order."""
    by_id = np.argsort(ids, kind="stable")
    return by_id[np.searchsorted(ids, wanted, sorter=by_id)]


def _seen_scale(connection: Connection) -> tuple[float, float]:
    b = schema.ingest_batches.c
    low, high = connection.execute(
        select(func.min(b.scale_min), func.max(b.scale_max)).where(b.status == "merged")
    ).one()
    return DEFAULT_SCALE if low is None else (low, high)
