"""Similarity-weighted deviations -> predicted ratings: the formula both neighbourhood models share."""

import math

import numpy as np
from numba import types

from batch.models import Scores
from batch.models.baseline import Baseline
from batch.models.compiled import compiled, in_parts, read_only
from batch.params import Neighbourhood
from batch.ratings import Floats, Ints

ROWS_A_PART = 8
"""Users that a thread predicts for before it asks for more."""
_FLOATS, _BLOCK = types.Array(types.float64, 1, "C", readonly=True), types.float64[:, ::1]


def predict(
    baseline: Baseline, users: Ints, weighted: Floats, support: Floats, params: Neighbourhood
) -> Scores:
    """r^ = b + sum s (r - b) / (sum |s| + lambda); nan where no neighbour speaks. The sums are (b, n_items) each.

    Resnick et al. 1994 with the shrinkage of Bell and Koren 2007. Relevance adds w * ln(1 + support), so that a film
    many neighbours liked can outrank one that a single neighbour loved.
    """
    weight = float(params.support_weight)
    rating = np.empty_like(weighted)
    relevance = np.empty_like(weighted) if weight else rating
    effects = baseline.mu + baseline.user[users], baseline.item  # (b,), (n_items,)
    given = *map(read_only, effects), weighted, support, float(params.support_shrinkage), weight
    in_parts(
        lambda start, stop: _predict(start, stop, *given, rating, relevance),
        len(users),
        ROWS_A_PART,
    )
    return Scores(rating, support, relevance)


@compiled(
    (
        types.int64,
        types.int64,
        _FLOATS,
        _FLOATS,
        _BLOCK,
        _BLOCK,
        types.float64,
        types.float64,
        _BLOCK,
        _BLOCK,
    ),
)
def _predict(start, stop, levels, items, weighted, support, damping, weight, rating, relevance):  # type: ignore[no-untyped-def]
    for user in range(start, stop):
        for item in range(len(items)):
            evidence = support[user, item]
            if evidence > 0:
                said = levels[user] + items[item] + weighted[user, item] / (evidence + damping)
                rating[user, item] = said
                if weight != 0:
                    relevance[user, item] = said + weight * math.log1p(evidence)
            else:
                rating[user, item] = math.nan
                relevance[user, item] = math.nan
