"""Ratings -> what other projects predict: Surprise, implicit and EASE, as models that our own judge can hold.

Peers are fitted by their own code and read out here as tables of all users by all films, because asking them pair by
pair takes minutes. That costs memory in n_users * n_items, and Surprise's film neighbours 40 bytes * n_items^2 on top:
for small data only. LensKit is missing: 2025.8.1 wants pandas 2 and this project pandas 3.
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
    needs: str | None  # the module it comes from; None for what stands here
    fit: Callable[..., "Table"]  # (ratings, seed, **setting)
    settings: list[Mapping[str, Any]]

    @property
    def installed(self) -> bool:
        """Whether it can be fitted here."""
        return self.needs is None or find_spec(self.needs) is not None


@dataclass(frozen=True)
class Table:
    """What a peer says of everyone and everything, read out once; a `batch.models.Model`."""

    baseline: Baseline
    rating: Floats  # (n_users, n_items) stars; nan throughout for a model that only ranks
    relevance: Floats  # (n_users, n_items)

    def score(self, users: Ints) -> Scores:
        """The rows of these users, (b,); a peer tells no evidence, so support is 1 throughout."""
        relevance = self.relevance[users]  # (b, n_items)
        return Scores(self.rating[users], np.ones_like(relevance), relevance)

    def weights(self) -> Mapping[str, Any]:
        """Nothing to keep."""
        return {}


def _ranks(ratings: Ratings, relevance: Floats) -> Table:
    return Table(
        fit_baseline("bias", ratings),
        np.full(ratings.matrix.shape, np.nan),
        relevance.astype(np.float64),
    )


def _predicts(ratings: Ratings, rating: Floats) -> Table:
    return Table(fit_baseline("bias", ratings), rating, rating)


# Rankers see no stars; what they are given is part of their settings.
LIKED_FROM = 0.8
"""Share of the highest rating from which a rating says that a film was liked: 4 of 5."""


def _weighted(ratings: Ratings, given: str) -> Sparse:
    """CSR (n_users, n_items): 1 on every rating (`rated`), on good ones only (`liked`), or the stars (`stars`).

    A matrix, not an array: implicit takes nothing else without a warning.
    """
    if given == "stars":
        return sparse.csr_matrix(ratings.matrix)
    liked = (
        ratings.keep(ratings.matrix.data >= LIKED_FROM * ratings.scale[1])
        if given == "liked"
        else ratings
    )
    return sparse.csr_matrix(with_data(liked.matrix, np.ones(liked.n_ratings)))


# EASE


def ease(ratings: Ratings, seed: int, *, given: str, penalty: float) -> Table:  # noqa: ARG001  nothing is random
    """X B with B = I - P / diag(P), P = (X'X + penalty I)^-1 (Steck 2019, "Embarrassingly shallow autoencoders").

    There are fewer users than films here, so that K = XX' + penalty I is the smaller matrix to solve with:
    X P = K^-1 X, and diag(P) = (1 - sum_u x_u K^-1 x_u) / penalty. The result is the same.
    """
    x = _weighted(ratings, given).toarray()  # (n_users, n_items)
    solved = np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), x)  # K^-1 X, (n_users, n_items)
    diagonal = (1.0 - (x * solved).sum(axis=0)) / penalty  # of P, (n_items,)
    return _ranks(ratings, x - solved / diagonal)


# implicit


def implicit_als(
    ratings: Ratings, seed: int, *, given: str, factors: int, regularization: float, alpha: float
) -> Table:
    """Alternating least squares on confidences (Hu, Koren and Volinsky 2008)."""
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # it runs its own threads, and warns of BLAS's beside them
        model = AlternatingLeastSquares(
            factors=factors,
            regularization=regularization,
            alpha=alpha,
            random_state=seed,
            dtype=np.float64,
        )
        model.fit(_weighted(ratings, given), show_progress=False)
    return _ranks(ratings, model.user_factors @ model.item_factors.T)


def implicit_neighbours(ratings: Ratings, seed: int, *, kind: str, given: str, k: int) -> Table:  # noqa: ARG001
    """Films like the user's films; kind is one of the module's recommenders, which differ in how they weigh."""
    from implicit import nearest_neighbours

    weighted = _weighted(ratings, given)
    model = getattr(nearest_neighbours, f"{kind}Recommender")(K=k)
    with catch_warnings():
        simplefilter("ignore")  # its own weighing gives a kind of matrix that it warns of
        model.fit(weighted, show_progress=False)
    return _ranks(ratings, (weighted @ model.similarity).toarray())


# Surprise. Its own numbering is by first appearance; ratings go in by user, and films that nobody rated have no number.


def _trainset(ratings: Ratings) -> tuple[Any, Ints, Ints]:
    """Surprise's trainset, and our rows (users,) and columns (items,) of its numbers."""
    from pandas import DataFrame
    from surprise import Dataset, Reader

    cells = {
        "user": ratings.user_of_rating(),
        "item": ratings.matrix.indices,
        "stars": ratings.matrix.data,
    }
    trainset = Dataset.load_from_df(
        DataFrame(cells), Reader(rating_scale=ratings.scale)
    ).build_full_trainset()
    rows = np.array([trainset.to_raw_uid(u) for u in trainset.all_users()], dtype=np.int64)
    columns = np.array([trainset.to_raw_iid(i) for i in trainset.all_items()], dtype=np.int64)
    return trainset, rows, columns


def _placed(
    ratings: Ratings, mu: float, user: Floats, item: Floats, beyond: Floats, at: tuple[Ints, Ints]
) -> Table:
    """mu + b_u + b_i + what lies beyond, all in Surprise's numbers; it leaves out what it has not seen, and so do we.

    user is (users,), item (items,), beyond (users, items); `at` has our rows and columns of them.
    """
    rows, columns = at
    b_user, b_item = np.zeros(ratings.n_users), np.zeros(ratings.n_items)
    b_user[rows], b_item[columns] = user, item
    rating = mu + b_user[:, None] + b_item[None, :]  # (n_users, n_items)
    rating[np.ix_(rows, columns)] += beyond
    return _predicts(ratings, rating)


def surprise_svd(ratings: Ratings, seed: int, **setting: Any) -> Table:
    """mu + b_u + b_i + q_i . p_u, by stochastic gradient descent."""
    from surprise import SVD

    trainset, rows, columns = _trainset(ratings)
    model = SVD(random_state=seed, **setting).fit(trainset)
    return _placed(
        ratings, trainset.global_mean, model.bu, model.bi, model.pu @ model.qi.T, (rows, columns)
    )


def surprise_svdpp(ratings: Ratings, seed: int, **setting: Any) -> Table:
    """SVD with implicit feedback: p_u + |I_u|^-1/2 sum over I_u of y_j in place of p_u (Koren 2008)."""
    from surprise import SVDpp

    trainset, rows, columns = _trainset(ratings)
    model = SVDpp(random_state=seed, cache_ratings=True, **setting).fit(trainset)
    tastes = np.empty_like(model.pu)  # (users, n_factors)
    for user, rated in trainset.ur.items():
        items = [item for item, _ in rated]
        tastes[user] = model.pu[user] + model.yj[items].sum(axis=0) / np.sqrt(len(items))
    return _placed(
        ratings, trainset.global_mean, model.bu, model.bi, tastes @ model.qi.T, (rows, columns)
    )


def surprise_knn(ratings: Ratings, seed: int, *, user_based: bool, k: int, min_k: int) -> Table:  # noqa: ARG001
    """b_ui + weighted mean deviation of the k most similar, by Pearson correlation of deviations (Koren 2010)."""
    from surprise import KNNBaseline

    trainset, rows, columns = _trainset(ratings)
    alike = {"name": "pearson_baseline", "user_based": user_based}
    model = KNNBaseline(k=k, min_k=min_k, sim_options=alike, verbose=False)
    model.fit(trainset)
    # x are those that are compared, users or films, and y the others.
    n_x, n_y = len(model.bx), len(model.by)
    cells = [(x, y, stars) for y, said in model.yr.items() for x, stars in said]
    x_of, y_of, stars = (np.array(part) for part in zip(*cells, strict=True))  # (n_ratings,) each
    off = stars - trainset.global_mean - model.bx[x_of] - model.by[y_of]
    deviations = sparse.csr_array((off, (x_of, y_of)), shape=(n_x, n_y))
    beyond = np.stack(
        [_mean_deviation(model.sim[x], deviations, k, min_k) for x in range(n_x)]
    )  # (n_x, n_y)
    if not user_based:
        beyond = beyond.T
    return _placed(ratings, trainset.global_mean, model.bu, model.bi, beyond, (rows, columns))


def _mean_deviation(alike: Floats, deviations: Sparse, k: int, min_k: int) -> Floats:
    """Of the k most similar (n_x,) above 0 who speak of each y, weighted, (n_y,); 0 where fewer than min_k speak."""
    n_y = deviations.shape[1]
    nearest = np.flatnonzero(alike > 0)
    nearest = nearest[np.argsort(-alike[nearest], kind="stable")]
    said = deviations[nearest]  # rows follow one another, the most similar first
    y, weight = said.indices, np.repeat(alike[nearest], np.diff(said.indptr))  # (said.nnz,) each
    counts = np.bincount(y, minlength=n_y)
    by_y = np.argsort(
        y.astype(np.min_scalar_type(n_y)), kind="stable"
    )  # small numbers are sorted without comparing
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its y
    kept = by_y[rank < k]
    loudness = np.bincount(y[kept], weight[kept], minlength=n_y)
    total = np.bincount(y[kept], weight[kept] * said.data[kept], minlength=n_y)
    return np.divide(
        total, loudness, out=np.zeros(n_y), where=(loudness > 0) & (np.minimum(counts, k) >= min_k)
    )


PEERS = [
    Peer("EASE", None, ease, [
        {"given": "rated", "penalty": 250.0},
        {"given": "liked", "penalty": 100.0},
        {"given": "liked", "penalty": 250.0},
        {"given": "stars", "penalty": 1000.0},
        {"given": "stars", "penalty": 1500.0},
        {"given": "stars", "penalty": 2500.0},
    ]),
    Peer("implicit ALS", "implicit", implicit_als, [
        {"given": "rated", "factors": 32, "regularization": 0.1, "alpha": 1.0},
        {"given": "liked", "factors": 32, "regularization": 0.1, "alpha": 1.0},
        {"given": "liked", "factors": 28, "regularization": 10.0, "alpha": 2.0},
        {"given": "liked", "factors": 40, "regularization": 10.0, "alpha": 2.0},
        {"given": "liked", "factors": 64, "regularization": 30.0, "alpha": 5.0},
        {"given": "stars", "factors": 64, "regularization": 30.0, "alpha": 1.0},
    ]),
    Peer("implicit item kNN", "implicit", implicit_neighbours, [
        {"kind": "Cosine", "given": "liked", "k": 50},
        {"kind": "Cosine", "given": "stars", "k": 20},
        {"kind": "BM25", "given": "rated", "k": 200},
        {"kind": "TFIDF", "given": "rated", "k": 50},
        {"kind": "TFIDF", "given": "liked", "k": 20},
        {"kind": "TFIDF", "given": "liked", "k": 200},
        {"kind": "TFIDF", "given": "liked", "k": 2000},
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
"""In the order of the table. Settings are the best of a wider search on ml-latest-small, and Surprise's defaults."""
