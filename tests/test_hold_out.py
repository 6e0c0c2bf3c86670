"""Which ratings both cuts remove and judge, and which ones the blend is learnt from."""

import math

import numpy as np
import pytest

from batch.ranking.hold_out import Evidence, hold_out_evidence, hold_out_next, hold_out_own
from batch.ratings import Bools, Ratings
from reference import Floats, random_stars, ratings_of

NAN = np.nan
ALL = 10**9
"""More users than there are."""

Cell = tuple[int, int]


def cells_of(ratings: Ratings, chosen: Bools) -> set[Cell]:
    """User and film of the chosen ratings."""
    assert (chosen.shape, chosen.dtype) == ((ratings.n_ratings,), np.bool_)
    users = ratings.user_of_rating()[chosen].tolist()
    return set(zip(users, ratings.matrix.indices[chosen].tolist(), strict=True))


def users_of(cells: set[Cell]) -> set[int]:
    return {user for user, _ in cells}


def films_by_user(cells: set[Cell], n_users: int) -> list[set[int]]:
    return [{film for user, film in cells if user == row} for row in range(n_users)]


def data(seed: int, n_times: int = 10**6, n_users: int = 50) -> tuple[Floats, Floats]:
    """Stars (n_users, 60), one user and film without, and times of the same shape."""
    stars = random_stars(seed, n_users, 60, [1, 2, 3, 4, 5], 0.5, n_empty=1)
    random = np.random.default_rng(seed)
    return stars, random.integers(0, n_times, stars.shape).astype(np.float64)


def everything(ratings: Ratings) -> Bools:
    return np.ones(ratings.n_ratings, dtype=np.bool_)


def slow_newest(stars: Floats, times: Floats, share: float) -> set[Cell]:
    """The cells of the last moments of time, as many moments as fit into this share of ratings."""
    by_time: dict[float, set[Cell]] = {}
    for user, film in zip(*np.nonzero(~np.isnan(stars)), strict=True):
        moment = float(times[user, film])
        if not math.isnan(moment):
            by_time.setdefault(moment, set()).add((int(user), int(film)))
    allowed = math.floor(share * sum(map(len, by_time.values())))
    newest: set[Cell] = set()
    for moment in sorted(by_time, reverse=True):
        if len(newest) + len(by_time[moment]) > allowed:
            break
        newest |= by_time[moment]
    return newest


# `next`


@pytest.mark.parametrize("n_times", [1, 3, 30, 10**6])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_newest_part_of_time_is_removed(n_times: int, missing: float) -> None:
    """The newest 15 % of ratings with a time are removed, those of one moment all or none."""
    stars, times = data(0, n_times)
    times[np.random.default_rng(1).random(times.shape) < missing] = NAN
    ratings = ratings_of(stars, times=times)
    removed = cells_of(ratings, hold_out_next(ratings, ALL, 0).removed)
    assert removed == slow_newest(stars, times, 0.15)
    assert bool(removed) == (n_times > 3)


def test_users_without_an_earlier_rating_are_not_judged() -> None:
    """Ratings of users who were not known before are removed, but nobody is judged by them."""
    # The newest tenth and a half of 69 ratings: all nine of user 3, and one of user 0.
    stars = np.full((4, 20), 3.0)
    stars[3, 9:] = NAN
    times = np.arange(80.0).reshape(4, 20)
    times[3] += 200
    times[0, 5] = 199
    ratings = ratings_of(stars, times=times)
    cut = hold_out_next(ratings, ALL, 0)
    new_user = {(3, film) for film in range(9)}
    assert cells_of(ratings, cut.removed) == {(0, 5), *new_user}
    assert cells_of(ratings, cut.judged) == {(0, 5)}
    times[3, 4] = 0  # now they were known
    ratings = ratings_of(stars, times=times)
    cut = hold_out_next(ratings, ALL, 0)
    # The tenth is user 2's last.
    newest = {(0, 5), (2, 19), *new_user} - {(3, 4)}
    assert cells_of(ratings, cut.removed) == cells_of(ratings, cut.judged) == newest


@pytest.mark.parametrize("users", [0, 1, 7, 30])
def test_a_sample_is_judged_by_next(users: int) -> None:
    """All newest ratings are removed; judged are all of those of a seeded sample of users."""
    stars, times = data(2)
    ratings = ratings_of(stars, times=times)
    everyone = hold_out_next(ratings, ALL, 0)
    of_everyone = cells_of(ratings, everyone.judged)
    assert len(users_of(of_everyone)) > 30
    cut, again, other = (hold_out_next(ratings, users, seed) for seed in (4, 4, 5))
    assert cut.removed.tolist() == other.removed.tolist() == everyone.removed.tolist()
    judged = cells_of(ratings, cut.judged)
    assert len(users_of(judged)) == users
    assert judged == {cell for cell in of_everyone if cell[0] in users_of(judged)}
    assert cut.judged.tolist() == again.judged.tolist()
    if users:
        assert cut.judged.tolist() != other.judged.tolist()


def test_the_sample_of_next_is_fair() -> None:
    """Over many seeds every user who can be judged is judged as often as any other."""
    stars, times = data(3, n_users=12)
    ratings = ratings_of(stars, times=times)
    able = users_of(cells_of(ratings, hold_out_next(ratings, ALL, 0).judged))
    counts = dict.fromkeys(able, 0)
    for seed in range(1000):
        for user in users_of(cells_of(ratings, hold_out_next(ratings, 4, seed).judged)):
            counts[user] += 1
    assert min(counts.values()) > 4000 / len(able) * 0.85
    assert max(counts.values()) < 4000 / len(able) * 1.15


@pytest.mark.parametrize("times", ["none", "all missing", "all the same"])
def test_without_different_times_there_is_no_next(times: str) -> None:
    """Without times, or where all ratings are of one moment, `next` holds nothing out."""
    stars, moments = data(4)
    given = {
        "none": None,
        "all missing": np.full(stars.shape, NAN),
        "all the same": np.zeros_like(moments),
    }
    ratings = ratings_of(stars, times=given[times])
    cut = hold_out_next(ratings, ALL, 0)
    assert not cut.removed.any()
    assert not cut.judged.any()


def test_without_ratings_nothing_is_held_out() -> None:
    """Data without ratings can be cut."""
    for shape in ((0, 0), (3, 0), (3, 2)):
        ratings = ratings_of(np.full(shape, NAN), times=np.zeros(shape))
        evidence = hold_out_evidence(ratings, everything(ratings), ALL, 0)
        for cut in (hold_out_next(ratings, ALL, 0), hold_out_own(ratings, ALL, 0)):
            assert not cut.removed.any()
            assert not cut.judged.any()
        for chosen in (evidence.fitted, evidence.taste, evidence.trend):
            assert not chosen.any()


# Evidence: what the blend is learnt from


def evidence_cells(
    ratings: Ratings, usable: Bools, users: int, seed: int
) -> tuple[set[Cell], set[Cell], set[Cell]]:
    """The cells of what is removed, of taste and of trend."""
    evidence = hold_out_evidence(ratings, usable, users, seed)
    removed = cells_of(ratings, usable & ~evidence.fitted)
    return removed, cells_of(ratings, evidence.taste), cells_of(ratings, evidence.trend)


@pytest.mark.parametrize("users", [10, ALL])
@pytest.mark.parametrize("share", [0.6, 1.0])
def test_evidence_is_removed_before_models_are_fitted(share: float, users: int) -> None:
    """Evidence is of usable ratings, all of it removed, and of users who keep some ratings."""
    stars, times = data(5)
    ratings = ratings_of(stars, times=times)
    usable = np.random.default_rng(0).random(ratings.n_ratings) < share
    removed, taste, trend = evidence_cells(ratings, usable, users, 0)
    of_all = cells_of(ratings, usable)
    assert removed < of_all
    assert taste | trend <= removed
    assert users_of(taste | trend) <= users_of(of_all - removed)
    usable_stars = np.full(stars.shape, NAN)
    for cell in of_all:
        usable_stars[cell] = 3.0
    newest = slow_newest(usable_stars, times, 0.15)
    assert newest <= removed
    assert removed == newest | taste
    n_usable = np.sum(~np.isnan(usable_stars), axis=1)  # (50,)
    for user, films in enumerate(films_by_user(taste, 50)):
        assert len(films) == n_usable[user] // 5 or not films
    followers = users_of(trend)
    assert trend == {cell for cell in newest if cell[0] in followers}
    if users == ALL:
        able = {user for user in range(50) if n_usable[user] >= 5}
        assert users_of(taste) == able
        assert followers == users_of(newest) & users_of(of_all - removed)
    else:
        assert len(users_of(taste)) == len(followers) == 10


def test_users_who_keep_no_rating_teach_nothing() -> None:
    """A user all of whose ratings are removed is neither followed nor asked for their taste."""
    stars = np.full((10, 10), 3.0)
    times = np.arange(100.0).reshape(10, 10)
    times[8] += np.arange(10) * 1000  # user 8 is the newest, after their first rating
    ratings = ratings_of(stars, times=times)
    removed, taste, trend = evidence_cells(ratings, everything(ratings), ALL, 0)
    assert {(8, film) for film in range(1, 10)} <= removed
    assert users_of(trend) <= {8, 9}
    assert (8 in users_of(trend)) == ((8, 0) not in removed)
    # Nobody but user 9 rated lately, and they were not known before.
    times = np.arange(100.0).reshape(10, 10)
    stars[9, 9:] = NAN
    times[9] += 1000
    ratings = ratings_of(stars, times=times)
    removed, taste, trend = evidence_cells(ratings, everything(ratings), ALL, 0)
    assert {(9, film) for film in range(9)} <= removed
    assert 9 not in users_of(taste | trend)
    assert users_of(taste) >= set(range(8))


def test_only_users_with_five_ratings_are_drawn() -> None:
    """The sample is of users with five usable ratings or more, who all give some evidence."""
    stars = np.full((100, 12), NAN)
    stars[:, :4] = 3.0  # too few
    stars[::10] = 3.0
    ratings = ratings_of(stars)
    for users, n_users in ((6, 6), (ALL, 10)):
        removed, taste, trend = evidence_cells(ratings, everything(ratings), users, 0)
        assert removed == taste
        assert not trend
        assert len(users_of(taste)) == n_users
        assert all(user % 10 == 0 for user in users_of(taste))
        assert len(taste) == 2 * n_users
        own = cells_of(ratings, hold_out_own(ratings, users, 0).removed)
        assert users_of(own) == users_of(taste)


def taste_by_user(ratings: Ratings, seed: int) -> list[set[int]]:
    """The films of each user that the blend learns taste from."""
    _, taste, _ = evidence_cells(ratings, everything(ratings), ALL, seed)
    return films_by_user(taste, ratings.n_users)


@pytest.mark.parametrize("n_times", [4, 10**6])
def test_half_of_taste_is_last_by_time(n_times: int) -> None:
    """Taste is learnt from a fifth of a user's ratings, half of it, rounded up, the last by time.

    The others are any earlier ones, by the seed.
    """
    stars, times = data(6, n_times)
    ratings = ratings_of(stars, times=times)
    cut, again, other = (taste_by_user(ratings, seed) for seed in (1, 1, 2))
    assert cut == again
    assert cut != other
    n_earlier = 0
    for user in range(50):
        rated = [item for item in range(60) if not math.isnan(stars[user, item])]
        by_time = sorted(rated, key=lambda item, when=times[user]: (when[item], item))
        n_held = len(rated) // 5
        n_late = -(-n_held // 2)
        last = set(by_time[len(rated) - n_late :])
        for items in (cut[user], other[user]):
            assert len(items) == n_held
            assert last <= items <= set(rated)
        n_earlier += n_held - n_late
    assert n_earlier > 80


def test_the_rest_of_taste_is_fair() -> None:
    """Over many seeds each earlier rating is drawn as often as any other, the last ones always."""
    # Of user 0's films 0 and 1 were rated last, long before everything of user 1.
    stars = np.full((2, 20), 3.0)
    times = np.array([range(20, 0, -1), range(100, 120)], dtype=np.float64)
    ratings = ratings_of(stars, times=times)
    counts = np.zeros(20)
    for seed in range(2000):
        for film in taste_by_user(ratings, seed)[0]:
            counts[film] += 1
    assert counts[:2].tolist() == [2000] * 2
    assert counts[2:].sum() == 4000
    assert counts[2:].min() > 180  # 222 on average
    assert counts[2:].max() < 270


def test_without_times_taste_is_what_own_holds_out() -> None:
    """Without times, or for a user with a missing one, a seeded fifth is learnt from."""
    stars, times = data(7)
    untimed = ratings_of(stars)
    own = hold_out_own(untimed, ALL, 4)
    assert own.removed.tolist() == own.judged.tolist()
    evidence = hold_out_evidence(untimed, everything(untimed), ALL, 4)
    assert evidence.taste.tolist() == (~evidence.fitted).tolist() == own.removed.tolist()
    assert not evidence.trend.any()
    for user in range(10):
        times[user, np.flatnonzero(~np.isnan(stars[user]))[:1]] = NAN
    ratings = ratings_of(stars, times=times)
    of_untimed = films_by_user(cells_of(untimed, own.removed), 50)
    taste = taste_by_user(ratings, 4)
    assert taste[:10] == of_untimed[:10]
    assert taste[10:] != of_untimed[10:]
    _, _, trend = evidence_cells(ratings, everything(ratings), ALL, 4)
    assert trend == slow_newest(stars, times, 0.15)


def test_values_do_not_decide_what_is_held_out() -> None:
    """What is held out depends on who rated what and when, never on the values."""
    stars, times = data(8)
    first, second = (ratings_of(values, times=times) for values in (stars, 6 - stars))
    evidence, other = (hold_out_evidence(part, everything(part), 9, 0) for part in (first, second))
    assert fields(evidence) == fields(other)
    for cut in (hold_out_next, hold_out_own):
        assert cut(first, 9, 0).removed.tolist() == cut(second, 9, 0).removed.tolist()
        assert cut(first, 9, 0).judged.tolist() == cut(second, 9, 0).judged.tolist()


def fields(evidence: Evidence) -> list[list[bool]]:
    return [evidence.fitted.tolist(), evidence.taste.tolist(), evidence.trend.tolist()]
