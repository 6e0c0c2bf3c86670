"""Ratings -> predictions from the users who rated alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.models.kernels import Cells, cells, heard
from batch.models.neighbourhood import predict
from batch.models.similarity import Profiles, profiles, similarities
from batch.params import Neighbourhood
from batch.ratings import Ints, Ratings


@dataclass(frozen=True)
class UserUser:
    """r^_ui = b_ui + sum over v who rated i of s_uv (r_vi - b_vi) / (sum |s_uv| + lambda)."""

    baseline: Baseline
    users: Profiles  # (n_users, n_items)
    deviations: Cells  # r - b, (n_users, n_items)
    params: Neighbourhood

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,); similarities are made for the block and forgotten."""
        s = similarities(self.users, users)  # (b, n_users)
        weighted, support = heard(s, self.deviations, len(self.baseline.item))  # (b, n_items)
        return predict(self.baseline.rows(users), weighted, support, self.params)

    def weights(self) -> Mapping[str, Any]:
        """Nothing to keep: the model is the ratings."""
        return {}


def fit(ratings: Ratings, params: Neighbourhood, seed: int) -> UserUser:  # noqa: ARG001  nothing here is random
    """Fit the baseline; everything else is computed from the ratings as users are scored."""
    baseline = fit_baseline(params.baseline, ratings)
    deviations = baseline.deviations(ratings)
    return UserUser(baseline, profiles(ratings.matrix, deviations, params), cells(deviations), params)
