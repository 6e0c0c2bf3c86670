"""Ratings -> predictions from the user's own ratings of films that are rated alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.models.neighbourhood import predict
from batch.models.similarity import profiles, sparse_similarities
from batch.params import Neighbourhood
from batch.ratings import Ints, Ratings, Sparse

BLOCK_CELLS = 1_000_000
"""Cells of the dense block (b, n_items) in which similarities are made: 8 MB an array. Larger ones cost page faults."""


@dataclass(frozen=True)
class ItemItem:
    """r^_ui = b_ui + sum over j that u rated of s_ij (r_uj - b_uj) / (sum |s_ij| + lambda)."""

    baseline: Baseline
    deviations: Sparse  # r - b, CSR (n_users, n_items)
    rated: Sparse  # 1 on every rated cell, CSR (n_users, n_items)
    voices: Sparse  # s_ij by rated item j and target i, CSR (n_items, n_items)
    loudness: Sparse  # |s_ij| likewise
    params: Neighbourhood

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,)."""
        weighted = (self.deviations[users] @ self.voices).toarray()  # (b, n_items)
        support = (self.rated[users] @ self.loudness).toarray()
        return predict(self.baseline.rows(users), weighted, support, self.params)

    def weights(self) -> Mapping[str, Any]:
        """Nothing to keep: the model is the ratings."""
        return {}


def fit(ratings: Ratings, params: Neighbourhood, seed: int) -> ItemItem:  # noqa: ARG001  nothing here is random
    """Fit the baseline and the similarities between items; with `neighbours: k` each target keeps its k strongest."""
    baseline = fit_baseline(params.baseline, ratings)
    deviations = baseline.deviations(ratings)
    items = profiles(ratings.matrix.T.tocsr(), deviations.T.tocsr(), params)  # (n_items, n_users)
    block = max(1, BLOCK_CELLS // max(ratings.n_items, 1))
    by_target = sparse_similarities(items, block)  # row i: the neighbours of target i
    voices = by_target.T.tocsr()
    return ItemItem(baseline, deviations, items.rated.T.tocsr(), voices, abs(voices), params)
