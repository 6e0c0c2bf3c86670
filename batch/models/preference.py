"""Ratings -> scores of films for a user, by weights between films learnt from all profiles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from batch.models.ease import ThroughItems, ThroughUsers, interpolate
from batch.params import LIKED_SHARE
from batch.ratings import Floats, Ints, Pairs, Ratings, Sparse, with_data

INDIFFERENT = 0.3
"""Share of the scale's maximum that a rating must exceed to count: 1.5 of 5 stars."""
COMMON_SCALE = 5.0
"""Maximum that profiles are scaled to: one ridge fits ratings to 5, 10 or 100."""

ProfileValues: TypeAlias = Callable[[Floats], Floats]
"""Stars -> the values of these ratings in a profile."""


@dataclass(frozen=True)
class Preference:
    """Scores films for a user from those that the user rated, by learnt weights."""

    ratings: Sparse  # stars, CSR (n_users, n_items)
    profile_values: ProfileValues
    learnt: ThroughUsers | ThroughItems

    def profiles(self, users: Ints) -> Sparse:
        """The profiles of these users, CSR (b, n_items)."""
        rows = self.ratings[users]
        return with_data(rows, self.profile_values(rows.data))

    def score(self, users: Ints) -> Floats:
        """Scores of every film, (b, n_items).

        They are estimates of profile values, shrunk towards 0.
        """
        return self.learnt.score(self.profiles(users))

    def at(self, users: Ints, pairs: Pairs, fadings: Sequence[Floats]) -> list[Floats]:
        """Scores of these cells, (p,), once for each way to weight the users' ratings.

        Each of `fadings` has one factor for every stored rating of the users,
        row after row.
        """
        rows = self.profiles(users)
        scores = []
        for fading in fadings:
            faded = with_data(rows, rows.data * fading)
            scores.append(self.learnt.at(faded, pairs))
        return scores

    def strongest(self, users: Ints, pairs: Pairs) -> Ints:
        """The user's film that adds most to each cell, (p,), or NOBODY."""
        return self.learnt.strongest(self.profiles(users), pairs)


def fit_preference(ratings: Ratings, ridge: float) -> Preference:
    """Learn from profiles of how far ratings are above indifference."""
    return _fit(ratings, ridge, _preference_values(ratings))


def fit_liking(ratings: Ratings, ridge: float) -> Preference:
    """Learn from profiles of which films each user liked: 1 or 0."""
    return _fit(ratings, ridge, _liking_values(ratings))


def preference_of(ratings: Ratings, learnt: ThroughUsers | ThroughItems) -> Preference:
    """The same for these ratings, by weights that were learnt before."""
    return Preference(ratings.matrix, _preference_values(ratings), learnt)


def liking_of(ratings: Ratings, learnt: ThroughUsers | ThroughItems) -> Preference:
    """The same for these ratings, by weights that were learnt before."""
    return Preference(ratings.matrix, _liking_values(ratings), learnt)


def _preference_values(ratings: Ratings) -> ProfileValues:
    return partial(_above_indifference, max(ratings.scale[1], 1e-9))


def _liking_values(ratings: Ratings) -> ProfileValues:
    return partial(_liked, LIKED_SHARE * ratings.scale[1])


def _above_indifference(maximum: float, stars: Floats) -> Floats:
    return np.maximum(stars - INDIFFERENT * maximum, 0.0) * (COMMON_SCALE / maximum)


def _liked(threshold: float, stars: Floats) -> Floats:
    return (stars >= threshold).astype(np.float64)


def _fit(ratings: Ratings, ridge: float, profile_values: ProfileValues) -> Preference:
    stars = ratings.matrix.data
    # No variable holds the profiles, so that `interpolate` can free them.
    learnt = interpolate(with_data(ratings.matrix, profile_values(stars)), ridge)
    return Preference(ratings.matrix, profile_values, learnt)
