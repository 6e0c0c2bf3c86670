"""Ratings -> predictions from the users with similar ratings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from batch.models import Scores
from batch.models.attribution import neighbour_evidence
from batch.models.baseline import Baseline, fit_baseline
from batch.models.csr import Deviations, by_rating_count
from batch.models.evidence import Evidence, Neighbours
from batch.models.kernels import user_weighted_sums
from batch.models.prediction import predict
from batch.models.similarity import Profiles, profiles
from batch.params import Neighbourhood
from batch.ratings import Floats, Ints, Pairs, Ratings

SINGLE_FROM = 1e11
"""Users times ratings from which the sums over all neighbours are computed in float32.

It halves their time and changes a predicted rating by less than 1e-5 stars.
MovieLens 1M has 6e9, 25M has 4e12.
"""


@dataclass(frozen=True)
class UserUser:
    """r^_ui = b_ui + sum over v of s_uv (r_vi - b_vi) / (sum |s_uv| + lambda).

    v are the users who rated i.
    """

    baseline: Baseline
    users: Profiles  # (n_users, n_items)
    deviations: Deviations
    params: Neighbourhood

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,).

        Their similarities to all users, (b, n_users), are kept as long as the
        scores are, to explain them.
        """
        compared = self.users
        weighted, support, similarities = user_weighted_sums(
            compared.rows,
            compared.columns,
            compared.squares,
            compared.spec,
            self.deviations,
            users,
        )
        scores = predict(self.baseline, users, weighted, support, self.params)

        def explain(cells: Pairs) -> Evidence:
            return self._explain(cells, similarities, users, scores.rating)

        return replace(scores, explain=explain)

    def _explain(
        self, cells: Pairs, similarities: Floats, users: Ints, rating: Floats
    ) -> Neighbours:
        b = self.baseline
        if self.params.similarity == "adjusted_cosine":  # the compared values are r - b
            expected = b.mu + b.user, b.item
        else:
            expected = np.zeros_like(b.user), np.zeros_like(b.item)
        counts, means, agreement = neighbour_evidence(
            cells, self.users.columns, expected, similarities
        )
        departure = rating[cells] - b.at(users, cells)
        similar, opposed = counts.T  # (p,) each: of positive, of negative similarity
        mean, opposed_mean = means.T
        return Neighbours(similar, mean, agreement, opposed, opposed_mean, departure)

    def weights(self) -> Mapping[str, Any]:
        """Nothing is saved: the model consists of the ratings."""
        return {}


def fit(ratings: Ratings, params: Neighbourhood, seed: int) -> UserUser:  # noqa: ARG001
    """Fit the baseline; similarities are computed when users are scored.

    Nothing is random, so `seed` is unused.
    """
    baseline = fit_baseline(params.baseline, ratings)
    off = baseline.deviations(ratings)
    compared = off if params.similarity == "adjusted_cosine" else ratings.matrix
    single = ratings.n_users * ratings.n_ratings >= SINGLE_FROM
    deviations = by_rating_count(off, single=single)
    users = profiles(compared, compared.T.tocsr(), params)
    return UserUser(baseline, users, deviations, params)
