"""Similarity-weighted deviations -> predicted ratings: the formula both neighbourhood models share."""

import numpy as np

from batch.models import Scores
from batch.params import Neighbourhood
from batch.ratings import Floats


def predict(baseline: Floats, weighted: Floats, support: Floats, params: Neighbourhood) -> Scores:
    """r^ = b + sum s (r - b) / (sum |s| + lambda), all (b, n_items); nan where no neighbour speaks.

    Resnick et al. 1994 with the shrinkage of Bell and Koren 2007. Relevance adds w * ln(1 + support), so that a film
    many neighbours liked can outrank one that a single neighbour loved.
    """
    known = support > 0
    shift = np.divide(weighted, support + params.support_shrinkage, out=np.zeros_like(weighted), where=known)
    rating = np.where(known, baseline + shift, np.nan)
    if params.support_weight == 0:
        return Scores(rating, support, rating)
    return Scores(rating, support, rating + params.support_weight * np.log1p(support))
