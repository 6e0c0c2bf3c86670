"""What a fitted peer is, for `judge`, and the values that rankers are fitted on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.params import LIKED_SHARE
from batch.ratings import Floats, Ints, Ratings, Sparse, with_data

Rows: TypeAlias = Callable[[Ints], Floats]
"""Users, (b,) -> values of every film, (b, n_items)."""


@dataclass(frozen=True)
class FittedPeer:
    """A fitted model of another project; a `batch.models.Model`.

    Rows are computed as they are asked for: a table of all users by all films takes 0.8 GB on
    MovieTweetings.
    """

    baseline: Baseline
    rows: Rows
    in_stars: bool  # whether the values are predicted ratings

    def score(self, users: Ints) -> Scores:
        """The rows of these users, (b,); a peer has no support, so it is 1 throughout."""
        values = self.rows(users)  # (b, n_items)
        rating = values if self.in_stars else np.full(values.shape, np.nan)
        return Scores(rating, np.ones_like(values), values)

    def weights(self) -> Mapping[str, Any]:
        """None to store."""
        return {}


def ranker(ratings: Ratings, rows: Rows) -> FittedPeer:
    """A peer that orders films and predicts no rating."""
    return FittedPeer(fit_baseline("bias", ratings), rows, in_stars=False)


def predictor(ratings: Ratings, rows: Rows) -> FittedPeer:
    """A peer that predicts ratings, and orders films by them."""
    return FittedPeer(fit_baseline("bias", ratings), rows, in_stars=True)


def liked_from(ratings: Ratings) -> float:
    """Stars from which a film counts as liked, as `evaluation.relevant_from` has it."""
    return LIKED_SHARE * ratings.scale[1]


def values_of(ratings: Ratings, values: str) -> Sparse:
    """CSR (n_users, n_items): 1 for every rating (`rated`) or liked film (`liked`), or the `stars`.

    Which one is part of a ranker's setting.
    """
    if values == "stars":
        return ratings.matrix
    if values == "liked":
        ratings = ratings.keep(ratings.matrix.data >= liked_from(ratings))
    return with_data(ratings.matrix, np.ones(ratings.n_ratings))


def scaled(matrix: Sparse, rows: Floats, columns: Floats) -> Sparse:
    """diag(rows) X diag(columns), CSR; `rows` are (n_rows,), `columns` (n_columns,)."""
    return (sparse.diags_array(rows) @ matrix @ sparse.diags_array(columns)).tocsr()
