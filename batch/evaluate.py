"""Ratings -> how well each model predicts what it was not shown."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from batch.models import PERSONAL, REFERENCE, Model, fit
from batch.params import Models
from batch.rank import best_unseen, tie_order
from batch.ratings import NOBODY, Bools, Floats, Ints, Ratings, blocks

HELD_OUT = 0.2
"""Share of each user's ratings, rounded down, that is held out."""

Metrics = Mapping[str, float]


def hold_out(ratings: Ratings, seed: int) -> Bools:
    """Which ratings are the test part, (n_ratings,): each user's last by time, or seeded where a time is missing."""
    users, counts = ratings.user_of_rating(), ratings.user_counts()
    order_in_user = np.random.default_rng(seed).random(ratings.n_ratings)
    if ratings.rated_at is not None:
        timeless = np.unique(users[np.isnan(ratings.rated_at)])
        order_in_user = np.where(np.isin(users, timeless), order_in_user, ratings.rated_at)
    by_user = np.lexsort((order_in_user, users))  # stable: ties in time are broken by key
    place = np.arange(ratings.n_ratings) - ratings.matrix.indptr[users]  # 0 for a user's first
    from_end = np.empty(ratings.n_ratings, dtype=np.int64)
    from_end[by_user] = counts[users] - place
    return from_end <= np.floor(HELD_OUT * counts[users])


def evaluate(
    ratings: Ratings, params: Models, *, seed: int, n: int, relevant_from: float, block: int
) -> dict[str, Metrics]:
    """Metrics of every model and baseline, fitted without the held-out part and measured on it.

    RMSE and MAE are in stars, clipped to the scale, over held-out ratings; a pair the model cannot say is scored with
    its own baseline, and `fallback_share` is how often. Precision, recall and NDCG at n are means over users with a
    relevant held-out film (rated at or above `relevant_from`), all films unseen in training being candidates.
    Definitions: docs/metrics.md. A metric that nothing speaks to is left out.
    """
    test = hold_out(ratings, seed)
    train, held = ratings.keep(~test), ratings.keep(test)
    measured = {}
    for name in (*PERSONAL, *REFERENCE):
        model = fit(name, train, getattr(params, name, None), seed)
        measured[name] = _measure(model, train, held, n, relevant_from, block)
    return measured


@dataclass(frozen=True)
class _Part:
    """What one block of users contributes."""

    errors: Floats  # (pairs,) predicted minus true, stars
    fallback: Bools  # (pairs,) the model could not say
    listed: Ints  # (b, n)
    hits: Bools  # (b, n) the listed film was relevant
    relevant: Ints  # (b,) relevant held-out films


def _measure(model: Model, train: Ratings, held: Ratings, n: int, relevant_from: float, block: int) -> Metrics:
    parts = list(_parts(model, train, held, n, relevant_from, block))
    if not parts:
        return {}
    errors, fallback = np.concatenate([p.errors for p in parts]), np.concatenate([p.fallback for p in parts])
    listed, hits = np.concatenate([p.listed for p in parts]), np.concatenate([p.hits for p in parts])
    relevant = np.concatenate([p.relevant for p in parts])
    metrics: dict[str, float] = {"users": float((relevant > 0).sum())}
    if len(errors) and not fallback.all():
        metrics |= {
            "rmse": float(np.sqrt(np.mean(errors**2))),
            "mae": float(np.mean(np.abs(errors))),
            "fallback_share": float(fallback.mean()),
        }
    if (relevant > 0).any():
        metrics |= {
            f"{name}@{n}": value for name, value in _ranking(hits[relevant > 0], relevant[relevant > 0]).items()
        }
    metrics[f"coverage@{n}"] = len(np.unique(listed[listed != NOBODY])) / max(train.n_items, 1)
    return metrics


def _ranking(hits: Bools, relevant: Ints) -> dict[str, float]:
    """Means over users of precision, recall and NDCG; hits (users, n), relevant (users,)."""
    n = hits.shape[1]
    gains = 1.0 / np.log2(np.arange(n) + 2.0)  # (n,)
    ideal = np.cumsum(gains)[np.minimum(relevant, n) - 1]  # (users,)
    return {
        "precision": float(np.mean(hits.sum(axis=1) / n)),
        "recall": float(np.mean(hits.sum(axis=1) / relevant)),
        "ndcg": float(np.mean((hits * gains).sum(axis=1) / ideal)),
    }


def _parts(model: Model, train: Ratings, held: Ratings, n: int, relevant_from: float, block: int) -> Iterator[_Part]:
    order = tie_order(train.item_counts())
    for users in blocks(train.n_users, block):
        scores = model.score(users)
        truth = held.matrix[users]  # CSR (b, n_items)
        rows = np.repeat(np.arange(len(users)), np.diff(truth.indptr))
        said = scores.rating[rows, truth.indices]  # (pairs,)
        fallback = np.isnan(said)
        said = np.where(fallback, model.baseline.rows(users)[rows, truth.indices], said)
        listed = best_unseen(scores.relevance, train.matrix[users], order, n)
        liked = np.zeros((len(users), train.n_items), dtype=np.bool_)
        liked[rows, truth.indices] = truth.data >= relevant_from
        hits = listed != NOBODY
        hits[hits] = liked[np.nonzero(hits)[0], listed[hits]]
        yield _Part(np.clip(said, *train.scale) - truth.data, fallback, listed, hits, liked.sum(axis=1))
