"""Features of what is rated now, each by hand, and who gets them."""

import math

import numpy as np
import pytest

from batch.models.popular import DAY
from batch.models.trends import ACTIVE_DAYS, HALF_LIVES, PREFIX, Trends, fit_trends
from batch.params import LIKED_SHARE
from batch.ratings import NO_PAIRS, Pairs, Ratings
from reference import Floats, every_cell, random_stars, ratings_of

NAN = np.nan
NAMES = ("trend_3", "trend_14", "trend_90", "trend_own", "trend_liked", "trend_age")
SCALE = (1.0, 5.0)

# Ten users rated film 0 on the days 0, 100 and so on, 600 last of all; user 9 rated film 1 on
# day 1000 and film 2 on day 980, and user 8 film 3 at an unknown time. Nobody rated film 4.
STARS = np.full((10, 5), NAN)
STARS[:, 0] = [4, 4, 4, 2, 4, 4, 4, 4, 4, 4]
STARS[9, 1:3] = [5, 3]
STARS[8, 3] = 4
DAYS = np.full((10, 5), NAN)
DAYS[:, 0] = [0, 100, 200, 300, 400, 500, 600, 600, 600, 600]
DAYS[9, 1:3] = [1000, 980]


def small() -> Ratings:
    return ratings_of(STARS, times=DAYS * DAY, scale=SCALE)


def fitted(ratings: Ratings) -> Trends:
    trends = fit_trends(ratings)
    assert trends is not None
    return trends


def by_name(trends: Trends, user: int, film: int) -> dict[str, float]:
    """The features of one cell."""
    pairs = Pairs(np.array([0]), np.array([film]))
    features = trends.at(np.array([user]), pairs)
    return {name: float(values[0]) for name, values in features.items()}


def test_features_by_hand() -> None:
    """Logarithms of fading counts, of those that say liked, and of the days since the first."""
    # The newest 15 % of twelve ratings with a time is one, so that the data's own half-life is
    # the least, one day.
    trends = fitted(small())
    assert tuple(trends.features) == NAMES
    # Film 2: one rating 20 days ago, of three stars.
    assert by_name(trends, 9, 2) == pytest.approx(
        {
            "trend_3": math.log(1 + 2 ** (-20 / 3)),
            "trend_14": math.log(1 + 2 ** (-20 / 14)),
            "trend_90": math.log(1 + 2 ** (-20 / 90)),
            "trend_own": math.log(1 + 2**-20),
            "trend_liked": 0.0,
            "trend_age": math.log(1 + 20),
        },
        rel=1e-12,
    )
    # Film 1: one rating now, of five stars.
    now = dict.fromkeys(NAMES, math.log(2)) | {"trend_age": 0.0}
    assert by_name(trends, 9, 1) == pytest.approx(now, rel=1e-12)
    # Film 0: one rating is too old for 90 days' half-life to count less than any other does.
    fading = sum(2 ** (-age / 90) for age in (1000, 900, 800, 700, 600, 500, *[400] * 4))
    of_first = by_name(trends, 9, 0)
    assert of_first["trend_90"] == pytest.approx(math.log(1 + fading), rel=1e-12)
    assert of_first["trend_3"] == pytest.approx(math.log(1 + 10 * 2**-20), rel=1e-9)
    assert of_first["trend_liked"] == pytest.approx(math.log(1 + 9 * 2**-20), rel=1e-9)
    assert of_first["trend_age"] == pytest.approx(math.log(1 + 1000), rel=1e-12)
    # Film 3: a time that is unknown counts as the oldest, and says nothing of the film's age.
    unknown = dict.fromkeys(NAMES, math.log(1 + 2**-20)) | {"trend_age": 0.0}
    assert by_name(trends, 9, 3) == pytest.approx(unknown, rel=1e-9)
    assert by_name(trends, 9, 4) == dict.fromkeys(NAMES, 0.0)


def test_the_own_half_life() -> None:
    """The data's own half-life is the time that the newest 15 % of ratings took."""
    # Forty ratings a day apart: the newest six are those of the last five days.
    days = np.arange(40.0)[None]
    trends = fitted(ratings_of(np.full((1, 40), 3.0), times=days * DAY, scale=SCALE))
    ages = 39 - np.arange(40.0)  # (40,)
    expected = np.log1p(np.maximum(2.0 ** (-ages / 5), 2.0**-20))
    np.testing.assert_allclose(trends.features["trend_own"], expected, rtol=1e-12)
    assert not trends.features["trend_liked"].any()
    # The newest 15 % of three ratings are none: it is a day, the least that it can be.
    three = ratings_of(np.full((1, 3), 3.0), times=np.array([[0.0, 1.0, 2.0]]) * DAY)
    expected = np.log1p([1 / 4, 1 / 2, 1.0])
    np.testing.assert_allclose(fitted(three).features["trend_own"], expected, rtol=1e-12)


def test_liked_from() -> None:
    """A film was liked from so large a share of the scale's maximum, on any scale."""
    stars = np.array([[1.0, 3.0, 7.9, 8.0, 10.0]])
    ratings = ratings_of(stars, times=np.zeros((1, 5)), scale=(1.0, 10.0))
    assert LIKED_SHARE == 0.8
    liked = fitted(ratings).features["trend_liked"]
    assert liked.tolist() == pytest.approx([0, 0, 0, math.log(2), math.log(2)])


@pytest.mark.parametrize("days", [365.0, 365.001])
def test_only_active_users_follow_trends(days: float) -> None:
    """A user who has not rated for over a year has features of 0; others have the films' own."""
    assert ACTIVE_DAYS == 365
    times = np.array([[1000, 900], [1000 - days, 0], [NAN, 950], [NAN, NAN], [0, NAN]]) * DAY
    stars = np.full((6, 2), 3.0)
    stars[5] = NAN
    trends = fitted(ratings_of(stars, times=np.vstack([times, times[:1]]), scale=SCALE))
    expected = [1.0, float(days <= 365), 1.0, 0.0, 0.0, 0.0]
    assert trends.is_active.tolist() == expected
    features = trends.at(np.arange(6), every_cell(6, 2))
    assert tuple(features) == NAMES
    for name, values in features.items():
        own = trends.features[name]
        assert values.reshape(6, 2).tolist() == (np.outer(expected, own)).tolist()
        assert own.any() or name == "trend_liked"


def test_cells_of_a_block() -> None:
    """Features are of a block's users in any order, and of any cells."""
    trends = fitted(small())
    users = np.array([9, 0, 9])
    pairs = Pairs(np.array([2, 1, 0, 0]), np.array([0, 0, 2, 1]))
    for name, values in trends.at(users, pairs).items():
        own = trends.features[name]
        assert values.tolist() == [own[0], 0.0, own[2], own[1]]
    assert all(not len(values) for values in trends.at(users, NO_PAIRS).values())


def slow_count(ages: list[float], half_life: float) -> float:
    """ln(1 + fading count) of ratings of these ages, days; nan is an unknown age."""
    total = 0.0
    for age in ages:
        faded = 0.0 if math.isnan(age) else 2.0 ** (-age / half_life)
        total += max(faded, 2.0**-20)
    return math.log(1 + total)


def slow_features(stars: Floats, times: Floats) -> dict[str, list[float]]:
    """Every feature of every film, rating by rating."""
    days = times[~np.isnan(stars)] / DAY
    known = sorted(day for day in days.tolist() if not math.isnan(day))
    now = known[-1]
    n_newest = len(known) * 15 // 100
    newest = [day for day in known if day > known[len(known) - n_newest - 1]]
    own = max(now - min(newest, default=now), 1.0)
    features: dict[str, list[float]] = {name: [] for name in NAMES}
    for film in range(stars.shape[1]):
        ages = []
        liked = []
        for user in range(stars.shape[0]):
            if not math.isnan(stars[user, film]):
                ages.append(now - float(times[user, film]) / DAY)
                if stars[user, film] >= 4.0:
                    liked.append(ages[-1])
        for half_life in HALF_LIVES:
            features[f"{PREFIX}{half_life:g}"].append(slow_count(ages, half_life))
        features["trend_own"].append(slow_count(ages, own))
        features["trend_liked"].append(slow_count(liked, own))
        oldest = max((age for age in ages if not math.isnan(age)), default=0.0)
        features["trend_age"].append(math.log(1 + oldest))
    return features


@pytest.mark.parametrize("seed", range(3))
def test_features_rating_by_rating(seed: int) -> None:
    """Every feature is that of a slow recomputation, with times missing or tied."""
    random = np.random.default_rng(seed)
    stars = random_stars(seed, 20, 15, [1, 2, 3, 4, 5], 0.4, n_empty=1)
    times = np.round(random.exponential([1.0, 30.0, 500.0][seed], stars.shape)) * DAY
    times[random.random(times.shape) < 0.1] = NAN
    trends = fitted(ratings_of(stars, times=times, scale=SCALE))
    expected = slow_features(stars, times)
    assert tuple(trends.features) == tuple(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(trends.features[name], values, rtol=1e-9)


def test_wrong_clocks() -> None:
    """A rating from the future makes no film old and no user inactive; its film has age 0."""
    stars = np.full((20, 100), 3.0)
    stars[:19, 99] = NAN
    days = np.tile(np.arange(100.0), (20, 1))
    days[19, 99] = 1e6
    trends = fitted(ratings_of(stars, times=days * DAY))
    ages = [*(98 - day for day in range(99)), 0]
    np.testing.assert_allclose(trends.features["trend_age"], np.log1p(ages), rtol=1e-12)
    assert trends.is_active.tolist() == [1.0] * 20


@pytest.mark.parametrize("times", ["none", "all missing", "no ratings"])
def test_without_times_there_are_no_trends(times: str) -> None:
    """Without a known time there are no features of trends."""
    stars = np.full((3, 4), NAN if times == "no ratings" else 3.0)
    given = None if times == "none" else np.full((3, 4), NAN)
    assert fit_trends(ratings_of(stars, times=given)) is None


def test_one_moment() -> None:
    """Where all ratings are of one moment, each counts one, and the age of films is 0."""
    ratings = ratings_of(np.full((3, 2), 5.0), times=np.full((3, 2), 1e9))
    with np.errstate(all="raise"):
        trends = fitted(ratings)
    assert trends.is_active.tolist() == [1, 1, 1]
    for name, values in trends.features.items():
        expected = 0.0 if name == "trend_age" else math.log(4)
        assert values.tolist() == pytest.approx([expected] * 2)
