"""What every model promises, tested once for all of them."""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from batch.models import PERSONAL, REFERENCE, Model, fit
from batch.models.ease import fit_preference
from batch.params import PRESETS, Models
from batch.ranking.evaluate import evaluate
from batch.ranking.rank import best_unseen, tie_order
from batch.ratings import Ratings
from reference import Floats, every_cell, random_stars, ratings_of

NAN = np.nan

FLATTENED = PRESETS["plain"].neural.model_copy(update={"architecture": "flattened"})
RECTIFIED = PRESETS["tuned"].neural.model_copy(update={"activation": "relu"})
CASES = {
    **{
        f"{name}-{preset}": (name, getattr(knobs, name, None))
        for name in PERSONAL
        for preset, knobs in PRESETS.items()
    },
    **{name: (name, None) for name in REFERENCE},
    "neural-flattened": ("neural", FLATTENED),
    "neural-relu": ("neural", RECTIFIED),
}
SAYS_STARS = [case for case in CASES if case != "popular"]

ARRAYS = ("rating", "support", "relevance")
"""Of `Scores`, (b, n_items) each."""

every_model = pytest.mark.parametrize("case", CASES)


def fitted(case: str, ratings: Ratings, seed: int = 0) -> Model:
    name, params = CASES[case]
    return fit(name, ratings, params, seed)


def bytes_of(ratings: Ratings) -> list[bytes]:
    assert ratings.rated_at is not None
    matrix = ratings.matrix
    arrays = [
        matrix.data,
        matrix.indices,
        matrix.indptr,
        ratings.genres,
        ratings.rated_at,
        ratings.user_ids,
    ]
    return [array.tobytes() for array in [*arrays, ratings.movie_ids]]


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    """14 users x 20 films of half stars, 5 genres; two users and two films without any rating."""
    stars = random_stars(
        7, 14, 20, [0.5 * step for step in range(1, 11)], 0.35, n_empty=2
    )  # (14, 20)
    random = np.random.default_rng(8)
    genres = (random.random((20, 5)) < 0.4).astype(np.float64)  # (20, 5)
    return ratings_of(
        stars, genres=genres, times=random.integers(0, 10**9, stars.shape), scale=(0.5, 5.0)
    )


@every_model
def test_a_block_is_its_users(case: str, ratings: Ratings) -> None:
    """Users scored together, one by one, or in another order get the same scores, all of the promised shape."""
    model, users = fitted(case, ratings), np.array([3, 0, 13, 7, 8])
    block = model.score(users)
    for name in ARRAYS:
        together = getattr(block, name)
        alone = np.concatenate(
            [getattr(model.score(users[[place]]), name) for place in range(len(users))]
        )
        assert together.shape == (len(users), ratings.n_items)
        assert together.dtype == np.float64
        np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-12)
    assert model.score(users[:0]).rating.shape == (0, ratings.n_items)


@every_model
def test_input_is_untouched(case: str, ratings: Ratings) -> None:
    """Fitting and scoring leave every byte of the ratings as it was."""
    before = bytes_of(ratings)
    model = fitted(case, ratings)
    model.score(np.arange(ratings.n_users))
    model.weights()
    assert bytes_of(ratings) == before


@every_model
def test_same_seed_same_scores(case: str, ratings: Ratings) -> None:
    """Ratings, parameters and seed decide the scores and the weights to the last bit."""
    users = np.arange(ratings.n_users)
    first, second = fitted(case, ratings, seed=3), fitted(case, ratings, seed=3)
    for name in ARRAYS:
        one, other = (getattr(model.score(users), name) for model in (first, second))
        assert one.tobytes() == other.tobytes()
    assert {name: array.tobytes() for name, array in first.weights().items()} == {
        name: array.tobytes() for name, array in second.weights().items()
    }


@every_model
def test_fitted_model_is_frozen(case: str, ratings: Ratings) -> None:
    """A fitted model cannot be refitted or changed in place."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        fitted(case, ratings).baseline = None


@every_model
def test_nothing_said_without_support(case: str, ratings: Ratings) -> None:
    """Support is never negative; where it is 0 there is no relevance, everywhere else there is a finite one."""
    scores = fitted(case, ratings).score(np.arange(ratings.n_users))
    assert np.isfinite(scores.support).all()
    assert (scores.support >= 0).all()
    assert np.isnan(scores.relevance).tolist() == (scores.support == 0).tolist()
    assert not np.isinf(scores.relevance).any()
    assert not np.isinf(scores.rating).any()


@pytest.mark.parametrize("case", SAYS_STARS)
def test_stars_wherever_there_is_support(case: str, ratings: Ratings) -> None:
    """A model that predicts stars does so exactly where it has support."""
    scores = fitted(case, ratings).score(np.arange(ratings.n_users))
    assert np.isnan(scores.rating).tolist() == (scores.support == 0).tolist()


@pytest.mark.parametrize("case", SAYS_STARS)
def test_relevance_is_the_rating(case: str, ratings: Ratings) -> None:
    """Lists are ordered by stars, or by stars + w ln(1 + support), unless weights between films are learnt."""
    scores = fitted(case, ratings).score(np.arange(ratings.n_users))
    weight = getattr(CASES[case][1], "support_weight", 0.0)
    if getattr(CASES[case][1], "learnt_ridge", 0.0):
        learnt = fit_preference(ratings, CASES[case][1].learnt_ridge).score(
            np.arange(ratings.n_users)
        )
        np.testing.assert_array_equal(
            scores.relevance, np.where(scores.support > 0, learnt, np.nan)
        )
        return
    np.testing.assert_allclose(
        scores.relevance, scores.rating + weight * np.log(1 + scores.support), rtol=1e-12
    )


def test_popular_predicts_no_stars(ratings: Ratings) -> None:
    """`popular` orders films by rating count, the same for everyone, and predicts no stars."""
    scores = fitted("popular", ratings).score(np.arange(ratings.n_users))
    counts = (ratings.matrix.toarray() > 0).sum(axis=0)  # (n_items,)
    assert np.isnan(scores.rating).all()
    assert scores.support.tolist() == [counts.tolist()] * ratings.n_users
    assert np.nan_to_num(scores.relevance).tolist() == [counts.tolist()] * ratings.n_users


@pytest.mark.promise("D7")
@every_model
@pytest.mark.parametrize("n", [1, 5, 30])
def test_seen_films_are_never_listed(case: str, n: int, ratings: Ratings) -> None:
    """No list holds a film that its user rated, names one twice, or leaves out one that can be said."""
    scores = fitted(case, ratings).score(np.arange(ratings.n_users))
    listed = best_unseen(scores.relevance, ratings.matrix, tie_order(ratings.item_counts()), n)
    seen = ratings.matrix.toarray() > 0  # (n_users, n_items)
    for user, columns in enumerate(listed.tolist()):
        films = [column for column in columns if column >= 0]
        able = np.flatnonzero(~np.isnan(scores.relevance[user]) & ~seen[user])
        assert columns == films + [-1] * (n - len(films))
        assert len(set(films)) == len(films) == min(n, len(able))
        assert set(films) <= set(able.tolist())


@every_model
def test_weights_are_finite_arrays(case: str, ratings: Ratings) -> None:
    """What is kept of a model is named arrays of finite numbers, and only `neural` has any."""
    weights = fitted(case, ratings).weights()
    assert sorted(weights) == (["W1", "W2", "b1", "b2"] if case.startswith("neural") else [])
    for array in weights.values():
        assert np.isfinite(array).all()


def two_tastes(n: int) -> tuple[Ratings, Floats]:
    """2n users and 2n films of two tastes: like 5, unlike 1; and who was not shown what, (2n, 2n).

    User k of either taste has not rated film k of their own taste, nor film k of the other.
    """
    taste = np.repeat([0, 1], n)  # (2n,) of users, and of films
    same = taste[:, None] == taste[None, :]  # (2n, 2n)
    withheld = np.tile(np.eye(n, dtype=np.bool_), (2, 2))  # (2n, 2n)
    stars = np.where(withheld, NAN, np.where(same, 5.0, 1.0))
    return ratings_of(stars, genres=np.eye(2)[taste]), withheld


@pytest.mark.parametrize("n", [6, 15])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", PERSONAL)
def test_two_tastes_are_told_apart(name: str, preset: str, n: int) -> None:
    """Where users have one of two tastes, each is recommended the unseen film of their own before the other's."""
    ratings, withheld = two_tastes(n)
    scores = fit(name, ratings, getattr(PRESETS[preset], name, None), 0).score(np.arange(2 * n))
    listed = best_unseen(scores.relevance, ratings.matrix, tie_order(ratings.item_counts()), 2)
    liked_first = [
        [user, (user + n) % (2 * n)] for user in range(2 * n)
    ]  # film k of the own taste, then of the other
    assert withheld[np.arange(2 * n)[:, None], liked_first].all()
    assert listed.tolist() == liked_first
    liked, other = np.take_along_axis(scores.rating, listed, axis=1).T  # (2n,) each
    assert (liked > other).all()


@contextmanager
def no_numeric_surprises() -> Iterator[None]:
    """Division by zero, overflow, underflow and invalid operations are errors, and so is any warning."""
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def constant(stars: float) -> Floats:
    return np.where(np.eye(6) == 1, NAN, stars)  # (6, 6)


ONE_RATING = [[NAN, NAN, NAN], [NAN, 4.0, NAN]]
SOME = [[5.0, 1.0, NAN, 3.0], [4.0, NAN, 2.0, 3.0], [1.0, 5.0, 4.0, NAN]]
DEGENERATE: dict[str, Callable[[], Ratings]] = {
    "no users": lambda: ratings_of(np.empty((0, 3)), genres=np.eye(3)),
    "no films": lambda: ratings_of(np.empty((3, 0)), genres=np.empty((0, 2))),
    "no users, films or genres": lambda: ratings_of(np.empty((0, 0))),
    "no ratings": lambda: ratings_of(np.full((4, 3), NAN), genres=np.eye(3)),
    "one rating": lambda: ratings_of(ONE_RATING, genres=np.eye(3)),
    "1 x 1": lambda: ratings_of([[5.0]], genres=np.ones((1, 1))),
    "1 x 1, not rated": lambda: ratings_of([[NAN]], genres=np.ones((1, 1))),
    "one user": lambda: ratings_of([[5.0, 4.0, NAN, 3.0, 1.0, 2.0]], genres=np.eye(6)),
    "one film": lambda: ratings_of([[5.0], [4.0], [NAN]], genres=np.ones((1, 2))),
    "constant": lambda: ratings_of(constant(4.0), genres=np.eye(6)),
    "constant 3.3": lambda: ratings_of(constant(3.3), genres=np.eye(6)),
    "all zero stars": lambda: ratings_of(constant(0.0), genres=np.eye(6), scale=(0.0, 5.0)),
    "a user rated everything": lambda: ratings_of(
        [[1.0, 2.0, 3.0, 4.0, 5.0, 4.0], [3.0] + [NAN] * 5], genres=np.eye(6)
    ),
    "a user rated nothing": lambda: ratings_of([*SOME, [NAN] * 4], genres=np.eye(4)),
    "a film nobody rated": lambda: ratings_of([[*row, NAN] for row in SOME], genres=np.eye(5)),
    "no genres": lambda: ratings_of(SOME),
    "genres of no film": lambda: ratings_of(SOME, genres=np.zeros((4, 3))),
    "nothing in common": lambda: ratings_of(np.where(np.eye(5) == 1, 3.0, NAN), genres=np.eye(5)),
}


@pytest.mark.promise("D6")
@every_model
@pytest.mark.parametrize("data", DEGENERATE)
def test_degenerate_data(data: str, case: str) -> None:
    """Whatever little there is, a model fits, scores, lists and explains without a numeric error, or says nothing."""
    ratings = DEGENERATE[data]()
    with no_numeric_surprises():
        model = fitted(case, ratings)
        scores = model.score(np.arange(ratings.n_users))
        listed = best_unseen(scores.relevance, ratings.matrix, tie_order(ratings.item_counts()), 5)
        reasons = scores.explain(every_cell(*ratings.matrix.shape)).stored(ratings)
    explained = [bool(text) for text in reasons]
    said = ~np.isnan(scores.rating).ravel()
    assert explained == (said.tolist() if CASES[case][0] in PERSONAL else [False] * said.size)
    for name in ARRAYS:
        assert getattr(scores, name).shape == ratings.matrix.shape
        assert not np.isinf(getattr(scores, name)).any()
    assert np.isnan(scores.relevance).tolist() == (scores.support == 0).tolist()
    assert np.isfinite(model.baseline.rows(np.arange(ratings.n_users))).all()
    assert listed.shape == (ratings.n_users, 5)


@pytest.mark.parametrize("preset", [*PRESETS, "flattened"])
@pytest.mark.parametrize("data", DEGENERATE)
def test_degenerate_data_can_be_evaluated(data: str, preset: str) -> None:
    """Whatever little there is, every metric is a finite number, or left out where nothing speaks to it."""
    params: Models = PRESETS.get(preset, PRESETS["plain"].model_copy(update={"neural": FLATTENED}))
    with no_numeric_surprises():
        metrics = evaluate(
            DEGENERATE[data](), params, seed=0, n=5, relevant_from=4.0, block=2, users=1000
        ).metrics
    assert {*PERSONAL, *REFERENCE} <= metrics.keys()
    assert all(np.isfinite(value) for of_model in metrics.values() for value in of_model.values())
