"""Judged lists -> the number of ratings below which popular films serve a user better."""

from collections.abc import Mapping

import numpy as np

from batch.ranking.metrics import Judged, interval, ndcg_by_user
from batch.ratings import Ints

MOST = 10
"""The largest number that is chosen."""


def choose_least_ratings(judged: Mapping[str, Judged], user_counts: Ints, seed: int) -> int:
    """From how many ratings on a user's lists are the models' own, 1 to MOST.

    `user_counts` are the ratings of all users that the judged models were fitted
    on. Of the numbers below which `popular` has a higher NDCG than the blend, with
    the 95 % interval of the gain above 0, the one with the largest gain over all
    users; 1 where there is none.
    """
    blend = judged["blend"]
    counted = blend.counted
    if not counted.any():
        return 1
    n_ratings = user_counts[blend.users[counted]]  # (users,)
    difference = ndcg_by_user(judged["popular"]) - ndcg_by_user(blend)  # (users,)
    best = 1
    best_gain = 0.0
    for least in range(2, MOST + 1):
        gains = np.where(n_ratings < least, difference, 0.0)
        low, _ = interval(gains, np.ones_like(gains), seed)
        if low > 0 and gains.mean() > best_gain:
            best = least
            best_gain = float(gains.mean())
    return best
