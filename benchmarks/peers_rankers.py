"""Ratings -> rankers that take a few lines: recent popularity, EASE, RP3beta, user kNN, iALS."""

from functools import partial

import numpy as np
from scipy import linalg

from batch.ratings import Floats, Ints, Ratings, Sparse, with_data
from fitted_peer import FittedPeer, Rows, ranker, scaled, values_of

DAY = 86_400.0
"""Seconds."""
EPOCHS = 16
START = 0.1
"""Sweeps of iALS, and the deviation of a user's or film's first factors, as in the paper."""
STEPS = 3
"""Of conjugate gradients for each half of a sweep, as in the library implicit."""
TINY = 1e-30


# Recent popularity


def recent(ratings: Ratings, seed: int, *, half_life: float) -> FittedPeer:  # noqa: ARG001  nothing is random
    """Rating counts in which a rating is worth half after `half_life` days.

    The order is that of the logarithm, so that counts that have faded away are not tied.
    """
    if ratings.rated_at is None:
        raise ValueError("these ratings have no times")
    times = np.nan_to_num(ratings.rated_at, nan=np.nanmin(ratings.rated_at))
    age = (times.max() - times) / DAY  # (n_ratings,) days
    weight = np.maximum(0.5 ** (age / half_life), TINY)
    counts = np.bincount(ratings.matrix.indices, weights=weight, minlength=ratings.n_items)
    relevance = np.log2(np.maximum(counts, TINY))  # (n_items,)
    return ranker(ratings, lambda users: np.tile(relevance, (len(users), 1)))


# EASE


def ease(ratings: Ratings, seed: int, *, values: str, penalty: float) -> FittedPeer:  # noqa: ARG001
    """X B with B = I - P / diag(P) and P = (X'X + penalty I)^-1.

    Steck 2019, "Embarrassingly shallow autoencoders for sparse data". Films without ratings
    are left out, which changes nothing.
    """
    matrix = values_of(ratings, values)
    films = np.flatnonzero(np.bincount(matrix.indices, minlength=ratings.n_items))  # (films,)
    x = matrix[:, films]
    rows = _ease_by_users if ratings.n_users < len(films) else _ease_by_films
    scores = rows(x, penalty)

    def relevance(users: Ints) -> Floats:
        full = np.zeros((len(users), ratings.n_items))
        full[:, films] = scores(users)
        return full

    return ranker(ratings, relevance)


def _ease_by_films(x: Sparse, penalty: float) -> Rows:
    """In single precision, which halves the time; the penalty keeps the inverse accurate."""
    x = x.astype(np.float32)
    gram = (x.T @ x).toarray()
    gram[np.diag_indices_from(gram)] += penalty
    inverse = linalg.inv(gram, overwrite_a=True, assume_a="pos")  # P, (films, films)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return lambda users: x[users] @ weights


def _ease_by_users(x: Sparse, penalty: float) -> Rows:
    """With K = XX' + penalty I: X P = K^-1 X, diag(P) = (1 - sum_u x_u K^-1 x_u) / penalty.

    The result is the same, and K the smaller matrix where there are fewer users.
    """
    table = x.toarray()  # (n_users, films)
    kernel = table @ table.T + penalty * np.eye(len(table))
    solved = linalg.solve(kernel, table, assume_a="pos")  # K^-1 X, (n_users, films)
    diagonal = (1.0 - (table * solved).sum(axis=0)) / penalty  # of P, (films,)
    return lambda users: table[users] - solved[users] / diagonal


# RP3beta


def rp3beta(
    ratings: Ratings,
    seed: int,  # noqa: ARG001
    *,
    values: str,
    alpha: float,
    beta: float,
) -> FittedPeer:
    """Probability of a random walk user -> film -> user -> film, over popularity^beta.

    Paudel et al. 2017, "Updatable, accurate, diverse, and scalable recommendations for
    interactive applications"; each step's probability is raised to `alpha`, as in P3alpha.
    """
    x = values_of(ratings, values)
    counts = np.maximum(np.bincount(x.indices, minlength=ratings.n_items), 1)  # (n_items,)
    sums = x.sum(axis=0)
    per_film = 1.0 / np.maximum(sums, 1e-12)
    per_user = 1.0 / np.maximum(x.sum(axis=1), 1e-12)
    to_films = scaled(x, per_user, np.ones(ratings.n_items)).power(alpha)
    to_users = scaled(x, np.ones(ratings.n_users), per_film).power(alpha).T.tocsr()
    discount = counts**-beta  # (n_items,)

    def relevance(users: Ints) -> Floats:
        at_users = (to_films[users] @ to_users).toarray()  # (b, n_users)
        walked = (at_users @ to_films) * discount  # (b, n_items)
        # Ranking rounds to 1e-6, which is much of a probability.
        return walked / np.maximum(walked.max(axis=1, keepdims=True), TINY)

    return ranker(ratings, relevance)


# User kNN


def user_knn(ratings: Ratings, seed: int, *, values: str, k: int) -> FittedPeer:  # noqa: ARG001
    """Sum over the k users most alike by cosine of their values."""
    x = values_of(ratings, values)
    k = min(k, ratings.n_users)
    norms = np.sqrt(x.multiply(x).sum(axis=1))  # (n_users,)
    unit = scaled(x, 1.0 / np.maximum(norms, 1e-12), np.ones(ratings.n_items))
    transposed = unit.T.tocsr()

    def relevance(users: Ints) -> Floats:
        cosines = (unit[users] @ transposed).toarray()  # (b, n_users)
        cosines[np.arange(len(users)), users] = 0.0
        lowest = np.partition(cosines, -k, axis=1)[:, -k]  # (b,) cosine of the k-th neighbour
        cosines[cosines < lowest[:, None]] = 0.0
        return cosines @ x

    return ranker(ratings, relevance)


# iALS


def ials(
    ratings: Ratings, seed: int, *, values: str, factors: int, unobserved: float, penalty: float
) -> FittedPeer:
    """Least squares on 1 for each value and, weighted by `unobserved`, 0 for every cell.

    The penalty of a row of factors grows with its number of values. Rendle et al. 2021,
    "Revisiting the performance of iALS on item recommendation benchmarks", with nu = 1. Each
    half is solved by conjugate gradients from where it was (Takács et al. 2011).
    """
    x = values_of(ratings, values).astype(np.float32)
    transposed = x.T.tocsr()
    random = np.random.default_rng(seed)
    users = random.standard_normal((ratings.n_users, factors), np.float32) * START
    films = random.standard_normal((ratings.n_items, factors), np.float32) * START
    users /= np.sqrt(factors)
    films /= np.sqrt(factors)
    for _ in range(EPOCHS):
        users = _solve_half(x, users, films, unobserved, penalty)
        films = _solve_half(transposed, films, users, unobserved, penalty)
    return ranker(ratings, lambda rows: (users[rows] @ films.T).astype(np.float64))


def _solve_half(
    x: Sparse, start: Floats, other: Floats, unobserved: float, penalty: float
) -> Floats:
    """Each row's best factors, (n_rows, factors), for the other side's, (n_columns, factors).

    A row solves (sum_i h_i h_i' + unobserved H'H + weight I) w = sum_i h_i over its columns i.
    """
    counts = np.diff(x.indptr)  # (n_rows,)
    weight = (penalty * (counts + unobserved * len(other))).astype(other.dtype)
    system = partial(_times_system, x, other, unobserved * (other.T @ other), weight)
    solution = start
    residual = x @ other - system(solution)
    direction = residual
    squared = (residual**2).sum(axis=1)  # (n_rows,)
    for _ in range(STEPS):
        product = system(direction)
        step = squared / np.maximum((direction * product).sum(axis=1), TINY)
        solution = solution + step[:, None] * direction
        residual = residual - step[:, None] * product
        before = squared
        squared = (residual**2).sum(axis=1)
        direction = residual + (squared / np.maximum(before, TINY))[:, None] * direction
    return solution


def _times_system(
    x: Sparse, other: Floats, gram: Floats, weight: Floats, vectors: Floats
) -> Floats:
    """The matrix of each row's system times its vector, (n_rows, factors)."""
    rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
    products = np.einsum("pf,pf->p", vectors[rows], other[x.indices])  # of observed cells
    return vectors @ gram + with_data(x, products) @ other + weight[:, None] * vectors
