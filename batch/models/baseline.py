"""Ratings -> what to expect of a user and an item before looking at tastes."""

from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np

from batch.ratings import Floats, Ints, Pairs, Ratings, Sparse, with_data

SWEEPS, ITEM_SHRINKAGE, USER_SHRINKAGE = 10, 15.0, 10.0
"""Alternating sweeps and the ratings' worth of prior evidence for no effect (Koren 2010, section 2.1, ALS form)."""
NOISE = 1e-10
"""Stars below which a deviation is rounding: a user who rates all alike deviates by 0, not by 1e-16."""


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
        """b_ui of some cells of these users, (p,)."""
        return self.mu + self.user[users[pairs.rows]] + self.item[pairs.columns]

    def deviations(self, ratings: Ratings) -> Sparse:
        """r - b on every rated cell, CSR (n_users, n_items)."""
        off = np.repeat(
            self.mu + self.user, ratings.user_counts()
        )  # (n_ratings,), and little beside it
        off += self.item[ratings.matrix.indices]
        np.subtract(ratings.matrix.data, off, out=off)
        off[np.abs(off) < NOISE] = 0.0
        return with_data(ratings.matrix, off)


def fit_baseline(kind: Literal["user_mean", "bias", "none"], ratings: Ratings) -> Baseline:
    """`user_mean`: each user's mean rating. `bias`: regularised mu + b_u + b_i. `none`: mu for everyone.

    Someone, or something, without ratings has effect 0, so that mu stands for them; without any rating mu is 0.
    """
    mu = float(ratings.matrix.data.mean()) if ratings.n_ratings else 0.0
    no_user, no_item = np.zeros(ratings.n_users), np.zeros(ratings.n_items)
    if kind == "user_mean":
        return Baseline(
            mu,
            _means(ratings.user_of_rating(), ratings.matrix.data - mu, ratings.n_users, 0.0),
            no_item,
        )
    if kind == "bias":
        return _bias(ratings, mu)
    return Baseline(mu, no_user, no_item)


def _bias(ratings: Ratings, mu: float) -> Baseline:
    known = _KNOWN.get(ratings)  # three models ask for it, and the blend
    if known is not None:
        return known
    users, items, excess = (
        ratings.user_of_rating(),
        ratings.matrix.indices,
        ratings.matrix.data - mu,
    )  # (n_ratings,)
    user, item = np.zeros(ratings.n_users), np.zeros(ratings.n_items)
    for _ in range(SWEEPS):
        item = _means(items, excess - user[users], ratings.n_items, ITEM_SHRINKAGE)
        user = _means(users, excess - item[items], ratings.n_users, USER_SHRINKAGE)
    found = _KNOWN[ratings] = Baseline(mu, user, item)
    return found


_KNOWN: WeakKeyDictionary[Ratings, Baseline] = WeakKeyDictionary()
"""The bias baseline of ratings that are still in use."""


def _means(groups: Ints, values: Floats, n_groups: int, shrinkage: float) -> Floats:
    """sum / (count + shrinkage) per group, (n_groups,); 0 where a group is empty."""
    counts = np.bincount(groups, minlength=n_groups)  # (n_groups,)
    sums = np.bincount(groups, weights=values, minlength=n_groups)
    return sums / np.maximum(counts + shrinkage, 1.0)
