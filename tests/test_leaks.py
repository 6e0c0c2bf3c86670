"""What a cut holds out has no influence on any fitted number, list or prediction it measures."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from batch.models import PERSONAL, PUBLISHED, REFERENCE
from batch.models.popular import DAY, Popular
from batch.params import PRESETS, Models
from batch.ranking import blend_weights, evaluate, metrics
from batch.ranking.blend_weights import Weights
from batch.ranking.ensemble import Ensemble, assemble, learn_weights
from batch.ranking.evaluate import Inputs, fit_all, judge, learn_nightly
from batch.ranking.hold_out import HeldOut, hold_out_next, hold_out_own
from batch.ranking.metric_names import CUTS, Cut
from batch.ranking.metrics import Judged
from batch.ratings import Bools, Floats, Ratings, with_data
from reference import every_cell, inputs_of, random_stars, ratings_of

NAN = np.nan
SEED = 3
N_USERS, N_ITEMS = 45, 60
HALF_STARS = [0.5 * step for step in range(1, 11)]


def stars_and_times() -> tuple[Floats, Floats]:
    """Half stars, and when each film is rated by each user, (n_users, n_items) each.

    Films follow each other and are rated for some months, each rating at a time of its own. The
    last five users are only there at the end, and the first five have left.
    """
    random = np.random.default_rng(5)
    stars = random_stars(5, N_USERS, N_ITEMS, HALF_STARS, 0.5)
    stars[:5, N_ITEMS // 3 :] = NAN
    stars[-5:, :-12] = NAN
    day = 10 * np.arange(N_ITEMS) + random.exponential(60, stars.shape)  # (n_users, n_items)
    day[:5] -= 400
    day[-5:] += 400
    return stars, day * DAY


def ratings_from(stars: Floats, times: Floats | None) -> Ratings:
    genres = (np.random.default_rng(6).random((N_ITEMS, 4)) < 0.4).astype(np.float64)
    return ratings_of(stars, genres=genres, times=times, scale=(0.5, 5.0))


STARS, TIMES = stars_and_times()


@dataclass(frozen=True)
class Case:
    """Settings of an evaluation, and the ratings it is of."""

    ratings: Ratings
    params: Models
    users: int  # maximum users that are judged

    def cut(self, cut: Cut) -> HeldOut:
        """What a cut removes and judges."""
        hold_out = {"next": hold_out_next, "own": hold_out_own}[cut]
        return hold_out(self.ratings, self.users, SEED)

    def known(self) -> Bools:
        """The ratings that neither cut removes, (n_ratings,)."""
        return ~(self.cut("next").removed | self.cut("own").removed)

    @property
    def inputs(self) -> Inputs:
        """How it is evaluated."""
        return inputs_of(seed=SEED, relevant_from=2.5, block=7, users=self.users)

    def evaluated(self, ratings: Ratings) -> "Measured":
        """Evaluate these ratings with these settings."""
        scorers: list[Ensemble] = []
        judged: list[Mapping[str, Judged]] = []
        weights: list[Weights | None] = []

        def judging(scorer: Ensemble, *rest: Any) -> dict[str, Judged]:
            scorers.append(scorer)
            results = judge(scorer, *rest)
            judged.append(results)
            return results

        def learning(*arguments: Any) -> Weights | None:
            weights.append(learn_weights(*arguments))
            return weights[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluate, "judge", judging)
            patch.setattr(evaluate, "learn_weights", learning)
            always_learn_trends(patch)
            patch.setattr(metrics, "RESAMPLES", 2)  # intervals are not compared
            evaluate.evaluate(ratings, self.params, self.inputs, 1)
        measured_weights, *_ = weights  # then those of other cuts, and of the published blend
        cuts = CUTS if len(scorers) == 2 else ("own",)
        return Measured(
            dict(zip(cuts, scorers, strict=True)),
            dict(zip(cuts, judged, strict=True)),
            measured_weights,
        )


def always_learn_trends(patch: pytest.MonkeyPatch) -> None:
    """From here on trends are learnt even from few, and where they do not help."""
    patch.setattr(blend_weights, "LEAST_FOLLOWERS", 10)
    patch.setattr(blend_weights, "MIN_GAIN", -100.0)


@dataclass(frozen=True)
class Measured:
    """What an evaluation measured."""

    scorers: Mapping[Cut, Ensemble]
    judged: Mapping[Cut, Mapping[str, Judged]]
    weights: Weights | None  # of the first cut

    def numbers(self, cut: Cut) -> dict[str, bytes]:
        """Every fitted number, and everyone's lists and predictions, by name."""
        return numbers_of(self.scorers[cut])


def numbers_of(scorer: Ensemble) -> dict[str, bytes]:
    """Every fitted number, and everyone's lists and predictions, by name."""
    users = np.arange(N_USERS)
    arrays: dict[str, Any] = {}
    ranked = scorer.rank_users((*PUBLISHED, *REFERENCE), users, 5, every_cell(N_USERS, N_ITEMS))
    for name, lists in ranked.items():
        arrays[f"{name} listed"] = lists.listed
        arrays[f"{name} predicted"] = lists.predicted
        arrays[f"{name} baseline"] = scorer.baseline(name).rows(users)
    for name, model in scorer.models.items():
        scores = model.score(users)
        arrays[f"{name} rating"] = scores.rating
        arrays[f"{name} support"] = scores.support
        arrays[f"{name} relevance"] = scores.relevance
        for weight, values in model.weights().items():
            arrays[f"{name} {weight}"] = values
    features = scorer.feature_model
    arrays["preference"], arrays["liking"] = features.preference_scores(users)
    arrays["fame"] = features.log_counts
    arrays["genre shares"] = features.genre_shares
    arrays["candidate films"] = scorer.candidate_films
    arrays["tie order"] = scorer.tie_order
    arrays["half-life"] = half_life_of(scorer) or 0.0
    if features.trends is not None:
        arrays["active"] = features.trends.is_active
        arrays |= features.trends.features
    if features.later_ratings is not None:
        arrays["later ratings"] = features.later_ratings.data
    assert scorer.blend is not None
    if scorer.blend.weights is not None:
        arrays |= {f"weight {name}": v for name, v in scorer.blend.weights.figures().items()}
    return {name: np.asarray(values).tobytes() for name, values in arrays.items()}


def half_life_of(scorer: Ensemble) -> float | None:
    popular = scorer.models["popular"]
    assert isinstance(popular, Popular)
    return popular.half_life


def changed(first: Mapping[str, bytes], second: Mapping[str, bytes]) -> set[str]:
    """The names of the numbers that differ."""
    assert first.keys() == second.keys()
    return {name for name in first if first[name] != second[name]}


TIMED = [("plain", 1000), ("tuned", 1000), ("tuned", 10)]


def case_of(preset: str, users: int, *, timed: bool) -> Case:
    ratings = ratings_from(STARS, TIMES if timed else None)
    params = PRESETS[preset]
    quick = params.neural.model_copy(update={"epochs": 5})
    return Case(ratings, params.model_copy(update={"neural": quick}), users)


@pytest.fixture(scope="module", params=TIMED, ids=str)
def timed(request: pytest.FixtureRequest) -> tuple[Case, Measured]:
    """Settings, and the evaluation of ratings with times."""
    case = case_of(*request.param, timed=True)
    return case, case.evaluated(case.ratings)


@pytest.fixture(scope="module", params=PRESETS)
def untimed(request: pytest.FixtureRequest) -> tuple[Case, Measured]:
    """Settings, and the evaluation of ratings without times."""
    case = case_of(request.param, 1000, timed=False)
    return case, case.evaluated(case.ratings)


def nonsense(ratings: Ratings, chosen: Bools) -> Ratings:
    """The chosen ratings replaced by impossible values."""
    values = np.random.default_rng(6).choice([-1000.0, 0.0, 77.7, 1e5], ratings.n_ratings)
    stars = np.where(chosen, values, ratings.matrix.data)
    return replace(ratings, matrix=with_data(ratings.matrix, stars))


def of_other_films(ratings: Ratings, chosen: Bools) -> Ratings:
    """The chosen ratings are of other films, at the same times by the same users."""
    random = np.random.default_rng(7)
    users = ratings.user_of_rating()[chosen]
    films = ratings.matrix.indices[chosen]
    stars, times = STARS.copy(), TIMES.copy()
    for user, film in zip(users.tolist(), films.tolist(), strict=True):
        unrated = np.flatnonzero(np.isnan(stars[user]) & np.isnan(STARS[user]))
        other = random.choice(unrated)
        stars[user, other] = random.choice(HALF_STARS)
        times[user, other] = TIMES[user, film]
        stars[user, film] = NAN
    return ratings_from(stars, times)


def test_the_cuts(timed: tuple[Case, Measured]) -> None:
    """Cuts do not depend on values, and remove ratings of users who are not judged too."""
    case, measured = timed
    for cut in CUTS:
        held_out = case.cut(cut)
        again = replace(case, ratings=nonsense(case.ratings, held_out.removed)).cut(cut)
        assert again.removed.tolist() == held_out.removed.tolist()
        assert again.judged.tolist() == held_out.judged.tolist()
        assert 0 < held_out.removed.sum() < case.ratings.n_ratings / 4
        assert held_out.judged.any()
    by_next = case.cut("next")
    strangers = by_next.removed & (case.ratings.user_of_rating() >= N_USERS - 5)
    assert strangers.any()
    assert not (strangers & by_next.judged).any()
    assert measured.weights is not None
    assert measured.weights.n_trend > 0
    assert half_life_of(measured.scorers["next"]) is not None


@pytest.mark.parametrize("cut", CUTS)
def test_held_out_values_change_nothing(cut: Cut, timed: tuple[Case, Measured]) -> None:
    """Other held-out values change no fitted number, list or prediction, to the last bit."""
    case, measured = timed
    other = case.evaluated(nonsense(case.ratings, case.cut(cut).removed))
    assert changed(measured.numbers(cut), other.numbers(cut)) == set()
    for name, judged in measured.judged[cut].items():
        of_other = other.judged[cut][name]
        for field in ("listed", "predicted", "is_fallback"):
            assert getattr(judged, field).tobytes() == getattr(of_other, field).tobytes()
        assert judged.truth.tobytes() != of_other.truth.tobytes()


def test_held_out_values_without_times_change_nothing(untimed: tuple[Case, Measured]) -> None:
    """Without times there is one cut, of which the same holds."""
    case, measured = untimed
    assert list(measured.scorers) == ["own"]
    other = case.evaluated(nonsense(case.ratings, case.cut("own").removed))
    assert changed(measured.numbers("own"), other.numbers("own")) == set()


def test_other_films_rated_later_change_nothing(timed: tuple[Case, Measured]) -> None:
    """Whatever films are rated after the cut, nothing changes that was fitted before it."""
    case, measured = timed
    removed = case.cut("next").removed
    other = case.evaluated(of_other_films(case.ratings, removed))
    assert changed(measured.numbers("next"), other.numbers("next")) == set()
    assert changed(measured.numbers("own"), other.numbers("own"))


def test_models_are_those_of_the_past(
    timed: tuple[Case, Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `next` measures was fitted as if no later rating had been given by anyone.

    That holds of the blend's weights too.
    """
    case, measured = timed
    removed = case.cut("next").removed
    stars = STARS.copy()
    stars[case.ratings.user_of_rating()[removed], case.ratings.matrix.indices[removed]] = NAN
    past = ratings_from(stars, TIMES)
    assert past.n_ratings == (~removed).sum()
    always_learn_trends(monkeypatch)
    weights, epochs = learn_nightly(past, case.params, case.inputs)
    models = fit_all(past, case.params, SEED, epochs=epochs)
    as_then = assemble(past, models, weights)
    assert changed(measured.numbers("next"), numbers_of(as_then)) == set()


def names_of(models: tuple[str, ...], fields: tuple[str, ...]) -> set[str]:
    return {f"{name} {field}" for name in models for field in fields}


def test_one_training_rating_changes_numbers(timed: tuple[Case, Measured]) -> None:
    """Another value of one training rating changes every model, so that a comparison can fail.

    Another film changes counts and trends too.
    """
    case, measured = timed
    check_value_matters(case, measured, {"trend_liked"})
    chosen = np.arange(case.ratings.n_ratings) == training_rating(case)
    other = case.evaluated(of_other_films(case.ratings, chosen))
    counts = {"popular support", "popular_all support", "fame", "genre shares"}
    trends = {"trend_3", "trend_14", "trend_90", "trend_own", "trend_liked"}
    for cut in CUTS:
        differs = changed(measured.numbers(cut), other.numbers(cut))
        assert counts | trends | {"bias rating", "weight list_odds"} <= differs


def test_one_training_rating_without_times(untimed: tuple[Case, Measured]) -> None:
    """Without times another value of one training rating changes every model too."""
    check_value_matters(*untimed, set())


def training_rating(case: Case) -> int:
    """One of four stars or more that neither cut removes."""
    return int(np.flatnonzero(case.known() & (case.ratings.matrix.data >= 4.0))[40])


def check_value_matters(case: Case, measured: Measured, trends: set[str]) -> None:
    """Of another value of one training rating everything differs that depends on values."""
    values = case.ratings.matrix.data.copy()
    chosen = training_rating(case)
    values[chosen] = 5.5 - values[chosen]  # half stars from 0.5 to 5: never the same
    matrix = with_data(case.ratings.matrix, values)
    other = case.evaluated(replace(case.ratings, matrix=matrix))
    assert measured.weights is not None
    expected = names_of((*PERSONAL, "blend"), ("predicted", "baseline"))
    expected |= names_of(PERSONAL, ("rating", "relevance"))
    expected |= {"bias rating", "preference", "liking"}
    expected |= {"weight stars_level", "weight list_odds", "weight stars_weight_neural"}
    for cut in measured.scorers:
        differs = changed(measured.numbers(cut), other.numbers(cut))
        assert expected | trends <= differs
        assert not {"fame", "popular support", "popular_all support", "trend_own"} & differs


def test_training_times_change_numbers() -> None:
    """Other times of training ratings change what depends on time, half-lives included."""
    case = case_of("tuned", 1000, timed=True)
    measured = case.evaluated(case.ratings)
    removed = case.cut("next").removed
    assert case.ratings.rated_at is not None
    backwards = case.ratings.rated_at.copy()
    past = backwards[~removed]
    backwards[~removed] = past.min() + past.max() - past
    other = case.evaluated(replace(case.ratings, rated_at=backwards))
    differs = changed(measured.numbers("next"), other.numbers("next"))
    expected = {"half-life", "active", "later ratings", "trend_age", "trend_own", "blend listed"}
    assert expected <= differs
    assert not {"fame", "user_user rating", "popular_all support"} & differs
