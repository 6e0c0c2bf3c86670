"""Rows of a sparse matrix -> how alike they are, with the neighbours worth listening to."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from batch.params import Neighbourhood
from batch.ratings import Floats, Ints, Sparse, filled

TIE = 9
"""Decimals at which two similarities count as equal when the k highest are chosen, far above rounding noise."""
NOISE = 1e-10
"""A similarity below this is rounding noise about 0: left in, it alone would carry a prediction."""
NO_VARIANCE = 1e-12
"""Share of the sum of squares below which a variance is rounding noise, so that constant rows correlate with none."""


@dataclass(frozen=True)
class Profiles:
    """What similarities between m rows (users, or items) are computed from; all are CSR (m, n)."""

    values: Sparse  # ratings, or deviations for adjusted_cosine
    squares: Sparse
    rated: Sparse  # 1 on every rated cell
    params: Neighbourhood


def profiles(ratings: Sparse, deviations: Sparse, params: Neighbourhood) -> Profiles:
    """Rows to compare: `deviations` (r - b) are what adjusted_cosine looks at, `ratings` what the others do."""
    values = deviations if params.similarity == "adjusted_cosine" else ratings
    return Profiles(values, filled(values, values.data**2), filled(values, np.ones_like(values.data)), params)


def similarities(profiles: Profiles, rows: Ints) -> Floats:
    """s between these rows, (b,), and all rows: (b, m), shrunk by overlap, 0 to itself and without overlap.

    `cosine`: sim = (R R') / sqrt((R^2 M') * (M R^2')), sums over co-rated cells only. `adjusted_cosine`: the same of
    r - b. `pearson`: the same of r minus the mean over co-rated cells (Herlocker et al. 1999). `full_cosine`: absent
    counts as 0. Then s = sim * n / (n + beta), significance weighting as in Koren 2010, eq. 3.
    """
    kind, beta = profiles.params.similarity, profiles.params.overlap_shrinkage
    values, squares, rated = profiles.values[rows], profiles.squares[rows], profiles.rated[rows]  # (b, n)
    products = _dense(values @ profiles.values.T)  # (b, m) sum of r_u r_v over co-rated cells
    counted = beta > 0 or kind == "pearson"
    overlap = _dense(rated @ profiles.rated.T) if counted else np.zeros(0)
    if kind == "full_cosine":
        all_norms = profiles.squares.sum(axis=1)  # (m,)
        own, other = all_norms[rows, None], all_norms[None, :]  # broadcast to (b, m)
    else:
        own, other = _dense(squares @ profiles.rated.T), _dense(rated @ profiles.squares.T)
    if kind == "pearson":
        products, own, other = _centred(products, own, other, profiles, rows, overlap)
    norms = np.sqrt(own * other)
    s = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    s[np.abs(s) < NOISE] = 0.0
    if beta:
        s *= overlap / (overlap + beta)
    s[np.arange(len(rows)), rows] = 0.0  # nobody is their own neighbour
    return s


def _centred(
    products: Floats, own: Floats, other: Floats, profiles: Profiles, rows: Ints, overlap: Floats
) -> tuple[Floats, Floats, Floats]:
    """Sums of products and squares about the means over co-rated cells, each (b, m)."""
    own_sum = _dense(profiles.values[rows] @ profiles.rated.T)
    other_sum = _dense(profiles.rated[rows] @ profiles.values.T)
    n = np.maximum(overlap, 1.0)
    own_centred, other_centred = own - own_sum**2 / n, other - other_sum**2 / n
    own_centred[own_centred <= NO_VARIANCE * own] = 0.0
    other_centred[other_centred <= NO_VARIANCE * other] = 0.0
    return products - own_sum * other_sum / n, own_centred, other_centred


def strongest(s: Floats, k: int) -> Floats:
    """The k highest s > 0 of each row kept, the others 0; ties go to the lower column, which is the smaller key."""
    rounded = np.round(s, TIE)
    order = np.argsort(-rounded, axis=1, kind="stable")[:, :k]  # (b, k)
    kept = np.zeros_like(s)
    np.put_along_axis(kept, order, np.take_along_axis(s, order, axis=1), axis=1)
    return np.where(rounded > 0, kept, 0.0)


def _dense(matrix: Sparse) -> Floats:
    return np.asarray(matrix.toarray(), dtype=np.float64)


def sparse_similarities(profiles: Profiles, block: int) -> Sparse:
    """All similarities as CSR (m, m), made `block` rows at a time: with every row's k strongest, where k is set."""
    m, k = profiles.values.shape[0], profiles.params.neighbours
    parts = []
    for start in range(0, m, block):
        s = similarities(profiles, np.arange(start, min(start + block, m)))
        parts.append(sparse.csr_array(s if k == "all" else strongest(s, k)))
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_array((m, m))
