"""The contract of a model, tested for each of them."""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from batch.models import PERSONAL, REFERENCE, Model, Scores, fit
from batch.models.preference import fit_preference
from batch.params import PRESETS, Models
from batch.ranking.evaluate import evaluate
from batch.ranking.rank import best_unseen, tie_order
from batch.ratings import Ints, Ratings
from reference import Floats, every_cell, inputs_of, random_stars, ratings_of

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
PREDICTS_RATINGS = [case for case in CASES if not case.startswith("popular")]

ARRAYS = ("rating", "support", "relevance")
"""Of `Scores`, (b, n_items) each."""

every_model = pytest.mark.parametrize("case", CASES)


def fitted(case: str, ratings: Ratings, seed: int = 0) -> Model:
    name, params = CASES[case]
    return fit(name, ratings, params, seed)


def bytes_of(ratings: Ratings) -> list[bytes]:
    assert ratings.rated_at is not None
    matrix = ratings.matrix
    arrays = [matrix.data, matrix.indices, matrix.indptr, ratings.genres, ratings.rated_at]
    ids = [ratings.user_ids, ratings.movie_ids]
    return [array.tobytes() for array in [*arrays, *ids]]


def lists_of(scores: Scores, ratings: Ratings, n: int) -> Ints:
    """The n best unseen films of each user, (n_users, n)."""
    order = tie_order(ratings.item_counts())
    return best_unseen(scores.relevance, ratings.matrix, order, n)


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    """14 users x 20 films, 5 genres; two users and two films have no rating."""
    halves = [0.5 * step for step in range(1, 11)]
    stars = random_stars(7, 14, 20, halves, 0.35, n_empty=2)  # (14, 20)
    random = np.random.default_rng(8)
    genres = (random.random((20, 5)) < 0.4).astype(np.float64)  # (20, 5)
    times = random.integers(0, 10**9, stars.shape)
    return ratings_of(stars, genres=genres, times=times, scale=(0.5, 5.0))


@every_model
def test_scores_do_not_depend_on_the_block(case: str, ratings: Ratings) -> None:
    """Users scored together or one by one get the same scores, (b, n_items) in float64."""
    model = fitted(case, ratings)
    users = np.array([3, 0, 13, 7, 8])
    block = model.score(users)
    one_by_one = [model.score(users[[row]]) for row in range(len(users))]
    for name in ARRAYS:
        together = getattr(block, name)
        alone = np.concatenate([getattr(scores, name) for scores in one_by_one])
        assert together.shape == (len(users), ratings.n_items)
        assert together.dtype == np.float64
        np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-12)
    assert model.score(users[:0]).rating.shape == (0, ratings.n_items)


@every_model
def test_input_is_untouched(case: str, ratings: Ratings) -> None:
    """Fitting and scoring change no byte of the ratings."""
    before = bytes_of(ratings)
    model = fitted(case, ratings)
    model.score(np.arange(ratings.n_users))
    model.weights()
    assert bytes_of(ratings) == before


@every_model
def test_same_seed_same_scores(case: str, ratings: Ratings) -> None:
    """Ratings, parameters and seed determine the scores and the weights to the last bit."""
    users = np.arange(ratings.n_users)
    results = []
    for model in (fitted(case, ratings, seed=3), fitted(case, ratings, seed=3)):
        scores = model.score(users)
        score_bytes = [getattr(scores, name).tobytes() for name in ARRAYS]
        weight_bytes = {name: array.tobytes() for name, array in model.weights().items()}
        results.append((score_bytes, weight_bytes))
    assert results[0] == results[1]


@every_model
def test_fitted_model_is_frozen(case: str, ratings: Ratings) -> None:
    """A fitted model cannot be refitted or changed in place."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        fitted(case, ratings).baseline = None


@every_model
def test_relevance_exactly_with_support(case: str, ratings: Ratings) -> None:
    """Support is never negative; relevance is nan where it is 0, else finite."""
    scores = fitted(case, ratings).score(np.arange(ratings.n_users))
    assert np.isfinite(scores.support).all()
    assert (scores.support >= 0).all()
    assert np.isnan(scores.relevance).tolist() == (scores.support == 0).tolist()
    assert not np.isinf(scores.relevance).any()
    assert not np.isinf(scores.rating).any()


@pytest.mark.parametrize("case", PREDICTS_RATINGS)
def test_ratings_exactly_with_support(case: str, ratings: Ratings) -> None:
    """A model that predicts ratings does so exactly where it has support."""
    scores = fitted(case, ratings).score(np.arange(ratings.n_users))
    assert np.isnan(scores.rating).tolist() == (scores.support == 0).tolist()


@pytest.mark.parametrize("case", PREDICTS_RATINGS)
def test_relevance_is_the_rating(case: str, ratings: Ratings) -> None:
    """Relevance is rating + w ln(1 + support), unless weights between films are learnt."""
    users = np.arange(ratings.n_users)
    scores = fitted(case, ratings).score(users)
    _, params = CASES[case]
    ridge = getattr(params, "learnt_ridge", 0.0)
    if ridge:
        learnt = fit_preference(ratings, ridge).score(users)
        expected = np.where(scores.support > 0, learnt, np.nan)
        np.testing.assert_array_equal(scores.relevance, expected)
    else:
        weight = getattr(params, "support_weight", 0.0)
        expected = scores.rating + weight * np.log(1 + scores.support)
        np.testing.assert_allclose(scores.relevance, expected, rtol=1e-12)


def test_popular_predicts_no_rating(ratings: Ratings) -> None:
    """`popular` orders films by rating count for all users, and predicts no rating."""
    scores = fitted("popular", ratings).score(np.arange(ratings.n_users))
    counts = (ratings.matrix.toarray() > 0).sum(axis=0)  # (n_items,)
    assert np.isnan(scores.rating).all()
    assert scores.support.tolist() == [counts.tolist()] * ratings.n_users
    assert np.nan_to_num(scores.relevance).tolist() == [counts.tolist()] * ratings.n_users


@pytest.mark.promise("D7")
@every_model
@pytest.mark.parametrize("n", [1, 5, 30])
def test_seen_films_are_never_listed(case: str, n: int, ratings: Ratings) -> None:
    """A list has no film that its user rated, none twice, and as many as there are to list."""
    scores = fitted(case, ratings).score(np.arange(ratings.n_users))
    listed = lists_of(scores, ratings, n)
    seen = ratings.matrix.toarray() > 0  # (n_users, n_items)
    for user, columns in enumerate(listed.tolist()):
        films = [column for column in columns if column >= 0]
        candidates = np.flatnonzero(~np.isnan(scores.relevance[user]) & ~seen[user])
        assert columns == films + [-1] * (n - len(films))
        assert len(set(films)) == len(films) == min(n, len(candidates))
        assert set(films) <= set(candidates.tolist())


@every_model
def test_weights_are_finite_arrays(case: str, ratings: Ratings) -> None:
    """Weights are named arrays of finite numbers, and only `neural` has any."""
    weights = fitted(case, ratings).weights()
    names = ["W1", "W2", "b1", "b2"] if case.startswith("neural") else []
    assert sorted(weights) == names
    for array in weights.values():
        assert np.isfinite(array).all()


def two_tastes(n: int) -> tuple[Ratings, Floats]:
    """Ratings of 2n users and 2n films of two genres, and the withheld cells, (2n, 2n).

    Users of a genre rate its films 5 and the others 1. User k of either genre has not rated
    film k of either genre.
    """
    taste = np.repeat([0, 1], n)  # (2n,) of users, and of films
    same = taste[:, None] == taste[None, :]  # (2n, 2n)
    withheld = np.tile(np.eye(n, dtype=np.bool_), (2, 2))  # (2n, 2n)
    stars = np.where(withheld, NAN, np.where(same, 5.0, 1.0))
    return ratings_of(stars, genres=np.eye(2)[taste]), withheld


@pytest.mark.parametrize("n", [6, 15])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", PERSONAL)
def test_two_tastes_are_recognised(name: str, preset: str, n: int) -> None:
    """Users who like one of two genres get an unseen film of it before the other's."""
    ratings, withheld = two_tastes(n)
    model = fit(name, ratings, getattr(PRESETS[preset], name, None), 0)
    scores = model.score(np.arange(2 * n))
    listed = lists_of(scores, ratings, 2)
    # film k of the user's genre, then film k of the other
    liked_first = [[user, (user + n) % (2 * n)] for user in range(2 * n)]
    assert withheld[np.arange(2 * n)[:, None], liked_first].all()
    assert listed.tolist() == liked_first
    liked, disliked = np.take_along_axis(scores.rating, listed, axis=1).T  # (2n,) each
    assert (liked > disliked).all()


@contextmanager
def strict_numerics() -> Iterator[None]:
    """Division by zero, overflow, underflow, invalid operations and warnings are errors."""
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def constant(stars: float) -> Floats:
    return np.where(np.eye(6) == 1, NAN, stars)  # (6, 6)


NO_RATING = [NAN] * 4
ONE_RATING = [[NAN, NAN, NAN], [NAN, 4.0, NAN]]
SMALL = [[5.0, 1.0, NAN, 3.0], [4.0, NAN, 2.0, 3.0], [1.0, 5.0, 4.0, NAN]]
SMALL_AND_A_FILM = [[*row, NAN] for row in SMALL]
RATED_EVERYTHING = [[1.0, 2.0, 3.0, 4.0, 5.0, 4.0], [3.0] + [NAN] * 5]
DISJOINT = np.where(np.eye(5) == 1, 3.0, NAN)  # (5, 5)
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
    "a user rated everything": lambda: ratings_of(RATED_EVERYTHING, genres=np.eye(6)),
    "a user rated nothing": lambda: ratings_of([*SMALL, NO_RATING], genres=np.eye(4)),
    "a film nobody rated": lambda: ratings_of(SMALL_AND_A_FILM, genres=np.eye(5)),
    "no genres": lambda: ratings_of(SMALL),
    "genres of no film": lambda: ratings_of(SMALL, genres=np.zeros((4, 3))),
    "nothing in common": lambda: ratings_of(DISJOINT, genres=np.eye(5)),
}


@pytest.mark.promise("D6")
@every_model
@pytest.mark.parametrize("data", DEGENERATE)
def test_degenerate_data(data: str, case: str) -> None:
    """On degenerate data a model fits, scores, lists and explains without numeric errors."""
    ratings = DEGENERATE[data]()
    with strict_numerics():
        model = fitted(case, ratings)
        scores = model.score(np.arange(ratings.n_users))
        listed = lists_of(scores, ratings, 5)
        reasons = scores.explain(every_cell(*ratings.matrix.shape)).stored(ratings)
    has_reason = [bool(text) for text in reasons]
    predicted = ~np.isnan(scores.rating).ravel()
    personal = CASES[case][0] in PERSONAL
    assert has_reason == (predicted.tolist() if personal else [False] * predicted.size)
    for name in ARRAYS:
        assert getattr(scores, name).shape == ratings.matrix.shape
        assert not np.isinf(getattr(scores, name)).any()
    assert np.isnan(scores.relevance).tolist() == (scores.support == 0).tolist()
    assert np.isfinite(model.baseline.rows(np.arange(ratings.n_users))).all()
    assert listed.shape == (ratings.n_users, 5)


@pytest.mark.parametrize("preset", [*PRESETS, "flattened"])
@pytest.mark.parametrize("data", DEGENERATE)
def test_degenerate_data_can_be_evaluated(data: str, preset: str) -> None:
    """On degenerate data every metric is a finite number, or left out."""
    flattened = PRESETS["plain"].model_copy(update={"neural": FLATTENED})
    params: Models = PRESETS.get(preset, flattened)
    ratings = DEGENERATE[data]()
    with strict_numerics():
        metrics = evaluate(ratings, params, inputs_of(block=2), min_users=1).metrics
    assert {*PERSONAL, *REFERENCE} <= metrics.keys()
    for of_model in metrics.values():
        assert all(np.isfinite(value) for value in of_model.values())
