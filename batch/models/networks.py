"""Trained networks -> scores: kept from the library that trained them, which takes a second and 180 MB to load."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from batch.models import Scores
from batch.models.baseline import Baseline
from batch.models.evidence import NAMED, Opaque, OwnGenres
from batch.ratings import NOBODY, Floats, Ints, Pairs

DECIMALS = 9
"""At which what two genres add counts as equal: far above rounding noise."""


@dataclass(frozen=True)
class PerMovie:
    """y_ui = b_ui + W2[u] . h_i + b2[u], with h_i = f(W1 x_i + b1) and x_i the film's genres."""

    baseline: Baseline  # b_ui where `baseline: bias` adds it; else it only stands in where the network cannot say
    added: bool
    genres: Floats  # (n_items, n_genres) x
    rectified: bool  # f(z) = max(z, 0); else f(z) = z
    hidden: Floats  # (n_items, hidden) h
    counts: Floats  # (n_users,) ratings of each user: the support of whatever is said to them
    trained: Mapping[
        str, Floats
    ]  # W1 (hidden, n_genres), b1 (hidden,), W2 (n_users, hidden), b2 (n_users,)

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,); nothing can be said to a user without ratings."""
        levels = self.trained["b2"][users]
        if self.added:
            levels = levels + self.baseline.mu + self.baseline.user[users]
        rating = self.trained["W2"][users] @ self.hidden.T  # (b, n_items)
        rating += np.where(self.counts[users] > 0, levels, np.nan)[:, None]
        if self.added:
            rating += self.baseline.item
        support = np.broadcast_to(self.counts[users, None], rating.shape)
        return Scores(rating, support, rating, partial(self._explain, users, rating))

    def _explain(self, users: Ints, rating: Floats, cells: Pairs) -> OwnGenres:
        """What the rating loses without each genre of the film: exact parts of the sum unless it is rectified."""
        own, x = (
            self.trained["W2"][users[cells.rows]],
            self.genres[cells.columns],
        )  # (p, hidden), (p, n_genres)
        before = x @ self.trained["W1"].T + self.trained["b1"]  # (p, hidden)
        added = np.zeros_like(x)
        for genre, layer in enumerate(self.trained["W1"].T):
            has = np.flatnonzero(x[:, genre])
            lost = self._bent(before[has]) - self._bent(before[has] - x[has, genre, None] * layer)
            added[has, genre] = (own[has] * lost).sum(axis=1)
        heaviest = np.argsort(-np.abs(added).round(DECIMALS), axis=1, kind="stable")[
            :, :NAMED
        ]  # ties by name
        weights = np.take_along_axis(added, heaviest, axis=1)
        departure = rating[cells] - self.baseline.at(users, cells)
        return OwnGenres(np.where(weights != 0, heaviest, NOBODY), weights, departure)

    def _bent(self, values: Floats) -> Floats:
        return np.maximum(values, 0.0) if self.rectified else values

    def weights(self) -> Mapping[str, Any]:
        """The trained weights by name."""
        return self.trained


@dataclass(frozen=True)
class Flattened:
    """y = W2 (W1 x + b1) + b2, one output per user and film, times the highest rating."""

    baseline: Baseline  # stands in where the network cannot say
    output: Floats  # (n_users, n_items) stars; small by the limit on the weights
    counts: Floats  # (n_users,)
    trained: Mapping[
        str, Floats
    ]  # W1 (32, n_items * n_genres), b1 (32,), W2 (n_users * n_items, 32), b2
    final_error: float  # summed squared error of the targets where training ended

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,); an output that no rating trained is what chance left there."""
        support = np.broadcast_to(self.counts[users, None], (len(users), self.output.shape[1]))
        rating = np.where(support > 0, self.output[users], np.nan)
        return Scores(
            rating,
            support,
            rating,
            lambda cells: Opaque(rating[cells] - self.baseline.at(users, cells)),
        )

    def weights(self) -> Mapping[str, Any]:
        """The trained weights by name."""
        return self.trained
