"""Tables -> Ratings, against a loader that reads row by row, on both databases."""

import hashlib
import random
import tracemalloc
from collections.abc import Iterable
from math import inf, nextafter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from batch.store import load as loading
from batch.store import schema
from batch.store.bulk_insert import bulk_insert
from batch.store.database import Database
from batch.store.load import Loaded, OrphansError, load
from tables import rows, with_tables

Cell = tuple[int, int, float, int | None]  # user_id, movie_id, stars, seconds since 1970

AWKWARD = [
    1 / 3, -2 / 3, 0.1 + 0.2, 1e-7, -1e-7, 5e-324, 1e6, -1e6, nextafter(1e6, 0), nextafter(4.5, inf), 4.5, -4.5, 0.0,
    1e-6, 0.000001000000001, 123456.789012, 9999.999999, 2.0000005, -0.5, 3.0,
]  # fmt: skip
"""Stars that a column may hold and that few ways of printing numbers bring back."""


def store(database: Database, cells: Iterable[Cell]) -> None:
    """Put ratings in place of those that are there; a user's key is the id backwards, so that the orders differ."""
    told = list(cells)
    with database.writer.begin() as connection:
        for table in ("ratings", "ingest_batches", "users", "movies"):
            connection.execute(text(f"DELETE FROM {table}"))
        connection.execute(
            text(
                "INSERT INTO ingest_batches (batch_id, file, settings_sha256, snapshot_at, ingested_at, status,"
                " rows_read, rows_accepted, rows_rejected, rows_duplicate, all_timed)"
                " VALUES (1, 'x', '', 0, '2026-01-01T00:00:00+00:00', 'merged', 0, 0, 0, 0, 0)"
            )
        )
        for table, place, extra in ((schema.users, 0, ()), (schema.movies, 1, ("title",))):
            ids = sorted({cell[place] for cell in told} | {7})  # 7 may have no ratings
            columns = [column.name for column in table.columns][:2]
            bulk_insert(
                connection,
                table,
                [*columns, *extra],
                [(i, str(i)[::-1], *("t" for _ in extra)) for i in ids],
            )
        bulk_insert(
            connection,
            schema.ratings,
            [c.name for c in schema.ratings.c],
            [(*cell, 1) for cell in told],
        )


def slowly(
    database: Database, known_until: int | None = None
) -> tuple[list[tuple[str, str, float, float]], str]:
    """Ratings by key, in order of row and column, and the fingerprint, one row at a time."""
    users = sorted(key for (key,) in rows(database, "SELECT user_key FROM users"))
    movies = sorted(key for (key,) in rows(database, "SELECT movie_key FROM movies"))
    joined = "ratings JOIN users USING (user_id) JOIN movies USING (movie_id)"
    found = [
        (user, movie, stars, np.nan if at is None else float(at))
        for user, movie, stars, at in rows(
            database, f"SELECT user_key, movie_key, rating, rated_at FROM {joined}"
        )
        if at is None or known_until is None or at < known_until
    ]
    found.sort(key=lambda cell: (users.index(cell[0]), movies.index(cell[1])))
    digest = hashlib.sha256(repr((users, movies, [])).encode())
    for part in ([users.index(c[0]) for c in found], [movies.index(c[1]) for c in found]):
        digest.update(np.array(part, dtype=np.int64).tobytes())
    for place in (2, 3):
        digest.update(np.array([cell[place] for cell in found], dtype=np.float64).tobytes())
    return found, digest.hexdigest()


def quickly(database: Database, known_until: int | None = None) -> Loaded:
    with database.reader.connect() as connection:
        return load(connection, known_until=known_until)


def by_key(loaded: Loaded) -> list[tuple[str, str, float, float]]:
    ratings = loaded.ratings
    times = np.full(ratings.n_ratings, np.nan) if ratings.rated_at is None else ratings.rated_at
    cells = zip(
        ratings.user_of_rating(), ratings.matrix.indices, ratings.matrix.data, times, strict=True
    )
    return [
        (loaded.user_keys[u], loaded.movie_keys[i], float(stars), float(at))
        for u, i, stars, at in cells
    ]


def same(
    found: list[tuple[str, str, float, float]], expected: list[tuple[str, str, float, float]]
) -> None:
    """Equal to the last bit, in this order, nan equal to nan."""
    assert [repr(cell) for cell in found] == [repr(cell) for cell in expected]


def many(seed: int, n_users: int = 300, n_items: int = 120) -> list[Cell]:
    """Ratings in any order, some of awkward value, some without a time, of users with ids up to 2**40."""
    draw = random.Random(seed)  # noqa: S311  not a secret
    users = [draw.choice([n, n * 1000, 2**40 + n]) for n in range(1, n_users)]
    cells = [
        (
            user,
            movie,
            draw.choice([*AWKWARD, *(n / 2 for n in range(1, 11))]),
            draw.choice([None, 0, -1, 1, 10**9]),
        )
        for user in users
        for movie in draw.sample(range(n_items), draw.choice([1, 2, 40]))
    ]
    draw.shuffle(cells)
    return cells


@pytest.mark.parametrize("block", [1, 5000, loading.BLOCK])
@pytest.mark.parametrize("known_until", [None, 1])
def test_equal_to_row_by_row(
    database: Database, monkeypatch: pytest.MonkeyPatch, block: int, known_until: int | None
) -> None:
    """However the cells are cut into blocks, they come bit by bit as the tables hold them, ordered by key."""
    monkeypatch.setattr(loading, "BLOCK", block)
    store(database, many(0))
    loaded = quickly(database, known_until)
    expected, fingerprint = slowly(database, known_until)
    same(by_key(loaded), expected)
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
    table: Database, told: dict[tuple[int, int], tuple[float, int | None]]
) -> None:
    """Whatever number a column of SQLite holds is loaded as it is."""
    store(table, [(*pair, *cell) for pair, cell in told.items()])
    expected, fingerprint = slowly(table)
    loaded = quickly(table)
    same(by_key(loaded), expected)
    assert loaded.sha256 == fingerprint


def test_ratings_without_any_time(database: Database) -> None:
    """Where no rating has a time there are no times; where one has, even 0, the others are unknown."""
    store(database, [(1, 1, 3.0, None), (2, 1, 4.0, None)])
    assert quickly(database).ratings.rated_at is None
    store(database, [(1, 1, 3.0, None), (2, 1, 4.0, 0)])
    found = quickly(database).ratings.rated_at
    assert found is not None
    assert [repr(float(at)) for at in found] == ["nan", "0.0"]


def test_nothing_to_load(database: Database) -> None:
    """Empty tables are a matrix without rows."""
    store(database, [])
    with database.writer.begin() as connection:
        connection.execute(text("DELETE FROM users"))
    loaded = quickly(database)
    assert (loaded.ratings.matrix.shape, loaded.ratings.n_ratings) == ((0, 1), 0)


def test_memory_for_loading(table: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the arrays that are kept, loading holds little more than a block."""
    monkeypatch.setattr(loading, "BLOCK", 1 << 16)
    store(table, [(u, m, 3.5, 10**9 + u) for u in range(1, 2001) for m in range(1, 101)])
    tracemalloc.start()
    ratings = quickly(table).ratings
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept = sum(
        array.nbytes
        for array in (ratings.matrix.data, ratings.matrix.indices, ratings.rated_at)
        if array is not None
    )
    assert kept == 200_000 * 20
    assert peak < kept + 3_500_000


@pytest.mark.parametrize("table", ["users", "movies"])
def test_ratings_of_nobody_are_refused(database: Database, table: str) -> None:
    """A user or film that was deleted by hand stops the load, which names it, wherever its id stood in order."""
    column = f"{table[:-1]}_id"
    for gone in (1, 2, 3):
        store(database, [(each, each, 3.0, None) for each in (1, 2, 3)])
        with database.writer.begin() as connection:
            connection.execute(text(f"DELETE FROM {table} WHERE {column} IN (7, {gone})"))
        with (
            database.reader.connect() as connection,
            pytest.raises(
                OrphansError,
                match=f"ratings have {column} = {gone}, which is no row of {table}; put it",
            ),
        ):
            load(connection)
