"""Tables -> Ratings: ids become row and column numbers here, in order of key."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    func,
    literal_column,
    or_,
    select,
    true,
)

from batch import RecbatchError
from batch.ratings import Floats, Ints, Ratings, blocks
from batch.store import schema
from batch.store.scale import Outliers, Scale, find_scale
from batch.telemetry import progress

_ratings, _links, _batches = schema.ratings, schema.movie_genres, schema.ingest_batches

PositionsOf: TypeAlias = Callable[[Ints], Ints]
"""Ids (n,) -> their positions in the order of keys, (n,)."""

BLOCK = 8 << 20
"""Bytes of packed cells that are decoded at a time."""
CELL_BYTES = 24
"""Film, stars and time of a packed cell, 8 bytes each."""
USERS = 64
"""Rows fetched at a time, one for each user, who may have rated every film."""
MISSING = -(2**62)
"""In a packed cell: no time, or stars that are not whole millionths."""


class OrphansError(RecbatchError):
    """A rating whose user or film is in no table: someone deleted it by hand."""


@dataclass(frozen=True)
class Loaded:
    """Ratings, and what a run records to identify them."""

    ratings: Ratings
    user_keys: list[str]  # of the rows of `ratings.matrix`
    movie_keys: list[str]  # of its columns
    sha256: str  # of keys, ratings, times and genres, however ingested
    last_batch_id: int
    outliers: list[Outliers]  # ratings that the scale leaves out, unless it was given


def load(
    connection: Connection,
    *,
    scale: Scale | None = None,
    known_until: int | None = None,
) -> Loaded:
    """Read all ratings in the caller's snapshot.

    `known_until`, seconds since 1970 UTC, leaves out ratings from then on,
    and keeps those without a time. `scale` replaces the one that `find_scale`
    finds. Raises OrphansError.
    """
    user_ids, user_keys = _ids_by_key(connection, schema.users)
    movie_ids, movie_keys = _ids_by_key(connection, schema.movies)
    genre_ids, genre_names = _ids_by_key(connection, schema.genres)
    genres = _genre_matrix(connection, movie_ids, genre_ids)
    matrix, times = _matrix_and_times(connection, user_ids, movie_ids, known_until)
    outliers: list[Outliers] = []
    if scale is None:
        scale, outliers = find_scale(connection, matrix.data)
    ratings = Ratings(
        matrix=matrix,
        user_ids=user_ids,
        movie_ids=movie_ids,
        genres=genres,
        scale=scale,
        rated_at=None if np.isnan(times).all() else times,
        genre_ids=genre_ids,
    )
    names = repr((user_keys, movie_keys, genre_names))
    digest = hashlib.sha256(names.encode("utf-8", "surrogatepass"))
    for part in _fingerprint_parts(ratings, times):
        digest.update(part.data)
    newest_batch = select(func.coalesce(func.max(_batches.c.batch_id), 0))
    last_batch_id = connection.execute(newest_batch).scalar_one()
    return Loaded(
        ratings=ratings,
        user_keys=user_keys,
        movie_keys=movie_keys,
        sha256=digest.hexdigest(),
        last_batch_id=last_batch_id,
        outliers=outliers,
    )


def place(loaded: Loaded, pairs: Mapping[tuple[str, str], float]) -> Ratings:
    """(user_key, movie_key) -> stars, as Ratings on the rows and columns of `loaded`.

    Users and films that are not in the tables are left out.
    """
    row_of = {key: row for row, key in enumerate(loaded.user_keys)}
    column_of = {key: column for column, key in enumerate(loaded.movie_keys)}
    cells = []
    for (user_key, movie_key), stars in pairs.items():
        if user_key in row_of and movie_key in column_of:
            cells.append((row_of[user_key], column_of[movie_key], stars))
    cells.sort()
    users = np.array([user for user, _, _ in cells], dtype=np.int64)
    items = np.array([item for _, item, _ in cells], dtype=np.int64)
    values = np.array([stars for _, _, stars in cells], dtype=np.float64)
    matrix = sparse.csr_array((values, (users, items)), shape=loaded.ratings.matrix.shape)
    return replace(loaded.ratings, matrix=matrix, rated_at=None)


def _fingerprint_parts(ratings: Ratings, times: Floats) -> Iterator[Any]:
    """The arrays that the fingerprint covers, those of indices by blocks."""
    counts = ratings.user_counts()  # (n_users,)
    starts = ratings.matrix.indptr  # (n_users + 1,)
    user_blocks = list(blocks(ratings.n_users, 4096))
    for users in user_blocks:
        yield np.repeat(users, counts[users])
    for users in user_blocks:
        cells = slice(starts[users[0]], starts[users[-1] + 1])
        yield ratings.matrix.indices[cells].astype(np.int64)
    yield ratings.matrix.data
    yield times
    yield ratings.genres


def _ids_by_key(connection: Connection, table: Table) -> tuple[Ints, list[str]]:
    """Ids (n,) and keys, in Python's order: a database's depends on its locale.

    Users and films that undone files left are left out.
    """
    id_column, key_column = list(table.columns)[:2]
    query = select(key_column, id_column)
    if "undone_batch_id" in table.c:
        query = query.where(table.c.undone_batch_id.is_(None))
    rows = connection.execute(query)
    pairs = sorted((key, number) for key, number in rows)
    ids = np.array([number for _, number in pairs], dtype=np.int64)
    return ids, [key for key, _ in pairs]


def _genre_matrix(
    connection: Connection,
    movie_ids: Ints,
    genre_ids: Ints,
) -> Floats:
    """0/1 (n_items, n_genres)."""
    matrix = np.zeros((len(movie_ids), len(genre_ids)))
    pairs = number_pairs(connection, select(_links.c.movie_id, _links.c.genre_id))
    if len(pairs):
        items = _positions(schema.movies, movie_ids)(pairs[:, 0])
        genres = _positions(schema.genres, genre_ids)(pairs[:, 1])
        matrix[items, genres] = 1.0
    return matrix


# A user's cells come as one value, big-endian, so that the database returns
# one row for each user, and numpy decodes it.
#
# SQLite has no function for the bits of a number. It prints whole numbers
# fast, and others slowly and inexactly. Stars with at most six decimals,
# which is all that ingest accepts, are whole millionths; the quotient of
# two whole numbers is rounded the same way everywhere, so that dividing by
# a million restores the stars bit for bit.
_MILLIONTHS = "CAST(ROUND(rating * 1e6) AS INTEGER)"
_IS_MILLIONTHS = f"{_MILLIONTHS} / 1e6 = rating"
_PACKED = {
    "sqlite": f"""group_concat(printf('%016x%016x%016x', movie_id,
        CASE WHEN {_IS_MILLIONTHS} THEN {_MILLIONTHS} ELSE {MISSING} END,
        COALESCE(rated_at, {MISSING})), '')""",
    "postgresql": f"""string_agg(int8send(movie_id) || float8send(rating)
        || int8send(COALESCE(rated_at, {MISSING})), '')""",
}
_STARS_TYPE = {"sqlite": ">i8", "postgresql": ">f8"}  # millionths; stars


def _matrix_and_times(
    connection: Connection,
    user_ids: Ints,
    movie_ids: Ints,
    known_until: int | None,
) -> tuple[sparse.csr_array, Floats]:
    """Stars (n_users, n_items), and times (n_ratings,), nan = unknown.

    Blocks of whole users go to their place in the final arrays at once, so
    that little else is held beside them.
    """
    r = _ratings.c
    used: ColumnElement[bool] = true()
    if known_until is not None:
        used = or_(r.rated_at.is_(None), r.rated_at < known_until)
    users_at = _positions(schema.users, user_ids)
    items_at = _positions(schema.movies, movie_ids)
    # (n_users + 1,)
    starts = _row_starts(connection, used, users_at, len(user_ids))
    n_ratings = int(starts[-1])
    index_type = sparse.get_index_dtype(maxval=max(n_ratings, len(movie_ids)))
    items = np.empty(n_ratings, index_type)
    stars = np.empty(n_ratings)
    times = np.empty(n_ratings)
    with progress("loading ratings", n_ratings) as advance:
        for block in _blocks_of_cells(connection, used):
            cell_user_ids, cell_movie_ids, cell_stars, cell_times = block
            users = users_at(cell_user_ids)  # (n_cells,)
            columns = items_at(cell_movie_ids)  # (n_cells,)
            order = np.lexsort((columns, users))
            target = _targets(users[order], starts)
            items[target] = columns[order]
            stars[target] = cell_stars[order]
            times[target] = cell_times[order]
            advance(len(users))
    shape = (len(user_ids), len(movie_ids))
    cells = (stars, items, starts.astype(index_type))
    return sparse.csr_array(cells, shape=shape), times


def _row_starts(
    connection: Connection,
    used: ColumnElement[bool],
    users_at: PositionsOf,
    n_users: int,
) -> Ints:
    """The CSR row pointers (n_users + 1,): each user's first cell, and the end."""
    user_id = _ratings.c.user_id
    by_user = select(user_id, func.count()).where(used).group_by(user_id)
    pairs = number_pairs(connection, by_user)
    counts = np.zeros(n_users, dtype=np.int64)
    if len(pairs):
        counts[users_at(pairs[:, 0])] = pairs[:, 1]
    return np.concatenate([[0], np.cumsum(counts)])


def number_pairs(connection: Connection, query: Select[int, int]) -> Ints:
    """The rows of a query for two whole numbers, (n_rows, 2).

    Number by number: numpy asks every `Row` for attributes that it looks up among its columns,
    which takes fifty times as long.
    """
    numbers = chain.from_iterable(connection.execute(query))
    return np.fromiter(numbers, dtype=np.int64).reshape(-1, 2)


def _targets(users: Ints, starts: Ints) -> Ints:
    """The positions of cells, (n_cells,), of whole users, given as sorted rows."""
    # The first cell of each user
    firsts = np.flatnonzero(np.diff(users, prepend=-1))
    lengths = np.diff(firsts, append=len(users))
    first_of_user = np.repeat(firsts, lengths)  # (n_cells,)
    return starts[users] + np.arange(len(users)) - first_of_user


def _blocks_of_cells(
    connection: Connection, used: ColumnElement[bool]
) -> Iterator[tuple[Ints, Ints, Floats, Floats]]:
    """user_id, movie_id, stars and time (nan = unknown), (n_cells,), of whole users."""
    user_column = _ratings.c.user_id
    packed: Any = literal_column(_PACKED[connection.dialect.name])
    query = select(user_column, packed).where(used).group_by(user_column)
    user_ids: list[int] = []
    parts: list[bytes] = []
    n_bytes = 0
    streamed = {"yield_per": USERS}
    for user_id, cells in connection.execute(query, execution_options=streamed):
        part = bytes.fromhex(cells) if isinstance(cells, str) else cells
        user_ids.append(user_id)
        parts.append(part)
        n_bytes += len(part)
        if n_bytes >= BLOCK:
            yield _unpacked(connection, user_ids, parts)
            user_ids = []
            parts = []
            n_bytes = 0
    if parts:
        yield _unpacked(connection, user_ids, parts)


def _unpacked(
    connection: Connection, user_ids: list[int], parts: list[bytes]
) -> tuple[Ints, Ints, Floats, Floats]:
    """The packed cells of users, one part each, as arrays (n_cells,)."""
    kind = connection.dialect.name
    counts = [len(part) // CELL_BYTES for part in parts]
    users = np.repeat(np.array(user_ids, dtype=np.int64), counts)
    fields = [("movie_id", ">i8"), ("stars", _STARS_TYPE[kind]), ("time", ">i8")]
    cells = np.frombuffer(b"".join(parts), np.dtype(fields))
    movies = cells["movie_id"].astype(np.int64)
    times = cells["time"].astype(np.float64)
    times[cells["time"] == MISSING] = np.nan
    if kind == "postgresql":
        return users, movies, cells["stars"].astype(np.float64), times
    stars = cells["stars"] / 1e6
    inexact = np.flatnonzero(cells["stars"] == MISSING)
    if len(inexact):
        exact = _exact_stars(connection, min(user_ids), max(user_ids))
        pairs = zip(users[inexact].tolist(), movies[inexact].tolist(), strict=True)
        stars[inexact] = [exact[pair] for pair in pairs]
    return users, movies, stars, times


def _exact_stars(
    connection: Connection, first_user_id: int, last_user_id: int
) -> dict[tuple[int, int], float]:
    """(user_id, movie_id) -> stars, for stars that are not whole millionths."""
    r = _ratings.c
    in_range = r.user_id.between(first_user_id, last_user_id)
    inexact: ColumnElement[bool] = ~literal_column(f"({_IS_MILLIONTHS})")
    cells = select(r.user_id, r.movie_id, r.rating).where(in_range & inexact)
    rows = connection.execute(cells)
    return {(user_id, movie_id): stars for user_id, movie_id, stars in rows}


def _positions(table: Table, ids: Ints) -> PositionsOf:
    """Look up positions in `ids`, (n,): all ids of the table, in any order."""
    by_id = np.argsort(ids, kind="stable")
    # One more, for lookups past the largest id
    sorted_ids = np.append(ids[by_id], 0)

    def positions_of(wanted: Ints) -> Ints:
        position = np.searchsorted(sorted_ids[:-1], wanted)
        orphans = (position == len(ids)) | (sorted_ids[position] != wanted)
        if orphans.any():
            id_column = next(iter(table.columns)).name
            row = f"{id_column} = {wanted[orphans][0]}"
            raise OrphansError(
                f"ratings have {row}, which is no row of {table.name}; put it back, or delete them"
            )
        return by_id[position]

    return positions_of
