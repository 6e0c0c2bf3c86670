"""Ratings -> models of the library Surprise: SVD, SVD++ and neighbours.

They are fitted by Surprise's code, and predictions are computed here from what it has fitted,
because predicting pair by pair takes minutes. It numbers users and items by first appearance;
films without ratings have no number.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from batch.ratings import Floats, Ints, Ratings, Sparse
from fitted_peer import FittedPeer, Rows, predictor

SQUARE_BYTES = 40
"""Neighbours take five tables of doubles of all pairs of users, or of films."""


class Numbered(NamedTuple):
    """Surprise's ratings, and the rows (users,) and columns (items,) of its numbers."""

    trainset: Any
    rows: Ints
    columns: Ints


def _numbered(ratings: Ratings) -> Numbered:
    from pandas import DataFrame
    from surprise import Dataset, Reader

    cells = {
        "user": ratings.user_of_rating(),
        "item": ratings.matrix.indices,
        "stars": ratings.matrix.data,
    }
    reader = Reader(rating_scale=ratings.scale)
    trainset = Dataset.load_from_df(DataFrame(cells), reader).build_full_trainset()
    rows = np.array([trainset.to_raw_uid(u) for u in trainset.all_users()], dtype=np.int64)
    columns = np.array([trainset.to_raw_iid(i) for i in trainset.all_items()], dtype=np.int64)
    return Numbered(trainset, rows, columns)


def _spread(values: Floats, places: Ints, size: int) -> Floats:
    """Values by Surprise's number -> by row or column, (size, ...); 0 for those it has not seen."""
    full = np.zeros((size, *values.shape[1:]))
    full[places] = values
    return full


def _with_biases(
    ratings: Ratings, numbered: Numbered, user: Floats, item: Floats, rest: Rows
) -> FittedPeer:
    """mu + b_u + b_i + rest; `user` is (users,) and `item` (items,), in Surprise's numbers."""
    b_user = numbered.trainset.global_mean + _spread(user, numbered.rows, ratings.n_users)
    b_item = _spread(item, numbered.columns, ratings.n_items)
    return predictor(ratings, lambda users: b_user[users, None] + b_item + rest(users))


def _with_factors(
    ratings: Ratings, numbered: Numbered, model: Any, user_factors: Floats
) -> FittedPeer:
    p = _spread(user_factors, numbered.rows, ratings.n_users)  # (n_users, n_factors)
    q = _spread(model.qi, numbered.columns, ratings.n_items)  # (n_items, n_factors)
    return _with_biases(ratings, numbered, model.bu, model.bi, lambda users: p[users] @ q.T)


def svd(ratings: Ratings, seed: int, **setting: Any) -> FittedPeer:
    """mu + b_u + b_i + q_i . p_u, by stochastic gradient descent."""
    from surprise import SVD

    numbered = _numbered(ratings)
    model = SVD(random_state=seed, **setting).fit(numbered.trainset)
    return _with_factors(ratings, numbered, model, model.pu)


def svdpp(ratings: Ratings, seed: int, **setting: Any) -> FittedPeer:
    """SVD with p_u + |I_u|^-1/2 sum over I_u of y_j in place of p_u (Koren 2008)."""
    from surprise import SVDpp

    numbered = _numbered(ratings)
    model = SVDpp(random_state=seed, cache_ratings=True, **setting).fit(numbered.trainset)
    factors = np.empty_like(model.pu)  # (users, n_factors)
    for user, rated in numbered.trainset.ur.items():
        items = [item for item, _ in rated]
        factors[user] = model.pu[user] + model.yj[items].sum(axis=0) / np.sqrt(len(items))
    return _with_factors(ratings, numbered, model, factors)


def knn(ratings: Ratings, seed: int, *, user_based: bool, k: int, min_k: int) -> FittedPeer:  # noqa: ARG001
    """b_ui + weighted mean deviation of the k nearest by Pearson correlation (Koren 2010)."""
    from surprise import KNNBaseline

    numbered = _numbered(ratings)
    trainset, rows, columns = numbered
    options = {"name": "pearson_baseline", "user_based": user_based}
    model = KNNBaseline(k=k, min_k=min_k, sim_options=options, verbose=False)
    model.fit(trainset)
    # Surprise's x are what is compared, users or films, and y the other ones.
    cells = [(x, y, stars) for y, pairs in model.yr.items() for x, stars in pairs]
    x_of, y_of, stars = (np.array(part) for part in zip(*cells, strict=True))  # (n_ratings,) each
    deviation = stars - trainset.global_mean - model.bx[x_of] - model.by[y_of]
    shape = (len(model.bx), len(model.by))
    deviations = sparse.csr_array((deviation, (x_of, y_of)), shape=shape)

    def mean_deviations(x: int) -> Floats:
        return _mean_deviation(model.sim[x], deviations, k, min_k)

    if user_based:
        number = np.full(ratings.n_users, -1)  # (n_users,) Surprise's, -1 for none
        number[rows] = np.arange(len(rows))

        def rest(users: Ints) -> Floats:
            table = np.zeros((len(users), ratings.n_items))
            for at, user in enumerate(number[users]):
                if user >= 0:
                    table[at, columns] = mean_deviations(user)
            return table

        return _with_biases(ratings, numbered, model.bx, model.by, rest)

    by_film = np.zeros((ratings.n_items, ratings.n_users))
    for film, column in enumerate(columns):
        by_film[column, rows] = mean_deviations(film)
    return _with_biases(
        ratings, numbered, model.by, model.bx, lambda users: by_film[:, users].T.copy()
    )


def _mean_deviation(similarities: Floats, deviations: Sparse, k: int, min_k: int) -> Floats:
    """Weighted mean deviation of each y by its k most similar x, (n_y,).

    `similarities` are (n_x,); only those above 0 count. 0 where fewer than min_k x have a
    deviation of y.
    """
    n_y = deviations.shape[1]
    nearest = np.flatnonzero(similarities > 0)
    nearest = nearest[np.argsort(-similarities[nearest], kind="stable")]
    sorted_deviations = deviations[nearest]  # rows in order of similarity, the highest first
    y = sorted_deviations.indices  # (nnz,)
    weight = np.repeat(similarities[nearest], np.diff(sorted_deviations.indptr))  # (nnz,)
    counts = np.bincount(y, minlength=n_y)
    # Small integers are sorted without comparisons.
    by_y = np.argsort(y.astype(np.min_scalar_type(n_y)), kind="stable")
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its y
    kept = by_y[rank < k]
    weight_sums = np.bincount(y[kept], weight[kept], minlength=n_y)
    totals = np.bincount(y[kept], weight[kept] * sorted_deviations.data[kept], minlength=n_y)
    is_defined = (weight_sums > 0) & (np.minimum(counts, k) >= min_k)
    return np.divide(totals, weight_sums, out=np.zeros(n_y), where=is_defined)
