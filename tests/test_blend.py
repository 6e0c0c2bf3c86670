"""The blend by hand on a small block, and learnt from generated data with true weights."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import pytest

from batch.ranking.blend import Blend, CellScores, blend_features, less_own_mean, table
from batch.ranking.blend_weights import (
    LEAST_FOLLOWERS,
    LEAST_LIKED,
    Candidates,
    TrainingBlock,
    Weights,
    learn,
)
from batch.ratings import Pairs
from batch.reasons import SHARES
from reference import Floats, every_cell

NAN = np.nan

# Three users and five films, three of them candidates of user 0, two of user 2; user 1 has none.
CANDIDATES = Pairs(np.array([0, 0, 0, 2, 2]), np.array([3, 0, 4, 2, 1]))
FEATURES = {
    "preference": np.array([[1.0, -1.0, -2.0, 0.5, 0.0], [0.0] * 5, [0.0, 1.0, -1.0, 2.0, 3.0]]),
    "liking": np.array([[0.0, 0.0, 1.0, 0.0, -3.0], [0.0] * 5, [-1.0, 0.0, 0.0, -4.0, -1.0]]),
    "model": np.array([[2.0, -1.0, 0.0, 4.0, 6.0], [0.0] * 5, [1.0, 3.0, 5.0, 0.0, 0.0]]),
}
BASELINE = np.array([[3.0, 3.5, 4.0, 2.0, 1.0], [3.0] * 5, [2.0, 2.5, 3.0, 1.0, 0.0]])
CANDIDATE_SCORES = (FEATURES["preference"] + FEATURES["liking"])[CANDIDATES]
WEIGHTS = Weights(
    names=("preference", "liking", "model"),
    stars=np.array([0.2, -0.4, 0.1]),
    products=np.array([[0.3, 0.0, -0.2], [0.0, 0.0, 0.0], [0.0, 0.0, 0.05]]),
    level=0.25,
    mean=np.array([0.5, -1.0, 2.0]),
    spread=np.array([2.0, 4.0, 0.5]),
    relevance=np.array([0.5, 1.0, 2.0]),
    odds=-1.5,
    list_spread=np.array([1.0, 2.0, 4.0]),
    n_pairs=7,
    n_liked=2,
    n_trend=0,
)


def at(cells: Pairs, features: Mapping[str, Floats] = FEATURES) -> dict[str, Floats]:
    """Features of these cells, (p,)."""
    return {name: values[cells] for name, values in features.items()}


def stars_of(
    blend: Blend, features: Mapping[str, Floats] = FEATURES, models: tuple[str, ...] = ("model",)
) -> Floats:
    """Ratings of every cell, (3, 5)."""
    cells = every_cell(3, 5)
    return blend.stars(at(cells, features), BASELINE.ravel(), models).reshape(3, 5)


def chances_of(blend: Blend, features: Mapping[str, Floats] = FEATURES) -> Floats:
    """Chances of every candidate, (3, 5); nan for the other films."""
    chances = np.full((3, 5), NAN)
    values = at(CANDIDATES, features)
    chances[CANDIDATES] = blend.chances(values, CANDIDATES.rows, CANDIDATE_SCORES)
    return chances


def among_candidates(features: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Features of the candidates, centred on each user's mean and uncentred, (5, n_features)."""
    levels = table(at(CANDIDATES, features), tuple(features))
    return less_own_mean(levels, CANDIDATES.rows), levels


def chance(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


def test_stars_by_hand() -> None:
    """Stars are the baseline, a level, and weighted features and products of two.

    A feature is its distance from the mean in standard deviations, in products at most three.
    """
    rating = stars_of(Blend(WEIGHTS))
    # Baseline 3, level 0.25; preference 1, liking 0, model 2:
    # (1 - 0.5) / 2 = 0.25, (0 + 1) / 4 = 0.25 and (2 - 2) / 0.5 = 0
    assert rating[0, 0] == pytest.approx(3.25 + 0.2 * 0.25 - 0.4 * 0.25 + 0.3 * 0.25**2)
    # Baseline 3; preference -1, liking 0, model 5: -0.75, 0.25 and 6, which is 3 in products
    linear = 0.2 * -0.75 - 0.4 * 0.25 + 0.1 * 6
    products = 0.3 * 0.75**2 - 0.2 * -0.75 * 3 + 0.05 * 3 * 3
    assert rating[2, 2] == pytest.approx(3.25 + linear + products)
    for user in (0, 1, 2):
        for film in range(5):
            stars = BASELINE[user, film] + 0.25
            cut = []
            for feature, name in enumerate(FEATURES):
                off = FEATURES[name][user, film] - WEIGHTS.mean[feature]
                steps = off / WEIGHTS.spread[feature]
                stars += WEIGHTS.stars[feature] * steps
                cut.append(max(-3.0, min(3.0, steps)))
            for first in range(3):
                for second in range(3):
                    stars += WEIGHTS.products[first, second] * cut[first] * cut[second]
            assert rating[user, film] == pytest.approx(stars, rel=1e-12)


def test_features_without_weight_are_the_baseline() -> None:
    """With weights of 0 stars are the baseline and the level, whatever the features are."""
    weightless = dataclasses.replace(WEIGHTS, stars=np.zeros(3), products=np.zeros((3, 3)))
    np.testing.assert_allclose(stars_of(Blend(weightless)), BASELINE + 0.25, rtol=1e-12)


def test_relevance_by_hand() -> None:
    """Relevance is the logistic function of features centred on the user's candidates."""
    relevance = chances_of(Blend(WEIGHTS))
    # User 2, candidates 2 and 1: preference -1 and 1, liking 0 and 0, model 5 and 3;
    # means 0, 0 and 4.
    expected = chance(-1.5 + 0.5 * -1 / 1 + 0 + 2.0 * 1 / 4)
    assert relevance[2, 2] == pytest.approx(expected, rel=1e-12)
    expected = chance(-1.5 + 0.5 * 1 / 1 + 0 + 2.0 * -1 / 4)
    assert relevance[2, 1] == pytest.approx(expected, rel=1e-12)
    # User 0, candidates 3, 0 and 4: preference 0.5, 1 and 0, liking 0, 0 and -3, model 4, 2
    # and 6; means 0.5, -1 and 4.
    expected = chance(-1.5 + 0.0 + 1.0 * 1 / 2 + 0.0)
    assert relevance[0, 3] == pytest.approx(expected, rel=1e-12)
    expected = chance(-1.5 + 0.5 * 0.5 + 1.0 * 1 / 2 + 2.0 * -2 / 4)
    assert relevance[0, 0] == pytest.approx(expected, rel=1e-12)
    expected = chance(-1.5 + 0.5 * -0.5 + 1.0 * -2 / 2 + 2.0 * 2 / 4)
    assert relevance[0, 4] == pytest.approx(expected, rel=1e-12)


def test_without_weights_the_mean_of_the_models() -> None:
    """Without weights stars are the mean of the models, and candidates keep their order."""
    blend = Blend(None)
    rating = stars_of(blend, {**FEATURES, "other": np.full((3, 5), 1.0)}, ("model", "other"))
    for user in (0, 1, 2):
        for film in range(5):
            stars = BASELINE[user, film] + (FEATURES["model"][user, film] + 1.0) / 2
            assert rating[user, film] == pytest.approx(stars, rel=1e-12)
    for user, films in ((0, [3, 0, 4]), (2, [2, 1])):
        preference = FEATURES["preference"][user, films]
        liking = FEATURES["liking"][user, films]
        expected = [chance(score) for score in (preference + liking).tolist()]
        chances = chances_of(blend)[user, films].tolist()
        assert chances == pytest.approx(expected, rel=1e-12)
    assert stars_of(blend, models=()).tolist() == BASELINE.tolist()


@pytest.mark.parametrize("weights", [WEIGHTS, None])
def test_no_cells(weights: Weights | None) -> None:
    """No cells have no stars, and no candidates no chances."""
    nothing = {name: np.empty(0) for name in FEATURES}
    blend = Blend(weights)
    assert blend.stars(nothing, np.empty(0), ("model",)).tolist() == []
    assert blend.chances(nothing, np.empty(0, dtype=np.int64), np.empty(0)).tolist() == []


@pytest.mark.parametrize("weights", [WEIGHTS, None])
def test_combining_changes_no_input(weights: Weights | None) -> None:
    """Features, baseline, candidates and their scores are not changed."""
    features = at(CANDIDATES)
    baseline = BASELINE[CANDIDATES]
    inputs = [*features.values(), baseline, *CANDIDATES, CANDIDATE_SCORES]
    before = [array.tobytes() for array in inputs]
    Blend(weights).stars(features, baseline, ("model",))
    Blend(weights).chances(features, CANDIDATES.rows, CANDIDATE_SCORES)
    less_own_mean(table(features, tuple(features)), CANDIDATES.rows)
    assert [array.tobytes() for array in inputs] == before


def test_features_by_hand() -> None:
    """A model's features are its departure from its baseline, ln(1 + support) and the product."""
    scores = CellScores(
        rating=np.array([4.0, NAN, 1.0, 3.0]),
        support=np.array([math.e - 1, 0.0, 3.0, 0.5]),
        baseline=np.array([3.0, 3.0, 2.5, 3.0]),
    )
    signal = np.array([7.0, 8.0, 9.0, 10.0])
    features = blend_features({"signal": signal}, {"m": scores})
    assert list(features) == ["signal", "m", "m_evidence", "m_sure"]
    assert features["signal"].tolist() == signal.tolist()
    assert features["m"].tolist() == [1.0, 0.0, -1.5, 0.0]
    evidence = [1.0, 0.0, math.log(4), math.log(1.5)]
    np.testing.assert_allclose(features["m_evidence"], evidence, rtol=1e-12)
    product = [1.0, 0.0, -1.5 * math.log(4), 0.0]
    np.testing.assert_allclose(features["m_sure"], product, rtol=1e-12)


def test_a_model_without_predictions() -> None:
    """A model without predictions has features of 0, and no signal is lost or changed by it."""
    scores = CellScores(np.full(4, NAN), np.zeros(4), np.full(4, 3.0))
    signals = {"signal": np.ones(4)}
    features = blend_features(signals, {"m": scores})
    assert features["signal"].tolist() == [1.0] * 4
    assert not any(features[name].any() for name in ("m", "m_evidence", "m_sure"))
    assert list(signals) == ["signal"]


def test_candidates_by_hand() -> None:
    """Features of the candidates in order, uncentred and less each user's mean."""
    features = {name: FEATURES[name] for name in ("model", "liking")}
    centred, levels = among_candidates(features)
    assert levels.tolist() == [[4, 0], [2, 0], [6, -3], [5, 0], [3, 0]]
    assert centred.tolist() == [[0, 1], [-2, 1], [2, -2], [1, 0], [-1, 0]]


NAMES = ("a", "b", "c")
TRUE_STARS, TRUE_ODDS = np.array([0.5, -0.3, 0.0]), np.array([1.5, 0.0, -1.0])
NO_CANDIDATES = Candidates(np.empty((0, 3)), np.empty(0, dtype=np.bool_))
NOBODYS = np.empty(0, dtype=np.int64)


def training_block(n: int, seed: int = 0, factor: float = 1.0) -> TrainingBlock:
    """n candidates and n pairs, generated from TRUE_ODDS and TRUE_STARS, nothing of trends.

    The three features have different scales; the first is multiplied by `factor`.
    """
    random = np.random.default_rng(seed)
    unit = np.array([3.0 * factor, 0.2, 10.0])  # standard deviation of each feature
    levels = random.normal(size=(n, 3))  # in standard deviations
    pairs = random.normal(size=(n, 3))
    liked = random.random(n) < 1 / (1 + np.exp(-(levels @ TRUE_ODDS - 0.5)))
    departures = -0.2 + pairs @ TRUE_STARS + random.normal(scale=0.1, size=n)
    return TrainingBlock(
        taste=Candidates(levels * unit, liked),
        trend=NO_CANDIDATES,
        followers=NOBODYS,
        pairs=pairs * unit + unit,
        departures=departures,
    )


def test_true_weights_are_learnt() -> None:
    """From many ratings the true weights are learnt, per standard deviation, and the level."""
    blocks = [training_block(4000, 0), training_block(4000, 1)]
    weights = learn(NAMES, blocks)
    assert weights is not None
    assert weights.names == NAMES
    assert (weights.n_pairs, weights.n_trend) == (8000, 0)
    assert weights.n_liked == int(sum(block.taste.liked.sum() for block in blocks))
    np.testing.assert_allclose(weights.stars, TRUE_STARS, atol=0.02)
    np.testing.assert_allclose(weights.products, 0.0, atol=0.02)
    assert weights.level == pytest.approx(-0.2, abs=0.02)
    np.testing.assert_allclose(weights.relevance, TRUE_ODDS, atol=0.12)
    assert weights.odds == pytest.approx(-0.5, abs=0.1)


def slow_stars(pairs: Floats, departures: Floats) -> tuple[Floats, Floats, float]:
    """Weights of features, of products above and on the diagonal, and the level.

    Of four penalties on the weights of features the one with which each departure is best
    predicted from all others; that on the weights of products is 25 times as large.
    """
    n, k = pairs.shape
    x = (pairs - pairs.mean(axis=0)) / pairs.std(axis=0)
    cut = np.minimum(np.maximum(x, -3.0), 3.0)
    couples = [(first, second) for first in range(k) for second in range(first, k)]
    x = np.column_stack([x, *(cut[:, first] * cut[:, second] for first, second in couples)])
    means = x.mean(axis=0)
    x = x - means
    off = departures - departures.mean()
    best_error = np.inf
    for penalty in (100.0, 300.0, 1000.0, 3000.0):
        inverse = np.linalg.inv(x.T @ x + np.diag([penalty] * k + [25 * penalty] * len(couples)))
        weights = inverse @ x.T @ off
        leverage = np.einsum("ij,jk,ik->i", x, inverse, x) + 1 / n
        error = np.mean(((off - x @ weights) / (1 - leverage)) ** 2)
        if error < best_error:
            best_error, best = error, weights
    products = np.zeros((k, k))
    for (first, second), weight in zip(couples, best[k:], strict=True):
        products[first, second] = weight
    return best[:k], products, departures.mean() - means @ best


@pytest.mark.parametrize("noise", [0.0, 20.0])
def test_stars_are_ridge_regression(noise: float) -> None:
    """Weights of stars solve the normal equations of ridge regression with a free intercept.

    Of more noise a larger penalty is chosen.
    """
    held = training_block(200, 3)
    departures = held.departures + held.pairs[:, 0] * held.pairs[:, 2] / 300
    departures += np.random.default_rng(8).normal(scale=noise, size=200) if noise else 0.0
    weights = learn(NAMES, [dataclasses.replace(held, departures=departures)])
    assert weights is not None
    slow, products, level = slow_stars(held.pairs, departures)
    np.testing.assert_allclose(weights.stars, slow, rtol=1e-9)
    np.testing.assert_allclose(weights.products, products, rtol=1e-7, atol=1e-12)
    assert noise or weights.products[0, 2] > 0.01
    assert weights.level == pytest.approx(level, rel=1e-9)


def test_the_scale_is_of_the_evidence() -> None:
    """Features are centred and scaled as the ratings learnt from are, 1 for a constant one.

    Where these very ratings are predicted, the stars' mean error is 0.
    """
    held = training_block(200, 3)
    held.pairs[:, 1] = 0.1
    held.taste.features[:, 1] = [1e-17, -1e-17] * 100
    weights = learn(NAMES, [held])
    assert weights is not None
    np.testing.assert_allclose(weights.mean, held.pairs.mean(axis=0), rtol=1e-12)
    for spread, values in (
        (weights.spread, held.pairs),
        (weights.list_spread, held.taste.features),
    ):
        of_first, _, of_last = values.std(axis=0)
        np.testing.assert_allclose(spread, [of_first, 1.0, of_last], rtol=1e-12)
    features = dict(zip(NAMES, held.pairs.T, strict=True))
    predicted = Blend(weights).stars(features, np.full(200, 3.0), ())
    assert (predicted - 3.0).mean() == pytest.approx(held.departures.mean(), rel=1e-9)


def test_relevance_is_logistic_regression() -> None:
    """At the weights of relevance the penalised likelihood has a gradient of 0."""
    held = training_block(400, 4)
    weights = learn(NAMES, [held])
    assert weights is not None
    x = held.taste.features / held.taste.features.std(axis=0)
    odds = weights.odds + x @ weights.relevance
    residuals = held.taste.liked - 1 / (1 + np.exp(-odds))  # (400,)
    gradient = x.T @ residuals - weights.relevance
    # The solver's tolerance, for sums of 400.
    np.testing.assert_allclose(gradient, 0.0, atol=0.1)
    assert abs(residuals.sum()) < 0.1


@pytest.mark.parametrize("factor", [10.0, 0.001])
def test_the_unit_of_a_feature_does_not_matter(factor: float) -> None:
    """A feature of another unit changes neither learnt weights nor what is made of them."""
    weights = learn(NAMES, [training_block(500)])
    rescaled = learn(NAMES, [training_block(500, factor=factor)])
    assert weights is not None
    assert rescaled is not None
    np.testing.assert_allclose(rescaled.stars, weights.stars, rtol=1e-9)
    np.testing.assert_allclose(rescaled.relevance, weights.relevance, rtol=1e-9)
    assert rescaled.level == pytest.approx(weights.level, rel=1e-9)
    assert rescaled.odds == pytest.approx(weights.odds, rel=1e-9)
    stars, chances = [], []
    for times, learnt in ((1.0, weights), (factor, rescaled)):
        features = dict(zip(NAMES, FEATURES.values(), strict=True))
        features["a"] = features["a"] * times
        cells = at(CANDIDATES, features)
        stars.append(Blend(learnt).stars(cells, BASELINE[CANDIDATES], ()))
        chances.append(Blend(learnt).chances(cells, CANDIDATES.rows, CANDIDATE_SCORES))
    np.testing.assert_allclose(stars[1], stars[0], rtol=1e-9)
    np.testing.assert_allclose(chances[1], chances[0], rtol=1e-9)


def in_two(held: TrainingBlock) -> list[TrainingBlock]:
    """The same in two blocks, the first with twenty candidates and pairs."""
    return [
        TrainingBlock(
            taste=Candidates(held.taste.features[part], held.taste.liked[part]),
            trend=Candidates(held.trend.features[part], held.trend.liked[part]),
            followers=held.followers[part],
            pairs=held.pairs[part],
            departures=held.departures[part],
        )
        for part in (slice(0, 20), slice(20, None))
    ]


def with_liked(candidates: Candidates, n_liked: int) -> Candidates:
    """The same candidates, another number of them liked, every second one first."""
    places = np.argsort(np.arange(len(candidates.liked)) % 2, kind="stable")
    liked = np.zeros(len(places), dtype=np.bool_)
    liked[places[:n_liked]] = True
    return Candidates(candidates.features, liked)


@pytest.mark.parametrize(
    ("n_liked", "learnt"), [(0, False), (29, False), (30, True), (59, True), (60, False)]
)
def test_too_few_liked_candidates(n_liked: int, learnt: bool) -> None:
    """With fewer than thirty liked candidates, or no others, nothing is learnt."""
    assert LEAST_LIKED == 30
    held = training_block(60)
    held = dataclasses.replace(held, taste=with_liked(held.taste, n_liked))
    assert (learn(NAMES, in_two(held)) is not None) == learnt


def test_no_ratings_to_learn_from() -> None:
    """Without held-out ratings nothing is learnt."""
    assert learn((), []) is None
    assert learn(NAMES, [training_block(0)]) is None


def test_same_ratings_same_bytes() -> None:
    """Held-out ratings and seed decide the weights to the last bit."""
    first, second = (learn(NAMES, [training_block(300)]) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.stars.tobytes() == second.stars.tobytes()
    assert first.relevance.tobytes() == second.relevance.tobytes()
    assert first.figures() == second.figures()


# Trends

TIMED_NAMES = ("trend_3", "a", "b", "trend_age")
IS_TREND = np.array([True, False, False, True])


def timed_block(n: int, seed: int = 0, n_followers: int = 100) -> TrainingBlock:
    """n candidates by taste and n by trend, and n pairs, of two trends and two other features.

    What is liked at any time depends on all four. What is liked next depends half as much on
    taste, and on trends.
    """
    random = np.random.default_rng(seed)
    unit = np.array([5.0, 3.0, 0.2, 0.01])  # standard deviation of each feature
    at_any_time, followed, pairs = random.normal(size=(3, n, 4))  # in standard deviations
    of_taste = at_any_time @ [0.3, 1.5, -1.0, 0.3] - 0.5
    of_trend = followed @ [2.0, 0.75, -0.5, -1.0] - 1.0
    liked, liked_next = (
        random.random(n) < 1 / (1 + np.exp(-odds)) for odds in (of_taste, of_trend)
    )
    return TrainingBlock(
        taste=Candidates(at_any_time * unit, liked),
        trend=Candidates(followed * 2 * unit, liked_next),
        followers=np.arange(n) % n_followers,
        pairs=pairs * unit,
        departures=pairs @ [0.4, 0.5, -0.3, 0.4],
    )


def without_trend(held: TrainingBlock) -> TrainingBlock:
    """The same without evidence of what was liked next."""
    nothing = Candidates(held.trend.features[:0], held.trend.liked[:0])
    return dataclasses.replace(held, trend=nothing, followers=NOBODYS)


def test_trends_are_learnt_on_what_was_liked_next() -> None:
    """Taste keeps its proportions and gets one factor, and the true weights of trends are learnt.

    The penalty of trends is ten times that of taste, and none is on the factor.
    """
    held = timed_block(8000)
    weights = learn(TIMED_NAMES, in_two(held))
    assert weights is not None
    assert weights.n_liked == held.taste.liked.sum()
    assert weights.n_trend == held.trend.liked.sum()
    # On the scale of taste's candidates, where features spread half as far.
    np.testing.assert_allclose(weights.relevance, [2.0, 0.375, -0.25, -1.0], atol=0.12)
    assert weights.odds == pytest.approx(-1.0, abs=0.1)
    spread = np.where(IS_TREND, held.trend.features.std(axis=0), held.taste.features.std(axis=0))
    np.testing.assert_allclose(weights.list_spread, spread, rtol=1e-12)
    untimed = learn(TIMED_NAMES, [without_trend(held)])
    assert untimed is not None
    proportion = untimed.relevance[1] / untimed.relevance[2]
    assert weights.relevance[1] / weights.relevance[2] == pytest.approx(proportion, rel=1e-9)
    x = held.trend.features / spread
    residuals = held.trend.liked - 1 / (1 + np.exp(-(weights.odds + x @ weights.relevance)))
    gradient = x.T @ residuals - np.where(IS_TREND, 10 * weights.relevance, 0.0)
    # The solver's tolerance, for sums of 8000.
    np.testing.assert_allclose(gradient[IS_TREND], 0.0, atol=0.1)
    assert abs(gradient[~IS_TREND] @ untimed.relevance[~IS_TREND]) < 0.1
    assert abs(residuals.sum()) < 0.1


def test_trends_have_no_part_in_stars() -> None:
    """In stars trends have weight 0, and the other weights are learnt as if there were none."""
    held = timed_block(300)
    weights = learn(TIMED_NAMES, [held])
    assert weights is not None
    assert weights.stars[IS_TREND].tolist() == [0.0, 0.0]
    slow, products, _ = slow_stars(held.pairs[:, ~IS_TREND], held.departures)
    np.testing.assert_allclose(weights.stars[~IS_TREND], slow, rtol=1e-9)
    np.testing.assert_allclose(weights.products[1:3, 1:3], products, rtol=1e-7, atol=1e-12)
    assert np.count_nonzero(weights.products) == 3


@pytest.mark.parametrize(
    ("n_followers", "n_liked", "learnt"),
    [(30, 30, True), (29, 60, False), (60, 29, False), (30, 0, False)],
)
def test_too_few_followers(n_followers: int, n_liked: int, learnt: bool) -> None:
    """With under thirty users who liked a film in the newest part of time, trends have weight 0.

    Weights of taste are then as learnt from ratings of any time.
    """
    assert LEAST_FOLLOWERS == 30
    held = timed_block(200, n_followers=n_followers)
    liked = np.zeros(200, dtype=np.bool_)
    liked[:n_liked] = True
    followed = held.trend.features[np.argsort(-held.trend.features[:, 0])]  # the most followed
    held = dataclasses.replace(held, trend=Candidates(followed, liked))
    weights = learn(TIMED_NAMES, in_two(held))
    assert weights is not None
    assert weights.n_trend == (n_liked if learnt else 0)
    assert weights.relevance[IS_TREND].all() == learnt
    if not learnt:
        assert weights.relevance[IS_TREND].tolist() == [0.0, 0.0]
        x = (held.taste.features / held.taste.features.std(axis=0))[:, ~IS_TREND]
        odds = weights.odds + x @ weights.relevance[~IS_TREND]
        residuals = held.taste.liked - 1 / (1 + np.exp(-odds))  # (200,)
        gradient = x.T @ residuals - weights.relevance[~IS_TREND]
        np.testing.assert_allclose(gradient, 0.0, atol=0.1)


@pytest.mark.parametrize(("follow", "learnt"), [(True, True), (False, False)])
def test_trends_must_help_with_other_users(follow: bool, learnt: bool) -> None:
    """Trends get weights only if they tell what users liked whom they were not learnt from."""
    held = timed_block(2000)
    if not follow:  # what is liked has nothing to do with trends or taste
        random = np.random.default_rng(5)
        liked = random.permutation(held.trend.liked)
        held = dataclasses.replace(held, trend=Candidates(held.trend.features, liked))
    weights = learn(TIMED_NAMES, in_two(held))
    assert weights is not None
    assert weights.relevance[IS_TREND].all() == learnt
    assert (weights.n_trend > 0) == learnt


def test_trends_must_help_with_users_who_were_left_out() -> None:
    """Trends that follow each user's own direction say nothing of other users, and get no weight.

    From other candidates of the same users they would seem to help.
    """
    random = np.random.default_rng(1)
    names = (*(f"trend_{number}" for number in range(12)), "a")
    directions = random.normal(size=(30, 12))  # of each user
    followers = np.repeat(np.arange(30), 400)  # (12000,)
    trends = random.normal(size=(12000, 12))
    features = np.column_stack([trends, random.normal(size=12000)])
    liked = (trends * directions[followers]).sum(axis=1) > 0
    block = TrainingBlock(
        taste=Candidates(features, features[:, -1] > 0),
        trend=Candidates(features, liked),
        followers=followers,
        pairs=features,
        departures=features[:, -1],
    )
    weights = learn(names, [block])
    assert weights is not None
    assert weights.n_trend == 0


def test_evidence_of_trends_without_features() -> None:
    """Without features of trends what was liked next teaches nothing."""
    held = timed_block(200)
    names = ("a", "b", "c", "d")
    weights = learn(names, [held])
    without = learn(names, [without_trend(held)])
    assert weights is not None
    assert without is not None
    assert weights.figures() == without.figures()
    assert weights.n_trend == 0
    assert weights.relevance.all()


# Figures


def test_figures_name_every_weight() -> None:
    """Figures are what was learnt from, and each feature's weights and scale, in stars and list."""
    assert dataclasses.replace(WEIGHTS, n_trend=3).figures() == {
        "learnt_from_ratings": 7.0,
        "learnt_from_liked": 2.0,
        "learnt_from_next": 3.0,
        "stars_level": 0.25,
        "list_odds": -1.5,
        "stars_weight_preference": 0.2,
        "stars_weight_liking": -0.4,
        "stars_weight_model": 0.1,
        "stars_product_preference*preference": 0.3,
        "stars_product_model*preference": -0.2,
        "stars_product_model*model": 0.05,
        "stars_mean_preference": 0.5,
        "stars_mean_liking": -1.0,
        "stars_mean_model": 2.0,
        "stars_spread_preference": 2.0,
        "stars_spread_liking": 4.0,
        "stars_spread_model": 0.5,
        "list_weight_preference": 0.5,
        "list_weight_liking": 1.0,
        "list_weight_model": 2.0,
        "list_spread_preference": 1.0,
        "list_spread_liking": 2.0,
        "list_spread_model": 4.0,
    }


def test_weights_from_figures() -> None:
    """Weights made from figures are the same by name, and a missing figure is an error."""
    again = Weights.from_figures(WEIGHTS.figures())
    assert again.figures() == WEIGHTS.figures()
    assert again.names == tuple(sorted(WEIGHTS.names))
    blend = Blend(WEIGHTS)
    np.testing.assert_allclose(chances_of(Blend(again)), chances_of(blend), rtol=1e-14)
    np.testing.assert_allclose(stars_of(Blend(again)), stars_of(blend), rtol=1e-14)
    for missing in WEIGHTS.figures():
        if missing.startswith(("list_weight_", "stars_product_")):
            continue  # the features are named after the former, and runs before had no products
        incomplete = WEIGHTS.figures()
        del incomplete[missing]
        with pytest.raises(KeyError, match=missing):
            Weights.from_figures(incomplete)


def test_shares_add_up_to_the_log_odds() -> None:
    """The start and the shares of taste and of the model add up to the score's log-odds."""
    arguments = (at(CANDIDATES), CANDIDATES.rows, CANDIDATE_SCORES)
    blend = Blend(WEIGHTS)
    start, shares = blend.shares(*arguments)
    assert sorted(shares) == ["model", "taste"]
    log_odds = logit(blend.chances(*arguments))
    np.testing.assert_allclose(start + sum(shares.values()), log_odds, rtol=1e-12)
    unlearnt = Blend(None)
    start, shares = unlearnt.shares(*arguments)
    assert (start, list(shares)) == (0.0, ["taste"])
    log_odds = logit(unlearnt.chances(*arguments))
    np.testing.assert_allclose(shares["taste"], log_odds, rtol=1e-12)


def test_shares_of_sessions_and_trends() -> None:
    """Features of sessions add to the share `recent`, and those of trends to `trend`."""
    names = ("session_5", "trend_own", "trend_age")
    features = dict(zip(names, at(CANDIDATES).values(), strict=True))
    weights = dataclasses.replace(WEIGHTS, names=names)
    _, shares = Blend(weights).shares(features, CANDIDATES.rows, CANDIDATE_SCORES)
    assert list(shares) == ["recent", "trend"]
    assert set(shares) < set(SHARES)
    # Candidates 3, 0 and 4 of user 0: the means are 0.5, -1 and 4.
    assert shares["recent"][0] == 0.0
    assert shares["recent"][1] == pytest.approx(0.5 * 0.5 / 1)
    assert shares["trend"][2] == pytest.approx(1.0 * -2 / 2 + 2.0 * 2 / 4)


def logit(chances: Floats) -> Floats:
    return np.log(chances / (1 - chances))
