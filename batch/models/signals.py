"""Ratings -> what the blend hears beside the models: fame, effects, genres, learnt weights, what came last."""

from dataclasses import dataclass

import numpy as np

from batch.models.baseline import Baseline, fit_baseline
from batch.models.interpolation import Taste, liking, preferring
from batch.ratings import Floats, Ints, Ratings, Sparse, filled

PREFERENCE_RIDGE, LIKING_RIDGE = 1000.0, 300.0
"""Of the learnt weights; chosen on the inner split of MovieLens latest-small, see docs/decisions.md."""
SESSIONS = (5, 15, 50)
"""Ratings over which what a user rated last fades, to 1/e: what comes next resembles what came just before."""
USUAL = 5.0
"""Ratings' worth of the average user in everyone's genre profile."""
FLOOR = 0.02
"""Added to learnt scores before the logarithm, so that those around 0 are alike."""
FAINT = -50.0
"""Exponent below which a faded rating counts the same: exp(-50) is nothing, and no underflow."""


@dataclass(frozen=True)
class Signals:
    """Everything by name for a block of users."""

    bias: Baseline
    fame: Floats  # ln(1 + ratings of the film), (n_items,)
    rated: Sparse  # 1 on every rated cell, CSR (n_users, n_items)
    genres: Floats  # of length 1 or 0, (n_items, n_genres)
    usual: Floats  # share of each genre in all ratings, (n_genres,)
    preference: Taste
    liking: Taste
    place: Floats | None  # (n_ratings,) how many ratings of the same user came later; None: no times are known

    def score(self, users: Ints) -> dict[str, Floats]:
        """name -> (b, n_items)"""
        shape = (len(users), len(self.fame))
        found = {
            "user_effect": np.broadcast_to(self.bias.user[users, None], shape),
            "item_effect": np.broadcast_to(self.bias.item, shape),
            "fame": np.broadcast_to(self.fame, shape),
            "affinity": self._affinity(users),
            "preference": _logarithm(self.preference.score(users)),
            "liking": _logarithm(self.liking.score(users)),
        }
        if self.place is not None:
            for length in SESSIONS:
                fading = np.exp(np.maximum(-self.place / length, FAINT))
                found[f"session_{length}"] = _logarithm(self.preference.score(users, fading))
        return found

    def _affinity(self, users: Ints) -> Floats:
        """ln of how much more than usual a user rates each genre, summed over the film's genres."""
        profile = self.rated[users] @ self.genres  # (b, n_genres)
        counts = self.rated[users].sum(axis=1)[:, None]  # (b, 1)
        known = self.usual > 0
        usual = np.where(known, self.usual, 1.0)
        lift = np.where(known, np.log((profile + USUAL * usual) / ((counts + USUAL) * usual)), 0.0)
        return np.asarray(lift @ self.genres.T)


def fit_signals(ratings: Ratings, preference: Taste | None) -> Signals:
    """`preference` is what `item_item` has learnt already, None where it orders its lists by the formula."""
    norms = np.sqrt((ratings.genres**2).sum(axis=1, keepdims=True))
    genres = np.divide(ratings.genres, norms, out=np.zeros_like(ratings.genres), where=norms > 0)
    counts = ratings.item_counts()
    return Signals(
        bias=fit_baseline("bias", ratings),
        fame=np.log1p(counts.astype(np.float64)),
        rated=filled(ratings.matrix, np.ones(ratings.n_ratings)),
        genres=genres,
        usual=counts @ genres / max(ratings.n_ratings, 1),
        preference=preference or preferring(ratings, PREFERENCE_RIDGE),
        liking=liking(ratings, LIKING_RIDGE),
        place=_place_from_last(ratings),
    )


def _place_from_last(ratings: Ratings) -> Floats | None:
    """0 for a user's last rating, 1 for the one before; 0 for all of a user with a rating whose time is not known."""
    if ratings.rated_at is None:
        return None
    users, timeless = ratings.user_of_rating(), ratings.timeless_users()
    by_time = np.lexsort((ratings.rated_at, users))
    place = np.empty(ratings.n_ratings)
    place[by_time] = ratings.matrix.indptr[users + 1] - 1 - np.arange(ratings.n_ratings)
    return np.where(np.isin(users, timeless), 0.0, place)


def _logarithm(scores: Floats) -> Floats:
    return np.log(np.maximum(scores, 0.0) + FLOOR)
