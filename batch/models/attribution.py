"""Predicted cells -> the parts that weigh most in each sum: compiled loops, for listed films."""

import numpy as np
from numba import types

from batch.models.baseline import NOISE, Baseline
from batch.models.compiled import compiled, in_parts, read_only
from batch.models.csr import Cells
from batch.models.evidence import NAMED
from batch.models.kernels import TIE
from batch.params import SCORE_DECIMALS
from batch.ratings import NOBODY, Floats, Ints, Pairs

CELLS_PER_PART = 32
"""Cells that a thread takes at a time."""
EQUAL = 10.0**TIE
"""Weights that are equal in units of 1 / EQUAL are ordered by key, not by rounding noise."""
EQUAL_LEARNT = 10.0**SCORE_DECIMALS
"""The same for learnt weights, whose last digits depend on the linear algebra library."""

_INTS = types.Array(types.int64, 1, "C", readonly=True)
_COLUMNS = types.Array(types.int32, 1, "C", readonly=True)
_FLOATS = types.Array(types.float64, 1, "C", readonly=True)
_MATRIX = types.Array(types.float64, 2, "C", readonly=True)
_SINGLE_MATRIX = types.Array(types.float32, 2, "C", readonly=True)
_CELLS = types.NamedTuple([_INTS, _COLUMNS, _FLOATS], Cells)
_INTS_OUT = types.int64[::1]
_FLOATS_OUT = types.float64[::1]
_INT_ROWS_OUT = types.int64[:, ::1]
_FLOAT_ROWS_OUT = types.float64[:, ::1]
_PART = (types.int64, types.int64)  # start and stop of the cells that a call works on


def heaviest_ratings(
    users: Ints,
    pairs: Pairs,
    ratings: Cells,
    baseline: Baseline,
    similarities: Cells,
    divisors: Floats,
) -> tuple[Ints, Floats, Floats]:
    """The user's own ratings that add most to each prediction: films, stars, weights.

    The weight of film j for target i is (r_uj - b_uj) s_ji / divisor. `users` are rows of the
    users of a block, (b,); `pairs` the p cells of that block; `similarities` s_ji by film j,
    targets in order; `divisors`, (p,), what each sum is divided by. Returns (p, NAMED) each, by
    size of weight; NOBODY and 0 where there are fewer.
    """
    p = len(pairs.rows)
    films = np.full((p, NAMED), NOBODY)
    stars = np.zeros((p, NAMED))
    weights = np.zeros((p, NAMED))
    inputs = (
        read_only(users[pairs.rows]),
        read_only(pairs.columns),
        ratings,
        read_only(baseline.mu + baseline.user),
        read_only(baseline.item),
        NOISE,
        similarities,
        read_only(divisors),
    )

    def work(start: int, stop: int) -> None:
        _heaviest(start, stop, *inputs, films, stars, weights)

    in_parts(work, p, CELLS_PER_PART)
    return films, stars, weights


def neighbour_evidence(
    pairs: Pairs, raters: Cells, expected: tuple[Floats, Floats], similarities: Floats
) -> tuple[Ints, Floats, Floats]:
    """Counts and mean ratings of users with similarity above 0, and below 0, who rated each film.

    `raters` are values by film, (n_items, n_users); `expected`, of users and of films, is what
    must be added to a value to get stars. `similarities`, (b, n_users), are of each user of the
    block to all users. Returns counts (p, 2), mean stars (p, 2) and the largest similarity (p,);
    the two columns are above 0 and below 0.
    """
    p = len(pairs.rows)
    counts = np.zeros((p, 2), dtype=np.int64)
    sums = np.zeros((p, 2))
    largest = np.zeros(p)
    user_effects, item_effects = expected
    inputs = (
        read_only(pairs.rows),
        read_only(pairs.columns),
        raters,
        read_only(user_effects),
        read_only(item_effects),
        read_only(similarities),
    )

    def work(start: int, stop: int) -> None:
        _count_neighbours(start, stop, *inputs, counts, sums, largest)

    in_parts(work, p, CELLS_PER_PART)
    return counts, sums / np.maximum(counts, 1), largest


def strongest(profiles: Cells, pairs: Pairs, places: Ints, weights: Floats) -> Ints:
    """The film of the user's profile that adds most to each cell, (p,); NOBODY if none adds.

    `profiles` are of the b users; `weights` are between places, and `places`, (n_items,), is the
    place of each film in them, NOBODY for a film without weights.
    """
    films = np.full(len(pairs.rows), NOBODY)
    inputs = (
        profiles,
        read_only(pairs.rows),
        read_only(places[pairs.columns]),
        read_only(places),
        read_only(weights),
    )

    def work(start: int, stop: int) -> None:
        _strongest(start, stop, *inputs, films)

    in_parts(work, len(films), CELLS_PER_PART)
    return films


def strongest_through(
    profiles: Cells, pairs: Pairs, raters: Cells, through: Floats, lines: Ints, scale: Floats
) -> Ints:
    """The film of the user's profile that adds most to each cell, (p,); NOBODY if none adds.

    The weight between film j and the cell's target is row j of `raters`, (n_items, n_users),
    times row `lines[cell]` of `through`, (k, n_users), times `scale[cell]`; `lines` and `scale`
    are (p,).
    """
    films = np.full(len(pairs.rows), NOBODY)
    inputs = (
        profiles,
        read_only(pairs.rows),
        read_only(pairs.columns),
        raters,
        read_only(through),
        read_only(lines),
        read_only(scale),
    )

    def work(start: int, stop: int) -> None:
        _strongest_through(start, stop, *inputs, films)

    in_parts(work, len(films), CELLS_PER_PART)
    return films


_USERS_AND_TARGETS = (_INTS, _INTS)
_BASELINE = (_FLOATS, _FLOATS)
_HEAVIEST_OUT = (_INT_ROWS_OUT, _FLOAT_ROWS_OUT, _FLOAT_ROWS_OUT)


@compiled(
    (
        *_PART,
        *_USERS_AND_TARGETS,
        _CELLS,
        *_BASELINE,
        types.float64,
        _CELLS,
        _FLOATS,
        *_HEAVIEST_OUT,
    )
)
def _heaviest(  # type: ignore[no-untyped-def]
    start,
    stop,
    users,
    targets,
    ratings,
    user_effects,
    item_effects,
    noise,
    similarities,
    divisors,
    films,
    stars,
    weights,
):
    width = films.shape[1]
    for cell in range(start, stop):
        user = users[cell]
        target = targets[cell]
        for rated in range(ratings.starts[user], ratings.starts[user + 1]):
            item = ratings.columns[rated]
            deviation = ratings.values[rated] - (user_effects[user] + item_effects[item])
            # binary search for the target among the items similar to this one
            low = similarities.starts[item]
            high = similarities.starts[item + 1]
            end = high
            while low < high:
                middle = (low + high) // 2
                if similarities.columns[middle] < target:
                    low = middle + 1
                else:
                    high = middle
            if abs(deviation) < noise or low == end or similarities.columns[low] != target:
                continue
            weight = deviation * similarities.values[low] / divisors[cell]
            size = np.rint(abs(weight) * EQUAL)
            # insertion into the row of the heaviest so far
            place = width
            while place > 0 and size > np.rint(abs(weights[cell, place - 1]) * EQUAL):
                place -= 1
                if place + 1 < width:
                    films[cell, place + 1] = films[cell, place]
                    stars[cell, place + 1] = stars[cell, place]
                    weights[cell, place + 1] = weights[cell, place]
            if place < width:
                films[cell, place] = item
                stars[cell, place] = ratings.values[rated]
                weights[cell, place] = weight


_NEIGHBOURS_IN = (*_PART, *_USERS_AND_TARGETS, _CELLS, *_BASELINE)
_NEIGHBOURS_OUT = (_INT_ROWS_OUT, _FLOAT_ROWS_OUT, _FLOATS_OUT)


@compiled(
    (*_NEIGHBOURS_IN, _MATRIX, *_NEIGHBOURS_OUT),
    (*_NEIGHBOURS_IN, _SINGLE_MATRIX, *_NEIGHBOURS_OUT),
)
def _count_neighbours(  # type: ignore[no-untyped-def]
    start,
    stop,
    rows,
    targets,
    raters,
    user_effects,
    item_effects,
    similarities,
    counts,
    sums,
    largest,
):
    for cell in range(start, stop):
        target = targets[cell]
        similarity = similarities[rows[cell]]
        for place in range(raters.starts[target], raters.starts[target + 1]):
            rater = raters.columns[place]
            if similarity[rater] != 0:
                side = 0 if similarity[rater] > 0 else 1
                counts[cell, side] += 1
                sums[cell, side] += (
                    raters.values[place] + user_effects[rater] + item_effects[target]
                )
                largest[cell] = max(largest[cell], similarity[rater])


@compiled((*_PART, _CELLS, _INTS, _COLUMNS, _COLUMNS, _MATRIX, _INTS_OUT))
def _strongest(  # type: ignore[no-untyped-def]
    start,
    stop,
    profiles,
    rows,
    targets,
    places,
    weights,
    films,
):
    for cell in range(start, stop):
        largest = 0.0
        target = targets[cell]
        for rated in range(profiles.starts[rows[cell]], profiles.starts[rows[cell] + 1]):
            place = places[profiles.columns[rated]]
            if place >= 0 and target >= 0 and place != target:
                added = np.rint(profiles.values[rated] * weights[place, target] * EQUAL_LEARNT)
                if added > largest:
                    largest = added
                    films[cell] = profiles.columns[rated]


@compiled((*_PART, _CELLS, _INTS, _INTS, _CELLS, _MATRIX, _INTS, _FLOATS, _INTS_OUT))
def _strongest_through(  # type: ignore[no-untyped-def]
    start,
    stop,
    profiles,
    rows,
    targets,
    raters,
    through,
    lines,
    scale,
    films,
):
    for cell in range(start, stop):
        largest = 0.0
        line = through[lines[cell]]
        for rated in range(profiles.starts[rows[cell]], profiles.starts[rows[cell] + 1]):
            item = profiles.columns[rated]
            if item != targets[cell] and profiles.values[rated] != 0:
                total = 0.0
                for rater in range(raters.starts[item], raters.starts[item + 1]):
                    total += line[raters.columns[rater]] * raters.values[rater]
                added = np.rint(profiles.values[rated] * total * scale[cell] * EQUAL_LEARNT)
                if added > largest:
                    largest = added
                    films[cell] = item
