"""Similarity-weighted sums -> predicted ratings, for both neighbourhood models."""

import math

import numpy as np

from batch.models import Scores
from batch.models.baseline import Baseline
from batch.models.compiled import FLOAT, FLOATS, INT, TABLE_OUT, compiled, in_parts, read_only
from batch.params import Neighbourhood
from batch.ratings import Floats, Ints

ROWS_A_PART = 8
"""Users that a thread takes at a time."""


def predict(
    baseline: Baseline, users: Ints, weighted: Floats, support: Floats, params: Neighbourhood
) -> Scores:
    """r^ = b + sum s (r - b) / (sum |s| + lambda); nan where no neighbour rated the film.

    `weighted` and `support` are the two sums for these users, (b, n_items)
    each. The formula is that of Resnick et al. 1994 with the shrinkage of Bell
    and Koren 2007. Relevance adds w * ln(1 + support), so that a film that
    many neighbours liked can come before one that a single neighbour rated
    highest.
    """
    weight = float(params.support_weight)
    shrinkage = float(params.support_shrinkage)
    rating = np.empty_like(weighted)
    relevance = np.empty_like(weighted) if weight else rating
    user_levels = read_only(baseline.mu + baseline.user[users])  # (b,)
    item_effects = read_only(baseline.item)  # (n_items,)
    sums = weighted, support, shrinkage, weight

    def part(start: int, stop: int) -> None:
        _predict(start, stop, user_levels, item_effects, *sums, rating, relevance)

    in_parts(part, len(users), ROWS_A_PART)
    return Scores(rating, support, relevance)


_SUMS = (TABLE_OUT, TABLE_OUT, FLOAT, FLOAT)


@compiled((INT, INT, FLOATS, FLOATS, *_SUMS, TABLE_OUT, TABLE_OUT))
def _predict(  # type: ignore[no-untyped-def]
    start,
    stop,
    user_levels,
    item_effects,
    weighted,
    support,
    shrinkage,
    weight,
    rating,
    relevance,
):
    for user in range(start, stop):
        for item in range(len(item_effects)):
            evidence = support[user, item]
            if evidence > 0:
                expected = user_levels[user] + item_effects[item]
                stars = expected + weighted[user, item] / (evidence + shrinkage)
                rating[user, item] = stars
                if weight != 0:
                    relevance[user, item] = stars + weight * math.log1p(evidence)
            else:
                rating[user, item] = math.nan
                relevance[user, item] = math.nan
