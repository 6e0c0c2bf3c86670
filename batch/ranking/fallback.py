"""Lists that end early, or rest on a handful of ratings -> full ones, by popular films that say that they stand in."""

from dataclasses import dataclass

import numpy as np

from batch.ranking.ensemble import RankedBlock
from batch.ratings import NOBODY, Bools, Floats, Ints, Ratings, Sparse, Texts
from batch.reasons import fallback

FEW = fallback("few ratings")
SHORT = fallback("nothing more to say")
"""Reasons of a row that stands in: the user has rated too little, or the model can say nothing of further films."""


@dataclass(frozen=True)
class Lists:
    """One model's lists as they are published, (b, n) each, best first: NOBODY where a list has ended."""

    listed: Ints  # columns
    score: Floats
    rating: Floats  # stars
    support: Floats
    reasons: Texts  # JSON, empty where nothing is told
    is_fallback: Bools  # what the model did not say itself


def without_fallback(answer: RankedBlock, ratings: Ratings) -> Lists:
    """What the model says, and nothing else."""
    nothing = np.zeros(answer.listed.shape, dtype=np.bool_)
    return Lists(
        answer.listed, answer.score, answer.rating, answer.support, answer.reasons(ratings), nothing
    )


def with_fallback(said: Lists, taken: Sparse, counts: Ints, popular: Ints, least: int) -> Lists:
    """Lists that are full as far as there are films: what the model says, then what stands in for it.

    `taken`, CSR (b, n_items), are films that may not be listed; `counts`, (b,), the users' ratings: below `least`
    nothing of the model is kept. `popular` are columns, best first. Who has no rating at all gets no list. A row that
    stands in has no rating, support 0, and one point less than the row above it, so that a list stays in order of its
    scores.
    """
    few = (counts < least)[:, None]
    kept = np.where(few, NOBODY, said.listed)
    listed, score = _standing_in(
        kept, said.score, (kept == NOBODY) & (counts > 0)[:, None], taken, popular
    )
    there = listed != NOBODY
    return Lists(
        listed=np.where(there, listed, kept),
        score=np.where(there, score, said.score),
        rating=np.where(there, np.nan, said.rating),
        support=np.where(there, 0.0, said.support),
        reasons=np.where(there, np.where(few, FEW, SHORT), said.reasons),
        is_fallback=there,
    )


def _standing_in(
    kept: Ints, scores: Floats, wanted: Bools, taken: Sparse, popular: Ints
) -> tuple[Ints, Floats]:
    """Popular films, and their scores, at the wanted places, which are each list's last ones; (b, n) each."""
    listed, score = np.full(wanted.shape, NOBODY, dtype=np.int64), np.full(wanted.shape, np.nan)
    for user in np.flatnonzero(wanted.any(axis=1)):
        own = taken.indices[taken.indptr[user] : taken.indptr[user + 1]]
        free = popular[~np.isin(popular, own) & ~np.isin(popular, kept[user])]
        places = np.flatnonzero(wanted[user])[: len(free)]
        listed[user, places] = free[: len(places)]
        first = int(np.argmax(wanted[user]))
        above = scores[user, first - 1] if first else 0.0
        score[user, places] = above - np.arange(1.0, len(places) + 1)
    return listed, score
