"""Tables -> Ratings: ids become rows and columns here, in order of key."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from sqlalchemy import ColumnElement, Connection, Table, func, literal_column, or_, select, true

from batch import RecbatchError
from batch.ratings import Floats, Ints, Ratings, blocks
from batch.store import schema
from batch.telemetry import progress

Places: TypeAlias = Callable[[Ints], Ints]
"""Ids (k,) -> where each of them stands in the order of keys, (k,)."""

BLOCK = 8 << 20
"""Bytes of packed cells that are made arrays at a time."""
CELL = 24
"""Bytes of a packed cell: film, stars and time, 8 each."""
USERS = 64
"""Rows, one a user, fetched at a time: few, because a user may have rated every film."""
UNTOLD = -(2**62)
"""Stands in a packed cell for a missing time, or stars that do not fit; no time and no stars are that small."""
DEFAULT_SCALE = (1.0, 5.0)
"""Where there are no ratings to tell."""


class OrphansError(RecbatchError):
    """A rating is of a user or film that is in no table: someone deleted from the tables by hand."""


@dataclass(frozen=True)
class Loaded:
    """Ratings, and what a run records to tell which they were."""

    ratings: Ratings
    user_keys: list[str]  # of the rows, in order
    movie_keys: list[str]  # of the columns
    sha256: (
        str  # of keys, ratings, times and genres: the same content gives the same, however it came
    )
    last_batch_id: int


def load(
    connection: Connection,
    *,
    scale: tuple[float, float] | None = None,
    known_until: int | None = None,
) -> Loaded:
    """Read everything in the caller's one snapshot.

    `known_until`, seconds since 1970 UTC, leaves out ratings from then on; those without a time count as known.
    `scale` overrides what the ingested files were on. Raises OrphansError.
    """
    user_ids, user_keys = _by_key(connection, schema.users)
    movie_ids, movie_keys = _by_key(connection, schema.movies)
    genre_ids, genre_names = _by_key(connection, schema.genres)
    genres = _genres(connection, movie_ids, genre_ids)
    matrix, times = _cells(connection, user_ids, movie_ids, known_until)
    ratings = Ratings(
        matrix=matrix,
        user_ids=user_ids,
        movie_ids=movie_ids,
        genres=genres,
        scale=scale or _seen_scale(connection),
        rated_at=None if np.isnan(times).all() else times,
        genre_ids=genre_ids,
    )
    digest = hashlib.sha256(
        repr((user_keys, movie_keys, genre_names)).encode("utf-8", "surrogatepass")
    )
    for part in _content(ratings, times):
        digest.update(part.data)
    last = connection.execute(
        select(func.coalesce(func.max(schema.ingest_batches.c.batch_id), 0))
    ).scalar_one()
    return Loaded(ratings, user_keys, movie_keys, digest.hexdigest(), last)


def place(loaded: Loaded, pairs: Mapping[tuple[str, str], float]) -> Ratings:
    """Ratings from elsewhere, (user_key, movie_key) -> stars, as rows and columns; unknown users and films left out."""
    rows = {key: row for row, key in enumerate(loaded.user_keys)}
    columns = {key: column for column, key in enumerate(loaded.movie_keys)}
    known = sorted(
        (rows[u], columns[m], stars)
        for (u, m), stars in pairs.items()
        if u in rows and m in columns
    )
    users, items, stars = (
        (np.array(part) for part in zip(*known, strict=True)) if known else (np.empty(0),) * 3
    )
    matrix = sparse.csr_array(
        (stars.astype(np.float64), (users, items)), shape=loaded.ratings.matrix.shape
    )
    return replace(loaded.ratings, matrix=matrix, rated_at=None)


def _content(ratings: Ratings, times: Floats) -> Iterator[Any]:
    """Row, column, stars and time of each rating, and the genres: what the fingerprint is of, a piece at a time."""
    counts, starts = ratings.user_counts(), ratings.matrix.indptr
    some = list(blocks(ratings.n_users, 4096))
    yield from (np.repeat(users, counts[users]) for users in some)
    yield from (
        ratings.matrix.indices[starts[b[0]] : starts[b[-1] + 1]].astype(np.int64) for b in some
    )
    yield from (ratings.matrix.data, times, ratings.genres)


def _by_key(connection: Connection, table: Table) -> tuple[Ints, list[str]]:
    """Ids (n,) and keys, ordered by key as Python orders text: a database's own order depends on its locale."""
    id_column, key_column = list(table.columns)[:2]
    rows = sorted(
        (key, number) for key, number in connection.execute(select(key_column, id_column))
    )
    return np.array([number for _, number in rows], dtype=np.int64), [key for key, _ in rows]


def _genres(connection: Connection, movie_ids: Ints, genre_ids: Ints) -> Floats:
    """0/1 (n_items, n_genres)."""
    matrix = np.zeros((len(movie_ids), len(genre_ids)))
    pairs = connection.execute(
        select(schema.movie_genres.c.movie_id, schema.movie_genres.c.genre_id)
    ).all()
    if pairs:
        pair = np.array(pairs, dtype=np.int64)  # (n_pairs, 2)
        matrix[
            _places(schema.movies, movie_ids)(pair[:, 0]),
            _places(schema.genres, genre_ids)(pair[:, 1]),
        ] = 1.0
    return matrix


# SQLite has no function that gives the bits of a number, but it prints whole numbers fast, and numbers with a point
# slowly and inexactly. Stars of at most six decimals, which is all that ingest takes, are whole millionths; a quotient
# of two whole numbers is rounded the same way everywhere, so those come back bit by bit.
_MILLIONTHS = "CAST(ROUND(rating * 1e6) AS INTEGER)"
_PLAIN = f"{_MILLIONTHS} / 1e6 = rating"
_PACKED = {
    "sqlite": f"""group_concat(printf('%016x%016x%016x', movie_id,
        CASE WHEN {_PLAIN} THEN {_MILLIONTHS} ELSE {UNTOLD} END, COALESCE(rated_at, {UNTOLD})), '')""",
    "postgresql": f"""string_agg(
        int8send(movie_id) || float8send(rating) || int8send(COALESCE(rated_at, {UNTOLD})), '')""",
}
"""The cells of a user as one value, big end first: the database hands out a row a user, and numpy takes it apart."""


def _cells(
    connection: Connection, user_ids: Ints, movie_ids: Ints, known_until: int | None
) -> tuple[sparse.csr_array, Floats]:
    """The matrix of stars, and beside its data the times, (n_ratings,), nan = unknown.

    Each block of whole users goes to its place in the final arrays at once, so that little else is held beside them.
    """
    r = schema.ratings.c
    known = true() if known_until is None else or_(r.rated_at.is_(None), r.rated_at < known_until)
    user_of, item_of = _places(schema.users, user_ids), _places(schema.movies, movie_ids)
    counted = connection.execute(
        select(r.user_id, func.count()).where(known).group_by(r.user_id)
    ).all()
    counts = np.zeros(len(user_ids), dtype=np.int64)  # (n_users,)
    if counted:
        whose, how_many = np.array(counted, dtype=np.int64).T
        counts[user_of(whose)] = how_many
    starts = np.concatenate([[0], np.cumsum(counts)])  # (n_users + 1,)
    n_ratings = int(starts[-1])
    index = sparse.get_index_dtype(maxval=max(n_ratings, len(movie_ids)))
    items, stars, times = np.empty(n_ratings, index), np.empty(n_ratings), np.empty(n_ratings)
    with progress("loading ratings", n_ratings) as advance:
        for owners, films, some_stars, some_times in _packed_blocks(connection, known):
            users, columns = user_of(owners), item_of(films)  # (cells,) each
            order = np.lexsort((columns, users))
            users = users[order]
            firsts = np.flatnonzero(np.diff(users, prepend=-1))  # where a user begins in this block
            begun = np.repeat(firsts, np.diff(firsts, append=len(users)))
            place = starts[users] + np.arange(len(users)) - begun
            items[place], stars[place], times[place] = (
                columns[order],
                some_stars[order],
                some_times[order],
            )
            advance(len(users))
    return sparse.csr_array(
        (stars, items, starts.astype(index)), shape=(len(user_ids), len(movie_ids))
    ), times


def _packed_blocks(
    connection: Connection, known: ColumnElement[bool]
) -> Iterator[tuple[Ints, Ints, Floats, Floats]]:
    """User id, film id, stars and time (nan = unknown) of the ratings of some whole users, (cells,) each."""
    r = schema.ratings.c
    packed: Any = literal_column(_PACKED[connection.dialect.name])
    query = select(r.user_id, packed).where(known).group_by(r.user_id)
    owners: list[int] = []
    parts: list[bytes] = []
    size = 0
    for user_id, cells in connection.execute(query, execution_options={"yield_per": USERS}):
        owners.append(user_id)
        parts.append(bytes.fromhex(cells) if isinstance(cells, str) else cells)
        size += len(parts[-1])
        if size >= BLOCK:
            yield _unpacked(connection, owners, parts)
            owners, parts, size = [], [], 0
    if parts:
        yield _unpacked(connection, owners, parts)


def _unpacked(
    connection: Connection, owners: list[int], parts: list[bytes]
) -> tuple[Ints, Ints, Floats, Floats]:
    users = np.repeat(np.array(owners, dtype=np.int64), [len(part) // CELL for part in parts])
    exact = connection.dialect.name == "postgresql"
    cell = np.dtype([("film", ">i8"), ("stars", ">f8" if exact else ">i8"), ("time", ">i8")])
    cells = np.frombuffer(b"".join(parts), cell)
    films, times = cells["film"].astype(np.int64), cells["time"].astype(np.float64)
    times[cells["time"] == UNTOLD] = np.nan
    if exact:
        return users, films, cells["stars"].astype(np.float64), times
    stars = cells["stars"] / 1e6
    odd = np.flatnonzero(cells["stars"] == UNTOLD)
    if len(odd):
        r = schema.ratings.c
        wanted = r.user_id.between(min(owners), max(owners)) & ~literal_column(f"({_PLAIN})")
        exactly = connection.execute(select(r.user_id, r.movie_id, r.rating).where(wanted))
        told = {(user_id, movie_id): value for user_id, movie_id, value in exactly}
        stars[odd] = [
            told[pair] for pair in zip(users[odd].tolist(), films[odd].tolist(), strict=True)
        ]
    return users, films, stars, times


def _places(table: Table, ids: Ints) -> Places:
    """Finds the positions of wanted ids in `ids`, which are all that the table has, in any order."""
    by_id = np.argsort(ids, kind="stable")
    in_order = np.append(ids[by_id], 0)  # so that there is something behind the last

    def found(wanted: Ints) -> Ints:
        place = np.searchsorted(in_order[:-1], wanted)
        orphans = (place == len(ids)) | (in_order[place] != wanted)
        if orphans.any():
            row = f"{next(iter(table.columns)).name} = {wanted[orphans][0]}"
            raise OrphansError(
                f"ratings have {row}, which is no row of {table.name}; put it back, or delete them"
            )
        return by_id[place]

    return found


def _seen_scale(connection: Connection) -> tuple[float, float]:
    b = schema.ingest_batches.c
    low, high = connection.execute(
        select(func.min(b.scale_min), func.max(b.scale_max)).where(b.status == "merged")
    ).one()
    return DEFAULT_SCALE if low is None else (low, high)
