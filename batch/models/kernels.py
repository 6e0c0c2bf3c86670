"""Ratings by row and by column -> similarities, and what neighbours say: the loops behind both neighbourhood models.

The sums are taken over stored cells only, one row after another, always in the order of the columns: no digit depends
on the block or the thread. Formulas and their sources: `similarity.py`, `neighbourhood.py`.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types

from batch.models.compiled import compiled, in_parts, inner
from batch.ratings import Floats, Ints, Sparse

TIE = 9
"""Decimals at which two similarities count as equal when the k highest are chosen, far above rounding noise."""
NOISE = 1e-10
"""A similarity below this is rounding noise about 0: left in, it alone would carry a prediction."""
NO_VARIANCE = 1e-12
"""Share of the sum of squares below which a variance is rounding noise, so that constant rows correlate with none."""
COSINE, PEARSON, FULL_COSINE = range(3)
"""What is done with the sums over co-rated cells; `adjusted_cosine` is the cosine of other values."""
ALL = 0
"""In place of k: every neighbour, those of negative similarity too."""
PRODUCT, OWN, OTHER, OWN_SQUARE, OTHER_SQUARE = range(5)
"""The sums over the co-rated cells of two rows: r_u r_v, r_u, r_v, r_u^2, r_v^2."""
USERS_A_PART, ROWS_A_PART = 8, 32
"""How much a thread does before it asks for more: heavy raters take a hundred times as long as light ones."""


class Cells(NamedTuple):
    """A sparse matrix by row, columns in order: the arrays of a CSR matrix, of fixed types."""

    starts: Ints  # (n_rows + 1,) int64
    columns: Ints  # (n_cells,) int32
    values: Floats  # (n_cells,)


def cells(matrix: Sparse) -> Cells:
    """The cells of a CSR matrix. They cannot be written to: the model that holds them is frozen."""
    return _frozen(
        Cells(
            matrix.indptr.astype(np.int64, copy=False),
            matrix.indices.astype(np.int32, copy=False),
            matrix.data.astype(np.float64, copy=False),
        )
    )


def _frozen(given: Cells) -> Cells:
    """The same cells under the one type that loops are compiled for, also where they come from another process."""
    frozen = Cells(given.starts.view(), given.columns.view(), given.values.view())
    for array in frozen:
        array.flags.writeable = False
    return frozen


class Likeness(NamedTuple):
    """How rows are compared."""

    kind: int  # COSINE, PEARSON or FULL_COSINE
    beta: float  # ratings' worth of doubt
    k: int  # how many neighbours are kept, or ALL


_READ = [types.Array(of, 1, "C", readonly=True) for of in (types.int64, types.int32, types.float64)]
_INTS, _, _FLOATS = _READ
_CELLS = types.NamedTuple(_READ, Cells)
_LIKENESS = types.NamedTuple([types.int64, types.float64, types.int64], Likeness)
_BLOCK = types.float64[:, ::1]


def similarities(rows: Cells, columns: Cells, squares: Floats, like: Likeness, chosen: Ints) -> Floats:
    """s between these rows, (b,), and all rows: (b, m). `columns` are the cells of `rows`, (m, n), by column."""
    s = np.zeros((len(chosen), len(squares)))
    given = _frozen(rows), _frozen(columns), squares, like, chosen.astype(np.int64)
    in_parts(lambda start, stop: _alike(start, stop, *given, s), len(chosen), USERS_A_PART)
    return s


def neighbours(rows: Cells, columns: Cells, squares: Floats, like: Likeness) -> Cells:
    """s between all rows, (m, m). There may be cells of 0: places kept for neighbours who turned out to be none."""
    m = len(squares)
    given = _frozen(rows), _frozen(columns)
    counts = np.zeros(m, dtype=np.int64)
    in_parts(lambda start, stop: _count(start, stop, *given, like.k, counts), m, ROWS_A_PART)
    starts = np.concatenate([[0], np.cumsum(counts)])  # (m + 1,)
    found = Cells(starts, np.empty(starts[-1], dtype=np.int32), np.empty(starts[-1]))
    in_parts(lambda start, stop: _neighbours(start, stop, *given, squares, like, *found), m, ROWS_A_PART)
    return found


def heard(s: Floats, deviations: Cells, n_items: int) -> tuple[Floats, Floats]:
    """sum over v of s_uv d_vi, and of |s_uv|, for the users of s, (b, n_users): both (b, n_items)."""
    weighted, support = np.zeros((len(s), n_items)), np.zeros((len(s), n_items))
    given = s, _frozen(deviations)
    in_parts(lambda start, stop: _heard(start, stop, *given, weighted, support), len(s), USERS_A_PART)
    return weighted, support


def recalled(users: Ints, deviations: Cells, voices: Cells, n_items: int) -> tuple[Floats, Floats]:
    """sum over j that u rated of d_uj s_ji, and of |s_ji|, for these users: both (b, n_items)."""
    weighted, support = np.zeros((len(users), n_items)), np.zeros((len(users), n_items))
    given = users.astype(np.int64), _frozen(deviations), _frozen(voices)
    in_parts(lambda start, stop: _recalled(start, stop, *given, weighted, support), len(users), USERS_A_PART)
    return weighted, support


@inner
def _centred(square, total, n):  # type: ignore[no-untyped-def]
    """Sum of squares about the mean."""
    centred = square - total * total / n
    return centred if centred > NO_VARIANCE * square else 0.0


@inner
def _similarity(kind, n, sums, own_norm, other_norm):  # type: ignore[no-untyped-def]
    """sim of two rows from the sums over their n co-rated cells, (5,), and the sums of squares of the whole rows."""
    product, own, other = sums[PRODUCT], sums[OWN_SQUARE], sums[OTHER_SQUARE]
    if kind == PEARSON:
        product -= sums[OWN] * sums[OTHER] / n
        own, other = _centred(own, sums[OWN], n), _centred(other, sums[OTHER], n)
    elif kind == FULL_COSINE:
        own, other = own_norm, other_norm
    norm = math.sqrt(own * other)
    if norm == 0:
        return 0.0
    sim = product / norm
    return sim if abs(sim) >= NOISE else 0.0


@inner
def _compare(row, rows, columns, squares, like, overlap, sums, others, s):  # type: ignore[no-untyped-def]
    """Who shares a cell with this row, in order, and s to each: fills `others` and `s`, (m,); returns how many.

    `overlap`, (m,), and `sums`, (m, 5), are 0 before and after.
    """
    for here in range(rows.starts[row], rows.starts[row + 1]):
        column, own = rows.columns[here], rows.values[here]
        for there in range(columns.starts[column], columns.starts[column + 1]):
            other, value = columns.columns[there], columns.values[there]
            overlap[other] += 1.0
            sums[other, PRODUCT] += own * value
            sums[other, OWN] += own
            sums[other, OTHER] += value
            sums[other, OWN_SQUARE] += own * own
            sums[other, OTHER_SQUARE] += value * value
    found = 0
    for other in range(len(overlap)):  # written first, then kept or not: a branch here would be guessed wrong too often
        others[found] = other
        found += overlap[other] > 0
    for place in range(found):
        other = others[place]
        n = overlap[other]
        sim = _similarity(like.kind, n, sums[other], squares[row], squares[other])
        s[place] = 0.0 if other == row else sim * (n / (n + like.beta))  # nobody is their own neighbour
        overlap[other] = 0.0
        sums[other] = 0.0
    if like.k != ALL:
        _keep_strongest(s[:found], like.k)
    return found


@inner
def _keep_strongest(s, k):  # type: ignore[no-untyped-def]
    """Leave the k highest s > 0, the others 0; of equals the first, which have the smaller key."""
    rounded = np.rint(s * 10.0**TIE)
    able = rounded[rounded > 0]
    low, high = 1, 2 * 10**TIE  # low is reached by k or by all there are, high by fewer than k, s being at most 1
    while high - low > 1:
        middle = (low + high) // 2
        if _reaching(able, middle) >= k:
            low = middle
        else:
            high = middle
    room = k - _reaching(able, high)  # for those that are at low: with those above it, no more than k
    for place in range(len(s)):
        if rounded[place] == low and room > 0:
            room -= 1
        elif rounded[place] <= low:
            s[place] = 0.0


@inner
def _reaching(values, bar):  # type: ignore[no-untyped-def]
    """How many are at least as high."""
    n = 0
    for value in values:
        n += value >= bar
    return n


@compiled(types.int64, types.int64, _CELLS, _CELLS, _FLOATS, _LIKENESS, _INTS, _BLOCK)
def _alike(start, stop, rows, columns, squares, like, chosen, block):  # type: ignore[no-untyped-def]
    m = len(squares)
    overlap, sums, others, s = np.zeros(m), np.zeros((m, 5)), np.empty(m, dtype=np.int32), np.empty(m)
    for place in range(start, stop):
        found = _compare(chosen[place], rows, columns, squares, like, overlap, sums, others, s)
        for met in range(found):
            block[place, others[met]] = s[met]


@compiled(types.int64, types.int64, _CELLS, _CELLS, types.int64, types.int64[::1])
def _count(start, stop, rows, columns, k, counts):  # type: ignore[no-untyped-def]
    """How many others each row shares a cell with, k at most."""
    met_by = np.full(len(counts), -1, dtype=np.int32)  # (m,) the last row that met each
    for row in range(start, stop):
        met_by[row] = row
        for here in range(rows.starts[row], rows.starts[row + 1]):
            column = rows.columns[here]
            for there in range(columns.starts[column], columns.starts[column + 1]):
                other = columns.columns[there]
                counts[row] += met_by[other] != row
                met_by[other] = row
        if k != ALL:
            counts[row] = min(counts[row], k)


@compiled(types.int64, types.int64, _CELLS, _CELLS, _FLOATS, _LIKENESS, _INTS, types.int32[::1], types.float64[::1])
def _neighbours(start, stop, rows, columns, squares, like, starts, found, values):  # type: ignore[no-untyped-def]
    m = len(squares)
    overlap, sums, others, s = np.zeros(m), np.zeros((m, 5)), np.empty(m, dtype=np.int32), np.empty(m)
    for row in range(start, stop):
        place = starts[row]
        for met in range(_compare(row, rows, columns, squares, like, overlap, sums, others, s)):
            if s[met] != 0:
                found[place], values[place] = others[met], s[met]
                place += 1
        found[place : starts[row + 1]], values[place : starts[row + 1]] = row, 0.0


@compiled(types.int64, types.int64, types.Array(types.float64, 2, "C", readonly=True), _CELLS, _BLOCK, _BLOCK)
def _heard(start, stop, s, deviations, weighted, support):  # type: ignore[no-untyped-def]
    for place in range(start, stop):
        for other in range(s.shape[1]):
            alike = s[place, other]
            if alike != 0:
                for here in range(deviations.starts[other], deviations.starts[other + 1]):
                    item = deviations.columns[here]
                    weighted[place, item] += alike * deviations.values[here]
                    support[place, item] += abs(alike)


@compiled(types.int64, types.int64, _INTS, _CELLS, _CELLS, _BLOCK, _BLOCK)
def _recalled(start, stop, users, deviations, voices, weighted, support):  # type: ignore[no-untyped-def]
    for place in range(start, stop):
        for rated in range(deviations.starts[users[place]], deviations.starts[users[place] + 1]):
            item, deviation = deviations.columns[rated], deviations.values[rated]
            for here in range(voices.starts[item], voices.starts[item + 1]):
                target, alike = voices.columns[here], voices.values[here]
                weighted[place, target] += deviation * alike
                support[place, target] += abs(alike)
