"""Ratings -> the rating to expect from the means and effects of user and item alone."""

from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np

from batch.ratings import Floats, Ints, Pairs, Ratings, Sparse, with_data

SWEEPS = 10
"""Alternating least squares sweeps over items and users (Koren 2010, section 2.1)."""
ITEM_SHRINKAGE = 15.0
USER_SHRINKAGE = 10.0
"""Ratings' worth of prior evidence that an item, or a user, has no effect."""
NOISE = 1e-10
"""Stars below which a deviation is rounding noise.

Without it, a user who gives every film the same rating would deviate by 1e-16
instead of 0.
"""


@dataclass(frozen=True)
class Baseline:
    """b_ui = mu + user[u] + item[i], in stars."""

    mu: float
    user: Floats  # (n_users,)
    item: Floats  # (n_items,)

    def rows(self, users: Ints) -> Floats:
        """b_ui for these users and every item, (b, n_items)."""
        return self.mu + self.user[users, None] + self.item[None, :]

    def at(self, users: Ints, pairs: Pairs) -> Floats:
        """b_ui of these cells of a block of users, (p,)."""
        return self.mu + self.user[users[pairs.rows]] + self.item[pairs.columns]

    def deviations(self, ratings: Ratings) -> Sparse:
        """r - b of every rated cell, CSR (n_users, n_items)."""
        # In place, because (n_ratings,) is large.
        values = np.repeat(self.mu + self.user, ratings.user_counts())
        values += self.item[ratings.matrix.indices]
        np.subtract(ratings.matrix.data, values, out=values)
        values[np.abs(values) < NOISE] = 0.0
        return with_data(ratings.matrix, values)


def fit_baseline(kind: Literal["user_mean", "bias", "none"], ratings: Ratings) -> Baseline:
    """Fit the baseline of this kind.

    - `user_mean`: each user's mean rating
    - `bias`: mu + b_u + b_i, regularised
    - `none`: mu for everyone

    mu is the mean of all ratings, 0 if there are none. A user or item without
    ratings has effect 0.
    """
    if kind == "bias":
        return _bias(ratings)
    mu = _mean(ratings)
    user = np.zeros(ratings.n_users)
    if kind == "user_mean":
        excess = ratings.matrix.data - mu  # (n_ratings,)
        user = _shrunk_means(ratings.user_of_rating(), excess, ratings.n_users, 0.0)
    return Baseline(mu, user, np.zeros(ratings.n_items))


def _bias(ratings: Ratings) -> Baseline:
    """The bias baseline, fitted once for all models of the same ratings."""
    fitted = _fitted_bias.get(ratings)
    if fitted is not None:
        return fitted
    mu = _mean(ratings)
    users = ratings.user_of_rating()  # (n_ratings,)
    items = ratings.matrix.indices  # (n_ratings,)
    excess = ratings.matrix.data - mu  # (n_ratings,)
    user = np.zeros(ratings.n_users)
    item = np.zeros(ratings.n_items)
    for _ in range(SWEEPS):
        item = _shrunk_means(items, excess - user[users], ratings.n_items, ITEM_SHRINKAGE)
        user = _shrunk_means(users, excess - item[items], ratings.n_users, USER_SHRINKAGE)
    baseline = Baseline(mu, user, item)
    _fitted_bias[ratings] = baseline
    return baseline


_fitted_bias: WeakKeyDictionary[Ratings, Baseline] = WeakKeyDictionary()
"""The bias baseline of each `Ratings` in use: three models need it, and the blend."""


def _mean(ratings: Ratings) -> float:
    return float(ratings.matrix.data.mean()) if ratings.n_ratings else 0.0


def _shrunk_means(groups: Ints, values: Floats, n_groups: int, shrinkage: float) -> Floats:
    """sum / (count + shrinkage) of each group, (n_groups,); 0 for an empty group."""
    counts = np.bincount(groups, minlength=n_groups)  # (n_groups,)
    sums = np.bincount(groups, weights=values, minlength=n_groups)  # (n_groups,)
    return sums / np.maximum(counts + shrinkage, 1.0)
