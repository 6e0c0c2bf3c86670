"""Lists that end early, or rest on a handful of ratings -> full ones, by popular films that say that they stand in."""

from collections.abc import Iterator
from dataclasses import replace
from json import dumps

import numpy as np

from batch.checks import FALLBACK
from batch.ensemble import Answer
from batch.ratings import NOBODY, Bools, Floats, Ints, Sparse

FEW, SHORT = (dumps({"kind": FALLBACK, "because": because}) for because in ("few ratings", "nothing more to say"))
"""Reasons of a row that stands in: the user has rated too little, or the model can say nothing of further films."""


def filled(
    answer: Answer, taken: Sparse, counts: Ints, popular: Ints, least: int
) -> Iterator[tuple[str | None, Answer]]:
    """Parts of the lists, (b, n) each and together full as far as there are films: what the model says, what stands in.

    Beside each part the reason of its rows, None for what the model says. `taken`, CSR (b, n_items), are films that
    may not be listed; `counts`, (b,), the users' ratings: below `least` nothing of the model is kept. `popular` are
    columns, best first. Who has no rating at all gets no list. A row that stands in has no rating, support 0, and one
    point less than the row above it, so that a list stays in order of its scores.
    """
    few = counts < least
    honest = _only(answer, ~few)
    yield None, honest
    stand_in = honest.listed == NOBODY
    stand_in[counts == 0] = False
    if stand_in.any():
        listed, score = _standing_in(honest, stand_in, taken, popular)
        others = replace(answer, listed=listed, score=score, rating=_nan(score), support=np.zeros_like(score))
        yield FEW, _only(others, few)
        yield SHORT, _only(others, ~few)


def _standing_in(honest: Answer, wanted: Bools, taken: Sparse, popular: Ints) -> tuple[Ints, Floats]:
    """Popular films, and their scores, at the wanted places, which are each list's last ones; (b, n) each."""
    listed, score = np.full(wanted.shape, NOBODY, dtype=np.int64), np.full(wanted.shape, np.nan)
    for user in np.flatnonzero(wanted.any(axis=1)):
        own = taken.indices[taken.indptr[user] : taken.indptr[user + 1]]
        free = popular[~np.isin(popular, own) & ~np.isin(popular, honest.listed[user])]
        places = np.flatnonzero(wanted[user])[: len(free)]
        listed[user, places] = free[: len(places)]
        first = int(np.argmax(wanted[user]))
        above = honest.score[user, first - 1] if first else 0.0
        score[user, places] = above - np.arange(1.0, len(places) + 1)
    return listed, score


def _only(answer: Answer, users: Bools) -> Answer:
    """The lists of some users, (b,); the others' are empty."""
    return replace(answer, listed=np.where(users[:, None], answer.listed, NOBODY))


def _nan(like: Floats) -> Floats:
    return np.full_like(like, np.nan)
