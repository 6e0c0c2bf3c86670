"""Ratings -> the `popular` baseline: the films with the most ratings, for everyone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.ratings import Floats, Ints, Ratings


@dataclass(frozen=True)
class Popular:
    """Orders films by rating count and predicts no rating; a film nobody rated is not popular, and absent."""

    baseline: Baseline
    counts: Floats  # (n_items,)

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,)."""
        shape = (len(users), len(self.counts))
        relevance = np.where(self.counts > 0, self.counts, np.nan)
        return Scores(
            np.full(shape, np.nan),
            np.broadcast_to(self.counts, shape),
            np.broadcast_to(relevance, shape),
        )

    def weights(self) -> Mapping[str, Any]:
        """Nothing to keep: it is a count."""
        return {}


def fit(ratings: Ratings, params: None, seed: int) -> Popular:  # noqa: ARG001  every model is fitted by the same call
    """Count the ratings of each item."""
    return Popular(fit_baseline("user_mean", ratings), ratings.item_counts().astype(np.float64))
