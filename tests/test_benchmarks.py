"""The splits that quality.py measures on, and its peers against slow formulas."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from batch.ratings import Floats, Ratings

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks are scripts beside each other, not a package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def some_ratings(n_users: int, n_items: int, share: float = 0.4, seed: int = 3) -> Ratings:
    """Whole stars 1 to 5, each at a second of its own."""
    random = np.random.default_rng(seed)
    table = random.integers(1, 6, (n_users, n_items)) * (random.random((n_users, n_items)) < share)
    matrix = sparse.csr_array(table.astype(np.float64))
    return Ratings(
        matrix=matrix,
        user_ids=np.arange(n_users),
        movie_ids=np.arange(n_items),
        genres=np.ones((n_items, 1)),
        scale=(1.0, 5.0),
        rated_at=1e9 + random.permutation(matrix.nnz).astype(np.float64),
    )


def rows_of(ratings: Ratings, name: str, **setting: Any) -> Floats:
    """What a ranker of `peers_rankers` gives every user and film, (n_users, n_items)."""
    import peers_rankers

    fitted = getattr(peers_rankers, name)(ratings, 1, **setting)
    return np.asarray(fitted.score(np.arange(ratings.n_users)).relevance)


def test_next_holds_out_what_users_who_had_rated_rated_later() -> None:
    """Each cut of `next` is fitted on what is older, and has no ratings of users without a past."""
    from quality_data import DROPPED, folds

    ratings = some_ratings(60, 12, share=0.15)
    times = np.sort(ratings.rated_at)
    cuts = list(folds(ratings, "next", seed=1))
    n_strangers = 0
    for (train, held), dropped in zip(cuts, DROPPED, strict=True):
        known = times[: math.ceil((1 - dropped) * len(times))]
        first = known[math.ceil(0.85 * len(known))]
        assert np.sort(train.rated_at) == pytest.approx(known[known < first])
        is_new = (ratings.rated_at >= first) & (ratings.rated_at <= known[-1])
        is_judged = is_new & ratings.of(np.flatnonzero(train.user_counts()))
        assert np.sort(held.rated_at) == pytest.approx(np.sort(ratings.rated_at[is_judged]))
        n_strangers += is_new.sum() - held.n_ratings
    assert n_strangers > 0


def test_recent_popularity_halves_a_rating_with_each_half_life() -> None:
    """Films are in the order of their ratings' faded weights."""
    ratings = some_ratings(20, 9)
    hours = 3600.0 * np.random.default_rng(5).permutation(ratings.n_ratings)
    timed = Ratings(**{**vars(ratings), "rated_at": 1e9 + hours})
    expected = np.zeros(9)
    for film, time in zip(timed.matrix.indices, timed.rated_at, strict=True):
        expected[film] += 0.5 ** ((timed.rated_at.max() - time) / 86_400 / 2.0)
    relevance = rows_of(timed, "recent", half_life=2.0)
    assert relevance[[0, 7]] == pytest.approx(np.tile(np.log2(expected), (2, 1)))


@pytest.mark.parametrize("shape", [(7, 15), (15, 7)])
@pytest.mark.parametrize("values", ["rated", "liked", "stars"])
def test_ease_is_the_constrained_ridge_regression(shape: tuple[int, int], values: str) -> None:
    """Each film's weights are the ridge regression on the other films, on either side."""
    ratings = some_ratings(*shape)
    table = ratings.matrix.toarray()
    x = {"rated": table > 0, "liked": table >= 4, "stars": table}[values].astype(np.float64)
    weights = np.zeros((shape[1], shape[1]))
    for film in range(shape[1]):
        others = np.delete(np.arange(shape[1]), film)
        gram = x[:, others].T @ x[:, others] + 3.0 * np.eye(len(others))
        weights[others, film] = np.linalg.solve(gram, x[:, others].T @ x[:, film])
    relevance = rows_of(ratings, "ease", values=values, penalty=3.0)
    assert relevance == pytest.approx(x @ weights, abs=1e-4)  # single precision


def test_rp3beta_walks_three_steps() -> None:
    """A film's value is the sum over paths user, film, user, film, over its count^beta."""
    ratings = some_ratings(8, 6, share=0.6)
    x = (ratings.matrix.toarray() > 0).astype(np.float64)
    expected = np.zeros((8, 6))
    for u, i, v, j in np.ndindex(8, 6, 8, 6):
        path = x[u, i] / x[u].sum() * x[v, i] / x[:, i].sum() * x[v, j] / x[v].sum()
        expected[u, j] += path / x[:, j].sum() ** 0.4
    expected /= expected.max(axis=1, keepdims=True)
    relevance = rows_of(ratings, "rp3beta", values="rated", alpha=1.0, beta=0.4)
    assert relevance == pytest.approx(expected)


def test_user_knn_adds_the_cosines_of_the_nearest() -> None:
    """A film's value is the sum of the cosines of those of the k nearest users who like it."""
    ratings = some_ratings(12, 9)
    x = (ratings.matrix.toarray() >= 4).astype(np.float64)
    norms = np.sqrt(x.sum(axis=1))
    expected = np.zeros_like(x)
    for user in range(12):
        cosines = x @ x[user] / np.maximum(norms * norms[user], 1e-12)
        cosines[user] = 0.0
        lowest = np.sort(cosines)[-3]
        for other in np.flatnonzero(cosines >= lowest):
            expected[user] += cosines[other] * x[other]
    assert rows_of(ratings, "user_knn", values="liked", k=3) == pytest.approx(expected)


def test_ials_reaches_the_minimum_of_each_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """With enough steps a half of a sweep solves the normal equations of every row."""
    import peers_rankers

    monkeypatch.setattr(peers_rankers, "STEPS", 30)
    ratings = some_ratings(10, 8)
    x = (ratings.matrix.toarray() > 0).astype(np.float64)
    films = np.random.default_rng(2).normal(size=(8, 3))
    start = np.zeros((10, 3))
    solved = peers_rankers._solve_half(ratings.matrix.astype(bool) * 1.0, start, films, 0.2, 0.05)
    for user in range(10):
        seen = films[x[user] > 0]
        weight = 0.05 * (len(seen) + 0.2 * 8)
        system = seen.T @ seen + 0.2 * films.T @ films + weight * np.eye(3)
        assert solved[user] == pytest.approx(np.linalg.solve(system, seen.sum(axis=0)))


def test_a_user_of_several_folds_is_drawn_once() -> None:
    """Repeating every fold changes neither the difference nor its interval."""
    from quality_measure import Measured, Trial, differences

    random = np.random.default_rng(4)
    users = np.arange(30)
    blend, other = random.random(30), random.random(30)

    def trials(n_folds: int) -> list[Trial]:
        metrics = {"ndcg@5": 0.5}
        return [
            Trial("blend", "", [Measured(metrics, users, blend)] * n_folds),
            Trial("other", "", [Measured(metrics, users, other)] * n_folds),
        ]

    once = differences(trials(1), 1)["other"]
    assert once.mean == pytest.approx((blend - other).mean())
    assert once.low < once.mean < once.high
    assert vars(differences(trials(3), 1)["other"]) == pytest.approx(vars(once))
