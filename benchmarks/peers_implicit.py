"""Ratings -> rankers of the library implicit: ALS and film neighbours."""

from warnings import catch_warnings, simplefilter

import numpy as np
from scipy import sparse

from batch.ratings import Ratings, Sparse
from fitted_peer import FittedPeer, ranker, values_of


def als(
    ratings: Ratings, seed: int, *, values: str, factors: int, regularization: float, alpha: float
) -> FittedPeer:
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
        model.fit(_matrix(ratings, values), show_progress=False)
    return ranker(ratings, lambda users: model.user_factors[users] @ model.item_factors.T)


def film_neighbours(
    ratings: Ratings,
    seed: int,  # noqa: ARG001  nothing is random
    *,
    kind: str,
    values: str,
    k: int,
) -> FittedPeer:
    """Film neighbours; `kind` is one of the module's recommenders, which differ in weights."""
    from implicit import nearest_neighbours

    matrix = _matrix(ratings, values)
    model = getattr(nearest_neighbours, f"{kind}Recommender")(K=k)
    with catch_warnings():
        simplefilter("ignore")  # it warns of the kind of matrix that its own weighting returns
        model.fit(matrix, show_progress=False)
    return ranker(ratings, lambda users: (matrix[users] @ model.similarity).toarray())


def _matrix(ratings: Ratings, values: str) -> Sparse:
    """As a matrix, not an array: implicit accepts nothing else without a warning."""
    return sparse.csr_matrix(values_of(ratings, values))
