"""Ratings -> the `popular` baseline: films ordered by a rating count that fades with time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.ratings import NEWEST, Bools, Floats, Ints, Pairs, Ratings, Sparse, some

DAY = 86_400.0  # seconds
HALF_LIVES = (365.0, 90.0, 30.0, 14.0, 7.0, 3.0, 1.0)
"""Days after which a rating counts half, to choose from, the longest first."""
LEAST_WEIGHT = 2.0**-20
"""What the oldest rating still counts, so that films nobody rates any more keep an order."""
JUDGED_USERS = 5000
"""Maximum users, a seeded sample, on which it is chosen."""
LISTED = 5
"""Length of the lists that are compared."""
DEEPEST = 1000
"""Films, the first of an order, among which a user's unseen ones are looked for."""


@dataclass(frozen=True)
class Popular:
    """Orders films by rating count and predicts no rating.

    Films without ratings are left out.
    """

    baseline: Baseline
    counts: Floats  # (n_items,) ratings, the old ones counting less if there is a half-life
    half_life: float | None  # days; None where every rating counts one

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,)."""
        shape = (len(users), len(self.counts))
        relevance = np.where(self.counts > 0, self.counts, np.nan)  # (n_items,)
        return Scores(
            rating=np.full(shape, np.nan),
            support=np.broadcast_to(self.counts, shape),
            relevance=np.broadcast_to(relevance, shape),
        )

    def weights(self) -> Mapping[str, Any]:
        """Nothing is saved: it is a count."""
        return {}


def fit(ratings: Ratings, params: None, seed: int) -> Popular:  # noqa: ARG001
    """Count the ratings of each item, with the half-life that fits these ratings best."""
    return of_half_life(ratings, choose_half_life(ratings, seed))


def of_half_life(ratings: Ratings, half_life: float | None) -> Popular:
    """The order of films at this half-life, days."""
    return Popular(fit_baseline("user_mean", ratings), fading_counts(ratings, half_life), half_life)


def fading_counts(
    ratings: Ratings, half_life: float | None, counted: Bools | None = None
) -> Floats:
    """Ratings of each item, (n_items,), each counting 2^(-age / half_life).

    Its age is the time from it to `ratings.now`. One of unknown time counts as
    little as the oldest. `counted`, (n_ratings,), are the ratings that count
    at all.
    """
    columns = ratings.matrix.indices
    if half_life is None or ratings.rated_at is None:
        weights = np.ones(ratings.n_ratings)
    else:
        ages = np.maximum((ratings.now - ratings.rated_at) / DAY, 0.0)
        weights = np.maximum(np.exp2(-np.nan_to_num(ages, nan=np.inf) / half_life), LEAST_WEIGHT)
    if counted is not None:
        weights *= counted
    return np.bincount(columns, weights, minlength=ratings.n_items).astype(np.float64)


def choose_half_life(ratings: Ratings, seed: int) -> float | None:
    """The half-life, days, whose lists hold most of what the same users rated next.

    The newest ratings are held out, and NDCG is compared; of equal ones the
    longest is taken. None where none is better than the plain count by more than
    the standard error, or there are no times.
    """
    is_next = ratings.newest(NEWEST)
    known = ratings.keep(~is_next)
    later = ratings.keep(is_next)
    judged = np.flatnonzero((known.user_counts() > 0) & (later.user_counts() > 0))
    judged = some(judged, JUDGED_USERS, seed)
    if not len(judged):
        return None
    seen = known.matrix[judged]
    wanted = later.matrix[judged]
    plain = _ndcg(fading_counts(known, None), seen, wanted)  # (u,)
    chosen: float | None = None
    largest = 0.0
    for half_life in HALF_LIVES:
        gains = _ndcg(fading_counts(known, half_life), seen, wanted) - plain
        error = gains.std() / np.sqrt(len(gains))
        if gains.mean() > max(largest, error):
            chosen = half_life
            largest = gains.mean()
    return chosen


def _ndcg(counts: Floats, seen: Sparse, wanted: Sparse) -> Floats:
    """NDCG by user, (u,), of the same order of films for everyone, less what each has seen.

    `seen` and `wanted` are CSR (u, n_items).
    """
    order = np.argsort(-counts, kind="stable")[:DEEPEST]
    place = np.full(len(counts), -1)
    place[order] = np.arange(len(order))
    is_seen = _at_places(seen, place, len(order))  # (u, places)
    is_wanted = _at_places(wanted, place, len(order))
    rank = np.cumsum(~is_seen, axis=1)  # (u, places) from 1, of the unseen films
    is_hit = is_wanted & ~is_seen & (rank <= LISTED)
    discounts = 1.0 / np.log2(np.arange(LISTED) + 2.0)
    gained = np.where(is_hit, discounts[np.minimum(rank, LISTED) - 1], 0.0).sum(axis=1)  # (u,)
    ideal = np.cumsum(discounts)[np.minimum(np.diff(wanted.indptr), LISTED) - 1]  # (u,)
    return np.asarray(gained / ideal)


def _at_places(cells: Sparse, place: Ints, n_places: int) -> Bools:
    """Whether each user has a cell at the film of each place, (u, n_places)."""
    pairs = Pairs.stored(cells)
    places = place[pairs.columns]
    has = np.zeros((cells.shape[0], n_places), dtype=np.bool_)
    kept = places >= 0
    has[pairs.rows[kept], places[kept]] = True
    return has
