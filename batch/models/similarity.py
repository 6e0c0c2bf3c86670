"""Rows of a sparse matrix -> how alike they are, with the neighbours worth listening to."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from batch.models import kernels
from batch.models.kernels import ALL, COSINE, FULL_COSINE, PEARSON, Cells, SimilaritySpec, cells
from batch.params import Neighbourhood
from batch.ratings import Floats, Sparse

KINDS = {
    "cosine": COSINE,
    "adjusted_cosine": COSINE,
    "pearson": PEARSON,
    "full_cosine": FULL_COSINE,
}


@dataclass(frozen=True)
class Profiles:
    """What similarities between m rows (users, or items) are computed from."""

    rows: Cells  # (m, n)
    columns: Cells  # (n, m) the same cells
    squares: Floats  # (m,) sum of squares of each row
    like: SimilaritySpec


def profiles(values: Sparse, by_column: Sparse, params: Neighbourhood) -> Profiles:
    """Rows to compare, CSR (m, n), and the same cells by column, CSR (n, m).

    They are deviations r - b for adjusted_cosine and ratings for the others.

    s between two rows is their similarity, shrunk by overlap; it is 0 to itself and without overlap. `cosine`:
    sim = (R R') / sqrt((R^2 M') * (M R^2')) with M = 1 where rated: sums over co-rated cells only. `adjusted_cosine`:
    the same of r - b. `pearson`: the same of r minus the mean over co-rated cells (Herlocker et al. 1999).
    `full_cosine`: absent counts as 0. Then s = sim * n / (n + beta), significance weighting as in Koren 2010, eq. 3.
    With `neighbours: k` only the k highest s > 0 of each row stay; ties go to the lower column, the smaller key.
    """
    m = values.shape[0]
    row_of_cell = np.repeat(np.arange(m, dtype=np.int32), np.diff(values.indptr))
    squares = np.bincount(row_of_cell, weights=values.data**2, minlength=m).astype(np.float64)
    k = ALL if params.neighbours == "all" else params.neighbours
    like = SimilaritySpec(KINDS[params.similarity], float(params.overlap_shrinkage), k)
    return Profiles(cells(values), cells(by_column), squares, like)


def sparse_similarities(profiles: Profiles) -> Sparse:
    """All similarities as CSR (m, m), without the zeros."""
    found = kernels.neighbours(profiles.rows, profiles.columns, profiles.squares, profiles.like)
    m = len(profiles.squares)
    matrix = sparse.csr_array((found.values, found.columns, found.starts), shape=(m, m))
    matrix.eliminate_zeros()
    return matrix
