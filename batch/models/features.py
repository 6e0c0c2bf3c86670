"""Ratings -> features of the blend: counts, effects, genres, learnt weights, sessions, trends."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import types

from batch.models.baseline import Baseline, fit_baseline
from batch.models.compiled import INT, TABLE, TABLE_OUT, compiled, in_parts, read_only
from batch.models.preference import Preference, fit_liking, fit_preference
from batch.models.trends import Trends, fit_trends
from batch.ratings import Bools, Floats, Ints, Pairs, Ratings, Sparse, with_data

PREFERENCE_RIDGE = 1000.0
LIKING_RIDGE = 300.0
"""Ridges of the learnt weights, chosen on the inner split of MovieLens latest-small.

See docs/decisions.md.
"""
SESSIONS = (5, 15, 50)
"""Numbers of later ratings after which a rating counts 1/e.

What a user watches next resembles what they watched last.
"""
AVERAGE_RATINGS = 5.0
"""Ratings of an average user that are added to each user's genre counts."""
FLOOR = 0.02
"""Added to scores before the logarithm, so that those around 0 differ little."""
MIN_EXPONENT = -50.0
"""Limit of the fading exponent: exp(-50) is practically 0, and does not underflow."""
ROWS_A_PART = 8
"""Users that a thread takes at a time."""


class Learnt(NamedTuple):
    """Both sets of learnt weights."""

    preference: Preference  # from how far ratings are above indifference
    liking: Preference  # from which films were liked


class PreferenceScores(NamedTuple):
    """Scores by both sets of learnt weights, (b, n_items) each."""

    preference: Floats  # learnt from how far ratings are above indifference
    liking: Floats  # learnt from which films were liked

    def of(self, rows: Ints) -> "PreferenceScores":
        """The scores of some users of the block."""
        return PreferenceScores(self.preference[rows], self.liking[rows])

    def candidate_scores(self, eligible: Bools) -> Floats:
        """The scores that candidates are chosen by, (b, n_items).

        They are the sum of the logarithms of both scores, nan for films that
        are not `eligible`, (n_items,).
        """
        preference = read_only(self.preference)
        liking = read_only(self.liking)
        scores = np.empty_like(self.preference)

        def part(start: int, stop: int) -> None:
            _sum_of_logarithms(start, stop, preference, liking, eligible, scores)

        in_parts(part, len(scores), ROWS_A_PART)
        return scores

    def candidate_scores_at(self, pairs: Pairs) -> Floats:
        """The same sum for these cells, (p,)."""
        return _logarithm(self.preference[pairs]) + _logarithm(self.liking[pairs])


@dataclass(frozen=True)
class FeatureModel:
    """The data that the features of any user and film are computed from."""

    bias: Baseline
    log_counts: Floats  # ln(1 + ratings of the film), (n_items,)
    rated: Sparse  # 1 on every rated cell, CSR (n_users, n_items)
    genres: Floats  # of length 1, or 0 for a film without genres, (n_items, n_genres)
    genre_shares: Floats  # mean of `genres` over all ratings, (n_genres,)
    preference: Preference
    liking: Preference
    later_ratings: Sparse | None
    """For each rating how many of the same user came later; None without times."""
    trends: Trends | None
    """What is rated now; None without times."""

    def preference_scores(self, users: Ints) -> PreferenceScores:
        """Scores of every film for these users by both sets of learnt weights."""
        return PreferenceScores(self.preference.score(users), self.liking.score(users))

    def at(self, users: Ints, pairs: Pairs, scores: PreferenceScores) -> dict[str, Floats]:
        """Features by name, (p,) each, for these cells of a block of users.

        The names are stored: `run_metrics` has each one's weights, such as
        `list_weight_fame`.

        - `user_effect`, `item_effect`: b_u and b_i of the bias baseline, stars
        - `fame`: ln(1 + ratings of the film)
        - `affinity`: how much more often than average the user rates the
          film's genres
        - `preference`: ln of the score by weights learnt from how high ratings
          are
        - `liking`: ln of the score by weights learnt from which films were
          liked
        - `session_5` and so on: as `preference`, with ratings fading over so
          many later ones
        - `trend_3` and so on: what is rated now, see `fit_trends`
        """
        rows, columns = pairs
        features = {
            "user_effect": self.bias.user[users[rows]],
            "item_effect": self.bias.item[columns],
            "fame": self.log_counts[columns],
            "affinity": self._affinity(users, pairs),
            "preference": _logarithm(scores.preference[pairs]),
            "liking": _logarithm(scores.liking[pairs]),
        }
        if self.later_ratings is not None:
            later = self.later_ratings[users].data  # (ratings of these users,)
            fadings = [_fading(later, length) for length in SESSIONS]
            sessions = self.preference.at(users, pairs, fadings)
            for length, session in zip(SESSIONS, sessions, strict=True):
                features[f"session_{length}"] = _logarithm(session)
        if self.trends is not None:
            features |= self.trends.at(users, pairs)
        return features

    def _affinity(self, users: Ints, pairs: Pairs) -> Floats:
        """Sum over a film's genres of ln(the user's share / the average share)."""
        profile = self.rated[users] @ self.genres  # (b, n_genres)
        counts = np.diff(self.rated.indptr)[users][:, None]  # (b, 1)
        occurs = self.genre_shares > 0  # (n_genres,)
        average = np.where(occurs, self.genre_shares, 1.0)
        shrunk = profile + AVERAGE_RATINGS * average
        expected = (counts + AVERAGE_RATINGS) * average
        ratios = np.where(occurs, np.log(shrunk / expected), 0.0)
        return np.einsum("pg,pg->p", ratios[pairs.rows], self.genres[pairs.columns])


def learn_preferences(ratings: Ratings, preference: Preference | None) -> Learnt:
    """Both sets of weights; `preference` are those that `item_item` has learnt, if it has."""
    return Learnt(
        preference or fit_preference(ratings, PREFERENCE_RIDGE),
        fit_liking(ratings, LIKING_RIDGE),
    )


def fit_feature_model(ratings: Ratings, learnt: Learnt) -> FeatureModel:
    """Fit what the features need beside the learnt weights."""
    norms = np.sqrt((ratings.genres**2).sum(axis=1, keepdims=True))  # (n_items, 1)
    zeros = np.zeros_like(ratings.genres)
    genres = np.divide(ratings.genres, norms, out=zeros, where=norms > 0)
    counts = ratings.item_counts()
    return FeatureModel(
        bias=fit_baseline("bias", ratings),
        log_counts=np.log1p(counts.astype(np.float64)),
        rated=with_data(ratings.matrix, np.ones(ratings.n_ratings, dtype=np.int8)),
        genres=genres,
        genre_shares=counts @ genres / max(ratings.n_ratings, 1),
        preference=learnt.preference,
        liking=learnt.liking,
        later_ratings=_later_ratings(ratings),
        trends=fit_trends(ratings),
    )


def _later_ratings(ratings: Ratings) -> Sparse | None:
    """How many ratings of the same user came after each: 0 for the last, and so on.

    It is 0 for all ratings of a user who has a rating without a time; None if
    no rating has one.
    """
    if ratings.rated_at is None:
        return None
    timeless = set(ratings.timeless_users().tolist())
    starts = ratings.matrix.indptr
    later = np.zeros(ratings.n_ratings, dtype=np.int32)
    for user in range(ratings.n_users):
        if user not in timeless:
            own = slice(starts[user], starts[user + 1])
            by_time = np.argsort(ratings.rated_at[own], kind="stable")
            later[own][by_time] = np.arange(len(by_time) - 1, -1, -1)
    return with_data(ratings.matrix, later)


def _fading(later: Ints, length: int) -> Floats:
    """exp(-later / length) without underflow."""
    return np.exp(np.maximum(-later / length, MIN_EXPONENT))


def _logarithm(scores: Floats) -> Floats:
    return np.log(np.maximum(scores, 0.0) + FLOOR)


@compiled((INT, INT, TABLE, TABLE, types.boolean[::1], TABLE_OUT))
def _sum_of_logarithms(  # type: ignore[no-untyped-def]
    start, stop, preference, liking, eligible, scores
):
    """The sum of `_logarithm` of both scores, faster where both are 0, as most are."""
    both_zero = 2 * math.log(FLOOR)
    for user in range(start, stop):
        for item in range(len(eligible)):
            preferred = max(preference[user, item], 0.0)
            liked = max(liking[user, item], 0.0)
            if not eligible[item]:
                scores[user, item] = math.nan
            elif preferred + liked == 0:
                scores[user, item] = both_zero
            else:
                scores[user, item] = math.log(preferred + FLOOR) + math.log(liked + FLOOR)
