"""Profiles of users -> weights between films that are learnt all at once (EASE)."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from batch.models.attribution import strongest, strongest_through
from batch.models.compiled import (
    COLUMNS,
    FLOAT,
    FLOATS,
    FLOATS_OUT,
    INT,
    INTS,
    TABLE,
    TABLE_OUT,
    compiled,
    in_parts,
    read_only,
)
from batch.models.csr import cells
from batch.ratings import Floats, Ints, Pairs, Sparse, blocks, select_stored

MAX_CELLS = 25_000_000
"""Cells of the largest dense array, 200 MB.

Where more are needed, only the most rated films get weights.
"""
ROWS_A_PART = 16
"""Rows that a thread takes at a time."""
ITEMS_A_PART = 512
"""Items that a thread takes at a time."""
PAIRS_A_PART = 4096
"""Cells that a thread takes at a time."""
CELLS_AT_ONCE = 512
"""Cells whose strongest films are searched for together.

It takes this many times n_users float64 numbers of memory.
"""

_CSR = (INTS, COLUMNS, FLOATS)  # starts, columns and values


@dataclass(frozen=True)
class ThroughUsers:
    """x -> x B for at most as many users as films.

    P = (X'X + ridge I)^-1 is never computed: by Woodbury's identity a system
    of n_users suffices.
    """

    raters: Sparse  # X', CSR (n_items, n_users)
    inverse: Floats  # (XX' + ridge I)^-1, (n_users, n_users)
    diagonal: Floats  # of P, (n_items,)
    ridge: float

    def score(self, rows: Sparse) -> Floats:
        """Scores of every item, (b, n_items), for profiles x, CSR (b, n_items)."""
        scores = rows.toarray()  # (b, n_items)
        shared = read_only(self._shared(rows).T)
        raters = _arrays(self.raters)
        diagonal = read_only(self.diagonal)

        def part(start: int, stop: int) -> None:
            _score_items(start, stop, shared, *raters, self.ridge, diagonal, scores)

        in_parts(part, len(diagonal), ITEMS_A_PART)
        return scores

    def at(self, rows: Sparse, pairs: Pairs) -> Floats:
        """The scores of these cells only, (p,)."""
        own = rows.toarray()[pairs]  # (p,)
        products = np.empty(len(own))
        shared = read_only(self._shared(rows))
        raters = _arrays(self.raters)
        pair_rows = read_only(pairs.rows)
        pair_columns = read_only(pairs.columns)

        def part(start: int, stop: int) -> None:
            _products(start, stop, shared, *raters, pair_rows, pair_columns, products)

        in_parts(part, len(own), PAIRS_A_PART)
        return own - (own - products) / self.ridge / self.diagonal[pairs.columns]

    def strongest(self, rows: Sparse, pairs: Pairs) -> Ints:
        """The film of a cell's profile that adds most to it, (p,), or NOBODY."""
        profiles = cells(rows)
        raters = cells(self.raters)
        columns = np.empty(len(pairs.rows), dtype=np.int64)
        for block in blocks(len(columns), CELLS_AT_ONCE):
            part = Pairs(pairs.rows[block], pairs.columns[block])
            targets, lines = np.unique(part.columns, return_inverse=True)
            through = self.raters[targets] @ self.inverse  # (n_targets, n_users)
            scale = 1.0 / self.ridge / self.diagonal[part.columns]
            columns[block] = strongest_through(profiles, part, raters, through, lines, scale)
        return columns

    def _shared(self, rows: Sparse) -> Floats:
        """x X' (XX' + ridge I)^-1, (b, n_users); x P = (x - this X) / ridge."""
        overlaps = (rows @ self.raters).toarray()  # has hardly any 0
        return overlaps @ self.inverse


@dataclass(frozen=True)
class ThroughItems:
    """x -> x B over the films that have weights, the most rated; the others score 0."""

    kept: Ints  # (m,) columns of those films
    positions: Ints  # (n_items,) int32, the position of each column in `kept`, or -1
    weights: Floats  # B, (m, m), 0 on the diagonal

    def score(self, rows: Sparse) -> Floats:
        """Scores of every item, (b, n_items), for profiles x, CSR (b, n_items)."""
        scores = np.zeros(rows.shape)  # (b, n_items)
        profiles = _arrays(rows)
        positions = read_only(self.positions)
        kept = read_only(self.kept)
        weights = read_only(self.weights)

        def part(start: int, stop: int) -> None:
            _project(start, stop, *profiles, positions, kept, weights, scores)

        in_parts(part, rows.shape[0], ROWS_A_PART)
        return scores

    def at(self, rows: Sparse, pairs: Pairs) -> Floats:
        """The scores of these cells only, (p,)."""
        by_row = np.argsort(pairs.rows, kind="stable")
        counts = np.bincount(pairs.rows, minlength=rows.shape[0])  # (b,)
        starts = np.concatenate([[0], np.cumsum(counts)])  # (b + 1,) of each row's cells
        targets = self.positions[pairs.columns[by_row]]
        sums = np.zeros(len(targets))  # (p,) by row
        profiles = _arrays(rows)
        positions = read_only(self.positions)
        weights = read_only(self.weights)

        def part(start: int, stop: int) -> None:
            _project_cells(start, stop, *profiles, positions, starts, targets, weights, sums)

        in_parts(part, rows.shape[0], ROWS_A_PART)
        scores = np.empty(len(sums))
        scores[by_row] = sums
        return scores

    def strongest(self, rows: Sparse, pairs: Pairs) -> Ints:
        """The film of a cell's profile that adds most to it, (p,), or NOBODY."""
        return strongest(cells(rows), pairs, self.positions, self.weights)


def interpolate(profiles: Sparse, ridge: float) -> ThroughUsers | ThroughItems:
    """Profiles X, CSR (n_users, n_items) -> the weights B of EASE (Steck 2019).

    B minimises |X - X B|^2 + ridge |B|^2 with diag(B) = 0. The solution is B =
    I - P / diag(P) with P = (X'X + ridge I)^-1. It is solved on the smaller
    side of X. Raises LinAlgError if it cannot be solved in floating point.
    """
    n_users, n_items = profiles.shape
    if n_users <= n_items and n_users * n_items <= MAX_CELLS:
        return _solved_by_users(profiles, ridge)
    n_kept = int(np.sqrt(MAX_CELLS))
    counts = np.bincount(profiles.indices, minlength=n_items)  # (n_items,)
    most_rated = np.lexsort((np.arange(n_items), -counts))  # ties by key
    kept = np.sort(most_rated[:n_kept])
    positions = np.full(n_items, -1, dtype=np.int32)
    positions[kept] = np.arange(len(kept))
    is_kept = positions[profiles.indices] >= 0
    used = select_stored(profiles, is_kept & (profiles.data != 0))
    del profiles  # as large as the ratings, and two more copies follow
    columns = sparse.csr_array(
        (used.data, positions[used.indices], used.indptr), shape=(n_users, len(kept))
    )
    return ThroughItems(kept, positions, _weights(columns, ridge))


def _solved_by_users(profiles: Sparse, ridge: float) -> ThroughUsers:
    raters = profiles.T.tocsr()  # (n_items, n_users)
    system = (profiles @ raters).toarray() + ridge * np.eye(profiles.shape[0])
    inverse = np.linalg.inv(system)  # (n_users, n_users)
    shares = np.empty(profiles.shape[1])
    by_item = _arrays(raters)

    def part(start: int, stop: int) -> None:
        _shares(start, stop, *by_item, read_only(inverse), shares)

    in_parts(part, len(shares), ITEMS_A_PART)
    return ThroughUsers(raters, inverse, (1.0 - shares) / ridge, ridge)


def _weights(profiles: Sparse, ridge: float) -> Floats:
    """B, (m, m), for profiles, CSR (n_users, m).

    All steps are computed in position, in one array.
    """
    m = profiles.shape[1]
    matrix = np.zeros((m, m))
    if not m:
        return matrix
    by_user = _arrays(profiles)
    by_item = _arrays(profiles.T.tocsr())

    def part(start: int, stop: int) -> None:
        _gram(start, stop, *by_user, *by_item, matrix)

    in_parts(part, m, ROWS_A_PART)
    matrix[np.diag_indices(m)] += ridge
    # LAPACK stores matrices by column: its lower triangle is our upper one.
    factor, factor_error = lapack.dpotrf(matrix.T, lower=True, overwrite_a=True)
    inverse, inverse_error = lapack.dpotri(factor, lower=True, overwrite_c=True)
    if factor_error or inverse_error:
        raise np.linalg.LinAlgError(
            "the learnt weights cannot be solved; a larger learnt_ridge helps"
        )
    _to_weights(inverse.T, np.diag(inverse).copy())
    return inverse.T


def _arrays(matrix: Sparse) -> tuple[Ints, Ints, Floats]:
    """Starts, columns and values of a CSR matrix, as loops expect them."""
    starts = matrix.indptr.astype(np.int64)
    columns = matrix.indices.astype(np.int32, copy=False)
    return read_only(starts), read_only(columns), read_only(matrix.data)


@compiled((INT, INT, *_CSR, TABLE, FLOATS_OUT))
def _shares(start, stop, starts, raters, values, inverse, shares):  # type: ignore[no-untyped-def]
    """x' S x for the column x of each of these films, with S = `inverse`, which is symmetric."""
    for item in range(start, stop):
        total = 0.0
        for cell in range(starts[item], starts[item + 1]):
            line = inverse[raters[cell]]
            above = 0.0
            for other in range(starts[item], cell):
                above += line[raters[other]] * values[other]
            total += values[cell] * (2.0 * above + line[raters[cell]] * values[cell])
        shares[item] = total


@compiled((INT, INT, TABLE, *_CSR, FLOAT, FLOATS, TABLE_OUT))
def _score_items(  # type: ignore[no-untyped-def]
    start, stop, shared, starts, raters, values, ridge, diagonal, scores
):
    """From profiles in `scores`, (b, n_items), and `shared`, (n_users, b), the scores of items."""
    products = np.empty(shared.shape[1])
    for item in range(start, stop):
        products[:] = 0.0
        for cell in range(starts[item], starts[item + 1]):
            value = values[cell]
            line = shared[raters[cell]]
            for row in range(len(products)):
                products[row] += value * line[row]
        for row in range(len(products)):
            own = scores[row, item]
            scores[row, item] = own - (own - products[row]) / ridge / diagonal[item]


@compiled((INT, INT, TABLE, *_CSR, INTS, INTS, FLOATS_OUT))
def _products(  # type: ignore[no-untyped-def]
    start, stop, shared, starts, raters, values, rows, columns, products
):
    """For each cell: its row of `shared`, (b, n_users), times its film's column of X."""
    for pair in range(start, stop):
        total = 0.0
        line = shared[rows[pair]]
        item = columns[pair]
        for cell in range(starts[item], starts[item + 1]):
            total += line[raters[cell]] * values[cell]
        products[pair] = total


@compiled((INT, INT, *_CSR, COLUMNS, INTS, TABLE, TABLE_OUT))
def _project(  # type: ignore[no-untyped-def]
    start, stop, starts, columns, values, positions, kept, weights, scores
):
    """x B for these rows of x."""
    total = np.empty(len(kept))
    for row in range(start, stop):
        total[:] = 0.0
        for rated in range(starts[row], starts[row + 1]):
            position = positions[columns[rated]]
            if position >= 0 and values[rated] != 0:
                value = values[rated]
                line = weights[position]
                for target in range(len(total)):
                    total[target] += value * line[target]
        for target in range(len(kept)):
            scores[row, kept[target]] = total[target]


@compiled((INT, INT, *_CSR, COLUMNS, INTS, COLUMNS, TABLE, FLOATS_OUT))
def _project_cells(  # type: ignore[no-untyped-def]
    start, stop, starts, columns, values, positions, cell_starts, targets, weights, sums
):
    """Some cells of x B; those of row r are from cell_starts[r] to cell_starts[r + 1]."""
    for row in range(start, stop):
        for rated in range(starts[row], starts[row + 1]):
            position = positions[columns[rated]]
            if position >= 0 and values[rated] != 0:
                value = values[rated]
                line = weights[position]
                for cell in range(cell_starts[row], cell_starts[row + 1]):
                    if targets[cell] >= 0:
                        sums[cell] += value * line[targets[cell]]


@compiled((INT, INT, *_CSR, *_CSR, TABLE_OUT))
def _gram(  # type: ignore[no-untyped-def]
    start, stop, starts, columns, values, item_starts, users, item_values, gram
):
    """The upper triangle of X'X, row by row.

    Of each user who rated film i, only the films from the last down to i are
    needed.
    """
    for item in range(start, stop):
        line = gram[item]
        for cell in range(item_starts[item], item_starts[item + 1]):
            value = item_values[cell]
            rated = starts[users[cell] + 1] - 1
            while columns[rated] > item:
                line[columns[rated]] += value * values[rated]
                rated -= 1
            line[item] += value * value


@compiled((TABLE_OUT, FLOATS_OUT))
def _to_weights(inverse, diagonal):  # type: ignore[no-untyped-def]
    """Replace P by -P / diag(P), with 0 on the diagonal.

    P is symmetric, and only its upper triangle is filled.
    """
    for row in range(len(diagonal)):
        inverse[row, row] = 0.0
        for column in range(row + 1, len(diagonal)):
            negative = -inverse[row, column]
            inverse[row, column] = negative / diagonal[column]
            inverse[column, row] = negative / diagonal[row]
