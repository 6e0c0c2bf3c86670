"""Fading counts by hand, and the half-life chosen as a slow recomputation chooses it."""

import math
from collections.abc import Iterable

import numpy as np
import pytest

from batch.models import popular, popular_all
from batch.models.popular import (
    DAY,
    HALF_LIVES,
    choose_half_life,
    fading_counts,
    of_half_life,
)
from batch.ratings import Bools, Ratings
from reference import Floats, random_stars, ratings_of

NAN = np.nan


def in_days(stars: list[list[float]], days: list[list[float]]) -> Ratings:
    return ratings_of(stars, times=np.array(days) * DAY)


# Two users rated films 0 to 3; film 4 has no ratings. The newest rating is of day 100.
STARS = [[3, 5, 1, NAN, NAN], [4, NAN, 2, 5, NAN]]
DAYS = [[100, 90, 0, NAN, NAN], [90, NAN, 80, -1e6, NAN]]


def test_fading_counts_by_hand() -> None:
    """A rating counts half after each half-life, and never less than 2^-20."""
    counts = fading_counts(in_days(STARS, DAYS), 10.0)
    # Ages: film 0 has 0 and 10 days, film 1 has 10, film 2 has 100 and 20, film 3 a million.
    expected = [1 + 1 / 2, 1 / 2, 2**-10 + 1 / 4, 2**-20, 0.0]
    assert counts.tolist() == pytest.approx(expected, rel=1e-12)
    assert fading_counts(in_days(STARS, DAYS), None).tolist() == [2, 1, 2, 1, 0]


def test_only_some_ratings_count() -> None:
    """Ratings that are not chosen count 0, and the others what they would among all."""
    ratings = in_days(STARS, DAYS)
    liked = ratings.matrix.data >= 4
    expected = [1 / 2, 1 / 2, 0.0, 2**-20, 0.0]
    assert fading_counts(ratings, 10.0, liked).tolist() == pytest.approx(expected, rel=1e-12)
    assert fading_counts(ratings, None, liked).tolist() == [1, 1, 0, 1, 0]
    assert fading_counts(ratings, 10.0, liked & False).tolist() == [0] * 5


def test_ratings_of_unknown_time() -> None:
    """A rating of unknown time counts as little as the oldest; if all are, they count alike."""
    days = [[100, NAN, 0, NAN, NAN], [NAN, NAN, 80, -1e6, NAN]]
    counts = fading_counts(in_days(STARS, days), 10.0)
    expected = [1 + 2**-20, 2**-20, 2**-10 + 1 / 4, 2**-20, 0.0]
    assert counts.tolist() == pytest.approx(expected, rel=1e-12)
    unknown = in_days(STARS, [[NAN] * 5] * 2)
    order = np.argsort(-fading_counts(unknown, 10.0), kind="stable")
    assert order.tolist() == [0, 2, 1, 3, 4]


def test_wrong_clocks() -> None:
    """Of a thousand ratings one may be from the future: it counts one, and the others as before."""
    days = np.arange(2000.0).reshape(20, 100) % 100 + 1
    days[19, 98:] = 1e6
    counts = fading_counts(ratings_of(np.full((20, 100), 3.0), times=days * DAY), 10.0)
    expected = 20 * 2 ** ((np.arange(100.0) - 99) / 10)  # the others end on day 100
    expected[98] = 19 * 2**-0.1 + 1
    np.testing.assert_allclose(counts, expected, rtol=1e-12)


def test_input_is_not_changed() -> None:
    """Counting and choosing leave times and matrix as they were."""
    ratings = drifting(0)
    arrays = [ratings.rated_at, ratings.matrix.data, ratings.matrix.indices]
    before = [np.array(array).tobytes() for array in arrays]
    fading_counts(ratings, 3.0, ratings.matrix.data > 3)
    popular.fit(ratings, None, 0)
    assert [np.array(array).tobytes() for array in arrays] == before


@pytest.mark.parametrize("times", ["none", "all missing", "all the same"])
def test_without_times_it_is_popular_all(times: str) -> None:
    """Without different times both baselines are the rating count, to the last bit."""
    stars = random_stars(1, 20, 30, [1, 2, 3, 4, 5], 0.3, n_empty=2)
    given = {
        "none": None,
        "all missing": np.full(stars.shape, NAN),
        "all the same": np.full(stars.shape, 1e9),
    }
    ratings = ratings_of(stars, times=given[times])
    fading, plain = (module.fit(ratings, None, 0) for module in (popular, popular_all))
    assert fading.half_life is None
    assert plain.half_life is None
    counts = (~np.isnan(stars)).sum(axis=0).tolist()
    assert fading.counts.tolist() == plain.counts.tolist() == counts
    users = np.array([3, 0])
    for field in ("rating", "support", "relevance"):
        values = [getattr(model.score(users), field).tobytes() for model in (fading, plain)]
        assert values[0] == values[1]


def test_scores() -> None:
    """Everyone has the same scores; films without ratings have none, and no film a rating."""
    ratings = in_days(STARS, DAYS)
    for model in (of_half_life(ratings, 10.0), popular_all.fit(ratings, None, 0)):
        scores = model.score(np.array([1, 0, 1]))
        assert np.isnan(scores.rating).all()
        assert scores.support.tolist() == [model.counts.tolist()] * 3
        expected = [*model.counts[:4].tolist(), NAN]
        np.testing.assert_array_equal(scores.relevance, [expected] * 3)
        assert model.weights() == {}


# The choice of the half-life


def drifting(seed: int, n_users: int = 40, n_items: int = 25) -> Ratings:
    """Films come into fashion one after the other, hours to months apart, or all at once."""
    random = np.random.default_rng(seed)
    stars = random_stars(seed, n_users, n_items, [1, 2, 3, 4, 5], 0.4, n_empty=1)
    step = random.choice([0.1, 7.0, 60.0])
    fashion = random.choice([0, 1, 1]) * np.arange(n_items)  # (n_items,)
    days = step * (fashion + random.exponential(5, stars.shape))
    days[random.random(days.shape) < 0.05] = NAN
    return ratings_of(stars, times=np.round(days) * DAY)


def slow_weight(age: float, half_life: float | None) -> float:
    """What a rating of this age, days, counts; nan is an unknown age."""
    if half_life is None:
        return 1.0
    return 2.0**-20 if math.isnan(age) else max(2.0 ** (-age / half_life), 2.0**-20)


def discounted(ranks: Iterable[int]) -> float:
    """The discounted gain of hits at these ranks from 0."""
    return sum(1 / math.log2(rank + 2) for rank in ranks)


def slow_gains(known: Floats, wanted: Bools, ages: Floats, half_life: float | None) -> list[float]:
    """NDCG of each user who has both known and wanted films.

    `known`, `wanted` and `ages` in days are (n_users, n_items).
    """
    counts = [0.0] * known.shape[1]
    for user, film in zip(*np.nonzero(known), strict=True):
        counts[film] += slow_weight(float(ages[user, film]), half_life)
    gains = []
    for user in range(len(known)):
        films = set(np.flatnonzero(wanted[user]).tolist())
        if not films or not known[user].any():
            continue
        unseen = [film for film in range(len(counts)) if not known[user, film]]
        listed = sorted(unseen, key=lambda film: (-counts[film], film))[:5]
        hits = [rank for rank, film in enumerate(listed) if film in films]
        gains.append(discounted(hits) / discounted(range(min(5, len(films)))))
    return gains


def slow_choice(ratings: Ratings) -> float | None:
    """The half-life with the largest gain over the plain count on the newest 15 % of ratings.

    None where no gain is above its standard error.
    """
    table = ratings.matrix.toarray()
    times = np.full(table.shape, NAN)
    assert ratings.rated_at is not None
    times[ratings.user_of_rating(), ratings.matrix.indices] = ratings.rated_at
    moments = sorted(moment for moment in times.ravel().tolist() if not math.isnan(moment))
    n_newest = len(moments) * 15 // 100
    is_next = times > moments[len(moments) - n_newest - 1]  # (n_users, n_items)
    known = (table > 0) & ~is_next
    ages = (np.nanmax(np.where(known, times, NAN)) - times) / DAY
    plain = slow_gains(known, is_next, ages, None)
    best = None
    best_gain = 0.0
    for half_life in HALF_LIVES:
        faded = slow_gains(known, is_next, ages, half_life)
        differences = [gain - other for gain, other in zip(faded, plain, strict=True)]
        mean = sum(differences) / len(differences)
        variance = sum((value - mean) ** 2 for value in differences) / len(differences)
        if mean > best_gain + 1e-12 and mean > math.sqrt(variance / len(differences)):
            best = half_life
            best_gain = mean
    return best


SEEDS = range(16)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_half_life_is_that_of_a_slow_recomputation(seed: int) -> None:
    """The half-life is the one that gains most over the plain count, if that is not chance."""
    ratings = drifting(seed)
    chosen = choose_half_life(ratings, 0)
    assert chosen == slow_choice(ratings)
    model = popular.fit(ratings, None, 0)
    assert model.half_life == chosen
    assert model.counts.tolist() == fading_counts(ratings, chosen).tolist()


def test_different_half_lives_are_chosen() -> None:
    """Among these data sets short, long and no half-lives are chosen, so that the choice counts."""
    chosen = [choose_half_life(drifting(seed), 0) for seed in SEEDS]
    assert chosen.count(None) >= 3
    assert len(set(chosen)) >= 5


def of_fashions(n_new: int, *, rated_again: int) -> Ratings:
    """Two films that everyone rated long ago, and two that a third rated, the last one lately.

    Of the others `n_new` rate the last film in the end, and `rated_again` the one before it.
    """
    n_users = 30
    stars = np.full((n_users, 5), NAN)
    days = np.full((n_users, 5), NAN)
    stars[:, :2] = 3.0
    days[:, :2] = [0.0, 1.0]
    stars[:11, 2] = 3.0  # one more than the next
    days[:11, 2] = 2.0
    stars[:10, 3] = 3.0
    days[:10, 3] = 1000.0
    stars[20 : 20 + n_new, 3] = 3.0
    days[20 : 20 + n_new, 3] = 2000.0
    stars[20 + n_new : 20 + n_new + rated_again, 2] = 3.0
    days[20 + n_new : 20 + n_new + rated_again, 2] = 2000.0
    return ratings_of(stars, times=days * DAY)


def test_of_equal_ones_the_longest_is_taken() -> None:
    """Where every half-life gives the same better lists, the longest is chosen."""
    assert list(HALF_LIVES) == sorted(HALF_LIVES, reverse=True)
    assert choose_half_life(of_fashions(8, rated_again=0), 0) == HALF_LIVES[0] == 365


def test_chance_is_not_enough() -> None:
    """Where a half-life is better for some and worse for as many or nearly so, nothing fades."""
    assert choose_half_life(of_fashions(4, rated_again=4), 0) is None
    assert choose_half_life(of_fashions(3, rated_again=5), 0) is None
    assert choose_half_life(of_fashions(5, rated_again=4), 0) is None  # one more is chance
    assert choose_half_life(of_fashions(7, rated_again=2), 0) == 365


def test_nobody_to_choose_by() -> None:
    """Where only users who were not known before rated lately, or nobody did, nothing fades."""
    stars = np.full((6, 10), 3.0)
    stars[5, :2] = NAN
    # The newest eight of 58 ratings are user 5's, of the films that others rated last, too.
    days = np.arange(60.0).reshape(6, 10)
    ratings = ratings_of(stars, times=days * DAY)
    assert np.flatnonzero(ratings.newest(0.15)).tolist() == list(range(50, 58))
    assert choose_half_life(ratings, 0) is None
    empty = ratings_of(np.full((3, 2), NAN), times=np.zeros((3, 2)))
    assert choose_half_life(empty, 0) is None
    assert popular.fit(empty, None, 0).counts.tolist() == [0, 0]


def test_half_life_is_chosen_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many users a seeded sample decides, the same for the same seed."""
    ratings = drifting(3, n_users=80)
    monkeypatch.setattr(popular, "JUDGED_USERS", 3)
    chosen = [choose_half_life(ratings, seed) for seed in range(30)]
    assert chosen == [choose_half_life(ratings, seed) for seed in range(30)]
    assert len(set(chosen)) > 2


def test_deep_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Films below the deepest place are not looked at, which changes nothing above it."""
    ratings = drifting(5)
    chosen = choose_half_life(ratings, 0)
    monkeypatch.setattr(popular, "DEEPEST", ratings.n_items)
    assert choose_half_life(ratings, 0) == chosen
    monkeypatch.setattr(popular, "DEEPEST", 10**6)
    assert choose_half_life(ratings, 0) == chosen
    monkeypatch.setattr(popular, "DEEPEST", 0)
    assert choose_half_life(ratings, 0) is None
