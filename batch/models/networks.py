"""Trained networks -> scores, without torch, which takes a second and 180 MB to load."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.models.evidence import NAMED, Opaque, OwnGenres
from batch.params import Neural
from batch.ratings import NOBODY, Floats, Ints, Pairs, Ratings

DECIMALS = 9
"""Contributions that agree to this many decimals are equal: far above rounding noise."""


def fitted_beside(ratings: Ratings, params: Neural) -> Baseline:
    """The baseline whose deviations the network predicts."""
    return fit_baseline("bias" if params.baseline == "bias" else "user_mean", ratings)


def hidden_layer(trained: Mapping[str, Floats], genres: Floats, *, rectified: bool) -> Floats:
    """h of each film, (n_items, hidden)."""
    hidden = genres @ trained["W1"].T + trained["b1"]
    return np.maximum(hidden, 0.0) if rectified else hidden


@dataclass(frozen=True)
class PerMovie:
    """y_ui = b_ui + W2[u] . h_i + b2[u], with h_i = f(W1 x_i + b1) and x_i the film's genres.

    f(z) is max(z, 0) if `rectified`, else z. b_ui is added if `added` (`baseline: bias`); otherwise
    the baseline is only for pairs without a prediction.
    """

    baseline: Baseline
    added: bool
    genres: Floats  # (n_items, n_genres) x
    rectified: bool
    hidden: Floats  # (n_items, hidden) h
    counts: Floats  # (n_users,) ratings of each user, which are the support of their scores
    trained: Mapping[str, Floats]
    """W1 (hidden, n_genres), b1 (hidden,), W2 (n_users, hidden), b2 (n_users,)."""

    def score(self, users: Ints) -> Scores:
        """Scores of every item for these users, (b,); nan for a user without ratings."""
        levels = self.trained["b2"][users]  # (b,)
        if self.added:
            levels = levels + self.baseline.mu + self.baseline.user[users]
        rating = self.trained["W2"][users] @ self.hidden.T  # (b, n_items)
        rating += np.where(self.counts[users] > 0, levels, np.nan)[:, None]
        if self.added:
            rating += self.baseline.item
        support = np.broadcast_to(self.counts[users, None], rating.shape)
        return Scores(rating, support, rating, partial(self._explain, users, rating))

    def _explain(self, users: Ints, rating: Floats, cells: Pairs) -> OwnGenres:
        """What each rating would lose without each genre of the film.

        Without `rectified` these are exactly the parts of the sum.
        """
        W1 = self.trained["W1"]
        own = self.trained["W2"][users[cells.rows]]  # (p, hidden)
        x = self.genres[cells.columns]  # (p, n_genres)
        z = x @ W1.T + self.trained["b1"]  # (p, hidden)
        contributions = np.zeros_like(x)  # (p, n_genres)
        for genre, column in enumerate(W1.T):
            has = np.flatnonzero(x[:, genre])
            without = z[has] - x[has, genre, None] * column
            lost = self._activated(z[has]) - self._activated(without)
            contributions[has, genre] = (own[has] * lost).sum(axis=1)
        size = np.abs(contributions).round(DECIMALS)
        # a stable sort leaves equal genres in order of their names
        heaviest = np.argsort(-size, axis=1, kind="stable")[:, :NAMED]  # (p, NAMED)
        weights = np.take_along_axis(contributions, heaviest, axis=1)
        genres = np.where(weights != 0, heaviest, NOBODY)
        departure = rating[cells] - self.baseline.at(users, cells)
        return OwnGenres(genres, weights, departure)

    def _activated(self, z: Floats) -> Floats:
        return np.maximum(z, 0.0) if self.rectified else z

    def weights(self) -> Mapping[str, Any]:
        """The trained weights by name."""
        return self.trained


def per_movie(
    ratings: Ratings,
    params: Neural,
    baseline: Baseline,
    hidden: Floats,
    trained: Mapping[str, Floats],
) -> PerMovie:
    """The network of weights that were trained on departures from the baseline."""
    added = params.baseline == "bias"
    if not added:  # then b2 holds the mean that training started from
        trained = {**trained, "b2": trained["b2"] + baseline.mu + baseline.user}
    return PerMovie(
        baseline=baseline,
        added=added,
        genres=ratings.genres,
        rectified=params.activation == "relu",
        hidden=hidden,
        counts=ratings.user_counts().astype(np.float64),
        trained=trained,
    )


@dataclass(frozen=True)
class Flattened:
    """y = W2 (W1 x + b1) + b2, one output per user and film, times the highest rating."""

    baseline: Baseline  # for pairs without a prediction
    output: Floats  # (n_users, n_items) stars; the limit on the weights keeps it small
    counts: Floats  # (n_users,) ratings of each user
    trained: Mapping[str, Floats]
    """W1 (32, n_items * n_genres), b1 (32,), W2 (n_users * n_items, 32), b2 beside W2."""
    final_error: float  # summed squared error of the targets at the end of training

    def score(self, users: Ints) -> Scores:
        """Scores of every item for these users, (b,); nan for a user without ratings.

        The output of a pair without a rating was never trained: its value is due to chance.
        """
        shape = len(users), self.output.shape[1]
        support = np.broadcast_to(self.counts[users, None], shape)
        rating = np.where(support > 0, self.output[users], np.nan)

        def explain(cells: Pairs) -> Opaque:
            return Opaque(rating[cells] - self.baseline.at(users, cells))

        return Scores(rating, support, rating, explain)

    def weights(self) -> Mapping[str, Any]:
        """The trained weights by name."""
        return self.trained
