"""Ratings -> predictions from the user's own ratings of films that are rated alike."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from batch.models import Scores
from batch.models.attribution import heaviest_ratings
from batch.models.baseline import Baseline, fit_baseline
from batch.models.ease import Preference, fit_preference
from batch.models.evidence import OwnRatings
from batch.models.kernels import Cells, cells, item_weighted_sums
from batch.models.prediction import predict
from batch.models.similarity import profiles, sparse_similarities
from batch.params import ItemNeighbourhood
from batch.ratings import NOBODY, Ints, Pairs, Ratings


@dataclass(frozen=True)
class ItemItem:
    """r^_ui = b_ui + sum over j that u rated of s_ij (r_uj - b_uj) / (sum |s_ij| + lambda).

    Lists are ordered by it, or by learnt weights between films (`interpolation.py`), which find what a user would
    watch rather than what they would rate highly.
    """

    baseline: Baseline
    ratings: Cells  # stars, (n_users, n_items)
    voices: Cells  # s_ij by rated item j and target i, (n_items, n_items)
    preference: Preference | None  # learnt weights that order the list, with `learnt_ridge`
    params: ItemNeighbourhood

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,)."""
        weighted, support = item_weighted_sums(
            users, self.ratings, self.baseline, self.voices
        )  # (b, n_items) each
        said = predict(self.baseline, users, weighted, support, self.params)
        scores = replace(said, explain=lambda cells: self._explain(cells, users, said))
        if self.preference is None:
            return scores
        return replace(
            scores, relevance=np.where(support > 0, self.preference.score(users), np.nan)
        )

    def _explain(self, cells: Pairs, users: Ints, said: Scores) -> OwnRatings:
        """Of the predicted rating, to the sum; and the one film that the learnt weights, if any, listed it for."""
        evidence = said.support[cells] + float(self.params.support_shrinkage)
        voices = heaviest_ratings(users, cells, self.ratings, self.baseline, self.voices, evidence)
        nobody = np.full(len(evidence), NOBODY)
        listed_for = nobody if self.preference is None else self.preference.strongest(users, cells)
        return OwnRatings(*voices, said.rating[cells] - self.baseline.at(users, cells), listed_for)

    def weights(self) -> Mapping[str, Any]:
        """Nothing to keep: the model is the ratings."""
        return {}


def fit(ratings: Ratings, params: ItemNeighbourhood, seed: int) -> ItemItem:  # noqa: ARG001  nothing here is random
    """Fit the baseline and the similarities between items; with `neighbours: k` each target keeps its k strongest."""
    baseline = fit_baseline(params.baseline, ratings)
    compared = (
        baseline.deviations(ratings) if params.similarity == "adjusted_cosine" else ratings.matrix
    )
    items = profiles(compared.T.tocsr(), compared, params)
    by_target = sparse_similarities(items)  # row i: the neighbours of target i
    voices = (
        by_target if params.neighbours == "all" else by_target.T.tocsr()
    )  # s_ij = s_ji while all are kept
    del compared, items, by_target  # as large as the ratings, and more is to come
    preference = fit_preference(ratings, params.learnt_ridge) if params.learnt_ridge else None
    return ItemItem(baseline, cells(ratings.matrix), cells(voices), preference, params)
