"""Ratings -> how well each model predicts what it was not shown."""

from collections.abc import Mapping

import numpy as np

from batch.metrics import Catalogue, Judged, Metrics, measure
from batch.models import PERSONAL, REFERENCE, Model, fit
from batch.params import Models
from batch.rank import best_unseen, tie_order
from batch.ratings import NOBODY, Bools, Ratings, blocks

HELD_OUT = 0.2
"""Share of each user's ratings, rounded down, that is held out."""


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
    its own baseline, and `fallback_share` is how often. Metrics of lists are means over users with a relevant held-out
    film (rated at or above `relevant_from`), all films unseen in training being candidates. Definitions:
    docs/metrics.md. A metric that nothing speaks to is left out.
    """
    test = hold_out(ratings, seed)
    train = ratings.keep(~test)
    judged = held_against(train, ratings.keep(test), params, seed=seed, n=n, relevant_from=relevant_from, block=block)
    return figures(judged, train, seed)


def figures(judged: Mapping[str, Judged], train: Ratings, seed: int) -> dict[str, Metrics]:
    """The metrics of every model that was held against ratings it was not fitted on."""
    catalogue = Catalogue(train.matrix, train.genres)
    return {name: measure(each, catalogue, seed) for name, each in judged.items()}


def held_against(
    train: Ratings, held: Ratings, params: Models, *, seed: int, n: int, relevant_from: float, block: int
) -> dict[str, Judged]:
    """Every model and baseline fitted on `train` and held against `held`, which has the same users and items."""
    judged = {}
    for name in (*PERSONAL, *REFERENCE):
        model = fit(name, train, getattr(params, name, None), seed)
        judged[name] = judge(model, train, held, n, relevant_from, block)
    return judged


def judge(model: Model, train: Ratings, held: Ratings, n: int, relevant_from: float, block: int) -> Judged:
    """One model against the held-out ratings, `block` users at a time."""
    order, n_users = tie_order(train.item_counts()), train.n_users
    found = Judged(
        listed=np.full((n_users, n), NOBODY, dtype=np.int64),
        hits=np.zeros((n_users, n), dtype=np.bool_),
        relevant=np.zeros(n_users, dtype=np.int64),
        user=held.user_of_rating(),
        truth=held.matrix.data,
        predicted=np.zeros(held.n_ratings),
        unsaid=np.zeros(held.n_ratings, dtype=np.bool_),
    )
    for users in blocks(n_users, block):
        scores = model.score(users)
        truth = held.matrix[users]  # CSR (b, n_items)
        rows = np.repeat(np.arange(len(users)), np.diff(truth.indptr))  # (pairs of the block,)
        said = scores.rating[rows, truth.indices]
        unsaid = np.isnan(said)
        said = np.where(unsaid, model.baseline.rows(users)[rows, truth.indices], said)
        pairs = slice(held.matrix.indptr[users[0]], held.matrix.indptr[users[-1] + 1])
        found.predicted[pairs], found.unsaid[pairs] = np.clip(said, *train.scale), unsaid
        liked = np.zeros((len(users), train.n_items), dtype=np.bool_)
        liked[rows, truth.indices] = truth.data >= relevant_from
        listed = best_unseen(scores.relevance, train.matrix[users], order, n)
        hits = listed != NOBODY
        hits[hits] = liked[np.nonzero(hits)[0], listed[hits]]
        found.listed[users], found.hits[users], found.relevant[users] = listed, hits, liked.sum(axis=1)
    return found
