"""Ratings -> the `bias` baseline as a model: mu + b_u + b_i."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.ratings import Floats, Ints, Ratings


@dataclass(frozen=True)
class Bias:
    """Predicts a rating for every user and film.

    Films have the same order for all users. Support is the film's rating count
    plus one.
    """

    baseline: Baseline
    support: Floats  # (n_items,)

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,)."""
        rating = self.baseline.rows(users)  # (b, n_items)
        support = np.broadcast_to(self.support, rating.shape)
        return Scores(rating, support, relevance=rating)

    def weights(self) -> Mapping[str, Any]:
        """Nothing is saved: it is refitted in milliseconds."""
        return {}


def fit(ratings: Ratings, params: None, seed: int) -> Bias:  # noqa: ARG001
    """Fit the regularised baseline; `params` and `seed` are unused."""
    support = ratings.item_counts() + 1.0
    return Bias(fit_baseline("bias", ratings), support.astype(np.float64))
