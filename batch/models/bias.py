"""Ratings -> the `bias` baseline as a model: mu + b_u + b_i, the same order of films for everyone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.ratings import Floats, Ints, Ratings


@dataclass(frozen=True)
class Bias:
    """Speaks of every film, for anyone: support is the film's rating count plus one."""

    baseline: Baseline
    support: Floats  # (n_items,)

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,)."""
        rating = self.baseline.rows(users)  # (b, n_items)
        return Scores(rating, np.broadcast_to(self.support, rating.shape), rating)

    def weights(self) -> Mapping[str, Any]:
        """Nothing to keep: it is refitted in milliseconds."""
        return {}


def fit(ratings: Ratings, params: None, seed: int) -> Bias:  # noqa: ARG001  every model is fitted by the same call
    """Fit the regularised baseline; see `fit_baseline`."""
    return Bias(fit_baseline("bias", ratings), (ratings.item_counts() + 1.0).astype(np.float64))
