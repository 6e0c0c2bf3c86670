"""Models and signals -> one score: by hand on a tiny block, and learnt back from data whose weights are known."""

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
    features,
    learn,
    less_own_mean,
    table,
)
from batch.ratings import Pairs
from reference import Floats, every_cell

NAN = np.nan

# Three users and five films, three of them candidates of user 0, two of user 2; user 1 has none.
CANDIDATES = Pairs(np.array([0, 0, 0, 2, 2]), np.array([3, 0, 4, 2, 1]))
FOUND = {
    "preference": np.array([[1.0, -1.0, -2.0, 0.5, 0.0], [0.0] * 5, [0.0, 1.0, -1.0, 2.0, 3.0]]),
    "liking": np.array([[0.0, 0.0, 1.0, 0.0, -3.0], [0.0] * 5, [-1.0, 0.0, 0.0, -4.0, -1.0]]),
    "model": np.array([[2.0, -1.0, 0.0, 4.0, 6.0], [0.0] * 5, [1.0, 3.0, 5.0, 0.0, 0.0]]),
}
BASELINE = np.array([[3.0, 3.5, 4.0, 2.0, 1.0], [3.0] * 5, [2.0, 2.5, 3.0, 1.0, 0.0]])
PROMISED = (FOUND["preference"] + FOUND["liking"])[CANDIDATES]
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


def at(cells: Pairs, found: Mapping[str, Floats] = FOUND) -> dict[str, Floats]:
    """Features of these cells, (p,)."""
    return {name: values[cells] for name, values in found.items()}


def stars_of(
    blend: Blend, found: Mapping[str, Floats] = FOUND, models: tuple[str, ...] = ("model",)
) -> Floats:
    """Of every cell, (3, 5)."""
    return blend.stars(at(every_cell(3, 5), found), BASELINE.ravel(), models).reshape(3, 5)


def chances_of(blend: Blend, found: Mapping[str, Floats] = FOUND) -> Floats:
    """Of every candidate, (3, 5); nan for the other films."""
    chances = np.full((3, 5), NAN)
    chances[CANDIDATES] = blend.chances(at(CANDIDATES, found), CANDIDATES.rows, PROMISED)
    return chances


def among_candidates(found: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Features of the candidates, (5, n_features): less the mean of the user's candidates, and as they are."""
    levels = table(at(CANDIDATES, found), tuple(found))
    return less_own_mean(levels, CANDIDATES.rows), levels


def chance(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


def test_stars_by_hand() -> None:
    """Stars are the average plus, of each feature, its weight times how many standard deviations it lies off."""
    rating = stars_of(Blend(WEIGHTS, SCALE))
    # preference 1, liking 0, model 2: 3.25 + 0.2 (1 - 0.5) / 2 - 0.4 (0 + 1) / 4 + 0.1 (2 - 2) / 0.5
    assert rating[0, 0] == pytest.approx(3.25 + 0.05 - 0.1 + 0.0)
    assert rating[2, 2] == pytest.approx(3.25 + 0.2 * -1.5 / 2 - 0.4 * 1 / 4 + 0.1 * 3 / 0.5)
    for user in (0, 1, 2):
        for film in range(5):
            stars = 3.25
            for feature, name in enumerate(FOUND):
                off = (FOUND[name][user, film] - SCALE.mean[feature]) / SCALE.spread[feature]
                stars += WEIGHTS.stars[feature] * off
            assert rating[user, film] == pytest.approx(stars, rel=1e-12)


def test_relevance_by_hand() -> None:
    """A candidate's relevance is the logistic chance from features less the mean of the same user's candidates."""
    relevance = chances_of(Blend(WEIGHTS, SCALE))
    # user 2, candidates 2 and 1: preference -1 and 1, liking 0 and 0, model 5 and 3; means 0, 0 and 4
    assert relevance[2, 2] == pytest.approx(
        chance(-1.5 + 0.5 * -1 / 1 + 0 + 2.0 * 1 / 4), rel=1e-12
    )
    assert relevance[2, 1] == pytest.approx(
        chance(-1.5 + 0.5 * 1 / 1 + 0 + 2.0 * -1 / 4), rel=1e-12
    )
    # user 0, candidates 3, 0 and 4: preference 0.5, 1 and 0, liking 0, 0 and -3, model 4, 2 and 6; means 0.5, -1, 4
    assert relevance[0, 3] == pytest.approx(chance(-1.5 + 0.0 + 1.0 * 1 / 2 + 0.0), rel=1e-12)
    assert relevance[0, 0] == pytest.approx(
        chance(-1.5 + 0.5 * 0.5 + 1.0 * 1 / 2 + 2.0 * -2 / 4), rel=1e-12
    )
    assert relevance[0, 4] == pytest.approx(
        chance(-1.5 + 0.5 * -0.5 + 1.0 * -2 / 2 + 2.0 * 2 / 4), rel=1e-12
    )


def test_without_weights_the_mean_of_the_models() -> None:
    """Without weights stars are the baseline plus the models' mean departure, and candidates keep their own order."""
    blend = Blend(None, SCALE)
    rating = stars_of(blend, {**FOUND, "other": np.full((3, 5), 1.0)}, ("model", "other"))
    for user in (0, 1, 2):
        for film in range(5):
            stars = BASELINE[user, film] + (FOUND["model"][user, film] + 1.0) / 2
            assert rating[user, film] == pytest.approx(stars, rel=1e-12)
    for user, films in ((0, [3, 0, 4]), (2, [2, 1])):
        promised = [FOUND["preference"][user, film] + FOUND["liking"][user, film] for film in films]
        chances = chances_of(blend)[user, films].tolist()
        assert chances == pytest.approx([chance(each) for each in promised], rel=1e-12)
    assert stars_of(blend, models=()).tolist() == BASELINE.tolist()


@pytest.mark.parametrize("weights", [WEIGHTS, None])
def test_nothing_is_asked(weights: Weights | None) -> None:
    """Of no cells there are no stars, and of no candidates no chances."""
    nothing = {name: np.empty(0) for name in FOUND}
    blend = Blend(weights, SCALE)
    assert blend.stars(nothing, np.empty(0), ("model",)).tolist() == []
    assert blend.chances(nothing, np.empty(0, dtype=np.int64), np.empty(0)).tolist() == []


@pytest.mark.parametrize("weights", [WEIGHTS, None])
def test_combining_changes_no_input(weights: Weights | None) -> None:
    """Features, baseline, candidates and what they are promised are left as they were."""
    found = at(CANDIDATES)
    expected = BASELINE[CANDIDATES]
    watched = [*found.values(), expected, *CANDIDATES, PROMISED]
    before = [array.tobytes() for array in watched]
    Blend(weights, SCALE).stars(found, expected, ("model",))
    Blend(weights, SCALE).chances(found, CANDIDATES.rows, PROMISED)
    less_own_mean(table(found, tuple(found)), CANDIDATES.rows)
    assert [array.tobytes() for array in watched] == before


def test_features_by_hand() -> None:
    """Of a model the blend hears how far it departs from its baseline, ln(1 + support), and the product of both."""
    support = np.array([math.e - 1, 0.0, 3.0, 0.5])
    said = CellScores(np.array([4.0, NAN, 1.0, 3.0]), support, np.array([3.0, 3.0, 2.5, 3.0]))
    signal = np.array([7.0, 8.0, 9.0, 10.0])
    found = features({"signal": signal}, {"m": said})
    assert list(found) == ["signal", "m", "m_evidence", "m_sure"]
    assert found["signal"].tolist() == signal.tolist()
    assert found["m"].tolist() == [1.0, 0.0, -1.5, 0.0]
    np.testing.assert_allclose(
        found["m_evidence"], [1.0, 0.0, math.log(4), math.log(1.5)], rtol=1e-12
    )
    np.testing.assert_allclose(found["m_sure"], [1.0, 0.0, -1.5 * math.log(4), 0.0], rtol=1e-12)


def test_a_model_without_a_word_is_silent() -> None:
    """A model that can say nothing departs by 0 on evidence 0, and no signal is lost or changed by it."""
    silent = CellScores(np.full(4, NAN), np.zeros(4), np.full(4, 3.0))
    signals = {"signal": np.ones(4)}
    found = features(signals, {"m": silent})
    assert found["signal"].tolist() == [1.0] * 4
    assert not any(found[name].any() for name in ("m", "m_evidence", "m_sure"))
    assert list(signals) == ["signal"]


def test_candidates_by_hand() -> None:
    """Features of the candidates, user by user in their order: as they are, and less each user's mean."""
    centred, levels = among_candidates({"model": FOUND["model"], "liking": FOUND["liking"]})
    assert levels.tolist() == [[4, 0], [2, 0], [6, -3], [5, 0], [3, 0]]
    assert centred.tolist() == [[0, 1], [-2, 1], [2, -2], [1, 0], [-1, 0]]


def test_scale_by_hand() -> None:
    """Features are measured by mean and standard deviation over candidates; one that does not vary by 1."""
    levels = np.array([[1.0, 0.1, 5.0], [3.0, 0.1, 5.0]] * 5)
    centred = np.array([[-4.0, 1e-17, 0.0], [4.0, -1e-17, 0.0]] * 5)
    scale = FeatureScale.of(levels, centred)
    assert scale.mean.tolist() == pytest.approx([2.0, 0.1, 5.0], rel=1e-12)
    assert scale.spread.tolist() == [1.0, 1.0, 1.0]
    assert scale.spread_in_list.tolist() == [4.0, 1.0, 1.0]
    assert FeatureScale.of(levels * [7.0, 1.0, 1.0], centred).spread.tolist() == [7.0, 1.0, 1.0]


def test_scale_of_nothing() -> None:
    """Without candidates every feature has mean 0 and spread 1."""
    scale = FeatureScale.of(np.empty((0, 2)), np.empty((0, 2)))
    assert [values.tolist() for values in vars(scale).values()] == [[0, 0], [1, 1], [1, 1]]


NAMES = ("a", "b", "c")
TRUE_STARS, TRUE_ODDS = np.array([0.5, -0.3, 0.0]), np.array([1.5, 0.0, -1.0])


def evidence(n: int, seed: int = 0, factor: float = 1.0) -> TrainingBlock:
    """n candidates and pairs of three features of unlike scale, the first times `factor`; what decides is known."""
    random = np.random.default_rng(seed)
    unit = np.array([3.0 * factor, 0.2, 10.0])  # what features are multiplied by
    levels, pairs = random.normal(size=(n, 3)), random.normal(size=(n, 3))  # in standard deviations
    liked = random.random(n) < 1 / (1 + np.exp(-(levels @ TRUE_ODDS - 0.5)))
    stars = 3.2 + pairs @ TRUE_STARS + random.normal(scale=0.1, size=n)
    return TrainingBlock(levels * unit, liked, levels * unit + unit, pairs * unit + unit, stars)


def test_what_decides_is_learnt() -> None:
    """From enough evidence the true weights are learnt, in standard deviations whatever the unit, and the averages."""
    weights = learn(NAMES, [evidence(4000, 0), evidence(4000, 1)], seed=0)
    assert weights is not None
    assert weights.names == NAMES
    assert weights.n_pairs == 8000
    assert weights.n_liked == int(evidence(4000, 0).liked.sum() + evidence(4000, 1).liked.sum())
    np.testing.assert_allclose(weights.stars, TRUE_STARS, atol=0.02)
    assert weights.average == pytest.approx(3.2, abs=0.02)
    np.testing.assert_allclose(weights.relevance, TRUE_ODDS, atol=0.12)
    assert weights.odds == pytest.approx(-0.5, abs=0.1)


def test_stars_are_ridge_regression() -> None:
    """Weights of stars solve the normal equations of ridge regression with a free average, by hand."""
    held = evidence(200, 3)
    weights = learn(NAMES, [held], seed=0)
    assert weights is not None
    x = (held.pairs - held.levels.mean(axis=0)) / held.levels.std(axis=0)
    off = x - x.mean(axis=0)
    slow = np.linalg.solve(off.T @ off + 100 * np.eye(3), off.T @ (held.stars - held.stars.mean()))
    np.testing.assert_allclose(weights.stars, slow, rtol=1e-9)
    assert weights.average == pytest.approx(held.stars.mean() - x.mean(axis=0) @ slow, rel=1e-9)


def test_relevance_is_logistic_regression() -> None:
    """Weights of relevance are where the penalised likelihood of liked or not is flat, by hand."""
    held = evidence(400, 4)
    weights = learn(NAMES, [held], seed=0)
    assert weights is not None
    x = held.candidates / held.candidates.std(axis=0)
    missed = held.liked - 1 / (1 + np.exp(-(weights.odds + x @ weights.relevance)))  # (400,)
    np.testing.assert_allclose(
        x.T @ missed - weights.relevance, 0.0, atol=0.1
    )  # the solver's tolerance; sums of 400
    assert abs(missed.sum()) < 0.1


@pytest.mark.parametrize("factor", [10.0, 0.001])
def test_the_unit_of_a_feature_does_not_matter(factor: float) -> None:
    """A feature on another scale in one fit changes neither weights learnt there nor scores of other fits."""
    one, other = (
        learn(NAMES, [evidence(500)], seed=0),
        learn(NAMES, [evidence(500, factor=factor)], seed=0),
    )
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(other.stars, one.stars, rtol=1e-9)
    np.testing.assert_allclose(other.relevance, one.relevance, rtol=1e-9)
    assert (other.average, other.odds) == pytest.approx((one.average, one.odds), rel=1e-9)
    scores = []
    for times in (1.0, factor):
        found = {**FOUND, "model": FOUND["model"] * times}
        blend = Blend(WEIGHTS, FeatureScale.of(*among_candidates(found)[::-1]))
        scores.append((stars_of(blend, found), chances_of(blend, found)))
    np.testing.assert_allclose(scores[1][0], scores[0][0], rtol=1e-9)
    np.testing.assert_allclose(scores[1][1], scores[0][1], rtol=1e-9)


def liking(held: TrainingBlock, n_liked: int) -> TrainingBlock:
    """The same evidence with another number of candidates liked."""
    return dataclasses.replace(held, liked=np.arange(len(held.liked)) < n_liked)


@pytest.mark.parametrize(
    ("n_liked", "learnt"), [(0, False), (29, False), (30, True), (59, True), (60, False)]
)
def test_too_little_teaches_nothing(n_liked: int, learnt: bool) -> None:
    """With fewer than thirty liked candidates, or none that was not liked, nothing is learnt."""
    assert LEAST_LIKED == 30
    held = liking(evidence(60), n_liked)
    halves = [
        TrainingBlock(
            *(getattr(held, field.name)[part] for field in dataclasses.fields(TrainingBlock))
        )
        for part in (slice(0, 20), slice(20, None))
    ]
    assert (learn(NAMES, halves, seed=0) is not None) == learnt


def test_no_evidence_teaches_nothing() -> None:
    """Without any evidence nothing is learnt."""
    assert learn((), [], seed=0) is None
    assert learn(NAMES, [evidence(0)], seed=0) is None


def test_same_evidence_same_bytes() -> None:
    """Evidence and seed decide the weights to the last bit."""
    first, second = (learn(NAMES, [evidence(300)], seed=5) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.stars.tobytes() == second.stars.tobytes()
    assert first.relevance.tobytes() == second.relevance.tobytes()
    assert first.figures() == second.figures()


def test_figures_name_every_weight() -> None:
    """The figures say what was learnt from, and of each feature its weight in stars and in the list."""
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


def test_recorded_weights_come_back() -> None:
    """Weights made of the figures are the same numbers by name, and a figure that is missing is an error."""
    again = Weights.recorded(WEIGHTS.figures())
    assert again.figures() == WEIGHTS.figures()
    assert again.names == tuple(sorted(WEIGHTS.names))
    np.testing.assert_allclose(
        chances_of(Blend(again, scale_for(again))), chances_of(Blend(WEIGHTS, SCALE)), rtol=1e-14
    )
    with pytest.raises(KeyError, match="list_odds"):
        Weights.recorded(
            {name: value for name, value in WEIGHTS.figures().items() if name != "list_odds"}
        )


def scale_for(weights: Weights) -> FeatureScale:
    """SCALE, its features in the order of these weights."""
    order = [WEIGHTS.names.index(name) for name in weights.names]
    return FeatureScale(SCALE.mean[order], SCALE.spread[order], SCALE.spread_in_list[order])


def test_shares_add_up_to_the_log_odds() -> None:
    """What the learnt tastes and the model add, from where the odds start, is the score's log-odds, film by film."""
    start, shares = Blend(WEIGHTS, SCALE).shares(at(CANDIDATES), CANDIDATES.rows, PROMISED)
    assert sorted(shares) == ["model", "taste"]
    chances = Blend(WEIGHTS, SCALE).chances(at(CANDIDATES), CANDIDATES.rows, PROMISED)
    np.testing.assert_allclose(
        start + sum(shares.values()), np.log(chances / (1 - chances)), rtol=1e-12
    )
    unlearnt = Blend(None, SCALE)
    start, shares = unlearnt.shares(at(CANDIDATES), CANDIDATES.rows, PROMISED)
    chances = unlearnt.chances(at(CANDIDATES), CANDIDATES.rows, PROMISED)
    assert (start, list(shares)) == (0.0, ["taste"])
    np.testing.assert_allclose(shares["taste"], np.log(chances / (1 - chances)), rtol=1e-12)
