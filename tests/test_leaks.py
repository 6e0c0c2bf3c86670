"""What is held out stays out: no fitted number and no list owes anything to it."""

from dataclasses import replace

import numpy as np
import pytest

from batch.models import PERSONAL, PUBLISHED, REFERENCE, fit
from batch.params import PRESETS
from batch.ranking.evaluate import evaluate, hold_out
from batch.ranking.metrics import Judged
from batch.ratings import Floats, Ratings, with_data
from reference import random_stars, ratings_of

SEED = 3
CASES = [(name, preset) for name in PERSONAL for preset in PRESETS] + [
    (name, "tuned") for name in REFERENCE
]
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
    """Held-out stars that nobody gave, the rest as it was."""
    held, random = hold_out(ratings, SEED), np.random.default_rng(6)
    return with_values(
        ratings,
        np.where(held, random.choice([-1000.0, 0.0, 77.7, 1e5], len(held)), ratings.matrix.data),
    )


def one_changed(ratings: Ratings) -> Ratings:
    """One rating of the training part turned upside down."""
    values = ratings.matrix.data.copy()
    first = int(np.flatnonzero(~hold_out(ratings, SEED))[0])
    values[first] = 5.5 - values[first]  # half stars from 0.5 to 5: never the same
    return with_values(ratings, values)


def said(name: str, preset: str, ratings: Ratings) -> list[bytes]:
    """Everything that a model fitted on the training part says to anyone, and what it keeps."""
    train = ratings.keep(~hold_out(ratings, SEED))
    model = fit(name, train, getattr(PRESETS[preset], name, None), SEED)
    scores, stands_in = (
        model.score(np.arange(train.n_users)),
        model.baseline.rows(np.arange(train.n_users)),
    )
    kept = [np.asarray(array) for _, array in sorted(model.weights().items())]
    return [
        array.tobytes()
        for array in (scores.rating, scores.support, scores.relevance, stands_in, *kept)
    ]


def judged(ratings: Ratings, preset: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Judged]:
    """What `evaluate` holds against the held-out part, before it is counted."""
    seen: dict[str, Judged] = {}
    monkeypatch.setattr("batch.ranking.evaluate.figures", lambda found, *_: seen.update(found))
    evaluate(ratings, PRESETS[preset], seed=SEED, n=5, relevant_from=4.0, block=7, users=1000)
    return seen


def test_the_split_does_not_look_at_stars(ratings: Ratings) -> None:
    """Which ratings are held out depends on who rated what and when, not on how it was liked."""
    assert hold_out(ratings, SEED).tobytes() == hold_out(nonsense(ratings), SEED).tobytes()
    assert 0 < hold_out(ratings, SEED).sum() < ratings.n_ratings / 4
    assert nonsense(ratings).matrix.data.tobytes() != ratings.matrix.data.tobytes()


@every_model
def test_held_out_stars_change_no_fitted_number(name: str, preset: str, ratings: Ratings) -> None:
    """With nonsense for held-out stars each model scores every film of every user as before, to the last bit."""
    assert said(name, preset, nonsense(ratings)) == said(name, preset, ratings)


@every_model
def test_one_training_rating_is_noticed(name: str, preset: str, ratings: Ratings) -> None:
    """One other rating in the training part changes what each model says, so that the comparison can fail."""
    if name == "popular":  # it counts ratings, whatever they say
        fewer = hold_out(ratings, SEED)
        fewer[np.flatnonzero(~fewer)[0]] = True
        model = fit(name, ratings.keep(~fewer), None, SEED)
        changed = [model.score(np.arange(ratings.n_users)).relevance.tobytes()]
        assert not set(changed) & set(said(name, preset, ratings))
    else:
        assert said(name, preset, one_changed(ratings)) != said(name, preset, ratings)


@pytest.mark.parametrize("preset", PRESETS)
def test_held_out_stars_change_no_list(
    preset: str, ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nonsense for held-out stars `evaluate` lists the same films and predicts the same stars, to the last bit."""
    true, false = (judged(each, preset, monkeypatch) for each in (ratings, nonsense(ratings)))
    assert list(true) == [*PUBLISHED, *REFERENCE]
    for name, each in true.items():
        for field in ("listed", "predicted", "is_fallback"):
            assert getattr(each, field).tobytes() == getattr(false[name], field).tobytes(), (
                name,
                field,
            )
        assert each.truth.tobytes() != false[name].truth.tobytes()


@pytest.mark.parametrize("preset", PRESETS)
def test_lists_notice_a_training_rating(
    preset: str, ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One other rating in the training part changes what every model but the most rated films predicts."""
    true, false = (judged(each, preset, monkeypatch) for each in (ratings, one_changed(ratings)))
    for name in (*PERSONAL, "bias"):
        assert true[name].predicted.tobytes() != false[name].predicted.tobytes(), name
