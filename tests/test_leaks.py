"""Held-out ratings have no influence on any fitted number or list."""

from dataclasses import replace

import numpy as np
import pytest

from batch.models import PERSONAL, PUBLISHED, REFERENCE, fit
from batch.params import PRESETS
from batch.ranking.evaluate import evaluate
from batch.ranking.hold_out import hold_out
from batch.ranking.metrics import Judged
from batch.ratings import Floats, Ratings, with_data
from reference import random_stars, ratings_of

SEED = 3
CASES = [(name, preset) for name in PERSONAL for preset in PRESETS]
CASES += [(name, "tuned") for name in REFERENCE]
every_model = pytest.mark.parametrize(("name", "preset"), CASES)


@pytest.fixture(scope="module", params=["times", "no times"])
def ratings(request: pytest.FixtureRequest) -> Ratings:
    """40 users x 60 films of half stars with tastes for 4 genres, split by time or by seed."""
    random = np.random.default_rng(5)
    genres = (random.random((60, 4)) < 0.4).astype(np.float64)  # (60, 4)
    stars = random_stars(5, 40, 60, [0.5 * step for step in range(1, 11)], 0.4)  # (40, 60)
    times = random.integers(0, 10**9, stars.shape) if request.param == "times" else None
    return ratings_of(stars, genres=genres, times=times, scale=(0.5, 5.0))


def with_values(ratings: Ratings, values: Floats) -> Ratings:
    """The same cells with other stars, (n_ratings,)."""
    return replace(ratings, matrix=with_data(ratings.matrix, values))


def nonsense(ratings: Ratings) -> Ratings:
    """Held-out ratings replaced by impossible values."""
    is_held = hold_out(ratings, SEED)
    random = np.random.default_rng(6)
    values = random.choice([-1000.0, 0.0, 77.7, 1e5], len(is_held))
    return with_values(ratings, np.where(is_held, values, ratings.matrix.data))


def one_changed(ratings: Ratings) -> Ratings:
    """One training rating replaced by its mirror image on the scale."""
    values = ratings.matrix.data.copy()
    first = int(np.flatnonzero(~hold_out(ratings, SEED))[0])
    values[first] = 5.5 - values[first]  # half stars from 0.5 to 5: never the same
    return with_values(ratings, values)


def predictions(name: str, preset: str, ratings: Ratings) -> list[bytes]:
    """All scores, baselines and weights of a model fitted on the training part."""
    train = ratings.keep(~hold_out(ratings, SEED))
    model = fit(name, train, getattr(PRESETS[preset], name, None), SEED)
    users = np.arange(train.n_users)
    scores = model.score(users)
    arrays = [scores.rating, scores.support, scores.relevance, model.baseline.rows(users)]
    arrays += [np.asarray(array) for _, array in sorted(model.weights().items())]
    return [array.tobytes() for array in arrays]


def judged(ratings: Ratings, preset: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Judged]:
    """The lists and predictions that `evaluate` computes metrics of."""
    recorded: dict[str, Judged] = {}

    def figures(by_model: dict[str, Judged], *_: object) -> None:
        recorded.update(by_model)

    monkeypatch.setattr("batch.ranking.evaluate.figures", figures)
    evaluate(ratings, PRESETS[preset], seed=SEED, n=5, relevant_from=4.0, block=7, users=1000)
    return recorded


def test_the_split_does_not_depend_on_values(ratings: Ratings) -> None:
    """Which ratings are held out depends on who rated what and when, not on the values."""
    assert hold_out(ratings, SEED).tobytes() == hold_out(nonsense(ratings), SEED).tobytes()
    assert 0 < hold_out(ratings, SEED).sum() < ratings.n_ratings / 4
    assert nonsense(ratings).matrix.data.tobytes() != ratings.matrix.data.tobytes()


@every_model
def test_held_out_values_change_no_fitted_number(name: str, preset: str, ratings: Ratings) -> None:
    """Other held-out values change no score of any film for any user, to the last bit."""
    assert predictions(name, preset, nonsense(ratings)) == predictions(name, preset, ratings)


@every_model
def test_one_training_rating_changes_predictions(name: str, preset: str, ratings: Ratings) -> None:
    """Another value of one training rating changes each model, so that the comparison can fail."""
    if name == "popular":  # it counts ratings, whatever their values
        removed = hold_out(ratings, SEED)
        removed[np.flatnonzero(~removed)[0]] = True
        model = fit(name, ratings.keep(~removed), None, SEED)
        relevance = model.score(np.arange(ratings.n_users)).relevance
        assert relevance.tobytes() not in set(predictions(name, preset, ratings))
    else:
        assert predictions(name, preset, one_changed(ratings)) != predictions(name, preset, ratings)


@pytest.mark.parametrize("preset", PRESETS)
def test_held_out_values_change_no_list(
    preset: str, ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other held-out values change no list and no prediction of `evaluate`, to the last bit."""
    before = judged(ratings, preset, monkeypatch)
    after = judged(nonsense(ratings), preset, monkeypatch)
    assert list(before) == [*PUBLISHED, *REFERENCE]
    for name, of_model in before.items():
        for field in ("listed", "predicted", "is_fallback"):
            values = getattr(of_model, field)
            assert values.tobytes() == getattr(after[name], field).tobytes(), (name, field)
        assert of_model.truth.tobytes() != after[name].truth.tobytes()


@pytest.mark.parametrize("preset", PRESETS)
def test_one_training_rating_changes_evaluated_predictions(
    preset: str, ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another value of one training rating changes predictions of every model but `popular`."""
    before = judged(ratings, preset, monkeypatch)
    after = judged(one_changed(ratings), preset, monkeypatch)
    for name in (*PERSONAL, "bias"):
        assert before[name].predicted.tobytes() != after[name].predicted.tobytes(), name
