"""Ratings -> which of them are held out, to measure models on or to learn the blend from."""

from dataclasses import dataclass

import numpy as np

from batch.ratings import NEWEST, Bools, Floats, Ratings, some

OWN_SHARE = 0.2
"""Share of each user's ratings, rounded down, that `own` holds out."""
LEAST_RATINGS = 5
"""The fewest ratings of which a share of OWN_SHARE is one."""
LATEST = 0.5
"""Share of those, rounded up, that are the user's last where the blend is learnt; the others are
any of the earlier ones.

Learnt from the last ratings alone, the blend fits what people rate at the end of
a session and ranks everything else they like badly.
"""


@dataclass(frozen=True)
class HeldOut:
    """The ratings that are removed before models are fitted, and those that they are measured on.

    They differ where ratings are removed because they came later than the cut, of
    users who cannot be judged.
    """

    removed: Bools  # (n_ratings,)
    judged: Bools  # (n_ratings,) a part of them


@dataclass(frozen=True)
class Evidence:
    """The ratings that the blend is learnt from, (n_ratings,) each.

    `taste` and `trend` are of users who keep other ratings, and no part of `fitted`.
    """

    fitted: Bools  # what the models are fitted on whose predictions the blend learns from
    taste: Bools  # any of a user's ratings: what people like, whenever they rate it
    trend: Bools  # of the newest part of time: what people rate next


def hold_out_next(ratings: Ratings, users: int, seed: int) -> HeldOut:
    """The newest part of time; a seeded sample of at most `users` users is judged.

    A user is judged if they have earlier ratings. Nothing is held out where no
    rating has a time.
    """
    removed = ratings.newest(NEWEST)
    known = _users_of(ratings, ~removed)
    judged = some(np.flatnonzero(known & _users_of(ratings, removed)), users, seed)
    return HeldOut(removed, removed & ratings.of(judged))


def hold_out_own(ratings: Ratings, users: int, seed: int) -> HeldOut:
    """Each user's last ratings by time, of a seeded sample of at most `users` users.

    A seeded sample of the ratings of users with a missing time.
    """
    sample = ratings.of(ratings.some_users(users, seed, LEAST_RATINGS))
    _, order = _orders(ratings, seed)
    removed = sample & (_from_end(ratings, order) <= _counts(ratings))
    return HeldOut(removed, removed)


def hold_out_evidence(ratings: Ratings, usable: Bools, users: int, seed: int) -> Evidence:
    """The ratings that the blend is learnt from, among the `usable` ones, (n_ratings,).

    Removed are the newest part of time and, of a seeded sample of at most `users`
    users, as many of each user's ratings as `hold_out_own` removes: LATEST of
    them the last by time, the others a seeded sample.
    """
    part = ratings.keep(usable)
    newest = part.newest(NEWEST)
    mixed = part.of(part.some_users(users, seed, LEAST_RATINGS)) & _mixed(part, seed)
    removed = newest | mixed
    keeps_some = _users_of(part, ~removed)
    followers = some(np.flatnonzero(keeps_some & _users_of(part, newest)), users, seed)
    return Evidence(
        fitted=_within(usable, ~removed),
        taste=_within(usable, mixed & part.of(np.flatnonzero(keeps_some))),
        trend=_within(usable, newest & part.of(followers)),
    )


def _mixed(ratings: Ratings, seed: int) -> Bools:
    """LATEST of a share of each user's ratings the last by time, the others any, (n_ratings,)."""
    random, order = _orders(ratings, seed)
    n_late = np.ceil(LATEST * _counts(ratings))  # (n_ratings,)
    is_late = _from_end(ratings, order) <= n_late
    earlier = np.where(is_late, -1.0, random)
    return is_late | (_from_end(ratings, earlier) <= _counts(ratings) - n_late)


def _users_of(ratings: Ratings, chosen: Bools) -> Bools:
    """Which users have any of the chosen ratings, (n_users,)."""
    counts = np.bincount(ratings.user_of_rating()[chosen], minlength=ratings.n_users)
    return counts > 0


def _within(usable: Bools, chosen: Bools) -> Bools:
    """Some of the usable ratings, (n_usable,), as some of all ratings, (n_ratings,)."""
    of_all = np.zeros_like(usable)
    of_all[usable] = chosen
    return of_all


def _counts(ratings: Ratings) -> Floats:
    """How many ratings of the same user are held out, (n_ratings,)."""
    counts = np.floor(OWN_SHARE * ratings.user_counts())  # (n_users,)
    return counts[ratings.user_of_rating()]


def _orders(ratings: Ratings, seed: int) -> tuple[Floats, Floats]:
    """A random number for each rating, 0 to 1, and what ratings are ordered by, (n_ratings,) each.

    They are ordered by time, or by the random number for users with a missing
    time.
    """
    random = np.random.default_rng(seed).random(ratings.n_ratings)
    if ratings.rated_at is None:
        return random, random
    is_timeless = np.isin(ratings.user_of_rating(), ratings.timeless_users())
    return random, np.where(is_timeless, random, ratings.rated_at)


def _from_end(ratings: Ratings, order: Floats) -> Floats:
    """Position of each rating among the user's, counted from the last, which is 1, (n_ratings,).

    `order` is (n_ratings,); ties are decided by key.
    """
    users = ratings.user_of_rating()
    by_user = np.lexsort((order, users))  # stable
    position = np.empty(ratings.n_ratings)
    position[by_user] = ratings.matrix.indptr[users + 1] - np.arange(ratings.n_ratings)
    return position
