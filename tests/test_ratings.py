"""The value that flows: some of its ratings, some of its users, some of its cells."""

import numpy as np
import pytest

from batch.ratings import NO_PAIRS, NOBODY, Pairs, Ratings
from reference import every_cell, random_stars, ratings_of

NAN = np.nan
STARS = random_stars(
    0, 12, 15, [0.0, 1.0, 2.5, 5.0], 0.4, n_empty=2
)  # (12, 15) a 0 is a rating too
TIMES = np.where(
    np.random.default_rng(0).random(STARS.shape) < 0.1, NAN, np.arange(180.0).reshape(12, 15)
)
RATED = [[film for film in range(15) if not np.isnan(row[film])] for row in STARS]
DATA = ratings_of(STARS, times=TIMES, scale=(0.0, 5.0))


def cells_of(ratings: Ratings) -> list[tuple[int, int]]:
    """User and film of each rating, in order of the data."""
    return list(
        zip(ratings.user_of_rating().tolist(), ratings.matrix.indices.tolist(), strict=True)
    )


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("timed", [True, False])
def test_what_is_kept(timed: bool, share: float) -> None:
    """The chosen ratings stay, in their order with their stars and times, a 0 too; users, films and scale as well."""
    ratings = DATA if timed else ratings_of(STARS, scale=(0.0, 5.0))
    chosen = np.random.default_rng(1).random(ratings.n_ratings) < share
    before = (
        ratings.matrix.data.tobytes(),
        ratings.matrix.indices.tobytes(),
        ratings.matrix.indptr.tobytes(),
    )
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
    assert (
        kept.matrix.toarray() == np.where(kept.matrix.toarray() != 0, np.nan_to_num(STARS), 0)
    ).all()
    after = (
        ratings.matrix.data.tobytes(),
        ratings.matrix.indices.tobytes(),
        ratings.matrix.indptr.tobytes(),
    )
    assert after == before


@pytest.mark.parametrize("users", [[], [3], [7, 0, 7, 11], list(range(12))])
def test_ratings_of_some_users(users: list[int]) -> None:
    """Chosen are the ratings of these users, all of them and no others, in whatever order users are named."""
    found = DATA.of(np.array(users, dtype=np.int64))
    assert found.dtype == np.bool_
    assert found.tolist() == [user in users for user, _ in cells_of(DATA)]


def test_a_sample_of_users() -> None:
    """Users with ratings, in order: all where the limit allows, else a seeded sample without repeats, each as often."""
    able = [user for user in range(12) if RATED[user]]
    assert len(able) == 10
    for limit in (10, 11, 1000):
        assert DATA.some_users(limit, 0).tolist() == able
    drawn = [DATA.some_users(4, seed).tolist() for seed in range(1000)]
    assert all(len(set(users)) == 4 and users == sorted(set(users) & set(able)) for users in drawn)
    assert drawn == [DATA.some_users(4, seed).tolist() for seed in range(1000)]
    times = np.bincount(np.concatenate(drawn), minlength=12)[able]
    assert (times.min() > 330, times.max() < 470) == (True, True)  # 400 on average
    assert DATA.some_users(0, 0).tolist() == []
    assert ratings_of(np.full((3, 2), NAN)).some_users(2, 0).tolist() == []


def test_stored_cells() -> None:
    """The cells of a block are those of its ratings, row by row, a rating of 0 too, whichever users are in it."""
    users = [5, 2, 2, 0]
    rows, columns = Pairs.stored(DATA.matrix[users])
    slow = [(row, film) for row, user in enumerate(users) for film in RATED[user]]
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == slow
    assert (rows.dtype, columns.dtype) == (np.int64, np.int64)
    assert [part.tolist() for part in Pairs.stored(DATA.matrix[:0])] == [[], []]


def test_listed_cells() -> None:
    """The cells that lists name are those before each has ended, list by list, best first."""
    lists = np.array([[4, 0, NOBODY], [NOBODY] * 3, [2, 4, 1]])
    assert [part.tolist() for part in Pairs.listed(lists)] == [[0, 0, 2, 2, 2], [4, 0, 2, 4, 1]]
    assert [part.tolist() for part in Pairs.listed(lists[:, :0])] == [[], []]


def test_cells_after_cells() -> None:
    """Cells are followed by others, also by the same; what they pick out of a table is in that order."""
    first, second = (
        Pairs(np.array([1, 0]), np.array([2, 2])),
        Pairs(np.array([0, 1]), np.array([1, 2])),
    )
    both = first.and_then(second)
    assert np.array([[0, 1, 2], [3, 4, 5]])[both].tolist() == [5, 2, 1, 5]
    assert [part.tolist() for part in NO_PAIRS.and_then(first)] == [[1, 0], [2, 2]]
    assert [part.tolist() for part in first.and_then(NO_PAIRS)] == [[1, 0], [2, 2]]
    assert np.arange(6).reshape(2, 3)[every_cell(2, 3)].tolist() == list(range(6))
