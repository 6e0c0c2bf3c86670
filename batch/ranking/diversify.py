"""Candidates of each list -> the n that are relevant and unlike each other."""

import numpy as np

from batch.params import SCORE_DECIMALS
from batch.ratings import NOBODY, Bools, Floats, Ints


def diversify(listed: Ints, score: Floats, genres: Floats, weight: float, n: int) -> Ints:
    """Positions in each list of the candidates to keep, ascending, (b, n); NOBODY fills the rest.

    Maximal marginal relevance: candidates are chosen one at a time, each time the
    one with the highest `(1 - weight) * relevance - weight * similarity`, where
    similarity is the highest to any candidate chosen before (Carbonell and
    Goldstein 1998, equation 1, with 1 - weight for their lambda). Relevance is
    the score scaled to 0..1 within the list, similarity the cosine of genres.
    Values that are equal after rounding are a tie, which the earlier position
    wins. Unlike theirs, the result stays in order of score.

    `listed` and `score` are (b, k), best first, NOBODY after the end of a list.
    `genres` is (n_items, n_genres), 0/1.
    """
    b, k = listed.shape
    users = np.arange(b)
    filled = listed != NOBODY  # (b, k)
    norms: Floats = np.sqrt((genres**2).sum(axis=1, keepdims=True))  # (n_items, 1)
    unit = np.divide(genres, norms, out=np.zeros_like(genres), where=norms > 0)
    direction = np.where(filled[:, :, None], unit[listed], 0.0)  # (b, k, n_genres)
    relevance = _scaled(score, filled)  # (b, k)
    similarity = np.zeros((b, k))  # to the closest candidate chosen so far
    kept = np.full((b, n), k)
    remaining = filled.copy()  # (b, k)
    for turn in range(min(n, k)):
        value = np.round((1 - weight) * relevance - weight * similarity, SCORE_DECIMALS)
        value = np.where(remaining, value, -np.inf)
        best = value.argmax(axis=1)  # (b,) the first of equal values
        has_candidate = remaining[users, best]  # (b,)
        kept[has_candidate, turn] = best[has_candidate]
        remaining[users, best] = False
        to_best = np.einsum("bkg,bg->bk", direction, direction[users, best])
        similarity = to_best if turn == 0 else np.maximum(similarity, to_best)
    kept.sort(axis=1)
    return np.where(kept == k, NOBODY, kept)


def _scaled(score: Floats, filled: Bools) -> Floats:
    """Scores of each list from 0, its lowest, to 1, its highest; 1 where all are equal; (b, k)."""
    low = np.min(score, axis=1, where=filled, initial=np.inf)[:, None]
    high = np.max(score, axis=1, where=filled, initial=-np.inf)[:, None]
    spread = high - low
    varies = filled & (spread > 0)
    return np.divide(score - low, spread, out=np.ones_like(score), where=varies)
