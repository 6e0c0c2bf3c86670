"""Ratings -> the `popular_all` baseline: films ordered by rating count, without regard to time."""

from batch.models.popular import Popular, of_half_life
from batch.ratings import Ratings


def fit(ratings: Ratings, params: None, seed: int) -> Popular:  # noqa: ARG001
    """Count the ratings of each item; `params` and `seed` are unused."""
    return of_half_life(ratings, None)
