"""Ratings by row and by column -> similarities, and what neighbours say: the loops behind both neighbourhood models.

The sums are taken over stored cells only, one row after another, always in the same order: no digit depends on the
block or the thread. Formulas and their sources: `similarity.py`, `neighbourhood.py`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from scipy import sparse

from batch.models.baseline import NOISE as NO_DEVIATION
from batch.models.baseline import Baseline
from batch.models.compiled import compiled, in_parts, inner, read_only
from batch.ratings import Floats, Ints, Sparse

TIE = 9
"""Decimals at which two similarities count as equal when the k highest are chosen, far above rounding noise."""
NOISE = 1e-10
"""A similarity below this is rounding noise about 0: left in, it alone would carry a prediction."""
NO_VARIANCE = 1e-12
"""Share of the sum of squares below which a variance is rounding noise, so that constant rows correlate with none."""
FULL_COSINE, COSINE, PEARSON = 2, 4, 6
"""What is done with the sums over co-rated cells, named by how many of them it needs; `adjusted_cosine` is the cosine
of other values."""
PRODUCT, COUNT, OWN_SQUARE, OTHER_SQUARE, OWN, OTHER = range(6)
"""The sums over the co-rated cells of two rows: r_u r_v, 1, r_u^2, r_v^2, r_u, r_v."""
ALL = 0
"""In place of k: every neighbour, those of negative similarity too."""
ROWS_A_PART = 32
"""How much a thread does before it asks for more: heavy raters take a hundred times as long as light ones."""
LANE_BYTES = 64
"""Users are listened for together, as many as fill one of the widest registers: 8 in doubles, 16 in singles."""


class Cells(NamedTuple):
    """A sparse matrix by row, columns in order: the arrays of a CSR matrix, of fixed types."""

    starts: Ints  # (n_rows + 1,) int64
    columns: Ints  # (n_cells,) int32
    values: Floats  # (n_cells,)


def cells(matrix: Sparse) -> Cells:
    """The cells of a CSR matrix, in singles if it has those. They cannot be written to: models are frozen."""
    return _frozen(
        Cells(
            matrix.indptr.astype(np.int64, copy=False),
            matrix.indices.astype(np.int32, copy=False),
            matrix.data
            if matrix.dtype == np.float32
            else matrix.data.astype(np.float64, copy=False),
        )
    )


def _frozen(given: Cells) -> Cells:
    """The same cells under the one type that loops are compiled for, also where they come from another process."""
    return Cells(*(read_only(array) for array in given))


class Deviations(NamedTuple):
    """What every user has to say, films by fame: the sums that most is added to lie together, and stay in the cache."""

    deviations: Cells  # d = r - b, in doubles or singles, (n_users, n_items)
    places: Ints  # (n_items,) the column of each film in it


def deviations_of(deviations: Sparse, *, single: bool) -> Deviations:
    """Of deviations, CSR (n_users, n_items), films in order of key."""
    by_fame = np.argsort(
        -np.bincount(deviations.indices, minlength=deviations.shape[1]), kind="stable"
    )
    places = np.empty_like(by_fame)
    places[by_fame] = np.arange(len(by_fame))
    columns = places.astype(deviations.indices.dtype)[deviations.indices]
    values = deviations.data.astype(np.float32 if single else np.float64)
    moved = sparse.csr_array((values, columns, deviations.indptr), shape=deviations.shape)
    moved.sort_indices()
    return Deviations(cells(moved), places)


class SimilaritySpec(NamedTuple):
    """How rows are compared."""

    kind: int  # COSINE, PEARSON or FULL_COSINE
    beta: float  # ratings' worth of doubt
    k: int  # how many neighbours are kept, or ALL


_INTS, _COLUMNS, _FLOATS, _SINGLES = (
    types.Array(of, 1, "C", readonly=True)
    for of in (types.int64, types.int32, types.float64, types.float32)
)
_CELLS = types.NamedTuple([_INTS, _COLUMNS, _FLOATS], Cells)
_SINGLE_CELLS = types.NamedTuple([_INTS, _COLUMNS, _SINGLES], Cells)
_LIKENESS = types.NamedTuple([types.int64, types.float64, types.int64], SimilaritySpec)
_BLOCK = types.float64[:, ::1]
_ALIKE = _INTS, _CELLS, _CELLS, _FLOATS, _LIKENESS


def neighbours(rows: Cells, columns: Cells, squares: Floats, like: SimilaritySpec) -> Cells:
    """s between all rows, (m, m). There may be cells of 0: places kept for neighbours who turned out to be none.

    `columns` are the cells of `rows`, (m, n), by column; `squares`, (m,), the sums of squares of the rows. Of equal
    similarities the first columns are kept.
    """
    m = len(squares)
    given = _frozen(rows), _frozen(columns)
    counts = np.zeros(m, dtype=np.int64) if like.k == ALL else np.full(m, min(like.k, m))
    if like.k == ALL:
        in_parts(lambda start, stop: _count(start, stop, *given, counts), m, ROWS_A_PART)
    starts = np.concatenate([[0], np.cumsum(counts)])  # (m + 1,)
    found = Cells(starts, np.empty(starts[-1], dtype=np.int32), np.empty(starts[-1]))
    in_parts(
        lambda start, stop: _neighbours(start, stop, *given, squares, like, *found), m, ROWS_A_PART
    )
    return found


def user_weighted_sums(
    rows: Cells,
    columns: Cells,
    squares: Floats,
    like: SimilaritySpec,
    talk: Deviations,
    users: Ints,
) -> tuple[Floats, Floats, Floats]:
    """sum over v of s_uv d_vi, and of |s_uv|, for these users, (b,): both (b, n_items); and s_uv, (b, n_users).

    The first four are as for `neighbours`, of users. With `like.k` the k highest s > 0 of each user speak; of equals
    the first users. Similarities are of these users only: all would be n_users^2 numbers.
    """
    n_users, n_items = len(squares), len(talk.places)
    weighted, support = np.empty((len(users), n_items)), np.empty((len(users), n_items))
    said = _frozen(talk.deviations)
    given = users.astype(np.int64), *map(_frozen, (rows, columns)), read_only(squares), like
    precision = said.values.dtype
    lanes = LANE_BYTES // precision.itemsize
    alike = np.zeros(
        (len(users) + -len(users) % lanes, n_users), precision
    )  # whole groups of users

    def listen(start: int, stop: int) -> None:
        scratch = alike[start : start + lanes], _lined_up(n_items, 2 * lanes, precision)
        _user_weighted_sums(
            start, stop, *given, said, read_only(talk.places), *scratch, weighted, support
        )

    in_parts(listen, len(users), lanes)
    return weighted, support, alike[: len(users)]


def item_weighted_sums(
    users: Ints, ratings: Cells, baseline: Baseline, voices: Cells
) -> tuple[Floats, Floats]:
    """sum over j that u rated of (r_uj - b_uj) s_ji, and of |s_ji|, for these users: both (b, n_items)."""
    shape = len(users), len(baseline.item)
    weighted, support = np.zeros(shape), np.zeros(shape)
    expected = read_only(baseline.mu + baseline.user), read_only(baseline.item), NO_DEVIATION
    given = users.astype(np.int64), _frozen(ratings), *expected, _frozen(voices)
    in_parts(
        lambda start, stop: _item_weighted_sums(start, stop, *given, weighted, support),
        len(users),
        ROWS_A_PART,
    )
    return weighted, support


def _lined_up(n_rows: int, n_columns: int, precision: Any) -> Any:
    """Zeros whose first byte is the first of a line of the cache: no row of a register lies in two lines."""
    row_bytes = n_columns * precision.itemsize
    raw = np.zeros(n_rows * row_bytes + LANE_BYTES, dtype=np.uint8)
    first = -raw.ctypes.data % LANE_BYTES
    return raw[first : first + n_rows * row_bytes].view(precision).reshape(n_rows, n_columns)


@inner
def _centred(square, total, n):  # type: ignore[no-untyped-def]
    """Sum of squares about the mean."""
    centred = square - total * total / n
    return centred if centred > NO_VARIANCE * square else 0.0


@inner
def _meet(row, rows, columns, kind, sums):  # type: ignore[no-untyped-def]
    """Add up what this row and each other have in common, (m, kind)."""
    for here in range(rows.starts[row], rows.starts[row + 1]):
        own = rows.values[here]
        first, end = columns.starts[rows.columns[here]], columns.starts[rows.columns[here] + 1]
        if kind == FULL_COSINE:
            for there in range(first, end):
                other = columns.columns[there]
                sums[other, PRODUCT] += own * columns.values[there]
                sums[other, COUNT] += 1.0
        else:
            for there in range(first, end):
                other, value = columns.columns[there], columns.values[there]
                sums[other, PRODUCT] += own * value
                sums[other, COUNT] += 1.0
                sums[other, OWN_SQUARE] += own * own
                sums[other, OTHER_SQUARE] += value * value
                if kind == PEARSON:
                    sums[other, OWN] += own
                    sums[other, OTHER] += value


@inner
def _compare(row, rows, columns, squares, like, sums, others, s):  # type: ignore[no-untyped-def]
    """Whom this row shares a cell with, in order, and s between them, before the strongest are chosen: how many.

    Both, (m + 1,), are filled from the front. `sums` is 0 before and after.
    """
    _meet(row, rows, columns, like.kind, sums)
    sums[row] = 0.0  # nobody is their own neighbour
    met = 0
    for other in range(len(sums)):
        others[met] = other
        met += (
            sums[other, COUNT] > 0
        )  # written first, then kept or not: a branch would be guessed wrong too often
    if like.kind == PEARSON:
        _centre(others[:met], sums)
    for place in range(met):
        other = others[place]
        norm = squares[row] * squares[other]
        if like.kind != FULL_COSINE:
            norm = sums[other, OWN_SQUARE] * sums[other, OTHER_SQUARE]
        s[place] = _similarity(sums[other, PRODUCT], norm, sums[other, COUNT], like.beta)
    for place in range(met):
        sums[others[place]] = 0.0
    return met


@inner
def _similarity(product, norm, n, beta):  # type: ignore[no-untyped-def]
    """sim * n / (n + beta), 0 where either row is 0 or all is noise."""
    sim = product / math.sqrt(norm if norm > 0 else 1.0)
    kept = (norm > 0) & (abs(sim) >= NOISE)
    return sim * (n / (n + beta)) if kept else 0.0


@inner
def _centre(others, sums):  # type: ignore[no-untyped-def]
    """Turn the sums of each pair that met, in (m, 6), into those of values less their means."""
    for other in others:
        n, own, total = sums[other, COUNT], sums[other, OWN], sums[other, OTHER]
        sums[other, PRODUCT] -= own * total / n
        sums[other, OWN_SQUARE] = _centred(sums[other, OWN_SQUARE], own, n)
        sums[other, OTHER_SQUARE] = _centred(sums[other, OTHER_SQUARE], total, n)


@inner
def _keep_strongest(s, k, rounded):  # type: ignore[no-untyped-def]
    """Leave the k highest s > 0, the others 0; of equals the first. `rounded`, longer by one, is scratch."""
    able = 0
    for place in range(len(s)):
        rounded[able] = np.rint(s[place] * 10.0**TIE)
        able += rounded[able] > 0
    bar, room = 0.0, 0  # what is passed, and how many more there is room for that only reach it
    if able > k:
        bar = np.partition(rounded[:able], able - k)[able - k]
        room = k
        for place in range(able):
            room -= rounded[place] > bar
    for place in range(len(s)):
        mark = np.rint(s[place] * 10.0**TIE)
        if mark == bar and room > 0:
            room -= 1
        elif mark <= bar:
            s[place] = 0.0


@compiled((types.int64, types.int64, _CELLS, _CELLS, types.int64[::1]))
def _count(start, stop, rows, columns, counts):  # type: ignore[no-untyped-def]
    """How many others each row shares a cell with."""
    met_by = np.full(len(counts), -1, dtype=np.int32)  # (m,) the last row that met each
    for row in range(start, stop):
        met_by[row] = row
        for here in range(rows.starts[row], rows.starts[row + 1]):
            column = rows.columns[here]
            for there in range(columns.starts[column], columns.starts[column + 1]):
                other = columns.columns[there]
                counts[row] += met_by[other] != row
                met_by[other] = row


@compiled(
    (
        types.int64,
        types.int64,
        _CELLS,
        _CELLS,
        _FLOATS,
        _LIKENESS,
        _INTS,
        types.int32[::1],
        types.float64[::1],
    )
)
def _neighbours(start, stop, rows, columns, squares, like, starts, found, values):  # type: ignore[no-untyped-def]
    m = len(squares)
    sums, others, s, rounded = (
        np.zeros((m, like.kind)),
        np.empty(m + 1, np.int32),
        np.empty(m + 1),
        np.empty(m + 1),
    )
    for row in range(start, stop):
        met = _compare(row, rows, columns, squares, like, sums, others, s)
        if like.k != ALL:
            _keep_strongest(s[:met], like.k, rounded)
        place = starts[row]
        for here in range(met):
            if s[here] != 0:
                found[place], values[place] = others[here], s[here]
                place += 1
        found[place : starts[row + 1]], values[place : starts[row + 1]] = row, 0.0


@intrinsic
def _speak(_context, voice, columns, values, _start, _stop, said):  # type: ignore[no-untyped-def]
    """For each of one speaker's cells: said[column] += [value * voice, |voice|].

    `voice` is (lanes,), `said` (n, 2 lanes). Written in the compiler's own terms because its loops do not see that
    the arrays are apart, and take three times as long.
    """
    number = ir.DoubleType() if voice.dtype == types.float64 else ir.FloatType()
    bits = voice.dtype.bitwidth
    lanes = 8 * LANE_BYTES // bits
    vector, index, short = ir.VectorType(number, lanes), ir.IntType(64), ir.IntType(32)
    kind = f"v{lanes}f{bits}"

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(which: int) -> Any:
            return context.make_array(signature.args[which])(
                context, builder, arguments[which]
            ).data

        def at(base: Any, place: Any) -> Any:
            return builder.bitcast(builder.gep(base, [place]), vector.as_pointer())

        def known(name: str, count: int) -> Any:
            return cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * count), f"llvm.{name}.{kind}"
            )

        align, blank = bits // 8, ir.Constant(vector, ir.Undefined)
        voice = builder.load(at(data(0), index(0)), align=align)
        loudness = builder.call(known("fabs", 1), [voice])
        with cgutils.for_range_slice(builder, arguments[3], arguments[4], index(1), intp=index) as (
            here,
            _,
        ):
            column = builder.zext(builder.load(builder.gep(data(1), [here])), index)
            value = builder.insert_element(
                blank, builder.load(builder.gep(data(2), [here])), short(0)
            )
            spread = builder.shuffle_vector(
                value, blank, ir.Constant(ir.VectorType(short, lanes), [0] * lanes)
            )
            weighted = at(data(5), builder.mul(column, index(2 * lanes)))
            support = at(data(5), builder.add(builder.mul(column, index(2 * lanes)), index(lanes)))
            before = builder.load(weighted, align=align)
            builder.store(
                builder.call(known("fmuladd", 3), [spread, voice, before]), weighted, align=align
            )
            builder.store(
                builder.fadd(builder.load(support, align=align), loudness), support, align=align
            )
        return context.get_dummy_value()

    return types.void(voice, columns, values, types.int64, types.int64, said), generate


@compiled(
    *(
        (
            types.int64,
            types.int64,
            *_ALIKE,
            talk,
            _INTS,
            number[:, ::1],
            number[:, ::1],
            _BLOCK,
            _BLOCK,
        )
        for talk, number in ((_CELLS, types.float64), (_SINGLE_CELLS, types.float32))
    )
)
def _user_weighted_sums(  # type: ignore[no-untyped-def]
    start, stop, users, rows, columns, squares, like, talk, places, alike, said, weighted, support
):
    """For one group of users, as many as there are lanes or fewer. `alike`, (lanes, m), and `said` are 0 before."""
    lanes, m = alike.shape
    sums, others, s, rounded = (
        np.zeros((m, like.kind)),
        np.empty(m + 1, np.int32),
        np.empty(m + 1),
        np.empty(m + 1),
    )
    for lane in range(stop - start):
        met = _compare(users[start + lane], rows, columns, squares, like, sums, others, s)
        if like.k != ALL:
            _keep_strongest(s[:met], like.k, rounded)
        for place in range(met):
            alike[lane, others[place]] = s[place]
    voice = np.zeros(lanes, talk.values.dtype)
    for other in range(m):
        loudest = 0.0
        for lane in range(stop - start):
            voice[lane] = alike[lane, other]
            loudest = max(loudest, abs(alike[lane, other]))
        if loudest > 0:
            _speak(
                voice, talk.columns, talk.values, talk.starts[other], talk.starts[other + 1], said
            )
    for item in range(len(places)):
        for lane in range(stop - start):
            weighted[start + lane, item] = said[places[item], lane]
            support[start + lane, item] = said[places[item], lanes + lane]


@compiled(
    (
        types.int64,
        types.int64,
        _INTS,
        _CELLS,
        _FLOATS,
        _FLOATS,
        types.float64,
        _CELLS,
        _BLOCK,
        _BLOCK,
    )
)
def _item_weighted_sums(  # type: ignore[no-untyped-def]
    start, stop, users, ratings, levels, items, noise, voices, weighted, support
):
    for place in range(start, stop):
        user = users[place]
        for rated in range(ratings.starts[user], ratings.starts[user + 1]):
            item = ratings.columns[rated]
            deviation = ratings.values[rated] - (levels[user] + items[item])
            if abs(deviation) < noise:
                deviation = 0.0
            for here in range(voices.starts[item], voices.starts[item + 1]):
                target, alike = voices.columns[here], voices.values[here]
                weighted[place, target] += deviation * alike
                support[place, target] += abs(alike)
