"""Ratings -> what the blend hears beside the models: fame, effects, genres, learnt weights, what came last."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import types

from batch.models.baseline import Baseline, fit_baseline
from batch.models.compiled import compiled, in_parts, read_only
from batch.models.ease import Preference, fit_liking, fit_preference
from batch.ratings import Bools, Floats, Ints, Pairs, Ratings, Sparse, with_data

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
ROWS_A_PART = 8
"""Users that a thread promises films before it asks for more."""


class PreferenceScores(NamedTuple):
    """What the two learnt tastes of a block of users promise, (b, n_items) each."""

    preference: Floats
    liking: Floats

    def of(self, rows: Ints) -> "PreferenceScores":
        """The same of some users of the block."""
        return PreferenceScores(self.preference[rows], self.liking[rows])

    def promise(self, able: Bools) -> Floats:
        """What candidates are chosen by, (b, n_items); nan for films that are not `able`, (n_items,)."""
        found = np.empty_like(self.preference)
        given = *map(read_only, (self.preference, self.liking)), able, found
        in_parts(lambda start, stop: _promise(start, stop, *given), len(found), ROWS_A_PART)
        return found

    def promised(self, pairs: Pairs) -> Floats:
        """The same of some cells, (p,)."""
        return _logarithm(self.preference[pairs]) + _logarithm(self.liking[pairs])


@dataclass(frozen=True)
class FeatureModel:
    """Everything by name for a block of users."""

    bias: Baseline
    fame: Floats  # ln(1 + ratings of the film), (n_items,)
    rated: Sparse  # 1 on every rated cell, CSR (n_users, n_items)
    genres: Floats  # of length 1 or 0, (n_items, n_genres)
    usual: Floats  # share of each genre in all ratings, (n_genres,)
    preference: Preference
    liking: Preference
    place: (
        Sparse | None
    )  # on every rated cell how many of the same user's came later; None: no times are known

    def tastes(self, users: Ints) -> PreferenceScores:
        """What every film promises these users."""
        return PreferenceScores(self.preference.score(users), self.liking.score(users))

    def at(self, users: Ints, pairs: Pairs, tastes: PreferenceScores) -> dict[str, Floats]:
        """name -> (p,), of some cells of these users."""
        rows, columns = pairs
        found = {
            "user_effect": self.bias.user[users[rows]],
            "item_effect": self.bias.item[columns],
            "fame": self.fame[columns],
            "affinity": np.einsum("pg,pg->p", self._lift(users)[rows], self.genres[columns]),
            "preference": _logarithm(tastes.preference[pairs]),
            "liking": _logarithm(tastes.liking[pairs]),
        }
        if self.place is not None:
            later = self.place[users].data  # (ratings of these users,)
            fadings = [np.exp(np.maximum(-later / length, FAINT)) for length in SESSIONS]
            for length, scores in zip(
                SESSIONS, self.preference.at(users, pairs, fadings), strict=True
            ):
                found[f"session_{length}"] = _logarithm(scores)
        return found

    def _lift(self, users: Ints) -> Floats:
        """ln of how much more than usual each user rates each genre, (b, n_genres)."""
        profile = self.rated[users] @ self.genres  # (b, n_genres)
        counts = np.diff(self.rated.indptr)[users][:, None]  # (b, 1)
        known = self.usual > 0
        usual = np.where(known, self.usual, 1.0)
        return np.where(known, np.log((profile + USUAL * usual) / ((counts + USUAL) * usual)), 0.0)


def fit_feature_model(ratings: Ratings, preference: Preference | None) -> FeatureModel:
    """`preference` is what `item_item` has learnt already, None where it orders its lists by the formula."""
    norms = np.sqrt((ratings.genres**2).sum(axis=1, keepdims=True))
    genres = np.divide(ratings.genres, norms, out=np.zeros_like(ratings.genres), where=norms > 0)
    counts = ratings.item_counts()
    return FeatureModel(
        bias=fit_baseline("bias", ratings),
        fame=np.log1p(counts.astype(np.float64)),
        rated=with_data(ratings.matrix, np.ones(ratings.n_ratings, dtype=np.int8)),
        genres=genres,
        usual=counts @ genres / max(ratings.n_ratings, 1),
        preference=preference or fit_preference(ratings, PREFERENCE_RIDGE),
        liking=fit_liking(ratings, LIKING_RIDGE),
        place=_place_from_last(ratings),
    )


def _place_from_last(ratings: Ratings) -> Sparse | None:
    """0 for a user's last rating, 1 for the one before; 0 for all of a user with a rating whose time is not known."""
    if ratings.rated_at is None:
        return None
    timeless, starts = set(ratings.timeless_users().tolist()), ratings.matrix.indptr
    place = np.zeros(ratings.n_ratings, dtype=np.int32)
    for user in range(ratings.n_users):
        if user not in timeless:
            mine = slice(starts[user], starts[user + 1])
            by_time = np.argsort(ratings.rated_at[mine], kind="stable")
            place[mine][by_time] = np.arange(len(by_time) - 1, -1, -1)
    return with_data(ratings.matrix, place)


def _logarithm(scores: Floats) -> Floats:
    return np.log(np.maximum(scores, 0.0) + FLOOR)


_READ = types.Array(types.float64, 2, "C", readonly=True)


@compiled((types.int64, types.int64, _READ, _READ, types.boolean[::1], types.float64[:, ::1]))
def _promise(start, stop, preference, liking, able, found):  # type: ignore[no-untyped-def]
    """The sum of both logarithms, as `_logarithm` takes them; the many films of which nothing is said cost none."""
    silence = 2 * math.log(FLOOR)
    for user in range(start, stop):
        for item in range(len(able)):
            one, other = max(preference[user, item], 0.0), max(liking[user, item], 0.0)
            if not able[item]:
                found[user, item] = math.nan
            elif one + other == 0:
                found[user, item] = silence
            else:
                found[user, item] = math.log(one + FLOOR) + math.log(other + FLOOR)
