"""Ratings -> which of them are held out, to measure models on or to learn the blend from."""

import numpy as np

from batch.ratings import Bools, Floats, Ratings

HELD_OUT = 0.2
"""Share of each user's ratings, rounded down, that is held out."""
LATEST = 0.75
"""Share of those, rounded up, that are the user's last where the blend is learnt; the others are
any of the earlier ones.

Learnt from the last ratings alone, the blend fits what people rate at the end of
a session and ranks everything else they like badly.
"""


def hold_out(ratings: Ratings, seed: int) -> Bools:
    """Which ratings are the test part, (n_ratings,).

    Each user's last by time; a seeded sample for users with a missing time.
    """
    _, order = _orders(ratings, seed)
    return _from_end(ratings, order) <= _counts(ratings)


def hold_out_mixed(ratings: Ratings, seed: int) -> Bools:
    """Which ratings the blend is learnt from, (n_ratings,).

    As many as `hold_out`, LATEST of them the last by time, the others a seeded
    sample.
    """
    random, order = _orders(ratings, seed)
    n_late = np.ceil(LATEST * _counts(ratings))  # (n_ratings,)
    is_late = _from_end(ratings, order) <= n_late
    earlier = np.where(is_late, -1.0, random)
    return is_late | (_from_end(ratings, earlier) <= _counts(ratings) - n_late)


def _counts(ratings: Ratings) -> Floats:
    """How many ratings of the same user are held out, (n_ratings,)."""
    counts = np.floor(HELD_OUT * ratings.user_counts())  # (n_users,)
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
