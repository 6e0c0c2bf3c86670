"""Which ratings are held out, and the metrics of models fitted without them."""

import math
from functools import cache
from time import sleep
from typing import Any

import numpy as np
import pytest

from batch.models import PERSONAL, REFERENCE, fit
from batch.models.flattened import TooLargeError
from batch.params import PRESETS, Models
from batch.ranking import evaluate as evaluating
from batch.ranking.evaluate import (
    Evaluation,
    evaluate,
    fit_all,
    judge,
    learn_nightly,
    measure_cut,
)
from batch.ranking.hold_out import HeldOut, hold_out_next, hold_out_own
from batch.ranking.metric_names import CUTS, Cut, MetricName
from batch.ranking.metrics import Metrics
from batch.ratings import Bools, Ratings
from reference import (
    Floats,
    Grid,
    expected,
    inputs_of,
    lines_of,
    measured,
    random_stars,
    ratings_of,
)

NAN = np.nan
PLAIN = PRESETS["plain"]
MODELS = (*PERSONAL, *REFERENCE)


def held_out(ratings: Ratings, seed: int) -> Bools:
    """Which ratings `own` holds out of everyone's, (n_ratings,)."""
    return hold_out_own(ratings, 10**9, seed).removed


def held_cells(ratings: Ratings, seed: int = 0) -> list[list[int]]:
    """The held-out columns of each user, in order."""
    chosen = held_out(ratings, seed)  # (n_ratings,)
    assert chosen.shape == (ratings.n_ratings,)
    assert chosen.dtype == np.bool_
    users = ratings.user_of_rating()[chosen].tolist()
    items = ratings.matrix.indices[chosen].tolist()
    cells: list[list[int]] = [[] for _ in range(ratings.n_users)]
    for user, item in zip(users, items, strict=True):
        cells[user].append(item)
    return cells


def slow_cut(stars: Floats, times: Floats) -> list[list[int]]:
    """Each user's last fifth by time; of two at the same time the later by key."""
    cells = []
    for row, when in zip(stars, times, strict=True):
        rated = [item for item in range(len(row)) if not math.isnan(row[item])]
        latest = sorted(rated, key=lambda item, when=when: (when[item], item))
        cells.append(sorted(latest[len(rated) - len(rated) // 5 :]))
    return cells


@pytest.mark.parametrize("n_rated", range(12))
def test_a_fifth_rounded_down(n_rated: int) -> None:
    """Of a user's ratings one in five, rounded down, is held out: the last by time."""
    stars = [[3.0] * n_rated + [NAN] * (12 - n_rated)]
    times = [[100.0 - item for item in range(12)]]  # the first films were rated last
    assert held_cells(ratings_of(stars, times=times)) == [list(range(n_rated // 5))]


@pytest.mark.parametrize("n_times", [1, 3, 1000])
def test_the_last_by_time(n_times: int) -> None:
    """The held-out ratings are each user's last; of those at the same time, the last by key."""
    random = np.random.default_rng(0)
    stars = random_stars(0, 30, 40, [1, 2, 3, 4, 5], 0.5, n_empty=1)  # (30, 40)
    # (30, 40) with few different times there are many ties.
    times = random.integers(0, n_times, stars.shape).astype(np.float64)
    assert held_cells(ratings_of(stars, times=times)) == slow_cut(stars, times)


def test_with_times_the_seed_changes_nothing() -> None:
    """Where every rating has a time, the cut is the same for every seed."""
    stars = random_stars(1, 10, 30, [1, 5], 0.6)
    ratings = ratings_of(stars, times=np.random.default_rng(1).random(stars.shape))
    assert held_cells(ratings, seed=0) == held_cells(ratings, seed=1)


def test_without_times_the_cut_is_seeded() -> None:
    """Without times a seeded fifth is held out, another one for another seed."""
    stars = random_stars(2, 20, 40, [1, 2, 3, 4, 5], 0.6)
    cuts = [held_cells(ratings_of(stars), seed) for seed in (0, 0, 1)]
    assert [len(line) for line in cuts[0]] == [int(np.sum(~np.isnan(row))) // 5 for row in stars]
    assert cuts[0] == cuts[1]
    assert cuts[0] != cuts[2]


def test_the_seeded_cut_is_fair() -> None:
    """Over many seeds, every one of a user's ratings is held out about as often as any other."""
    ratings = ratings_of(np.full((1, 10), 3.0))
    held = [item for seed in range(2000) for item in held_cells(ratings, seed)[0]]
    counts = np.bincount(held, minlength=10)
    assert counts.sum() == 4000
    assert counts.min() > 330
    assert counts.max() < 470


def test_users_with_a_missing_time() -> None:
    """A user with a missing time is cut by the seed; the others are still cut by time."""
    random = np.random.default_rng(3)
    stars = random_stars(3, 20, 40, [1, 2, 3, 4, 5], 0.6)  # (20, 40)
    times = random.integers(0, 10**9, stars.shape).astype(np.float64)
    by_time = slow_cut(stars, times)
    by_seed = held_cells(ratings_of(stars), seed=5)
    # Users 0..4 have no times, users 5..9 lack some of films that they rated.
    times[:5] = NAN
    for user in range(5, 10):
        times[user, np.flatnonzero(~np.isnan(stars[user]))[::3]] = NAN
    cut = held_cells(ratings_of(stars, times=times), seed=5)
    assert cut == by_seed[:10] + by_time[10:]
    all_missing = ratings_of(stars, times=np.full(stars.shape, NAN))
    assert held_cells(all_missing, seed=5) == by_seed


def test_values_do_not_decide_the_cut() -> None:
    """What is held out depends on who rated what and when, never on the values."""
    stars = random_stars(4, 15, 40, [1, 2, 3, 4, 5], 0.5)
    assert held_cells(ratings_of(6 - stars)) == held_cells(ratings_of(stars))


def test_training_ratings_can_be_cut_again() -> None:
    """Holding out of the training ratings takes their last fifth by time."""
    random = np.random.default_rng(6)
    stars = random_stars(6, 15, 40, [1, 2, 3, 4, 5], 0.6)  # (15, 40)
    times = random.integers(0, 50, stars.shape).astype(np.float64)
    ratings = ratings_of(stars, times=times)
    for user, items in enumerate(slow_cut(stars, times)):
        stars[user, items] = NAN
    assert held_cells(ratings.keep(~held_out(ratings, 0))) == slow_cut(stars, times)


# Films A..G in columns 0..6; the last of five ratings is held out. In training, the ratings of
# A, B and C are proportional among users, and one user each has rated D, E and F.
TINY = [
    #  A    B    C    D    E    F    G
    [4.0, 2.0, 4.0, 2.0, 5.0, NAN, NAN],  # held out: E, 5
    [4.0, 2.0, 4.0, 3.0, 2.0, NAN, NAN],  # held out: D, 3
    [5.0, 5.0, 5.0, NAN, NAN, 5.0, 4.0],  # held out: G, 4
]
WHEN = [[1, 2, 3, 4, 9, 0, 0], [1, 2, 3, 9, 4, 0, 0], [1, 2, 3, 0, 0, 4, 9]]


def evaluated(ratings: Ratings, params: Models = PLAIN, **changed: Any) -> dict[str, Metrics]:
    """Metrics by `own`, the blend with weights that were not learnt."""
    inputs = inputs_of(**changed)
    cut = hold_out_own(ratings, inputs["users"], inputs["seed"])
    return measure_cut(ratings, cut, params, None, inputs)[1]


def without_bounds(metrics: Metrics) -> Metrics:
    """The metrics without the bounds of their intervals."""
    return {name: value for name, value in metrics.items() if not MetricName.parse(name).bound}


def test_tiny_by_hand_user_user() -> None:
    """The metrics of `user_user` on three users and seven films are those worked out by hand."""
    # Means in training: 3, 3, 5. User 0 on E: only user 1 rated it, 1 below the mean: 3 - 1 = 2,
    # error 3. User 1 on D: only user 0 rated it, 1 below the mean: 3 - 1 = 2, error 1. User 2 on
    # G: without ratings, so the mean, 5, is used, error 1.
    # Not rated in training: user 0 has F at 3 + 0 and E at 2: the list is F, E, with a hit in
    # second place. User 1 has no held-out film from 4 up and does not count. User 2 has D and E,
    # both at 5 - 1, rated once each: the list is D, E.
    # Lists: F, E; D, F; D, E. Each film is in two and has one training rating, where films have
    # 3, 3, 3, 1, 1, 1 ratings and the film of an average rating has (3*9 + 3) / 12.
    # Exposures 0, 0, 0, 0, 2, 2, 2.
    metrics = evaluated(ratings_of(TINY, times=WHEN), n=2)["user_user"]
    expected = {
        "users": 2,
        "raters": 3,
        "rmse": math.sqrt((9 + 1 + 1) / 3),
        "mae": (3 + 1 + 1) / 3,
        "fallback_share": 1 / 3,
        "precision@2": (1 / 2 + 0) / 2,
        "recall@2": (1 + 0) / 2,
        "ndcg@2": (1 / math.log2(3) + 0) / 2,
        "map@2": (1 / 2 / 1 + 0) / 2,
        "hit_rate@2": 1 / 2,
        "precision_light@2": 1 / 2,  # both have four ratings: user 0 is first, user 2 last
        "precision_heavy@2": 0,
        "coverage@2": 3 / 7,  # D, E and F
        "novelty@2": math.log2(3),  # one user in three rated each
        "popularity_lift@2": 1 / 2.5,
        # Ordered pairs of a listed and an unlisted film, whose exposures differ by 2.
        "gini@2": 2 * 3 * 4 * 2 / (2 * 7 * 6),
    }
    assert without_bounds(metrics) == pytest.approx(expected)


def test_tiny_by_hand_popular() -> None:
    """The metrics of `popular` on the same data; it has no RMSE, as it predicts no ratings."""
    # Training ratings: A, B and C 3, D, E and F 1, G none. User 0's list is E, F with a hit in
    # first place; user 1's is D, F and does not count; user 2's is D, E.
    metrics = evaluated(ratings_of(TINY, times=WHEN), n=2)["popular"]
    expected = {
        "users": 2,
        "precision@2": (1 / 2 + 0) / 2,
        "recall@2": (1 + 0) / 2,
        "ndcg@2": (1 + 0) / 2,
        "map@2": (1 + 0) / 2,
        "hit_rate@2": 1 / 2,
        "precision_light@2": 1 / 2,
        "precision_heavy@2": 0,
        "coverage@2": 3 / 7,
        "novelty@2": math.log2(3),
        "popularity_lift@2": 1 / 2.5,
        "gini@2": 2 * 3 * 4 * 2 / (2 * 7 * 6),
    }
    assert without_bounds(metrics) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("high", "low", "truth", "error"), [(5, 3, 5, 0), (5, 3, 4, 1), (1, 3, 1, 0), (1, 3, 2, 1)]
)
def test_predictions_are_clipped_to_the_scale(
    high: float, low: float, truth: float, error: float
) -> None:
    """A prediction outside the scale has the error of the nearest value on the scale."""
    # User 0 rates everything `high`; user 1 has mean 3 and is 1.6 further out on film 5, whose
    # rating by user 0 is held out.
    away = 1.6 * np.sign(high - low)
    stars = [
        [high, high, high, high, NAN, truth],
        [low - away / 2, low - away / 2, NAN, NAN, NAN, low + away],
    ]
    times = [[1, 2, 3, 4, 0, 5], [1, 2, 0, 0, 0, 3]]
    ratings = ratings_of(stars, times=times)
    train = ratings.keep(~held_out(ratings, 0))
    unclipped = fit("user_user", train, PLAIN.user_user, 0).score(np.array([0])).rating
    assert unclipped[0, 5] == pytest.approx(high + away)
    metrics = evaluated(ratings)["user_user"]
    assert metrics["rmse"] == pytest.approx(error)
    assert metrics["mae"] == pytest.approx(error)


SCALE = (1.0, 4.5)  # narrower than the stars below, so that clipping matters


HALF_STARS = [0.5 * step for step in range(1, 11)]


def few_users(seed: int) -> tuple[Floats, Floats, Floats]:
    """Stars (25, 40), times with many ties (25, 40) and genres (40, 4).

    Two users and two films have no ratings.
    """
    random = np.random.default_rng(seed)
    stars = random_stars(seed, 25, 40, HALF_STARS, 0.35, n_empty=2)
    times = random.integers(0, 20, stars.shape).astype(np.float64)
    genres = (random.random((40, 4)) < 0.4).astype(float)
    return stars, times, genres


def grid_of(values: Floats) -> Grid:
    return [[None if math.isnan(value) else value for value in row] for row in values.tolist()]


@pytest.mark.parametrize(("n", "relevant_from"), [(5, 4.0), (3, 2.0), (60, 3.5), (1, 4.5)])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("seed", [0, 1])
def test_metrics_of_every_model(seed: int, preset: str, n: int, relevant_from: float) -> None:
    """Every metric of every model is what counting user by user gives."""
    stars, times, genres = few_users(seed)
    held_out = np.zeros(stars.shape, dtype=np.bool_)  # (25, 40)
    for user, items in enumerate(slow_cut(stars, times)):
        held_out[user, items] = True
    known = np.where(held_out, NAN, stars)
    train = ratings_of(known, genres=genres, times=times, scale=SCALE)
    held = ratings_of(np.where(held_out, stars, NAN))
    params = PRESETS[preset]
    metrics = evaluated(
        ratings_of(stars, genres=genres, times=times, scale=SCALE),
        params,
        n=n,
        relevant_from=relevant_from,
        block=7,
    )
    for name in MODELS:
        expected_metrics = slow_metrics(
            name, params, train, held, n=n, relevant_from=relevant_from, genres=genres.tolist()
        )
        actual = without_bounds(metrics[name])
        assert actual == pytest.approx(expected_metrics, rel=1e-9, abs=1e-12), name


def slow_metrics(
    name: str, params: Models, train: Ratings, held: Ratings, **arguments: Any
) -> dict[str, float]:
    """Metrics of one model fitted on `train`, counted user by user."""
    knobs = getattr(params, name, None)
    scores = fit(name, train, knobs, 0).score(np.arange(train.n_users))
    lines = lines_of(train)
    kind = "bias" if getattr(knobs, "baseline", name) == "bias" else "user_mean"
    return measured(
        grid_of(scores.rating),
        expected(kind, lines, train.n_items),
        grid_of(scores.relevance),
        lines,
        lines_of(held),
        scale=SCALE,
        **arguments,
    )


@pytest.mark.parametrize("block", [1, 2, 24])
def test_blocks_do_not_matter(block: int) -> None:
    """However many users are scored at a time, the metrics are the same."""
    stars, times, genres = few_users(0)
    ratings = ratings_of(stars, genres=genres, times=times)
    whole = evaluated(ratings)
    for name, metrics in evaluated(ratings, block=block).items():
        assert metrics == pytest.approx(whole[name], rel=1e-9)


def test_same_seed_same_metrics() -> None:
    """Ratings, parameters and seed decide every metric; another seed gives another cut."""
    stars, _, genres = few_users(2)
    ratings = ratings_of(stars, genres=genres)
    assert evaluated(ratings, seed=1) == evaluated(ratings, seed=1)
    assert evaluated(ratings, seed=1)["bias"]["rmse"] != evaluated(ratings, seed=2)["bias"]["rmse"]


@pytest.mark.parametrize("preset", PRESETS)
def test_held_out_values_change_no_prediction(preset: str) -> None:
    """Other held-out values change no prediction and no list: nothing was fitted to them."""
    stars, times, genres = few_users(0)
    held_out = np.zeros(stars.shape, dtype=np.bool_)  # (25, 40)
    for user, items in enumerate(slow_cut(stars, times)):
        held_out[user, items] = True

    def shifted(by: float) -> dict[str, Metrics]:
        changed = np.where(held_out, stars + by, stars)
        ratings = ratings_of(changed, genres=genres, times=times, scale=SCALE)
        # Every held-out film is relevant, so that ranking metrics depend on the lists only.
        return evaluated(ratings, PRESETS[preset], relevant_from=-math.inf)

    same, above, below = shifted(0.0), shifted(100.0), shifted(-100.0)
    for name in MODELS:
        for metric in ("users", "precision@5", "recall@5", "ndcg@5", "coverage@5"):
            assert same[name][metric] == above[name][metric] == below[name][metric]
        if name in ("popular", "popular_all"):
            continue
        share = same[name]["fallback_share"]
        assert share == above[name]["fallback_share"] == below[name]["fallback_share"]
        # With the same predictions p: |p - t - 100| + |p - t + 100| = 200, and the squares add
        # up to 2 (p - t)^2 + 2e4.
        assert above[name]["mae"] + below[name]["mae"] == pytest.approx(200, rel=1e-12)
        squares = above[name]["rmse"] ** 2 + below[name]["rmse"] ** 2
        assert squares == pytest.approx(2 * same[name]["rmse"] ** 2 + 2e4, rel=1e-12)


# A sample of users


def many_users(seed: int) -> tuple[Floats, Floats, Floats]:
    """Stars (60, 50), times with many ties (60, 50) and genres (50, 4).

    Two users and two films have no ratings.
    """
    random = np.random.default_rng(seed)
    stars = random_stars(seed, 60, 50, HALF_STARS, 0.4, n_empty=2)
    times = random.integers(0, 20, stars.shape).astype(np.float64)
    genres = (random.random((50, 4)) < 0.4).astype(float)
    return stars, times, genres


def parts_of(
    ratings: Ratings, users: int, seed: int = 0, **changed: Any
) -> tuple[Ratings, Ratings, Any]:
    """Training ratings, held-out ratings and metrics of an evaluation on so many users."""
    recorded: list[tuple[Ratings, Ratings]] = []

    def recording(scorer: Any, names: Any, held: Ratings, *rest: Any) -> Any:
        recorded.append((scorer.ratings, held))
        return judge(scorer, names, held, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluating, "judge", recording)
        metrics = evaluated(ratings, users=users, seed=seed, **changed)
    [(train, held)] = recorded
    return train, held, metrics


@pytest.mark.parametrize("timed", [True, False])
def test_a_sample_is_held_out_and_all_else_is_training(timed: bool) -> None:
    """A fifth of the ratings of ten users is held out; all other ratings are trained on."""
    stars, times, _ = many_users(0)
    ratings = ratings_of(stars, times=times if timed else None)
    train, held, metrics = parts_of(ratings, 10)
    chosen = np.flatnonzero(held.user_counts())
    counts = (~np.isnan(stars)).sum(axis=1)  # (60,)
    assert len(chosen) == 10
    assert held.user_counts()[chosen].tolist() == (counts[chosen] // 5).tolist()
    if timed:
        cut = slow_cut(stars, times)
        for user in chosen:
            assert held.matrix[[user]].indices.tolist() == cut[user]
    pairs = zip(lines_of(train), lines_of(held), strict=True)
    assert [of_train | of_held for of_train, of_held in pairs] == lines_of(ratings)
    assert train.n_ratings + held.n_ratings == ratings.n_ratings
    assert {metrics[name]["raters"] for name in (*PERSONAL, "bias", "blend")} == {10}
    n_users = sum(any(truth >= 4.0 for truth in line.values()) for line in lines_of(held))
    assert {of_model["users"] for of_model in metrics.values()} == {n_users}


@pytest.mark.parametrize("block", [3, 100])
@pytest.mark.parametrize("preset", PRESETS)
def test_metrics_of_a_sample(preset: str, block: int) -> None:
    """Every metric of every model on a sample is what counting over its users gives."""
    stars, times, genres = many_users(1)
    ratings = ratings_of(stars, genres=genres, times=times, scale=SCALE)
    params = PRESETS[preset]
    train, held, metrics = parts_of(ratings, 10, params=params, block=block)
    chosen = np.flatnonzero(held.user_counts()).tolist()
    assert len(chosen) == 10
    arguments = {"n": 5, "relevant_from": 4.0, "genres": genres.tolist(), "users": chosen}
    for name in MODELS:
        expected_metrics = slow_metrics(name, params, train, held, **arguments)
        actual = without_bounds(metrics[name])
        assert actual == pytest.approx(expected_metrics, rel=1e-9, abs=1e-12), name


def test_same_seed_same_sample() -> None:
    """The seed decides the sample, and with it every metric; another seed draws another one."""
    stars, times, _ = many_users(2)
    ratings = ratings_of(stars, times=times)
    _, held, metrics = parts_of(ratings, 10, seed=1)
    _, held_again, metrics_again = parts_of(ratings, 10, seed=1)
    _, held_of_other, _ = parts_of(ratings, 10, seed=2)
    assert held_again.matrix.indices.tobytes() == held.matrix.indices.tobytes()
    assert held_again.user_counts().tolist() == held.user_counts().tolist()
    assert metrics_again == metrics
    users = np.flatnonzero(held.user_counts()).tolist()
    assert users != np.flatnonzero(held_of_other.user_counts()).tolist()
    stars[stars > 0] = 3.0  # the sample does not depend on values
    _, held_of_equal, _ = parts_of(ratings_of(stars, times=times), 10, seed=1)
    assert held_of_equal.user_counts().tolist() == held.user_counts().tolist()


def test_a_sample_of_everyone() -> None:
    """With as many users as there are, or more, a fifth of everyone's ratings is held out."""
    stars, times, genres = many_users(3)
    ratings = ratings_of(stars, genres=genres, times=times)
    train, held, metrics = parts_of(ratings, 60)
    for users in (61, 10**9):
        same_train, same_held, same_metrics = parts_of(ratings, users)
        assert same_metrics == metrics
        assert (same_held.matrix != held.matrix).nnz == 0
        assert (same_train.matrix != train.matrix).nnz == 0
    assert [held.matrix[[user]].indices.tolist() for user in range(60)] == slow_cut(stars, times)
    assert parts_of(ratings, 57)[2] != metrics


# Both cuts


def next_of(stars: Floats, times: Floats) -> Bools:
    """Which ratings are of the newest 15 %, those of one moment all or none, (n_users, n_items)."""
    moments = sorted(times[~np.isnan(stars)].tolist())
    n_newest = len(moments) * 15 // 100
    return (times > moments[len(moments) - n_newest - 1]) & ~np.isnan(stars)


@pytest.mark.parametrize("preset", PRESETS)
def test_metrics_of_the_newest_ratings(preset: str) -> None:
    """Of `next` every metric is what counting gives, on models that know earlier ratings only."""
    stars, times, genres = few_users(2)
    times[4] = times.max()  # a user who was not there before
    is_next = next_of(stars, times)
    known = np.where(is_next, NAN, stars)
    assert is_next[4].any()
    assert np.isnan(known[4]).all()
    train = ratings_of(known, genres=genres, times=times, scale=SCALE)
    is_judged = is_next & ~np.isnan(known).all(axis=1, keepdims=True)
    held = ratings_of(np.where(is_judged, stars, NAN))
    ratings = ratings_of(stars, genres=genres, times=times, scale=SCALE)
    cut = hold_out_next(ratings, 1000, 0)
    metrics = measure_cut(ratings, cut, PRESETS[preset], None, inputs_of())[1]
    arguments = {"n": 5, "relevant_from": 4.0, "genres": genres.tolist()}
    for name in MODELS:
        expected_metrics = slow_metrics(name, PRESETS[preset], train, held, **arguments)
        actual = without_bounds(metrics[name])
        assert actual == pytest.approx(expected_metrics, rel=1e-9, abs=1e-12), name


@cache
def both_cuts(min_users: int, *, timed: bool = True) -> tuple[Ratings, Evaluation]:
    """Ratings of many users, and their evaluation."""
    stars, times, genres = many_users(4)
    ratings = ratings_of(stars, genres=genres, times=times if timed else None)
    return ratings, evaluate(ratings, PLAIN, inputs_of(relevant_from=3.0), min_users)


def test_both_cuts_are_measured() -> None:
    """Metrics are those of each cut, with weights learnt apart from both, and of the night's."""
    ratings, evaluation = both_cuts(1)
    inputs = inputs_of(relevant_from=3.0)
    cuts: dict[Cut, HeldOut] = {
        "next": hold_out_next(ratings, 1000, 0),
        "own": hold_out_own(ratings, 1000, 0),
    }
    nightly, epochs = learn_nightly(ratings, PLAIN, inputs)
    assert nightly is not None
    assert evaluation.weights is not None
    assert evaluation.weights.figures() == nightly.figures()
    expected: dict[str, dict[str, float]] = {name: {} for name in (*MODELS, "blend")}
    for cut, held_out in cuts.items():
        weights, epochs_then = learn_nightly(ratings.keep(~held_out.removed), PLAIN, inputs)
        assert epochs_then == epochs  # or `own` would be measured with another network
        assert weights is not None
        assert weights.figures() != nightly.figures()
        _, metrics = measure_cut(ratings, held_out, PLAIN, weights, inputs)
        for name, values in metrics.items():
            expected[name] |= {f"{cut}.{metric}": value for metric, value in values.items()}
    expected["blend"] |= nightly.figures()
    assert epochs is not None
    assert evaluation.epochs == epochs
    expected["neural"]["epochs"] = epochs
    assert evaluation.metrics == expected
    assert evaluation.measured.cuts == CUTS


def test_the_headline() -> None:
    """The headline is `next` where enough users liked one of its films, else `own`."""
    ratings, evaluation = both_cuts(1)
    n_users = round(evaluation.metrics["blend"]["next.users"])
    assert 10 < n_users < ratings.n_users
    assert evaluation.headline == evaluation.measured.cut == "next"
    assert both_cuts(n_users)[1].headline == "next"
    of_few = both_cuts(n_users + 1)[1]
    assert of_few.headline == of_few.measured.cut == "own"
    assert of_few.metrics == evaluation.metrics
    untimed = both_cuts(1, timed=False)[1]
    assert untimed.headline == "own"
    assert untimed.measured.cuts == ("own",)


@pytest.mark.parametrize(("min_users", "headline"), [(1, "next"), (1000, "own")])
def test_least_ratings_are_chosen_on_the_headline(
    min_users: int, headline: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From how many ratings lists are the models' own is chosen once, in the cut that leads."""
    chosen: list[tuple[Any, list[int]]] = []

    def choosing(judged: Any, user_counts: Any, _seed: int) -> int:
        chosen.append((judged, user_counts.tolist()))
        return 7

    monkeypatch.setattr(evaluating, "choose_least_ratings", choosing)
    stars, times, genres = few_users(3)
    ratings = ratings_of(stars, genres=genres, times=times)
    inputs = inputs_of(relevant_from=3.0)
    evaluation = evaluate(ratings, PLAIN, inputs, min_users)
    assert (evaluation.headline, evaluation.least_ratings) == (headline, 7)
    is_next = next_of(stars, times)
    is_own = np.zeros(stars.shape, dtype=np.bool_)
    for user, items in enumerate(slow_cut(stars, times)):
        is_own[user, items] = True
    held = {"next": is_next, "own": is_own}[headline]
    [(judged, counts)] = chosen
    assert counts == (~np.isnan(stars) & ~held).sum(axis=1).tolist()
    n_liked = np.where(held & (stars >= 3.0), 1, 0).sum(axis=1)
    n_liked[np.array(counts) == 0] = 0  # nobody knew them
    assert judged["popular"].relevant.tolist() == n_liked.tolist()


def test_without_ratings_there_are_no_metrics() -> None:
    """Data without ratings can be evaluated: nothing is learnt, and lists are the models' own."""
    empty = ratings_of(np.full((3, 4), NAN), times=np.zeros((3, 4)))
    evaluation = evaluate(empty, PLAIN, inputs_of(), 20)
    assert (evaluation.headline, evaluation.weights, evaluation.least_ratings) == ("own", None, 1)
    assert evaluation.metrics["blend"]["own.users"] == 0


@pytest.mark.parametrize("many", [0, 10**9])
def test_the_network_is_fitted_first_above_many_ratings(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above so many ratings the network is fitted before the other models, below beside them."""
    fitted: list[str] = []

    def recording(name: str, *arguments: Any, **chosen: Any) -> Any:
        if name == "neural":
            sleep(0.2)  # so that a model fitted beside it is first
        fitted.append(name)
        return fit(name, *arguments, **chosen)

    monkeypatch.setattr(evaluating, "fit", recording)
    monkeypatch.setattr(evaluating, "MANY", many)
    ratings = ratings_of(random_stars(0, 12, 15, [1, 3, 5], 0.5))
    assert list(fit_all(ratings, PRESETS["tuned"], 0)) == [*PERSONAL, *REFERENCE]
    assert (fitted[0] == "neural") == (many == 0)


def test_networks_above_many_ratings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above so many ratings networks are trained one at a time when needed: figures are the same.

    None is trained beside another model.
    """
    fitted: list[str] = []

    def recording(name: str, *arguments: Any, **chosen: Any) -> Any:
        fitted.append(f"begin {name}")
        model = fit(name, *arguments, **chosen)
        fitted.append(f"end {name}")
        return model

    ratings, usual = both_cuts(1)
    monkeypatch.setattr(evaluating, "fit", recording)
    monkeypatch.setattr(evaluating, "MANY", 0)
    many = evaluate(ratings, PLAIN, inputs_of(relevant_from=3.0), 1)
    assert many.metrics == usual.metrics
    begun = [place for place, event in enumerate(fitted) if event == "begin neural"]
    assert len(begun) == 5
    assert all(fitted[place + 1] == "end neural" for place in begun)


def test_errors_of_the_network_are_raised() -> None:
    """Models are returned in their order, and an error of the network is raised."""
    ratings = ratings_of(random_stars(0, 12, 9, [1, 2, 3, 4, 5], 0.5), genres=np.eye(9))
    assert tuple(fit_all(ratings, PLAIN, 0)) == MODELS
    changed = {"architecture": "flattened", "max_weights_mb": 1e-6}
    too_small = PLAIN.neural.model_copy(update=changed)
    with pytest.raises(TooLargeError):
        fit_all(ratings, PLAIN.model_copy(update={"neural": too_small}), 0)
