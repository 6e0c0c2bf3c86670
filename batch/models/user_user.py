"""Ratings -> predictions from the users who rated alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.models.kernels import Talk, heard, talk_of
from batch.models.neighbourhood import predict
from batch.models.similarity import Profiles, profiles
from batch.params import Neighbourhood
from batch.ratings import Ints, Ratings

SINGLE_FROM = 1e11
"""Sums over all neighbours, users times ratings, from where they are made in single precision: it halves their time,
and a rating changes by less than 1e-5 stars. MovieLens 1M has 6e9, 25M 4e12."""


@dataclass(frozen=True)
class UserUser:
    """r^_ui = b_ui + sum over v who rated i of s_uv (r_vi - b_vi) / (sum |s_uv| + lambda)."""

    baseline: Baseline
    users: Profiles  # (n_users, n_items)
    talk: Talk
    params: Neighbourhood

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,); similarities are made for a few of them and forgotten."""
        known = self.users
        weighted, support = heard(
            known.rows, known.columns, known.squares, known.like, self.talk, users
        )  # (b, n_items) each
        return predict(self.baseline, users, weighted, support, self.params)

    def weights(self) -> Mapping[str, Any]:
        """Nothing to keep: the model is the ratings."""
        return {}


def fit(ratings: Ratings, params: Neighbourhood, seed: int) -> UserUser:  # noqa: ARG001  nothing here is random
    """Fit the baseline; everything else is computed from the ratings as users are scored."""
    baseline = fit_baseline(params.baseline, ratings)
    deviations = baseline.deviations(ratings)
    compared = deviations if params.similarity == "adjusted_cosine" else ratings.matrix
    single = ratings.n_users * ratings.n_ratings >= SINGLE_FROM
    talk = talk_of(deviations, single=single)
    return UserUser(baseline, profiles(compared, compared.T.tocsr(), params), talk, params)
