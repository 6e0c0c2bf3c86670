"""Ratings -> predictions from the users who rated alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.models.kernels import Crowd, Likeness, cells, heard
from batch.models.neighbourhood import predict
from batch.models.similarity import profiles
from batch.params import Neighbourhood
from batch.ratings import Ints, Ratings, Sparse

SINGLE_FROM = 1e11
"""Sums over all neighbours, users times ratings, from where they are made in single precision: it halves their time,
and a rating changes by less than 1e-5 stars. MovieLens 1M has 6e9, 25M 4e12."""


@dataclass(frozen=True)
class UserUser:
    """r^_ui = b_ui + sum over v who rated i of s_uv (r_vi - b_vi) / (sum |s_uv| + lambda)."""

    baseline: Baseline
    crowd: Crowd
    like: Likeness
    params: Neighbourhood

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,); similarities are made for the block and forgotten."""
        weighted, support = heard(self.crowd, self.like, users)  # (b, n_items)
        return predict(self.baseline, users, weighted, support, self.params)

    def weights(self) -> Mapping[str, Any]:
        """Nothing to keep: the model is the ratings."""
        return {}


def fit(ratings: Ratings, params: Neighbourhood, seed: int) -> UserUser:  # noqa: ARG001  nothing here is random
    """Fit the baseline and seat the crowd; everything else is computed as users are scored."""
    baseline = fit_baseline(params.baseline, ratings)
    by_activity, by_fame = _order(ratings.user_counts()), _order(-ratings.item_counts())
    deviations = _seated(baseline.deviations(ratings), by_activity, by_fame)
    compared = deviations if params.similarity == "adjusted_cosine" else _seated(ratings.matrix, by_activity, by_fame)
    found = profiles(compared, compared.T.tocsr(), params)
    single = ratings.n_users * ratings.n_ratings >= SINGLE_FROM
    talk = cells(deviations, single=True) if single else cells(deviations)
    crowd = Crowd(np.argsort(by_activity), found.rows, found.columns, found.squares, talk, by_fame)
    return UserUser(baseline, crowd, found.like, params)


def _order(counts: Ints) -> Ints:
    """Rows or columns by count, fewest first, ties by key."""
    return np.argsort(counts, kind="stable")


def _seated(matrix: Sparse, by_activity: Ints, by_fame: Ints) -> Sparse:
    """The same cells by seat and place, CSR (n_users, n_items)."""
    places = np.argsort(by_fame).astype(np.int32)
    moved = sparse.csr_array((matrix.data, places[matrix.indices], matrix.indptr), shape=matrix.shape)[by_activity]
    moved.sort_indices()
    return moved
