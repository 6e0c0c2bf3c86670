"""The blend by hand on a small block, and learnt from generated data with true weights."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import pytest

from batch.ranking.blend import (
    LEAST_LIKED,
    Blend,
    CellScores,
    FeatureScale,
    TrainingBlock,
    Weights,
    blend_features,
    learn,
    less_own_mean,
    table,
)
from batch.ratings import Pairs
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
SCALE = FeatureScale(
    np.array([0.5, -1.0, 2.0]), np.array([2.0, 4.0, 0.5]), np.array([1.0, 2.0, 4.0])
)
WEIGHTS = Weights(
    names=("preference", "liking", "model"),
    stars=np.array([0.2, -0.4, 0.1]),
    average=3.25,
    relevance=np.array([0.5, 1.0, 2.0]),
    odds=-1.5,
    n_pairs=7,
    n_liked=2,
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
    """Stars are the average plus each feature's weight times its distance from the mean."""
    rating = stars_of(Blend(WEIGHTS, SCALE))
    # Preference 1, liking 0, model 2:
    # 3.25 + 0.2 (1 - 0.5) / 2 - 0.4 (0 + 1) / 4 + 0.1 (2 - 2) / 0.5
    assert rating[0, 0] == pytest.approx(3.25 + 0.05 - 0.1 + 0.0)
    assert rating[2, 2] == pytest.approx(3.25 + 0.2 * -1.5 / 2 - 0.4 * 1 / 4 + 0.1 * 3 / 0.5)
    for user in (0, 1, 2):
        for film in range(5):
            stars = 3.25
            for feature, name in enumerate(FEATURES):
                off = (FEATURES[name][user, film] - SCALE.mean[feature]) / SCALE.spread[feature]
                stars += WEIGHTS.stars[feature] * off
            assert rating[user, film] == pytest.approx(stars, rel=1e-12)


def test_relevance_by_hand() -> None:
    """Relevance is the logistic function of features centred on the user's candidates."""
    relevance = chances_of(Blend(WEIGHTS, SCALE))
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
    blend = Blend(None, SCALE)
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
    blend = Blend(weights, SCALE)
    assert blend.stars(nothing, np.empty(0), ("model",)).tolist() == []
    assert blend.chances(nothing, np.empty(0, dtype=np.int64), np.empty(0)).tolist() == []


@pytest.mark.parametrize("weights", [WEIGHTS, None])
def test_combining_changes_no_input(weights: Weights | None) -> None:
    """Features, baseline, candidates and their scores are not changed."""
    features = at(CANDIDATES)
    baseline = BASELINE[CANDIDATES]
    inputs = [*features.values(), baseline, *CANDIDATES, CANDIDATE_SCORES]
    before = [array.tobytes() for array in inputs]
    Blend(weights, SCALE).stars(features, baseline, ("model",))
    Blend(weights, SCALE).chances(features, CANDIDATES.rows, CANDIDATE_SCORES)
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


def test_scale_by_hand() -> None:
    """The scale is mean and standard deviation over candidates; 1 for a constant feature."""
    levels = np.array([[1.0, 0.1, 5.0], [3.0, 0.1, 5.0]] * 5)
    centred = np.array([[-4.0, 1e-17, 0.0], [4.0, -1e-17, 0.0]] * 5)
    scale = FeatureScale.of(levels, centred)
    assert scale.mean.tolist() == pytest.approx([2.0, 0.1, 5.0], rel=1e-12)
    assert scale.spread.tolist() == [1.0, 1.0, 1.0]
    assert scale.spread_in_list.tolist() == [4.0, 1.0, 1.0]
    assert FeatureScale.of(levels * [7.0, 1.0, 1.0], centred).spread.tolist() == [7.0, 1.0, 1.0]


def test_scale_without_candidates() -> None:
    """Without candidates every feature has mean 0 and spread 1."""
    scale = FeatureScale.of(np.empty((0, 2)), np.empty((0, 2)))
    assert [values.tolist() for values in vars(scale).values()] == [[0, 0], [1, 1], [1, 1]]


NAMES = ("a", "b", "c")
TRUE_STARS, TRUE_ODDS = np.array([0.5, -0.3, 0.0]), np.array([1.5, 0.0, -1.0])


def training_block(n: int, seed: int = 0, factor: float = 1.0) -> TrainingBlock:
    """n candidates and n pairs, generated from TRUE_ODDS and TRUE_STARS.

    The three features have different scales; the first is multiplied by `factor`.
    """
    random = np.random.default_rng(seed)
    unit = np.array([3.0 * factor, 0.2, 10.0])  # standard deviation of each feature
    levels = random.normal(size=(n, 3))  # in standard deviations
    pairs = random.normal(size=(n, 3))
    liked = random.random(n) < 1 / (1 + np.exp(-(levels @ TRUE_ODDS - 0.5)))
    stars = 3.2 + pairs @ TRUE_STARS + random.normal(scale=0.1, size=n)
    return TrainingBlock(
        candidates=levels * unit,
        liked=liked,
        levels=levels * unit + unit,
        pairs=pairs * unit + unit,
        stars=stars,
    )


def test_true_weights_are_learnt() -> None:
    """From many ratings the true weights are learnt, per standard deviation, and the averages."""
    blocks = [training_block(4000, 0), training_block(4000, 1)]
    weights = learn(NAMES, blocks, seed=0)
    assert weights is not None
    assert weights.names == NAMES
    assert weights.n_pairs == 8000
    assert weights.n_liked == int(sum(block.liked.sum() for block in blocks))
    np.testing.assert_allclose(weights.stars, TRUE_STARS, atol=0.02)
    assert weights.average == pytest.approx(3.2, abs=0.02)
    np.testing.assert_allclose(weights.relevance, TRUE_ODDS, atol=0.12)
    assert weights.odds == pytest.approx(-0.5, abs=0.1)


def test_stars_are_ridge_regression() -> None:
    """Weights of stars solve the normal equations of ridge regression with a free intercept."""
    held = training_block(200, 3)
    weights = learn(NAMES, [held], seed=0)
    assert weights is not None
    x = (held.pairs - held.levels.mean(axis=0)) / held.levels.std(axis=0)
    off = x - x.mean(axis=0)
    slow = np.linalg.solve(off.T @ off + 100 * np.eye(3), off.T @ (held.stars - held.stars.mean()))
    np.testing.assert_allclose(weights.stars, slow, rtol=1e-9)
    assert weights.average == pytest.approx(held.stars.mean() - x.mean(axis=0) @ slow, rel=1e-9)


def test_relevance_is_logistic_regression() -> None:
    """At the weights of relevance the penalised likelihood has a gradient of 0."""
    held = training_block(400, 4)
    weights = learn(NAMES, [held], seed=0)
    assert weights is not None
    x = held.candidates / held.candidates.std(axis=0)
    residuals = held.liked - 1 / (1 + np.exp(-(weights.odds + x @ weights.relevance)))  # (400,)
    gradient = x.T @ residuals - weights.relevance
    # The solver's tolerance, for sums of 400.
    np.testing.assert_allclose(gradient, 0.0, atol=0.1)
    assert abs(residuals.sum()) < 0.1


@pytest.mark.parametrize("factor", [10.0, 0.001])
def test_the_unit_of_a_feature_does_not_matter(factor: float) -> None:
    """A feature of another unit changes neither learnt weights nor scores of other fits."""
    weights = learn(NAMES, [training_block(500)], seed=0)
    rescaled = learn(NAMES, [training_block(500, factor=factor)], seed=0)
    assert weights is not None
    assert rescaled is not None
    np.testing.assert_allclose(rescaled.stars, weights.stars, rtol=1e-9)
    np.testing.assert_allclose(rescaled.relevance, weights.relevance, rtol=1e-9)
    assert rescaled.average == pytest.approx(weights.average, rel=1e-9)
    assert rescaled.odds == pytest.approx(weights.odds, rel=1e-9)
    stars, chances = [], []
    for times in (1.0, factor):
        features = {**FEATURES, "model": FEATURES["model"] * times}
        centred, levels = among_candidates(features)
        blend = Blend(WEIGHTS, FeatureScale.of(levels, centred))
        stars.append(stars_of(blend, features))
        chances.append(chances_of(blend, features))
    np.testing.assert_allclose(stars[1], stars[0], rtol=1e-9)
    np.testing.assert_allclose(chances[1], chances[0], rtol=1e-9)


def with_liked(held: TrainingBlock, n_liked: int) -> TrainingBlock:
    """The same block with another number of liked candidates."""
    return dataclasses.replace(held, liked=np.arange(len(held.liked)) < n_liked)


@pytest.mark.parametrize(
    ("n_liked", "learnt"), [(0, False), (29, False), (30, True), (59, True), (60, False)]
)
def test_too_few_liked_candidates(n_liked: int, learnt: bool) -> None:
    """With fewer than thirty liked candidates, or no others, nothing is learnt."""
    assert LEAST_LIKED == 30
    held = with_liked(training_block(60), n_liked)
    names = [field.name for field in dataclasses.fields(TrainingBlock)]
    blocks = [
        TrainingBlock(**{name: getattr(held, name)[part] for name in names})
        for part in (slice(0, 20), slice(20, None))
    ]
    assert (learn(NAMES, blocks, seed=0) is not None) == learnt


def test_no_ratings_to_learn_from() -> None:
    """Without held-out ratings nothing is learnt."""
    assert learn((), [], seed=0) is None
    assert learn(NAMES, [training_block(0)], seed=0) is None


def test_same_ratings_same_bytes() -> None:
    """Held-out ratings and seed decide the weights to the last bit."""
    first, second = (learn(NAMES, [training_block(300)], seed=5) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.stars.tobytes() == second.stars.tobytes()
    assert first.relevance.tobytes() == second.relevance.tobytes()
    assert first.figures() == second.figures()


def test_figures_name_every_weight() -> None:
    """Figures are what was learnt from, and each feature's weights in stars and in the list."""
    assert WEIGHTS.figures() == {
        "learnt_from_ratings": 7.0,
        "learnt_from_liked": 2.0,
        "stars_average": WEIGHTS.average,
        "list_odds": WEIGHTS.odds,
        "stars_weight_preference": 0.2,
        "stars_weight_liking": -0.4,
        "stars_weight_model": 0.1,
        "list_weight_preference": 0.5,
        "list_weight_liking": 1.0,
        "list_weight_model": 2.0,
    }


def test_weights_from_figures() -> None:
    """Weights made from figures are the same by name, and a missing figure is an error."""
    again = Weights.from_figures(WEIGHTS.figures())
    assert again.figures() == WEIGHTS.figures()
    assert again.names == tuple(sorted(WEIGHTS.names))
    chances = chances_of(Blend(WEIGHTS, SCALE))
    np.testing.assert_allclose(chances_of(Blend(again, scale_for(again))), chances, rtol=1e-14)
    incomplete = WEIGHTS.figures()
    del incomplete["list_odds"]
    with pytest.raises(KeyError, match="list_odds"):
        Weights.from_figures(incomplete)


def scale_for(weights: Weights) -> FeatureScale:
    """SCALE, its features in the order of these weights."""
    order = [WEIGHTS.names.index(name) for name in weights.names]
    return FeatureScale(SCALE.mean[order], SCALE.spread[order], SCALE.spread_in_list[order])


def test_shares_add_up_to_the_log_odds() -> None:
    """The start and the shares of taste and of the model add up to the score's log-odds."""
    arguments = (at(CANDIDATES), CANDIDATES.rows, CANDIDATE_SCORES)
    blend = Blend(WEIGHTS, SCALE)
    start, shares = blend.shares(*arguments)
    assert sorted(shares) == ["model", "taste"]
    log_odds = logit(blend.chances(*arguments))
    np.testing.assert_allclose(start + sum(shares.values()), log_odds, rtol=1e-12)
    unlearnt = Blend(None, SCALE)
    start, shares = unlearnt.shares(*arguments)
    assert (start, list(shares)) == (0.0, ["taste"])
    log_odds = logit(unlearnt.chances(*arguments))
    np.testing.assert_allclose(shares["taste"], log_odds, rtol=1e-12)


def logit(chances: Floats) -> Floats:
    return np.log(chances / (1 - chances))
