"""Ratings -> predictions from the user's own ratings of similar films."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from batch.models import Scores
from batch.models.attribution import heaviest_ratings
from batch.models.baseline import Baseline, fit_baseline
from batch.models.csr import Cells, cells
from batch.models.evidence import Evidence, OwnRatings
from batch.models.kernels import item_weighted_sums
from batch.models.prediction import predict
from batch.models.preference import Preference, fit_preference
from batch.models.similarity import profiles, sparse_similarities
from batch.params import ItemNeighbourhood
from batch.ratings import NOBODY, Floats, Ints, Pairs, Ratings


@dataclass(frozen=True)
class ItemItem:
    """r^_ui = b_ui + sum over j that u rated of s_ij (r_uj - b_uj) / (sum |s_ij| + lambda).

    A list is ordered by r^, or by learnt weights between films (`ease.py`),
    which predict what a user watches next rather than what they would rate
    highest.
    """

    baseline: Baseline
    ratings: Cells  # stars, (n_users, n_items)
    similarities: Cells  # s_ij by rated film j and target film i, (n_items, n_items)
    preference: Preference | None  # orders the list where `learnt_ridge` is set
    params: ItemNeighbourhood

    def score(self, users: Ints, preferred: Floats | None = None) -> Scores:
        """Score every item for these users, (b,).

        `preferred` are their scores by `preference`, (b, n_items), where they are known.
        """
        weighted, support = item_weighted_sums(
            users, self.ratings, self.baseline, self.similarities
        )
        predicted = predict(self.baseline, users, weighted, support, self.params)

        def explain(cells: Pairs) -> Evidence:
            return self._explain(cells, users, predicted)

        scores = replace(predicted, explain=explain)
        if self.preference is None:
            return scores
        if preferred is None:
            preferred = self.preference.score(users)
        relevance = np.where(support > 0, preferred, np.nan)
        return replace(scores, relevance=relevance)

    def _explain(self, cells: Pairs, users: Ints, predicted: Scores) -> OwnRatings:
        """Reasons for predicted ratings, with the film that each was listed for."""
        divisors = predicted.support[cells] + float(self.params.support_shrinkage)
        films, stars, weights = heaviest_ratings(
            users, cells, self.ratings, self.baseline, self.similarities, divisors
        )
        if self.preference is None:
            listed_for = np.full(len(divisors), NOBODY)
        else:
            listed_for = self.preference.strongest(users, cells)
        departure = predicted.rating[cells] - self.baseline.at(users, cells)
        return OwnRatings(films, stars, weights, departure, listed_for)

    def weights(self) -> Mapping[str, Any]:
        """Nothing is saved: the model consists of the ratings."""
        return {}


def fit(
    ratings: Ratings,
    params: ItemNeighbourhood,
    seed: int,  # noqa: ARG001
    *,
    users: Ints | None = None,
    preference: Preference | None = None,
) -> ItemItem:
    """Fit the baseline, the similarities between films, and learnt weights if wanted.

    With `neighbours: k` each target film keeps its k most similar films. Where only
    some `users`, (u,), are to be scored, the similarities to their films are enough.
    `preference` are weights that were learnt before. Nothing is random, so `seed` is
    unused.
    """
    baseline = fit_baseline(params.baseline, ratings)
    compared = ratings.matrix
    if params.similarity == "adjusted_cosine":
        compared = baseline.deviations(ratings)
    items = profiles(compared.T.tocsr(), compared, params)
    wanted = None
    if users is not None and params.neighbours == "all":
        wanted = np.zeros(ratings.n_items, dtype=np.bool_)
        wanted[ratings.matrix[users].indices] = True
    by_target = sparse_similarities(items, wanted)  # row i: the neighbours of target i
    # With all neighbours s_ij = s_ji, and nothing needs to be transposed.
    by_rated = by_target if params.neighbours == "all" else by_target.T.tocsr()
    # Each is as large as the ratings, and learning weights takes more memory.
    del compared, items, by_target
    if not params.learnt_ridge:
        preference = None
    elif preference is None:
        preference = fit_preference(ratings, params.learnt_ridge)
    stars = cells(ratings.matrix)
    return ItemItem(baseline, stars, cells(by_rated), preference, params)
