"""Ratings: selections of ratings, of users and of cells."""

from typing import Any

import numpy as np
import pytest

from batch.ratings import NO_PAIRS, NOBODY, Pairs, Ratings
from reference import every_cell, random_stars, ratings_of

NAN = np.nan
STARS = random_stars(0, 12, 15, [0.0, 1.0, 2.5, 5.0], 0.4, n_empty=2)
"""(12, 15) with nan where not rated; a 0 is a rating too."""
UNTIMED = np.random.default_rng(0).random(STARS.shape) < 0.1
TIMES = np.where(UNTIMED, NAN, np.arange(180.0).reshape(12, 15))
RATED = [[film for film in range(15) if not np.isnan(row[film])] for row in STARS]
"""The films that each user rated."""
DATA = ratings_of(STARS, times=TIMES, scale=(0.0, 5.0))


def cells_of(ratings: Ratings) -> list[tuple[int, int]]:
    """User and film of each rating, in order of the data."""
    users = ratings.user_of_rating().tolist()
    films = ratings.matrix.indices.tolist()
    return list(zip(users, films, strict=True))


def content(ratings: Ratings) -> tuple[bytes, ...]:
    """Every byte of the matrix."""
    matrix = ratings.matrix
    return matrix.data.tobytes(), matrix.indices.tobytes(), matrix.indptr.tobytes()


def as_lists(pairs: Pairs) -> list[Any]:
    """Rows and columns as lists."""
    return [pairs.rows.tolist(), pairs.columns.tolist()]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("timed", [True, False])
def test_chosen_ratings_are_kept(timed: bool, share: float) -> None:
    """The chosen ratings stay, in order with stars and times, and so do users, films and scale."""
    ratings = DATA if timed else ratings_of(STARS, scale=(0.0, 5.0))
    chosen = np.random.default_rng(1).random(ratings.n_ratings) < share
    before = content(ratings)
    kept = ratings.keep(chosen)
    cells = [cell for cell, stays in zip(cells_of(ratings), chosen, strict=True) if stays]
    assert cells_of(kept) == cells
    assert kept.matrix.data.tolist() == [STARS[cell] for cell in cells]
    assert kept.matrix.shape == (kept.n_users, kept.n_items) == (12, 15)
    assert (kept.rated_at is None) == (not timed)
    if kept.rated_at is not None:
        np.testing.assert_array_equal(kept.rated_at, [TIMES[cell] for cell in cells])
    for name in ("user_ids", "movie_ids", "genres", "scale"):
        assert getattr(kept, name) is getattr(ratings, name)
    assert kept.matrix.indptr.dtype == ratings.matrix.indptr.dtype
    dense = kept.matrix.toarray()
    assert (dense == np.where(dense != 0, np.nan_to_num(STARS), 0)).all()
    assert content(ratings) == before


@pytest.mark.parametrize("users", [[], [3], [7, 0, 7, 11], list(range(12))])
def test_ratings_of_some_users(users: list[int]) -> None:
    """All ratings of these users are chosen and no others, in whatever order users come."""
    chosen = DATA.of(np.array(users, dtype=np.int64))
    assert chosen.dtype == np.bool_
    assert chosen.tolist() == [user in users for user, _ in cells_of(DATA)]


def test_a_sample_of_users() -> None:
    """Users with ratings, in order: all of them, or a seeded sample, each equally often."""
    rated = [user for user in range(12) if RATED[user]]
    assert len(rated) == 10
    for limit in (10, 11, 1000):
        assert DATA.some_users(limit, 0).tolist() == rated
    samples = [DATA.some_users(4, seed).tolist() for seed in range(1000)]
    for users in samples:
        assert len(set(users)) == 4
        assert users == sorted(set(users) & set(rated))
    assert samples == [DATA.some_users(4, seed).tolist() for seed in range(1000)]
    times_drawn = np.bincount(np.concatenate(samples), minlength=12)[rated]
    assert times_drawn.min() > 330  # 400 on average
    assert times_drawn.max() < 470
    assert DATA.some_users(0, 0).tolist() == []
    assert ratings_of(np.full((3, 2), NAN)).some_users(2, 0).tolist() == []


def test_a_sample_of_users_with_many_ratings() -> None:
    """Only users with so many ratings are in the sample."""
    for least in range(8):
        able = [user for user in range(12) if len(RATED[user]) >= least]
        assert DATA.some_users(100, 0, least).tolist() == able
        assert set(DATA.some_users(2, 0, least).tolist()) <= set(able)


def newest_of(times: list[float], share: float) -> list[bool]:
    """Which of one user's ratings at these times are the newest."""
    ratings = ratings_of(np.full((1, len(times)), 3.0), times=[times])
    return ratings.newest(share).tolist()


@pytest.mark.parametrize("share", [0.0, 0.15, 0.5, 0.99])
def test_the_newest_share(share: float) -> None:
    """Of ratings at different times the newest are this share, rounded down, for any number."""
    for n in range(1, 41):
        times = np.random.default_rng(n).permutation(n).astype(np.float64)
        n_newest = n * round(100 * share) // 100
        assert newest_of(times.tolist(), share) == (times >= n - n_newest).tolist()


@pytest.mark.parametrize(
    ("times", "newest"),
    [
        ([1, 2, 3, 4, 4], [0, 0, 0, 0, 0]),  # a fifth would part those of one moment
        ([1, 2, 3, 3, 4], [0, 0, 0, 0, 1]),
        ([1, 2, 3, 4, NAN], [0, 0, 0, 0, 0]),  # a fifth of those with a time is less than one
        ([1, 2, 3, 4, 5, NAN], [0, 0, 0, 0, 1, 0]),
        ([NAN, NAN, 7, NAN, NAN], [0, 0, 0, 0, 0]),
        ([NAN, NAN, NAN, NAN, NAN], [0, 0, 0, 0, 0]),
        ([-5, 0, -1, -2, -3], [0, 1, 0, 0, 0]),  # before 1970
        ([6, 6, 6, 6, 6], [0, 0, 0, 0, 0]),
        ([9], [0]),
    ],
)
def test_the_newest_ratings_by_hand(times: list[float], newest: list[int]) -> None:
    """Ratings of one moment stay together, and those of unknown time are never among the newest."""
    assert newest_of(times, 0.2) == [bool(is_newest) for is_newest in newest]


def test_the_newest_time() -> None:
    """The newest known time; nothing is newest where no time is known, or without ratings."""
    assert DATA.newest_time == np.nanmax(np.where(np.isnan(STARS), NAN, TIMES))
    unknown = ratings_of(STARS, times=np.full(STARS.shape, NAN))
    empty = ratings_of(np.full((3, 2), NAN), times=np.zeros((3, 2)))
    for ratings in (ratings_of(STARS), unknown, empty, ratings_of(np.full((3, 2), NAN))):
        assert ratings.newest_time == -np.inf
        assert ratings.newest(0.5).tolist() == [False] * ratings.n_ratings


def test_stored_cells() -> None:
    """The cells of a block are those of its ratings, row by row, a rating of 0 too."""
    users = [5, 2, 2, 0]
    rows, columns = Pairs.stored(DATA.matrix[users])
    expected = [(row, film) for row, user in enumerate(users) for film in RATED[user]]
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == expected
    assert (rows.dtype, columns.dtype) == (np.int64, np.int64)
    assert as_lists(Pairs.stored(DATA.matrix[:0])) == [[], []]


def test_listed_cells() -> None:
    """The cells of lists are those before each list ends, list by list, best first."""
    lists = np.array([[4, 0, NOBODY], [NOBODY] * 3, [2, 4, 1]])
    assert as_lists(Pairs.listed(lists)) == [[0, 0, 2, 2, 2], [4, 0, 2, 4, 1]]
    assert as_lists(Pairs.listed(lists[:, :0])) == [[], []]


def test_cells_after_cells() -> None:
    """Cells are followed by others, also the same ones, and index a table in that order."""
    first = Pairs(np.array([1, 0]), np.array([2, 2]))
    second = Pairs(np.array([0, 1]), np.array([1, 2]))
    table = np.array([[0, 1, 2], [3, 4, 5]])
    assert table[first.and_then(second)].tolist() == [5, 2, 1, 5]
    assert as_lists(NO_PAIRS.and_then(first)) == [[1, 0], [2, 2]]
    assert as_lists(first.and_then(NO_PAIRS)) == [[1, 0], [2, 2]]
    assert table[every_cell(2, 3)].tolist() == list(range(6))


@pytest.mark.parametrize(("n_wrong", "moved"), [(1, False), (2, True)])
def test_a_wrong_clock_does_not_move_now(n_wrong: int, moved: bool) -> None:
    """One rating in a thousand may have a time in the future: `now` is the last of the others."""
    times = np.arange(1000, dtype=np.float64)
    times[:n_wrong] = 1e12
    ratings = ratings_of(np.full((10, 100), 3.0), times=times.reshape(10, 100))
    assert ratings.now == (1e12 if moved else 999.0)
    assert ratings.newest_time == 1e12
    assert ratings_of(np.full((1, 1), 3.0)).now == -np.inf
