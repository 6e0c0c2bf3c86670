"""Ratings -> models of other projects (Surprise, implicit, EASE) in the form that `judge` takes.

Peers are fitted by their own code, and their predictions are copied into tables of all
users by all films, because predicting pair by pair takes minutes. That takes memory in
n_users * n_items, and Surprise's film neighbours another 40 bytes * n_items^2: for small
data only. LensKit is missing: 2025.8.1 needs pandas 2 and this project pandas 3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from scipy import sparse

from batch.models import Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.ratings import Floats, Ints, Ratings, Sparse, with_data


@dataclass(frozen=True)
class Peer:
    """A model of another project, and the settings it is tried at."""

    name: str
    needs: str | None  # the module it comes from; None if it is in this file
    fit: Callable[..., "Table"]  # (ratings, seed, **setting)
    settings: list[Mapping[str, Any]]

    @property
    def installed(self) -> bool:
        """Whether it can be fitted here."""
        return self.needs is None or find_spec(self.needs) is not None


@dataclass(frozen=True)
class Table:
    """All predictions of a peer; a `batch.models.Model`."""

    baseline: Baseline
    rating: Floats  # (n_users, n_items) stars; nan throughout for a model that only ranks
    relevance: Floats  # (n_users, n_items)

    def score(self, users: Ints) -> Scores:
        """The rows of these users, (b,); a peer has no support, so it is 1 throughout."""
        relevance = self.relevance[users]  # (b, n_items)
        return Scores(self.rating[users], np.ones_like(relevance), relevance)

    def weights(self) -> Mapping[str, Any]:
        """None to store."""
        return {}


def _ranker(ratings: Ratings, relevance: Floats) -> Table:
    return Table(
        fit_baseline("bias", ratings),
        np.full(ratings.matrix.shape, np.nan),
        relevance.astype(np.float64),
    )


def _predictor(ratings: Ratings, rating: Floats) -> Table:
    return Table(fit_baseline("bias", ratings), rating, rating)


# Rankers are fitted on one value per rating; which one is part of their settings.
LIKED_FROM = 0.8
"""Share of the highest rating from which a film counts as liked: 4 of 5."""


def _values(ratings: Ratings, values: str) -> Sparse:
    """CSR (n_users, n_items): 1 for every rating (`rated`) or liked film (`liked`), or the `stars`.

    A matrix, not an array: implicit accepts nothing else without a warning.
    """
    if values == "stars":
        return sparse.csr_matrix(ratings.matrix)
    if values == "liked":
        ratings = ratings.keep(ratings.matrix.data >= LIKED_FROM * ratings.scale[1])
    return sparse.csr_matrix(with_data(ratings.matrix, np.ones(ratings.n_ratings)))


# EASE


def ease(ratings: Ratings, seed: int, *, values: str, penalty: float) -> Table:  # noqa: ARG001  nothing is random
    """X B with B = I - P / diag(P) and P = (X'X + penalty I)^-1.

    Steck 2019, "Embarrassingly shallow autoencoders for sparse data". There are fewer users
    than films here, so K = XX' + penalty I is the smaller matrix to solve with:
    X P = K^-1 X, and diag(P) = (1 - sum_u x_u K^-1 x_u) / penalty. The result is the same.
    """
    x = _values(ratings, values).toarray()  # (n_users, n_items)
    solved = np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), x)  # K^-1 X, (n_users, n_items)
    diagonal = (1.0 - (x * solved).sum(axis=0)) / penalty  # of P, (n_items,)
    return _ranker(ratings, x - solved / diagonal)


# implicit


def implicit_als(
    ratings: Ratings, seed: int, *, values: str, factors: int, regularization: float, alpha: float
) -> Table:
    """Alternating least squares on confidences (Hu, Koren and Volinsky 2008)."""
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    # It has threads of its own, and warns if BLAS has some too.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=factors,
            regularization=regularization,
            alpha=alpha,
            random_state=seed,
            dtype=np.float64,
        )
        model.fit(_values(ratings, values), show_progress=False)
    return _ranker(ratings, model.user_factors @ model.item_factors.T)


def implicit_neighbours(ratings: Ratings, seed: int, *, kind: str, values: str, k: int) -> Table:  # noqa: ARG001
    """Film neighbours; `kind` is one of the module's recommenders, which differ in weights."""
    from implicit import nearest_neighbours

    matrix = _values(ratings, values)
    model = getattr(nearest_neighbours, f"{kind}Recommender")(K=k)
    with catch_warnings():
        simplefilter("ignore")  # it warns of the kind of matrix that its own weighting returns
        model.fit(matrix, show_progress=False)
    return _ranker(ratings, (matrix @ model.similarity).toarray())


# Surprise. It numbers users and items by first appearance; films without ratings have no number.


def _trainset(ratings: Ratings) -> tuple[Any, Ints, Ints]:
    """Surprise's trainset, and the rows (users,) and columns (items,) of its numbers."""
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
    return trainset, rows, columns


def _with_biases(
    ratings: Ratings, mu: float, user: Floats, item: Floats, rest: Floats, at: tuple[Ints, Ints]
) -> Table:
    """mu + b_u + b_i + rest; terms of users and items that Surprise has not seen are left out.

    `user` is (users,), `item` (items,) and `rest` (users, items), all in Surprise's numbers;
    `at` are their rows and columns.
    """
    rows, columns = at
    b_user = np.zeros(ratings.n_users)
    b_user[rows] = user
    b_item = np.zeros(ratings.n_items)
    b_item[columns] = item
    rating = mu + b_user[:, None] + b_item[None, :]  # (n_users, n_items)
    rating[np.ix_(rows, columns)] += rest
    return _predictor(ratings, rating)


def surprise_svd(ratings: Ratings, seed: int, **setting: Any) -> Table:
    """mu + b_u + b_i + q_i . p_u, by stochastic gradient descent."""
    from surprise import SVD

    trainset, rows, columns = _trainset(ratings)
    model = SVD(random_state=seed, **setting).fit(trainset)
    rest = model.pu @ model.qi.T
    return _with_biases(ratings, trainset.global_mean, model.bu, model.bi, rest, (rows, columns))


def surprise_svdpp(ratings: Ratings, seed: int, **setting: Any) -> Table:
    """SVD with p_u + |I_u|^-1/2 sum over I_u of y_j in place of p_u (Koren 2008)."""
    from surprise import SVDpp

    trainset, rows, columns = _trainset(ratings)
    model = SVDpp(random_state=seed, cache_ratings=True, **setting).fit(trainset)
    factors = np.empty_like(model.pu)  # (users, n_factors)
    for user, rated in trainset.ur.items():
        items = [item for item, _ in rated]
        factors[user] = model.pu[user] + model.yj[items].sum(axis=0) / np.sqrt(len(items))
    rest = factors @ model.qi.T
    return _with_biases(ratings, trainset.global_mean, model.bu, model.bi, rest, (rows, columns))


def surprise_knn(ratings: Ratings, seed: int, *, user_based: bool, k: int, min_k: int) -> Table:  # noqa: ARG001
    """b_ui + weighted mean deviation of the k nearest by Pearson correlation (Koren 2010)."""
    from surprise import KNNBaseline

    trainset, rows, columns = _trainset(ratings)
    options = {"name": "pearson_baseline", "user_based": user_based}
    model = KNNBaseline(k=k, min_k=min_k, sim_options=options, verbose=False)
    model.fit(trainset)
    # Surprise's x are what is compared, users or films, and y the other ones.
    n_x, n_y = len(model.bx), len(model.by)
    cells = [(x, y, stars) for y, pairs in model.yr.items() for x, stars in pairs]
    x_of, y_of, stars = (np.array(part) for part in zip(*cells, strict=True))  # (n_ratings,) each
    deviation = stars - trainset.global_mean - model.bx[x_of] - model.by[y_of]
    deviations = sparse.csr_array((deviation, (x_of, y_of)), shape=(n_x, n_y))
    rows_of_x = [_mean_deviation(model.sim[x], deviations, k, min_k) for x in range(n_x)]
    rest = np.stack(rows_of_x)  # (n_x, n_y)
    if not user_based:
        rest = rest.T
    return _with_biases(ratings, trainset.global_mean, model.bu, model.bi, rest, (rows, columns))


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


PEERS = [
    Peer("EASE", None, ease, [
        {"values": "rated", "penalty": 250.0},
        {"values": "liked", "penalty": 100.0},
        {"values": "liked", "penalty": 250.0},
        {"values": "stars", "penalty": 1000.0},
        {"values": "stars", "penalty": 1500.0},
        {"values": "stars", "penalty": 2500.0},
    ]),
    Peer("implicit ALS", "implicit", implicit_als, [
        {"values": "rated", "factors": 32, "regularization": 0.1, "alpha": 1.0},
        {"values": "liked", "factors": 32, "regularization": 0.1, "alpha": 1.0},
        {"values": "liked", "factors": 28, "regularization": 10.0, "alpha": 2.0},
        {"values": "liked", "factors": 40, "regularization": 10.0, "alpha": 2.0},
        {"values": "liked", "factors": 64, "regularization": 30.0, "alpha": 5.0},
        {"values": "stars", "factors": 64, "regularization": 30.0, "alpha": 1.0},
    ]),
    Peer("implicit item kNN", "implicit", implicit_neighbours, [
        {"kind": "Cosine", "values": "liked", "k": 50},
        {"kind": "Cosine", "values": "stars", "k": 20},
        {"kind": "BM25", "values": "rated", "k": 200},
        {"kind": "TFIDF", "values": "rated", "k": 50},
        {"kind": "TFIDF", "values": "liked", "k": 20},
        {"kind": "TFIDF", "values": "liked", "k": 200},
        {"kind": "TFIDF", "values": "liked", "k": 2000},
    ]),
    Peer("Surprise SVD", "surprise", surprise_svd, [
        {},
        {"n_factors": 20},
        {"n_epochs": 40, "reg_all": 0.06},
        {"n_epochs": 120, "reg_all": 0.1},
    ]),
    Peer("Surprise SVD++", "surprise", surprise_svdpp, [
        {},
        {"n_epochs": 30, "reg_all": 0.05},
    ]),
    Peer("Surprise KNNBaseline, users", "surprise", partial(surprise_knn, user_based=True), [
        {"k": 40, "min_k": 1},
        {"k": 40, "min_k": 5},
        {"k": 40, "min_k": 10},
        {"k": 40, "min_k": 20},
    ]),
    Peer("Surprise KNNBaseline, films", "surprise", partial(surprise_knn, user_based=False), [
        {"k": 40, "min_k": 1},
        {"k": 40, "min_k": 5},
        {"k": 20, "min_k": 10},
        {"k": 40, "min_k": 20},
    ]),
]  # fmt: skip
"""In the order of the table. Settings are the best of a wider search on ml-latest-small, and
Surprise's defaults."""
