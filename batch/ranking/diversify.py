"""Candidates of each list -> the n that are promising and unlike each other, by maximal marginal relevance."""

import numpy as np

from batch.ratings import NOBODY, SCORE_DECIMALS, Floats, Ints


def diversify(listed: Ints, score: Floats, genres: Floats, weight: float, n: int) -> Ints:
    """Which candidates are kept: their places in each list, ascending, (b, n), NOBODY where there are no more.

    One after the other the candidate with the highest `(1 - weight) * relevance - weight * similarity` is kept, the
    similarity being the highest to one kept before (Carbonell and Goldstein 1998, equation 1, with 1 - weight for their
    lambda). Relevance is the score brought to 0..1 within the list, similarity the cosine of genres. Values closer than
    a rounding are a tie, which the earlier place wins. Unlike theirs, what is kept stays in order of its scores.

    `listed` and `score` are (b, k), best first, NOBODY behind the end of a list; `genres` (n_items, n_genres) 0/1.
    """
    b, k = listed.shape
    kept = np.full((b, n), k)
    there, users = listed != NOBODY, np.arange(b)
    norms: Floats = np.sqrt((genres**2).sum(axis=1, keepdims=True))  # (n_items, 1)
    unit = np.divide(genres, norms, out=np.zeros_like(genres), where=norms > 0)
    direction = np.where(there[:, :, None], unit[listed], 0.0)  # (b, k, n_genres)
    relevance, similarity = _to_one(score, there), np.zeros((b, k))
    left = there.copy()  # (b, k) candidates that are not kept yet
    for turn in range(min(n, k)):
        value = np.where(
            left, np.round((1 - weight) * relevance - weight * similarity, SCORE_DECIMALS), -np.inf
        )
        best = value.argmax(axis=1)  # (b,) the first of equals
        able = left[users, best]
        kept[able, turn] = best[able]
        left[users, best] = False
        alike = np.einsum("bkg,bg->bk", direction, direction[users, best])
        similarity = alike if turn == 0 else np.maximum(similarity, alike)
    kept.sort(axis=1)
    return np.where(kept == k, NOBODY, kept)


def _to_one(score: Floats, there: np.ndarray) -> Floats:
    """Scores of each list from 0, its lowest, to 1, its highest; 1 where all are alike; (b, k)."""
    low = np.min(score, axis=1, where=there, initial=np.inf)[:, None]
    high = np.max(score, axis=1, where=there, initial=-np.inf)[:, None]
    spread = high - low
    return np.divide(score - low, spread, out=np.ones_like(score), where=there & (spread > 0))
