"""Rows of a sparse matrix -> their similarities, and the neighbours that are kept."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from batch.models import kernels
from batch.models.csr import Cells, cells
from batch.models.kernels import ALL, COSINE, FULL_COSINE, PEARSON, SimilaritySpec
from batch.params import Neighbourhood
from batch.ratings import Bools, Floats, Sparse

KINDS = {
    "cosine": COSINE,
    "adjusted_cosine": COSINE,
    "pearson": PEARSON,
    "full_cosine": FULL_COSINE,
}


@dataclass(frozen=True)
class Profiles:
    """The data that similarities between m rows (users, or items) are computed from."""

    rows: Cells  # (m, n)
    columns: Cells  # (n, m) the same cells by column
    squares: Floats  # (m,) sum of squares of each row
    spec: SimilaritySpec


def profiles(values: Sparse, by_column: Sparse, params: Neighbourhood) -> Profiles:
    """Rows to compare -> the data that their similarities are computed from.

    `values` are the rows, CSR (m, n), and `by_column` the same cells, CSR (n,
    m). They are deviations r - b for `adjusted_cosine`, and ratings for the
    other kinds.

    The similarity of two rows is 0 without overlap, and of a row to itself.

    - `cosine`: sim = (R R') / sqrt((R^2 M') * (M R^2')) with M = 1 where
      rated: sums over co-rated cells only.
    - `adjusted_cosine`: the same of r - b.
    - `pearson`: the same of r minus the row's mean over the co-rated cells
      (Herlocker et al. 1999).
    - `full_cosine`: cells without a rating count as 0.

    It is shrunk by overlap, s = sim * n / (n + beta): significance weighting
    as in Koren 2010, eq. 3. With `neighbours: k` only the k highest s > 0 of
    each row are kept; of equal ones those of the lower columns, which have the
    smaller keys.
    """
    m = values.shape[0]
    row_of_cell = np.repeat(np.arange(m, dtype=np.int32), np.diff(values.indptr))
    squares = np.bincount(row_of_cell, weights=values.data**2, minlength=m)
    k = ALL if params.neighbours == "all" else params.neighbours
    beta = float(params.overlap_shrinkage)
    spec = SimilaritySpec(KINDS[params.similarity], beta, k)
    return Profiles(cells(values), cells(by_column), squares.astype(np.float64), spec)


def sparse_similarities(profiles: Profiles, wanted: Bools | None = None) -> Sparse:
    """Similarities as CSR (m, m), without zeros: of all rows, or of the `wanted` ones, (m,)."""
    m = len(profiles.squares)
    if wanted is None:
        wanted = np.ones(m, dtype=np.bool_)
    similarities = kernels.neighbours(
        profiles.rows, profiles.columns, profiles.squares, profiles.spec, wanted
    )
    arrays = similarities.values, similarities.columns, similarities.starts
    matrix = sparse.csr_array(arrays, shape=(m, m))
    matrix.eliminate_zeros()
    return matrix
