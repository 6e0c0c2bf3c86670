"""Ratings with times -> which films are rated now: features of the blend, and the hottest films."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from batch.models.popular import DAY, fading_counts
from batch.params import LIKED_SHARE
from batch.ratings import NEWEST, Floats, Ints, Pairs, Ratings

PREFIX = "trend_"
"""How the names of these features begin."""
HALF_LIVES = (3.0, 14.0, 90.0)
"""Days after which a rating counts half."""
ACTIVE_DAYS = 365.0
"""A user who has not rated for longer gets no trends: nothing says that they follow them."""


@dataclass(frozen=True)
class Trends:
    """What is rated now, as seen from `ratings.now`."""

    features: Mapping[str, Floats]  # by name, (n_items,) each
    is_active: Floats  # (n_users,) 1 for users who rated within ACTIVE_DAYS, else 0

    def at(self, users: Ints, pairs: Pairs) -> dict[str, Floats]:
        """Features by name, (p,) each, for these cells of a block of users; 0 if not active."""
        active = self.is_active[users[pairs.rows]]  # (p,)
        return {name: values[pairs.columns] * active for name, values in self.features.items()}


def fit_trends(ratings: Ratings) -> Trends | None:
    """Fading counts and ages of films; None where no rating has a time.

    - `trend_3`, `trend_14`, `trend_90`: ln(1 + fading count), half-life in days
    - `trend_own`: the same at the data's own half-life, the time that the newest
      part of the ratings took
    - `trend_liked`: the same as `trend_own`, of ratings that say the film was liked
    - `trend_age`: ln(1 + days since the film's first rating)
    """
    now = ratings.now
    if ratings.rated_at is None or np.isinf(now):
        return None
    newest = ratings.rated_at[ratings.newest(NEWEST)]  # empty where all were rated at once
    own_half_life = max((now - newest.min(initial=now)) / DAY, 1.0)
    is_liked = ratings.matrix.data >= LIKED_SHARE * ratings.scale[1]
    counts = {f"{half_life:g}": fading_counts(ratings, half_life) for half_life in HALF_LIVES}
    counts["own"] = fading_counts(ratings, own_half_life)
    counts["liked"] = fading_counts(ratings, own_half_life, is_liked)
    counts["age"] = _ages(ratings, ratings.rated_at)
    features = {f"{PREFIX}{name}": np.log1p(values) for name, values in counts.items()}
    last = np.full(ratings.n_users, -np.inf)
    np.fmax.at(last, ratings.user_of_rating(), ratings.rated_at)
    is_active = last >= now - ACTIVE_DAYS * DAY
    return Trends(features, is_active.astype(np.float64))


def _ages(ratings: Ratings, times: Floats) -> Floats:
    """Days from each film's first rating of known time until now; 0 without any.

    `times` are (n_ratings,), the result is (n_items,).
    """
    first = np.full(ratings.n_items, np.inf)
    np.fmin.at(first, ratings.matrix.indices, times)
    return np.maximum(ratings.now - first, 0.0) / DAY
