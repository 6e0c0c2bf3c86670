"""Tables -> Ratings, against a loader that reads row by row, on both databases."""

import hashlib
import random
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime
from math import inf, nextafter
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text

from batch.store import load as loading
from batch.store import schema
from batch.store.bulk_insert import bulk_insert
from batch.store.database import Database
from batch.store.load import Loaded, OrphansError, load
from tables import rows, with_tables

Cell: TypeAlias = tuple[int, int, float, int | None]
"""user_id, movie_id, stars, seconds since 1970."""
CellByKey: TypeAlias = tuple[str, str, float, float]
"""user_key, movie_key, stars, seconds since 1970 or nan."""

WITHOUT_RATINGS = 7
"""The id of a user and of a film that are always there."""
AWKWARD = [
    *(1 / 3, -2 / 3, 0.1 + 0.2, 1e-7, -1e-7, 5e-324, 1e6, -1e6),
    *(nextafter(1e6, 0), nextafter(4.5, inf), 4.5, -4.5, 0.0, 1e-6),
    *(0.000001000000001, 123456.789012, 9999.999999, 2.0000005, -0.5, 3.0),
]
"""Stars that a column may hold and that few ways of printing numbers restore."""


BATCH = {
    "batch_id": 1,
    "file": "x",
    "settings_sha256": "",
    "snapshot_at": 0,
    "ingested_at": datetime(2026, 1, 1, tzinfo=UTC),
    "status": "merged",
    "rows_read": 0,
    "rows_accepted": 0,
    "rows_rejected": 0,
    "rows_duplicate": 0,
    "all_timed": 0,
}


def store(database: Database, cells: Iterable[Cell]) -> None:
    """Replace all ratings; a key is the id backwards, so that the orders differ."""
    cells = list(cells)
    user_ids = {user_id for user_id, *_ in cells} | {WITHOUT_RATINGS}
    movie_ids = {movie_id for _, movie_id, *_ in cells} | {WITHOUT_RATINGS}
    users = [(number, str(number)[::-1]) for number in sorted(user_ids)]
    movies = [(number, str(number)[::-1], "t") for number in sorted(movie_ids)]
    with database.writer.begin() as connection:
        for table in ("ratings", "ingest_batches", "users", "movies"):
            connection.execute(text(f"DELETE FROM {table}"))
        connection.execute(insert(schema.ingest_batches), BATCH)
        bulk_insert(connection, schema.users, ["user_id", "user_key"], users)
        bulk_insert(connection, schema.movies, ["movie_id", "movie_key", "title"], movies)
        names = [column.name for column in schema.ratings.c]
        bulk_insert(connection, schema.ratings, names, [(*cell, 1) for cell in cells])


def load_slowly(database: Database, known_until: int | None = None) -> tuple[list[CellByKey], str]:
    """Ratings by key, in order of row and column, and the fingerprint, one row at a time."""
    users = sorted(key for (key,) in rows(database, "SELECT user_key FROM users"))
    movies = sorted(key for (key,) in rows(database, "SELECT movie_key FROM movies"))
    joined = "ratings JOIN users USING (user_id) JOIN movies USING (movie_id)"
    stored = rows(database, f"SELECT user_key, movie_key, rating, rated_at FROM {joined}")
    cells = []
    for user, movie, stars, at in stored:
        if at is None or known_until is None or at < known_until:
            cells.append((user, movie, stars, np.nan if at is None else float(at)))
    cells.sort(key=lambda cell: (users.index(cell[0]), movies.index(cell[1])))
    digest = hashlib.sha256(repr((users, movies, [])).encode())
    digest.update(np.array([users.index(cell[0]) for cell in cells], dtype=np.int64).tobytes())
    digest.update(np.array([movies.index(cell[1]) for cell in cells], dtype=np.int64).tobytes())
    digest.update(np.array([cell[2] for cell in cells], dtype=np.float64).tobytes())
    digest.update(np.array([cell[3] for cell in cells], dtype=np.float64).tobytes())
    return cells, digest.hexdigest()


def load_all(database: Database, known_until: int | None = None) -> Loaded:
    with database.reader.connect() as connection:
        return load(connection, known_until=known_until)


def by_key(loaded: Loaded) -> list[CellByKey]:
    """The cells of the matrix by key."""
    ratings = loaded.ratings
    times: Any = ratings.rated_at
    if times is None:
        times = np.full(ratings.n_ratings, np.nan)
    matrix = ratings.matrix
    columns = (ratings.user_of_rating(), matrix.indices, matrix.data, times)
    cells = []
    for user, item, stars, at in zip(*columns, strict=True):
        keys = (loaded.user_keys[user], loaded.movie_keys[item])
        cells.append((*keys, float(stars), float(at)))
    return cells


def assert_same(cells: list[CellByKey], expected: list[CellByKey]) -> None:
    """Equal to the last bit, in this order, nan equal to nan."""
    assert [repr(cell) for cell in cells] == [repr(cell) for cell in expected]


def random_cells(seed: int, n_users: int = 300, n_items: int = 120) -> list[Cell]:
    """Ratings in any order, some of awkward value, some without time, user ids up to 2**40."""
    draw = random.Random(seed)  # noqa: S311  not a secret
    users = [draw.choice([n, n * 1000, 2**40 + n]) for n in range(1, n_users)]
    stars = [*AWKWARD, *(n / 2 for n in range(1, 11))]
    times = [None, 0, -1, 1, 10**9]
    cells: list[Cell] = []
    for user in users:
        movies = draw.sample(range(n_items), draw.choice([1, 2, 40]))
        cells += [(user, movie, draw.choice(stars), draw.choice(times)) for movie in movies]
    draw.shuffle(cells)
    return cells


@pytest.mark.parametrize("block", [1, 5000, loading.BLOCK])
@pytest.mark.parametrize("known_until", [None, 1])
def test_equal_to_row_by_row(
    database: Database, monkeypatch: pytest.MonkeyPatch, block: int, known_until: int | None
) -> None:
    """Whatever the size of blocks, ratings are those of the tables bit by bit, ordered by key."""
    monkeypatch.setattr(loading, "BLOCK", block)
    store(database, random_cells(0))
    loaded = load_all(database, known_until)
    expected, fingerprint = load_slowly(database, known_until)
    assert_same(by_key(loaded), expected)
    assert loaded.sha256 == fingerprint
    assert loaded.ratings.matrix.indices.dtype == np.int32


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return with_tables(f"sqlite:///{tmp_path_factory.mktemp('load') / 'recbatch.db'}")


STARS = (
    st.floats(-1e6, 1e6)
    | st.integers(-(10**10), 10**10).map(lambda n: n / 1e6)
    | st.sampled_from(AWKWARD)
)
TIMES = st.none() | st.integers(-10, 10) | st.integers(0, 10**12)
PAIRS = st.tuples(st.integers(1, 30), st.integers(1, 30))


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.dictionaries(PAIRS, st.tuples(STARS, TIMES), max_size=25))
def test_any_number_comes_back(
    table: Database, cells: dict[tuple[int, int], tuple[float, int | None]]
) -> None:
    """Any number that a column of SQLite can hold is loaded bit by bit."""
    store(table, [(*pair, *cell) for pair, cell in cells.items()])
    expected, fingerprint = load_slowly(table)
    loaded = load_all(table)
    assert_same(by_key(loaded), expected)
    assert loaded.sha256 == fingerprint


def test_ratings_without_any_time(database: Database) -> None:
    """Without any time `rated_at` is None; with one, even 0, the others are unknown."""
    store(database, [(1, 1, 3.0, None), (2, 1, 4.0, None)])
    assert load_all(database).ratings.rated_at is None
    store(database, [(1, 1, 3.0, None), (2, 1, 4.0, 0)])
    times = load_all(database).ratings.rated_at
    assert times is not None
    assert [repr(float(at)) for at in times] == ["nan", "0.0"]


def test_nothing_to_load(database: Database) -> None:
    """Empty tables give a matrix without rows."""
    store(database, [])
    with database.writer.begin() as connection:
        connection.execute(text("DELETE FROM users"))
    ratings = load_all(database).ratings
    assert ratings.matrix.shape == (0, 1)
    assert ratings.n_ratings == 0


def test_memory_for_loading(table: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the arrays that it returns, loading holds little more than a block."""
    monkeypatch.setattr(loading, "BLOCK", 1 << 16)
    store(table, [(u, m, 3.5, 10**9 + u) for u in range(1, 2001) for m in range(1, 101)])
    tracemalloc.start()
    ratings = load_all(table).ratings
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ratings.rated_at is not None
    arrays = (ratings.matrix.data, ratings.matrix.indices, ratings.rated_at)
    returned = sum(array.nbytes for array in arrays)
    assert returned == 200_000 * 20
    assert peak < returned + 3_500_000


@pytest.mark.parametrize("table", ["users", "movies"])
def test_ratings_of_no_row_are_refused(database: Database, table: str) -> None:
    """A user or film that was deleted by hand is an error that names it, wherever its id is."""
    column = f"{table[:-1]}_id"
    for deleted in (1, 2, 3):
        store(database, [(number, number, 3.0, None) for number in (1, 2, 3)])
        with database.writer.begin() as connection:
            ids = f"({WITHOUT_RATINGS}, {deleted})"
            connection.execute(text(f"DELETE FROM {table} WHERE {column} IN {ids}"))
        message = f"ratings have {column} = {deleted}, which is no row of {table}; put it"
        with (
            database.reader.connect() as connection,
            pytest.raises(OrphansError, match=message),
        ):
            load(connection)
