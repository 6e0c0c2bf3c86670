"""Ratings -> the `popular` baseline: films ordered by rating count."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.ratings import Floats, Ints, Ratings


@dataclass(frozen=True)
class Popular:
    """Orders films by rating count and predicts no rating.

    Films without ratings are left out.
    """

    baseline: Baseline
    counts: Floats  # (n_items,)

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,)."""
        shape = (len(users), len(self.counts))
        relevance = np.where(self.counts > 0, self.counts, np.nan)  # (n_items,)
        return Scores(
            rating=np.full(shape, np.nan),
            support=np.broadcast_to(self.counts, shape),
            relevance=np.broadcast_to(relevance, shape),
        )

    def weights(self) -> Mapping[str, Any]:
        """Nothing is saved: it is a count."""
        return {}


def fit(ratings: Ratings, params: None, seed: int) -> Popular:  # noqa: ARG001
    """Count the ratings of each item; `params` and `seed` are unused."""
    counts = ratings.item_counts().astype(np.float64)
    return Popular(fit_baseline("user_mean", ratings), counts)
