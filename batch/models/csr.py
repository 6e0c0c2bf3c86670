"""CSR matrices -> the arrays that compiled loops read, always of the same types."""

from typing import NamedTuple

import numpy as np
from numba import types
from scipy import sparse

from batch.models.compiled import COLUMNS, FLOATS, INTS, SINGLES, read_only
from batch.ratings import Floats, Ints, Sparse


class Cells(NamedTuple):
    """The stored cells of a sparse matrix, row after row, columns in increasing order.

    The cells of row r are those from starts[r] to starts[r + 1], as in CSR.
    """

    starts: Ints  # (n_rows + 1,) int64
    columns: Ints  # (n_cells,) int32
    values: Floats  # (n_cells,) float64 or float32


CELLS = types.NamedTuple([INTS, COLUMNS, FLOATS], Cells)
SINGLE_CELLS = types.NamedTuple([INTS, COLUMNS, SINGLES], Cells)
"""Numba's types of `Cells`, with values in float64 and float32."""


def cells(matrix: Sparse) -> Cells:
    """CSR matrix -> read-only cells.

    Values in float32 stay so, all others become float64.
    """
    starts = matrix.indptr.astype(np.int64, copy=False)
    columns = matrix.indices.astype(np.int32, copy=False)
    values = matrix.data
    if matrix.dtype != np.float32:
        values = values.astype(np.float64, copy=False)
    return frozen(Cells(starts, columns, values))


def frozen(cells: Cells) -> Cells:
    """The cells as read-only views, as loops need them.

    The arrays of a model that was sent to another process are writeable there.
    """
    return Cells(*(read_only(array) for array in cells))


class Deviations(NamedTuple):
    """Deviations of ratings from the baseline, most rated films first.

    A loop over a user's cells adds to one row of sums for each film. In this
    order the rows that are used most are next to each other, and stay in the
    processor's cache.
    """

    cells: Cells  # r - b in float64 or float32, (n_users, n_items)
    column_of_item: Ints  # (n_items,) the column of each film in `cells`


def by_rating_count(deviations: Sparse, *, single: bool) -> Deviations:
    """Deviations -> the same with the most rated films first.

    They are CSR (n_users, n_items), with films ordered by key. The values
    become float32 if `single`, else float64.
    """
    n_items = deviations.shape[1]
    counts = np.bincount(deviations.indices, minlength=n_items)  # (n_items,)
    items = np.argsort(-counts, kind="stable")
    column_of_item = np.empty_like(items)
    column_of_item[items] = np.arange(n_items)
    columns = column_of_item.astype(deviations.indices.dtype)[deviations.indices]
    values = deviations.data.astype(np.float32 if single else np.float64)
    arrays = values, columns, deviations.indptr
    moved = sparse.csr_array(arrays, shape=deviations.shape)
    moved.sort_indices()
    return Deviations(cells(moved), column_of_item)
