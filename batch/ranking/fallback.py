"""Lists that are too short -> lists filled up with popular films, marked as fallback."""

from dataclasses import dataclass

import numpy as np

from batch.ranking.ranked_block import RankedBlock, without_spare
from batch.ratings import NOBODY, Bools, Floats, Ints, Ratings, Sparse, Texts
from batch.reasons import fallback

FEW = fallback("few ratings")
"""Reason of a fallback row where the user has too few ratings."""
SHORT = fallback("nothing more to say")
"""Reason of a fallback row where the model has no prediction for further films."""


@dataclass(frozen=True)
class Lists:
    """One model's lists as they are published, (b, n) each, best first, NOBODY after their end."""

    listed: Ints  # columns
    score: Floats
    rating: Floats  # stars
    support: Floats
    reasons: Texts  # JSON, empty without a reason and in the last `spare` places
    is_fallback: Bools  # not from the model
    spare: int = 0

    @property
    def is_shown(self) -> Bools:
        """The places of films that are not spare."""
        return without_spare(self.listed, self.spare) != NOBODY


def without_fallback(block: RankedBlock, ratings: Ratings) -> Lists:
    """The model's own lists only."""
    return Lists(
        listed=block.listed,
        score=block.score,
        rating=block.rating,
        support=block.support,
        reasons=block.reasons(ratings),
        is_fallback=np.zeros(block.listed.shape, dtype=np.bool_),
        spare=block.spare,
    )


def with_fallback(lists: Lists, excluded: Sparse, counts: Ints, popular: Ints, least: int) -> Lists:
    """The model's lists, filled up with popular films as far as there are any.

    `excluded`, CSR (b, n_items), are films that may not be listed. `counts`,
    (b,), are the users' numbers of ratings: below `least` the whole list is
    fallback, and at 0 it is empty. `popular` are columns, best first. A fallback
    row has no rating, support 0, and a score one below that of the row above it,
    so that lists stay in order of score.
    """
    too_few = (counts < least)[:, None]  # (b, 1)
    has_ratings = (counts > 0)[:, None]  # (b, 1)
    kept = np.where(too_few, NOBODY, lists.listed)
    vacant = (kept == NOBODY) & has_ratings
    listed, score = _fallback_rows(kept, lists.score, vacant, excluded, popular)
    is_fallback = listed != NOBODY
    is_spare = np.arange(listed.shape[1]) >= listed.shape[1] - lists.spare
    reasons = np.where(is_spare, "", np.where(too_few, FEW, SHORT))
    return Lists(
        listed=np.where(is_fallback, listed, kept),
        score=np.where(is_fallback, score, lists.score),
        rating=np.where(is_fallback, np.nan, lists.rating),
        support=np.where(is_fallback, 0.0, lists.support),
        reasons=np.where(is_fallback, reasons, lists.reasons),
        is_fallback=is_fallback,
        spare=lists.spare,
    )


def _fallback_rows(
    kept: Ints, scores: Floats, vacant: Bools, excluded: Sparse, popular: Ints
) -> tuple[Ints, Floats]:
    """Popular films and their scores for the vacant places, the last of each list; (b, n) each."""
    listed = np.full(vacant.shape, NOBODY, dtype=np.int64)
    score = np.full(vacant.shape, np.nan)
    for user in np.flatnonzero(vacant.any(axis=1)):
        own = excluded.indices[excluded.indptr[user] : excluded.indptr[user + 1]]
        films = popular[~np.isin(popular, own) & ~np.isin(popular, kept[user])]
        places = np.flatnonzero(vacant[user])
        first = int(places[0])
        places = places[: len(films)]
        above = scores[user, first - 1] if first else 0.0
        listed[user, places] = films[: len(places)]
        score[user, places] = above - np.arange(1.0, len(places) + 1)
    return listed, score
