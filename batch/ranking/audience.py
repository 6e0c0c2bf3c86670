"""Fitted models and a film -> how much each user would like it."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import sparse

from batch.models import PERSONAL
from batch.ranking.ensemble import Ensemble
from batch.ranking.mask import Mask
from batch.ratings import Bools, Floats, Ints, Ratings


class Appeal(NamedTuple):
    """A film's scores for the users that the blend can judge, (u,) each."""

    users: Ints
    score: Floats  # that the film has, or would have, in the user's list of the blend, 0 to 1
    rating: Floats  # stars of the blend, unclipped


def appeal(ensemble: Ensemble, item: int, users: Ints, block: int) -> Appeal:
    """The blend's scores of a film (column) for users with ratings, (u,), in their order.

    `block` users are scored at a time. It costs what their lists cost: a film's score is its
    probability of being liked beside the user's candidates, which have to be found for it.
    """
    blend = ensemble.blend
    if blend is None:
        raise ValueError("the ensemble has no blend")
    asked = _cells_of(ensemble.ratings, item, users)
    scores = np.empty(0)
    stars = np.empty(0)
    for found in ensemble.candidate_features(users, block, asked):
        score = blend.chances_beside(found.of_held, found.of_candidates, found.candidates.rows)
        scores = np.append(scores, score)
        stars = np.append(stars, blend.stars(found.of_held, found.held_baseline, PERSONAL))
    is_judged = ~np.isnan(scores)
    return Appeal(users[is_judged], scores[is_judged], stars[is_judged])


def eligible(ratings: Ratings, mask: Mask, item: int, least_ratings: int) -> Ints:
    """Rows of the users who may be shown a film and have at least so many ratings, in order."""
    is_eligible: Bools = ratings.user_counts() >= max(least_ratings, 1)
    if item in mask.for_everyone:
        is_eligible[:] = False
    for cells in (ratings.matrix, mask.for_user):  # CSR (n_users, n_items)
        places = np.flatnonzero(cells.indices == item)
        is_eligible[np.searchsorted(cells.indptr, places, side="right") - 1] = False
    return np.flatnonzero(is_eligible)


def _cells_of(ratings: Ratings, item: int, users: Ints) -> Ratings:
    """The same users and films with one cell for each of these users, of this film."""
    cells = np.ones(len(users)), (users, np.full(len(users), item))
    matrix = sparse.csr_array(cells, shape=ratings.matrix.shape)
    return replace(ratings, matrix=matrix, rated_at=None)
