"""Ratings -> predictions from the users who rated alike."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from batch.models import Scores
from batch.models.attribution import neighbour_evidence
from batch.models.baseline import Baseline, fit_baseline
from batch.models.evidence import Neighbours
from batch.models.kernels import Deviations, deviations_of, user_weighted_sums
from batch.models.prediction import predict
from batch.models.similarity import Profiles, profiles
from batch.params import Neighbourhood
from batch.ratings import Floats, Ints, Pairs, Ratings

SINGLE_FROM = 1e11
"""Sums over all neighbours, users times ratings, from where they are made in single precision: it halves their time,
and a rating changes by less than 1e-5 stars. MovieLens 1M has 6e9, 25M 4e12."""


@dataclass(frozen=True)
class UserUser:
    """r^_ui = b_ui + sum over v who rated i of s_uv (r_vi - b_vi) / (sum |s_uv| + lambda)."""

    baseline: Baseline
    users: Profiles  # (n_users, n_items)
    talk: Deviations
    params: Neighbourhood

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,); similarities are made for them, and live as long as the scores."""
        known = self.users
        weighted, support, alike = user_weighted_sums(
            known.rows, known.columns, known.squares, known.like, self.talk, users
        )
        scores = predict(self.baseline, users, weighted, support, self.params)  # (b, n_items) each
        return replace(
            scores, explain=lambda cells: self._explain(cells, alike, users, scores.rating)
        )

    def _explain(self, cells: Pairs, alike: Floats, users: Ints, rating: Floats) -> Neighbours:
        b, compared = (
            self.baseline,
            self.params.similarity == "adjusted_cosine",
        )  # then values are r - b
        expected = (
            (b.mu + b.user, b.item) if compared else (np.zeros_like(b.user), np.zeros_like(b.item))
        )
        counts, means, closest = neighbour_evidence(cells, self.users.columns, expected, alike)
        return Neighbours(
            counts[:, 0],
            means[:, 0],
            closest,
            counts[:, 1],
            means[:, 1],
            rating[cells] - b.at(users, cells),
        )

    def weights(self) -> Mapping[str, Any]:
        """Nothing to keep: the model is the ratings."""
        return {}


def fit(ratings: Ratings, params: Neighbourhood, seed: int) -> UserUser:  # noqa: ARG001  nothing here is random
    """Fit the baseline; everything else is computed from the ratings as users are scored."""
    baseline = fit_baseline(params.baseline, ratings)
    deviations = baseline.deviations(ratings)
    compared = deviations if params.similarity == "adjusted_cosine" else ratings.matrix
    single = ratings.n_users * ratings.n_ratings >= SINGLE_FROM
    talk = deviations_of(deviations, single=single)
    return UserUser(baseline, profiles(compared, compared.T.tocsr(), params), talk, params)
