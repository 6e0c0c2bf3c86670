"""The films most like each film, against a slow formula."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from batch.models import compiled
from batch.models.similar_films import NEARBY, SHRINKAGE, similar_films
from batch.ranking.rank import tie_order
from batch.ratings import NOBODY, Floats, Ints, Ratings

LIKED = 4.0
NOTHING = np.empty(0, dtype=np.int64)


def made(seed: int, *, timed: str = "all", share: float = 0.3) -> Ratings:
    """Half-star ratings of 60 users and 30 films, some at the same moment; one user has none."""
    random = np.random.default_rng(seed)
    stars = random.integers(1, 11, (60, 30)) / 2
    stars[random.random(stars.shape) > share] = 0.0
    stars[7] = 0.0
    matrix = sparse.csr_array(stars)
    times: Floats | None = random.integers(0, 12, matrix.nnz).astype(np.float64)
    if timed == "some":
        assert times is not None
        times[random.random(matrix.nnz) < 0.02] = np.nan
    elif timed == "none":
        times = None
    ids = np.arange(60) * 10
    return Ratings(matrix, ids, np.arange(30) * 10, np.zeros((30, 0)), (0.5, 5.0), times)


def slow(ratings: Ratings, n: int, excluded: Ints = NOTHING) -> list[list[tuple[int, float, int]]]:
    """(film, score, support) of each film's list, by its definition, cell by cell."""
    liked: list[dict[int, float]] = []
    for user in range(ratings.n_users):
        start, stop = ratings.matrix.indptr[user : user + 2]
        films = ratings.matrix.indices[start:stop].tolist()
        stars = ratings.matrix.data[start:stop].tolist()
        times = [0.0] * len(films)
        if ratings.rated_at is not None:
            times = ratings.rated_at[start:stop].tolist()
        at = {f: t for f, s, t in zip(films, stars, times, strict=True) if s >= LIKED}
        if any(math.isnan(time) for time in at.values()):
            at = dict.fromkeys(at, 0.0)
        liked.append(
            {
                film: sum(t < time for t in at.values()) + sum(t == time for t in at.values()) / 2
                for film, time in at.items()
            }
        )
    likes = [sum(film in places for places in liked) for film in range(ratings.n_items)]
    order = tie_order(ratings.item_counts())
    lists = []
    for film in range(ratings.n_items):
        rows = []
        for other in range(ratings.n_items):
            both = [places for places in liked if film in places and other in places]
            if film == other or not both or other in excluded:
                continue
            weights = [NEARBY / (NEARBY + abs(at[film] - at[other])) for at in both]
            score = sum(weights) / (math.sqrt(likes[film] * likes[other]) + SHRINKAGE)
            rows.append((-round(score, 6), order[other], other, score, len(both)))
        lists.append([(other, score, both) for _, _, other, score, both in sorted(rows)[:n]])
    return lists


def fast(ratings: Ratings, n: int, excluded: Ints = NOTHING) -> list[list[tuple[int, float, int]]]:
    """The same by the program."""
    order = tie_order(ratings.item_counts())
    found = similar_films(ratings, LIKED, n, order, excluded)
    lists = []
    for film in range(ratings.n_items):
        length = int((found.listed[film] != NOBODY).sum())
        assert (found.listed[film, length:] == NOBODY).all()
        rows = zip(found.listed[film], found.score[film], found.support[film], strict=True)
        lists.append([(int(f), float(s), int(both)) for f, s, both in list(rows)[:length]])
    return lists


def assert_same(
    found: list[list[tuple[int, float, int]]], expected: list[list[tuple[int, float, int]]]
) -> None:
    """Films and supports are equal, scores to rounding noise."""
    assert [[(film, both) for film, _, both in each] for each in found] == [
        [(film, both) for film, _, both in each] for each in expected
    ]
    flat = [score for each in found for _, score, _ in each]
    assert flat == pytest.approx([score for each in expected for _, score, _ in each], abs=1e-12)


@pytest.mark.parametrize("timed", ["all", "some", "none"])
@pytest.mark.parametrize("n", [1, 10, 40])
def test_lists_are_those_of_the_definition(timed: str, n: int) -> None:
    """Films, order, scores and supports, whether times are known, in part or not at all."""
    ratings = made(n, timed=timed)
    expected = slow(ratings, n)
    assert any(expected)
    assert_same(fast(ratings, n), expected)


def test_sparse_likes_make_short_lists() -> None:
    """A film that nobody liked has an empty list, and is in none."""
    ratings = made(3, share=0.03)
    expected = slow(ratings, 10)
    assert [] in expected
    assert_same(fast(ratings, 10), expected)


def test_excluded_films_are_in_no_list_but_have_one() -> None:
    """A film that is filtered for everyone is suggested nowhere, and others move up."""
    ratings = made(4)
    excluded = np.array([2, 11])
    lists = fast(ratings, 10, excluded)
    assert lists[2]
    assert_same(lists, slow(ratings, 10, excluded))


def test_films_liked_one_after_the_other_are_more_alike() -> None:
    """Of two films with the same people, the one they liked next comes first."""
    stars = np.full((5, 14), 5.0)
    stars[:, 13] = [5.0, 5.0, 5.0, 5.0, 1.0]
    matrix = sparse.csr_array(stars)
    times = np.tile(np.arange(14.0), 5)
    ids = np.arange(14)
    ratings = Ratings(matrix, np.arange(5), ids, np.zeros((14, 0)), (1.0, 5.0), times)
    assert [film for film, _, _ in fast(ratings, 3)[0]] == [1, 2, 3]
    assert [film for film, _, _ in fast(ratings, 3)[13]] == [12, 11, 10]
    timeless = replace(ratings, rated_at=None)
    assert [film for film, _, _ in fast(timeless, 3)[13]] == [0, 1, 2]


def test_threads_change_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread or several, small parts or large: the same to the last bit."""
    ratings = made(5, share=0.8)
    whole = fast(ratings, 10)
    monkeypatch.setattr("batch.models.similar_films.FILMS_A_PART", 1)
    monkeypatch.setattr(compiled.config, "NUMBA_NUM_THREADS", 3)
    assert fast(ratings, 10) == whole


def test_nothing_comes_of_nothing() -> None:
    """Without ratings, or films, there are no lists and no error."""
    ratings = made(6).keep(np.zeros(made(6).n_ratings, dtype=np.bool_))
    assert fast(ratings, 10) == [[]] * 30
    empty = replace(
        ratings,
        matrix=sparse.csr_array((0, 0)),
        user_ids=NOTHING,
        movie_ids=NOTHING,
        genres=np.zeros((0, 0)),
        rated_at=None,
    )
    assert fast(empty, 10) == []
