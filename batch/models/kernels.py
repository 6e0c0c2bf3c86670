"""Ratings by row and by column -> similarities, and sums weighted by them.

These are the compiled loops of both neighbourhood models. The formulas and
their sources are in `similarity.py` and `prediction.py`. The data is laid out
as follows.

Only rated cells are stored, row after row (`Cells`), and once more column
after column. To compare row u with all others, a loop takes each cell (u, i)
of the row, and for it each cell (v, i) of column i. It thus visits exactly the
cells that u and each other row v have in common. The sums over them are kept
in `sums`, (m, n_sums), one line for each v; the columns are named by PRODUCT
to OTHER_TOTAL. The array is reused from row to row, so a loop sets to 0 what
it has read.

User-user sums are computed for groups of users that fill one SIMD register of
64 bytes: 8 users in float64, 16 in float32. A user's position in the group is
called a lane. The similarities of all lanes to one neighbour v are one
register, so each deviation of v is read once and added for the whole group:
alone, each user would read all ratings again. The sums of a group are an array
(n_items, 2 * lanes). The row of a film holds the weighted sums of all lanes,
then their supports. Each half is exactly one line of the processor's cache,
and films are sorted by rating count (`Deviations`), so that the rows that are
used most stay in the cache.

Neighbours are always added in the order of their rows, and each sum on one
thread: results are the same to the last bit for any block size and any number
of threads.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from batch.models.baseline import NOISE as NO_DEVIATION
from batch.models.baseline import Baseline
from batch.models.compiled import (
    BOOLS,
    COLUMNS_OUT,
    FLOAT,
    FLOATS,
    FLOATS_OUT,
    INT,
    INTS,
    INTS_OUT,
    SINGLE_TABLE_OUT,
    TABLE_OUT,
    compiled,
    in_parts,
    inner,
    read_only,
)
from batch.models.csr import CELLS, SINGLE_CELLS, Cells, Deviations, frozen
from batch.ratings import Bools, Floats, Ints

TIE = 9
"""Decimals to which similarities are compared when the k highest are chosen.

Those that agree count as equal. The last digits are far above rounding noise.
"""
NOISE = 1e-10
"""A similarity below this is rounding noise and counts as 0.

Left in, it alone could decide a prediction.
"""
NO_VARIANCE = 1e-12
"""A variance below this share of the sum of squares is rounding noise and counts as 0.

Without it, rows of constant ratings would correlate with others.
"""
FULL_COSINE = 2
COSINE = 4
PEARSON = 6
"""Kinds of similarity, each named by how many sums over co-rated cells it needs.

`adjusted_cosine` is COSINE of other values.
"""
PRODUCT, COUNT, OWN_SQUARE, OTHER_SQUARE, OWN_TOTAL, OTHER_TOTAL = range(6)
"""Columns of `sums`: of r_u r_v, 1, r_u^2, r_v^2, r_u and r_v over co-rated cells."""
ALL = 0
"""The value of k with which all neighbours are kept, also those of negative similarity."""
BUCKETS = 1024
"""Intervals of similarity, from 0 to 1, that are counted to find the k-th highest."""
ROWS_A_PART = 32
"""Rows that a thread takes at a time.

Heavy raters take a hundred times as long as light ones.
"""
LANE_BYTES = 64
"""Bytes of the widest SIMD registers (AVX-512), and of a line of the cache."""


class SimilaritySpec(NamedTuple):
    """How rows are compared."""

    kind: int  # COSINE, PEARSON or FULL_COSINE
    beta: float  # shrinkage by overlap, in co-rated cells
    k: int  # neighbours kept, or ALL


_SPEC = types.NamedTuple([INT, FLOAT, INT], SimilaritySpec)
_PROFILES = (CELLS, CELLS, FLOATS, _SPEC)  # rows, columns, squares, spec


def neighbours(
    rows: Cells,
    columns: Cells,
    squares: Floats,
    spec: SimilaritySpec,
    wanted: Bools,
) -> Cells:
    """Similarities of the wanted rows, (m,), to all rows, by row, (m, m).

    `rows` are cells (m, n), `columns` the same cells by column, (n, m), and
    `squares` the sum of squares of each row, (m,). With `spec.k` a row keeps
    its k highest similarities above 0; of equal ones those of the first
    columns. Some cells may be 0: space for neighbours that a row does not
    have.
    """
    m = len(squares)
    rows = frozen(rows)
    columns = frozen(columns)
    wanted = read_only(wanted)
    if spec.k == ALL:
        counts = np.zeros(m, dtype=np.int64)

        def count(start: int, stop: int) -> None:
            _count_overlaps(start, stop, rows, columns, wanted, counts)

        in_parts(count, m, ROWS_A_PART)
    else:
        counts = np.where(wanted, min(spec.k, m), 0)
    starts = np.concatenate([[0], np.cumsum(counts)])  # (m + 1,)
    neighbour = np.empty(starts[-1], dtype=np.int32)
    similarity = np.empty(starts[-1])

    def fill(start: int, stop: int) -> None:
        compared = rows, columns, squares, spec, wanted
        _neighbours(start, stop, *compared, starts, neighbour, similarity)

    in_parts(fill, m, ROWS_A_PART)
    return Cells(starts, neighbour, similarity)


def user_weighted_sums(
    rows: Cells,
    columns: Cells,
    squares: Floats,
    spec: SimilaritySpec,
    deviations: Deviations,
    users: Ints,
) -> tuple[Floats, Floats, Floats]:
    """Sums over neighbours v of s_uv d_vi and of |s_uv|, and the s_uv themselves.

    The sums are (b, n_items) each, and s is (b, n_users). u are these users,
    (b,), and d the deviations. The first four arguments are as for
    `neighbours`, with users as rows; with `spec.k` a user's k neighbours are
    chosen in the same way. Similarities are computed for these users only: all
    would be n_users^2 numbers.
    """
    b = len(users)
    n_users = len(squares)
    n_items = len(deviations.column_of_item)
    weighted = np.empty((b, n_items))
    support = np.empty((b, n_items))
    precision = deviations.cells.values.dtype
    lanes = LANE_BYTES // precision.itemsize
    in_whole_groups = b + -b % lanes
    similarities = np.zeros((in_whole_groups, n_users), precision)

    users = users.astype(np.int64)
    profiles = frozen(rows), frozen(columns), read_only(squares), spec
    items = frozen(deviations.cells), read_only(deviations.column_of_item)

    def add_up(start: int, stop: int) -> None:
        group = similarities[start : start + lanes]
        sums = _aligned_zeros(n_items, 2 * lanes, precision)
        _user_weighted_sums(start, stop, users, *profiles, *items, group, sums, weighted, support)

    in_parts(add_up, b, lanes)
    return weighted, support, similarities[:b]


def item_weighted_sums(
    users: Ints, ratings: Cells, baseline: Baseline, similarities: Cells
) -> tuple[Floats, Floats]:
    """Sums over films j that u rated of (r_uj - b_uj) s_ji and of |s_ji|.

    They are (b, n_items) each. u are these users, (b,). `ratings` are stars,
    (n_users, n_items); `similarities` are s_ji by rated film j, (n_items,
    n_items).
    """
    b = len(users)
    n_items = len(baseline.item)
    weighted = np.zeros((b, n_items))
    support = np.zeros((b, n_items))
    users = users.astype(np.int64)
    ratings = frozen(ratings)
    similarities = frozen(similarities)
    user_levels = read_only(baseline.mu + baseline.user)
    item_effects = read_only(baseline.item)
    expected = user_levels, item_effects, NO_DEVIATION

    def add_up(start: int, stop: int) -> None:
        _item_weighted_sums(start, stop, users, ratings, *expected, similarities, weighted, support)

    in_parts(add_up, b, ROWS_A_PART)
    return weighted, support


def _aligned_zeros(n_rows: int, n_columns: int, precision: Any) -> Any:
    """Zeros that begin at a line of the cache, so that no register spans two."""
    row_bytes = n_columns * precision.itemsize
    raw = np.zeros(n_rows * row_bytes + LANE_BYTES, dtype=np.uint8)
    first = -raw.ctypes.data % LANE_BYTES
    aligned = raw[first : first + n_rows * row_bytes]
    return aligned.view(precision).reshape(n_rows, n_columns)


@inner
def _add_overlaps(row, rows, columns, kind, sums):  # type: ignore[no-untyped-def]
    """Add up what this row has in common with every other, into `sums`, (m, kind)."""
    for cell in range(rows.starts[row], rows.starts[row + 1]):
        own = rows.values[cell]
        column = rows.columns[cell]
        first = columns.starts[column]
        end = columns.starts[column + 1]
        if kind == FULL_COSINE:
            for overlap in range(first, end):
                other = columns.columns[overlap]
                sums[other, PRODUCT] += own * columns.values[overlap]
                sums[other, COUNT] += 1.0
        else:
            for overlap in range(first, end):
                other = columns.columns[overlap]
                value = columns.values[overlap]
                sums[other, PRODUCT] += own * value
                sums[other, COUNT] += 1.0
                sums[other, OWN_SQUARE] += own * own
                sums[other, OTHER_SQUARE] += value * value
                if kind == PEARSON:
                    sums[other, OWN_TOTAL] += own
                    sums[other, OTHER_TOTAL] += value


@inner
def _compare(  # type: ignore[no-untyped-def]
    row, rows, columns, squares, spec, sums, others, s
):
    """Find the rows that have a cell in common with this one, and the similarities s.

    Returns how many there are. They are written to the front of `others` and
    `s`, (m + 1,) each, in order of row, before the k highest are chosen.
    `sums` must be 0, and is 0 again afterwards.
    """
    _add_overlaps(row, rows, columns, spec.kind, sums)
    sums[row] = 0.0  # a row is not its own neighbour
    n_others = 0
    for other in range(len(sums)):
        # Always written, then kept or not: a branch would be mispredicted too often.
        others[n_others] = other
        n_others += sums[other, COUNT] > 0
    if spec.kind == PEARSON:
        _centre(others[:n_others], sums)
    for place in range(n_others):
        other = others[place]
        if spec.kind == FULL_COSINE:
            norm = squares[row] * squares[other]
        else:
            norm = sums[other, OWN_SQUARE] * sums[other, OTHER_SQUARE]
        product = sums[other, PRODUCT]
        s[place] = _similarity(product, norm, sums[other, COUNT], spec.beta)
    for place in range(n_others):
        sums[others[place]] = 0.0
    return n_others


@inner
def _similarity(product, norm, n, beta):  # type: ignore[no-untyped-def]
    """sim * n / (n + beta); 0 where a row is 0, or where sim is noise."""
    sim = product / math.sqrt(norm if norm > 0 else 1.0)
    valid = (norm > 0) & (abs(sim) >= NOISE)
    return sim * (n / (n + beta)) if valid else 0.0


@inner
def _centre(others, sums):  # type: ignore[no-untyped-def]
    """Replace sums by those of values less their means over co-rated cells."""
    for other in others:
        n = sums[other, COUNT]
        own_total = sums[other, OWN_TOTAL]
        other_total = sums[other, OTHER_TOTAL]
        sums[other, PRODUCT] -= own_total * other_total / n
        sums[other, OWN_SQUARE] = _centred(sums[other, OWN_SQUARE], own_total, n)
        sums[other, OTHER_SQUARE] = _centred(sums[other, OTHER_SQUARE], other_total, n)


@inner
def _centred(square, total, n):  # type: ignore[no-untyped-def]
    """Sum of squares about the mean; 0 where it is noise."""
    centred = square - total * total / n
    return centred if centred > NO_VARIANCE * square else 0.0


@inner
def _keep_highest(s, k, rounded, counts):  # type: ignore[no-untyped-def]
    """Set all but the k highest s > 0 to 0; of equal ones the first stay.

    `rounded`, at least as long as `s`, and `counts`, (BUCKETS,), are scratch. Only
    the bucket that holds the k-th highest is searched.
    """
    counts[:] = 0
    for place in range(len(s)):
        rounded[place] = np.rint(s[place] * 10.0**TIE)
        counts[_bucket(rounded[place])] += rounded[place] > 0
    bucket = BUCKETS - 1
    n_left = k  # how many stay of this bucket and those below it
    while bucket >= 0 and counts[bucket] < n_left:
        n_left -= counts[bucket]
        bucket -= 1
    threshold = 0.0
    n_equal = 0  # how many of those equal to the threshold stay
    if bucket >= 0:
        near = np.empty(counts[bucket])
        n_near = 0
        for place in range(len(s)):
            if rounded[place] > 0 and _bucket(rounded[place]) == bucket:
                near[n_near] = rounded[place]
                n_near += 1
        threshold = np.partition(near, n_near - n_left)[n_near - n_left]
        n_equal = n_left
        for place in range(n_near):
            n_equal -= near[place] > threshold
    for place in range(len(s)):
        if rounded[place] == threshold and n_equal > 0:
            n_equal -= 1
        elif rounded[place] <= threshold:
            s[place] = 0.0


@inner
def _bucket(rounded):  # type: ignore[no-untyped-def]
    """The bucket of a rounded similarity: equal ones are in the same, higher ones not below it."""
    return min(max(int(rounded * (BUCKETS / 10.0**TIE)), 0), BUCKETS - 1)


@compiled((INT, INT, CELLS, CELLS, BOOLS, INTS_OUT))
def _count_overlaps(start, stop, rows, columns, wanted, counts):  # type: ignore[no-untyped-def]
    """Count the other rows that each wanted row has a cell in common with."""
    # The last row that each row was counted for, (m,).
    counted_for = np.full(len(counts), -1, dtype=np.int32)
    for row in range(start, stop):
        if not wanted[row]:
            continue
        counted_for[row] = row
        for cell in range(rows.starts[row], rows.starts[row + 1]):
            column = rows.columns[cell]
            for overlap in range(columns.starts[column], columns.starts[column + 1]):
                other = columns.columns[overlap]
                counts[row] += counted_for[other] != row
                counted_for[other] = row


@compiled((INT, INT, *_PROFILES, BOOLS, INTS, COLUMNS_OUT, FLOATS_OUT))
def _neighbours(  # type: ignore[no-untyped-def]
    start, stop, rows, columns, squares, spec, wanted, starts, neighbour, similarity
):
    """Write the neighbours of the wanted ones of these rows; 0 fills up the space of each."""
    m = len(squares)
    sums = np.zeros((m, spec.kind))
    others = np.empty(m + 1, np.int32)
    s = np.empty(m + 1)
    rounded = np.empty(m)
    counts = np.zeros(BUCKETS, np.int64)
    for row in range(start, stop):
        if not wanted[row]:
            continue
        n_others = _compare(row, rows, columns, squares, spec, sums, others, s)
        if spec.k != ALL:
            _keep_highest(s[:n_others], spec.k, rounded, counts)
        cell = starts[row]
        for place in range(n_others):
            if s[place] != 0:
                neighbour[cell] = others[place]
                similarity[cell] = s[place]
                cell += 1
        neighbour[cell : starts[row + 1]] = row
        similarity[cell : starts[row + 1]] = 0.0


@intrinsic
def _add_neighbour(  # type: ignore[no-untyped-def]
    _context, s, columns, values, _start, _stop, sums
):
    """sums[column] += [value * s, |s|] for the cells of one neighbour.

    The cells are those from start to stop. `s` are the similarities of a group
    of users to the neighbour, (lanes,); `sums` is (n_items, 2 * lanes).
    Written in LLVM instructions because LLVM does not see that the arrays of a
    Python loop do not overlap, and then takes three times as long.
    """
    bits = s.dtype.bitwidth
    lanes = 8 * LANE_BYTES // bits
    number = ir.DoubleType() if s.dtype == types.float64 else ir.FloatType()
    vector = ir.VectorType(number, lanes)
    index = ir.IntType(64)
    align = bits // 8

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(which: int) -> Any:
            array_type = context.make_array(signature.args[which])
            return array_type(context, builder, arguments[which]).data

        def register_at(base: Any, offset: Any) -> Any:
            return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

        def vector_function(name: str, n_arguments: int) -> Any:
            declared = ir.FunctionType(vector, [vector] * n_arguments)
            full_name = f"llvm.{name}.v{lanes}f{bits}"
            return cgutils.get_or_insert_function(builder.module, declared, full_name)

        def in_every_lane(value: Any) -> Any:
            undefined = ir.Constant(vector, ir.Undefined)
            first_lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            one_lane = builder.insert_element(undefined, value, ir.IntType(32)(0))
            return builder.shuffle_vector(one_lane, undefined, first_lane)

        absolute = vector_function("fabs", 1)
        multiply_add = vector_function("fmuladd", 3)
        similarities = builder.load(register_at(data(0), index(0)), align=align)
        sizes = builder.call(absolute, [similarities])
        start, stop = arguments[3:5]
        loop = cgutils.for_range_slice(builder, start, stop, index(1), intp=index)
        with loop as (cell, _):
            column = builder.zext(builder.load(builder.gep(data(1), [cell])), index)
            value = in_every_lane(builder.load(builder.gep(data(2), [cell])))
            offset = builder.mul(column, index(2 * lanes))

            weighted = register_at(data(5), offset)
            before = builder.load(weighted, align=align)
            after = builder.call(multiply_add, [value, similarities, before])
            builder.store(after, weighted, align=align)

            support = register_at(data(5), builder.add(offset, index(lanes)))
            before = builder.load(support, align=align)
            after = builder.fadd(before, sizes)
            builder.store(after, support, align=align)
        return context.get_dummy_value()

    return types.void(s, columns, values, types.int64, types.int64, sums), generate


_GROUP = (INT, INT, INTS, *_PROFILES)


@compiled(
    (*_GROUP, CELLS, INTS, TABLE_OUT, TABLE_OUT, TABLE_OUT, TABLE_OUT),
    (*_GROUP, SINGLE_CELLS, INTS, SINGLE_TABLE_OUT, SINGLE_TABLE_OUT, TABLE_OUT, TABLE_OUT),
)
def _user_weighted_sums(  # type: ignore[no-untyped-def]
    start,
    stop,
    users,
    rows,
    columns,
    squares,
    spec,
    deviations,
    column_of_item,
    similarities,
    sums,
    weighted,
    support,
):
    """Similarities and sums of the users from start to stop, at most one per lane.

    `similarities`, (lanes, m), and `sums`, (n_items, 2 * lanes), must be 0.
    """
    lanes, m = similarities.shape
    overlaps = np.zeros((m, spec.kind))
    others = np.empty(m + 1, np.int32)
    s = np.empty(m + 1)
    rounded = np.empty(m)
    counts = np.zeros(BUCKETS, np.int64)
    for lane in range(stop - start):
        user = users[start + lane]
        n_others = _compare(user, rows, columns, squares, spec, overlaps, others, s)
        if spec.k != ALL:
            _keep_highest(s[:n_others], spec.k, rounded, counts)
        for place in range(n_others):
            similarities[lane, others[place]] = s[place]
    lane_similarities = np.zeros(lanes, deviations.values.dtype)
    for other in range(m):
        largest = 0.0
        for lane in range(stop - start):
            lane_similarities[lane] = similarities[lane, other]
            largest = max(largest, abs(similarities[lane, other]))
        if largest > 0:
            first = deviations.starts[other]
            end = deviations.starts[other + 1]
            columns_rated = deviations.columns
            values = deviations.values
            _add_neighbour(lane_similarities, columns_rated, values, first, end, sums)
    for item in range(len(column_of_item)):
        column = column_of_item[item]
        for lane in range(stop - start):
            weighted[start + lane, item] = sums[column, lane]
            support[start + lane, item] = sums[column, lanes + lane]


@compiled((INT, INT, INTS, CELLS, FLOATS, FLOATS, FLOAT, CELLS, TABLE_OUT, TABLE_OUT))
def _item_weighted_sums(  # type: ignore[no-untyped-def]
    start,
    stop,
    users,
    ratings,
    user_levels,
    item_effects,
    noise,
    similarities,
    weighted,
    support,
):
    for place in range(start, stop):
        user = users[place]
        for rated in range(ratings.starts[user], ratings.starts[user + 1]):
            item = ratings.columns[rated]
            deviation = ratings.values[rated] - (user_levels[user] + item_effects[item])
            if abs(deviation) < noise:
                deviation = 0.0
            for cell in range(similarities.starts[item], similarities.starts[item + 1]):
                target = similarities.columns[cell]
                s = similarities.values[cell]
                weighted[place, target] += deviation * s
                support[place, target] += abs(s)
