"""Metrics of small cases whose values are computed by hand or by scipy."""

import math

import numpy as np
import pytest
from scipy import sparse, stats

from batch.ranking.metrics import RESAMPLES, Catalogue, Judged, gain, gini, interval, measure
from batch.ratings import NOBODY, Floats


@pytest.mark.parametrize(
    ("exposure", "expected"),
    [([3, 3, 3, 3], 0.0), ([0, 0, 0, 8], 3 / 4), ([0, 0], 0.0), ([1, 3], 1 / 4), ([5], 0.0)],
)
def test_gini_of_exposure(exposure: list[int], expected: float) -> None:
    """The Gini index is 0 for even exposure, (n - 1) / n where one film is in every list."""
    assert gini(np.array(exposure)) == pytest.approx(expected)


def test_an_interval_holds_its_value_and_narrows_with_users() -> None:
    """The interval contains the mean, is as wide as theory says, and narrows with more users."""
    random = np.random.default_rng(0)
    widths = []
    for users in (400, 1600):
        hits = (random.random(users) < 0.2).astype(float)
        low, high = interval(hits, np.ones(users), 1)
        assert low < hits.mean() < high
        widths.append(high - low)
        assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.16 / users), rel=0.15)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)


def ratio(sums: Floats, weights: Floats, axis: int = -1) -> Floats:
    return sums.sum(axis=axis) / weights.sum(axis=axis)


@pytest.mark.parametrize("seed", [0, 1, 20261123])
def test_an_interval_is_the_95_percent_percentile_bootstrap(seed: int) -> None:
    """On the same resamples of users, scipy's 95 % percentile bootstrap has the same bounds."""
    random = np.random.default_rng(7)
    weights = random.integers(1, 9, 60).astype(np.float64)
    sums = random.gamma(2.0, size=60) * weights
    scipy_interval = stats.bootstrap(
        (sums, weights),
        ratio,
        paired=True,
        confidence_level=0.95,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    expected = (scipy_interval.low, scipy_interval.high)
    assert interval(sums, weights, seed) == pytest.approx(expected, rel=1e-12)


def test_an_interval_leaves_out_a_fortieth_on_either_side() -> None:
    """With 80 hits of 400 users the bounds are 2.5 % and 97.5 % quantiles of the binomial."""
    # A resample's number of hits is binomial, whatever draws it. Quantiles of 1000 resamples
    # are off by 0.7 hits on average, their mean over 20 seeds by 0.15.
    hits = (np.arange(400) < 80).astype(np.float64)
    bounds = np.array([interval(hits, np.ones(400), seed) for seed in range(20)])
    low, high = bounds.mean(axis=0) * 400
    expected_low, expected_high = stats.binom.ppf([0.025, 0.975], 400, 0.2)
    assert low == pytest.approx(expected_low, abs=0.75)
    assert high == pytest.approx(expected_high, abs=0.75)


def test_an_interval_is_seeded_and_exact_where_all_agree() -> None:
    """The same seed gives the same interval, and equal users an interval of width 0."""
    values = np.arange(50.0)
    assert interval(values, np.ones(50), 3) == interval(values, np.ones(50), 3)
    assert interval(values, np.ones(50), 3) != interval(values, np.ones(50), 4)
    assert interval(np.full(7, 2.0), np.full(7, 4.0), 0) == (0.5, 0.5)


def judged(listed: list[list[int]], relevant: list[set[int]]) -> Judged:
    """Lists (n_users, n) and the films each user liked; no held-out ratings."""
    hits = [[film in liked for film in row] for row, liked in zip(listed, relevant, strict=True)]
    return Judged(
        users=np.arange(len(listed)),
        listed=np.array(listed),
        hits=np.array(hits),
        relevant=np.array([len(liked) for liked in relevant]),
        user=np.zeros(0, np.int64),
        truth=np.zeros(0),
        predicted=np.zeros(0),
        is_fallback=np.zeros(0, np.bool_),
    )


def test_metrics_of_lists_by_hand() -> None:
    """Every metric of four users' lists of two out of four films is the one computed by hand."""
    # Film 0 is rated by all four users, 1 by two, 2 by one, 3 by none.
    # Genres: films 0 and 1 have the same, 2 has both, 3 none.
    rated = sparse.csr_array(np.array([[1.0, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]]))
    genres = np.array([[1.0, 0], [1, 0], [1, 1], [0, 0]])
    lists = [[2, 3], [0, 3], [1, 2], [NOBODY, NOBODY]]
    liked: list[set[int]] = [{3, 0, 1}, {2}, {1}, set()]
    metrics = measure(judged(lists, liked), Catalogue(rated, genres), 0)
    expected = {
        "users": 3,
        "precision@2": (1 / 2 + 0 + 1 / 2) / 3,
        "recall@2": (1 / 3 + 0 + 1) / 3,
        "ndcg@2": (1 / math.log2(3) / (1 + 1 / math.log2(3)) + 0 + 1) / 3,
        "map@2": (1 / 2 / 2 + 0 + 1) / 3,
        "hit_rate@2": 2 / 3,
        "precision_light@2": 1 / 2,  # of users 0, 1, 2 with 2, 3, 1 ratings: user 2
        "precision_heavy@2": 0,  # and user 1
        "coverage@2": 1,
        "novelty@2": (2 + 2 + 0 + 2 + 1 + 2) / 6,
        "popularity_lift@2": ((1 + 0 + 4 + 0 + 2 + 1) / 6) / ((4 * 4 + 2 * 2 + 1) / 7),
        "gini@2": (2 * (1 * 0 + 1 * 1 + 1 * 1 + 0 + 1 + 1)) / (2 * 4 * 6),  # exposures 1, 1, 2, 2
        "diversity@2": 1 - 1 / math.sqrt(2),  # only user 2 has two films with genres
    }
    bounds = {name for name in metrics if name.split("@")[0].endswith(("_low", "_high"))}
    values = {name: value for name, value in metrics.items() if name not in bounds}
    assert values == pytest.approx(expected)
    assert bounds == {"precision_low@2", "precision_high@2", "ndcg_low@2", "ndcg_high@2"}


def test_what_cannot_be_computed_is_left_out() -> None:
    """Without lists, liked films or ratings there are no means, and no division by zero."""
    rated = sparse.csr_array((2, 3))
    empty = judged([[NOBODY], [NOBODY]], [set(), set()])
    metrics = measure(empty, Catalogue(rated, np.zeros((3, 0))), 0)
    assert metrics == {"users": 0.0, "coverage@1": 0.0}


def judged_of(
    hits: list[list[int]], errors: list[float] | None, relevant: tuple[int, ...] = (2, 3, 0)
) -> Judged:
    """Three users and two held-out ratings; `errors` is None for a model that only ranks."""
    truth = np.array([3.0, 4.0])
    return Judged(
        users=np.arange(3),
        listed=np.tile(np.arange(3), (3, 1)),
        hits=np.array(hits, dtype=np.bool_),
        relevant=np.array(relevant),
        user=np.array([0, 1]),
        truth=truth,
        predicted=truth + (np.zeros(2) if errors is None else np.array(errors)),
        is_fallback=np.full(2, errors is None),
    )


NO_HIT = [0, 0, 0]
OWN = judged_of([[1, 1, 0], [1, 0, 1], NO_HIT], [1.0, -1.0])
# The most hits of the others.
PRECISE = judged_of([[0, 1, 1], [0, 0, 1], NO_HIT], [2.0, 2.0])
# The best NDCG of the others, and the lowest RMSE.
EARLY = judged_of([[1, 0, 0], [1, 0, 0], NO_HIT], [-1.5, 1.5])
ONLY_RANKS = judged_of([NO_HIT] * 3, None)


def test_gain_by_hand() -> None:
    """The gain is over the model that is best in the same metric, paired by user in lists."""
    second = 1 / math.log2(3)  # gain of a hit in second place; in third it is 1/2
    # Precision 2/3 and 2/3 against PRECISE's 2/3 and 1/3: differences 0 and 1/3. Two of them
    # drawn with replacement are both the lower, or both the higher, a quarter of the time.
    # NDCG: EARLY has the first places, of two and of three relevant films.
    ndcg_gains = (second / (1 + second), 1 / 2 / (1 + second + 1 / 2))
    assert gain(OWN, [PRECISE, EARLY, ONLY_RANKS], seed=0) == pytest.approx(
        {
            "precision_gain@3": 1 / 6,
            "precision_gain_low@3": 0.0,
            "precision_gain_high@3": 1 / 3,
            "ndcg_gain@3": sum(ndcg_gains) / 2,
            "ndcg_gain_low@3": min(ndcg_gains),
            "ndcg_gain_high@3": max(ndcg_gains),
            "rmse_gain": 0.5,
        }
    )


def test_gain_can_be_negative() -> None:
    """A model that is worse than the best of the others has a negative gain."""
    metrics = gain(ONLY_RANKS, [OWN, PRECISE], seed=0)
    assert metrics["precision_gain@3"] == pytest.approx(-2 / 3)
    assert "rmse_gain" not in metrics
    assert gain(EARLY, [OWN, PRECISE], seed=0)["rmse_gain"] == pytest.approx(-0.5)


def test_gain_over_nothing() -> None:
    """Without other models, relevant films or predictions to compare, the gain is left out."""
    assert gain(OWN, [], seed=0) == {}
    assert "rmse_gain" not in gain(OWN, [ONLY_RANKS], seed=0)
    none_relevant = judged_of([NO_HIT] * 3, [1.0, 1.0], relevant=(0, 0, 0))
    assert set(gain(none_relevant, [none_relevant], seed=0)) == {"rmse_gain"}
