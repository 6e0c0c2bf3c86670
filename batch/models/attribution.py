"""A cell that was predicted -> what weighed most in its sum: the loops behind reasons, over the cells of lists only."""

import numpy as np
from numba import types

from batch.models.baseline import NOISE, Baseline
from batch.models.compiled import compiled, in_parts, read_only
from batch.models.csr import Cells
from batch.models.evidence import NAMED
from batch.models.kernels import TIE
from batch.ratings import NOBODY, SCORE_DECIMALS, Floats, Ints, Pairs

CELLS_A_PART = 32
"""Cells that a thread traces before it asks for more."""
EQUAL = 10.0**TIE
"""Weights that agree in so many decimals are told apart by key, not by rounding noise."""

EQUAL_LEARNT = 10.0**SCORE_DECIMALS
"""Likewise of learnt weights, whose last digits depend on the linear algebra library."""

_INTS, _COLUMNS, _FLOATS, _SINGLES = (
    types.Array(of, 1, "C", readonly=True)
    for of in (types.int64, types.int32, types.float64, types.float32)
)
_CELLS = types.NamedTuple([_INTS, _COLUMNS, _FLOATS], Cells)
_READ = types.Array(types.float64, 2, "C", readonly=True)
_PLACES, _BLOCK = types.int64[:, ::1], types.float64[:, ::1]


def heaviest_ratings(
    users: Ints, pairs: Pairs, ratings: Cells, baseline: Baseline, voices: Cells, evidence: Floats
) -> tuple[Ints, Floats, Floats]:
    """The user's films j of largest |(r_uj - b_uj) s_ji / grounds|, their stars, and that weight, (p, NAMED) each.

    `evidence`, (p,), is what the sum is divided by; `voices` are s_ji by rated film j, targets in order.
    """
    p = len(pairs.rows)
    films, stars, weights = np.full((p, NAMED), NOBODY), np.zeros((p, NAMED)), np.zeros((p, NAMED))
    expected = baseline.mu + baseline.user, baseline.item
    given = (
        *map(read_only, (users[pairs.rows], pairs.columns)),
        ratings,
        *map(read_only, expected),
        NOISE,
        voices,
    )
    found = read_only(evidence), films, stars, weights
    in_parts(lambda start, stop: _heaviest(start, stop, *given, *found), p, CELLS_A_PART)
    return films, stars, weights


def neighbour_evidence(
    pairs: Pairs, raters: Cells, expected: tuple[Floats, Floats], alike: Floats
) -> tuple[Ints, Floats, Floats]:
    """Who of those that rated the film is like the user, or unlike: counts (p, 2), mean stars (p, 2), largest s (p,).

    `raters` are values by film, (n_items, n_users), that stars are less `expected` of user and of film; `alike`,
    (b, n_users), is s of each user of the block with everyone.
    """
    p = len(pairs.rows)
    counts, sums, closest = np.zeros((p, 2), dtype=np.int64), np.zeros((p, 2)), np.zeros(p)
    given = *map(read_only, pairs), raters, *map(read_only, expected), read_only(alike)
    in_parts(
        lambda start, stop: _speakers(start, stop, *given, counts, sums, closest), p, CELLS_A_PART
    )
    return counts, sums / np.maximum(counts, 1), closest


def strongest(profiles: Cells, pairs: Pairs, places: Ints, weights: Floats) -> Ints:
    """The column of each profile that adds most to a cell, (p,), by `weights` between `places` of columns."""
    found = np.full(len(pairs.rows), NOBODY)
    given = profiles, *map(read_only, (pairs.rows, places[pairs.columns], places, weights)), found
    in_parts(lambda start, stop: _strongest(start, stop, *given), len(found), CELLS_A_PART)
    return found


def strongest_through(
    profiles: Cells, pairs: Pairs, raters: Cells, through: Floats, lines: Ints, scale: Floats
) -> Ints:
    """The same by weights that are a row of `raters`, (n_items, n_users), times the cell's line of `through`."""
    found = np.full(len(pairs.rows), NOBODY)
    given = (
        profiles,
        *map(read_only, pairs),
        raters,
        *map(read_only, (through, lines, scale)),
        found,
    )
    in_parts(lambda start, stop: _strongest_through(start, stop, *given), len(found), CELLS_A_PART)
    return found


_HEAVIEST = (
    _INTS,
    _INTS,
    _CELLS,
    _FLOATS,
    _FLOATS,
    types.float64,
    _CELLS,
    _FLOATS,
    _PLACES,
    _BLOCK,
    _BLOCK,
)


@compiled((types.int64, types.int64, *_HEAVIEST))
def _heaviest(  # type: ignore[no-untyped-def]
    start,
    stop,
    users,
    targets,
    ratings,
    levels,
    items,
    noise,
    voices,
    evidence,
    films,
    stars,
    weights,
):
    for cell in range(start, stop):
        user, target = users[cell], targets[cell]
        for rated in range(ratings.starts[user], ratings.starts[user + 1]):
            item = ratings.columns[rated]
            deviation = ratings.values[rated] - (levels[user] + items[item])
            low, high = voices.starts[item], voices.starts[item + 1]
            end = high
            while low < high:
                middle = (low + high) // 2
                if voices.columns[middle] < target:
                    low = middle + 1
                else:
                    high = middle
            if abs(deviation) < noise or low == end or voices.columns[low] != target:
                continue
            weight = deviation * voices.values[low] / evidence[cell]
            mark, place = np.rint(abs(weight) * EQUAL), films.shape[1]
            while place > 0 and mark > np.rint(abs(weights[cell, place - 1]) * EQUAL):
                place -= 1
                if place + 1 < films.shape[1]:
                    films[cell, place + 1] = films[cell, place]
                    stars[cell, place + 1] = stars[cell, place]
                    weights[cell, place + 1] = weights[cell, place]
            if place < films.shape[1]:
                films[cell, place], stars[cell, place], weights[cell, place] = (
                    item,
                    ratings.values[rated],
                    weight,
                )


@compiled(
    *(
        (
            types.int64,
            types.int64,
            _INTS,
            _INTS,
            _CELLS,
            _FLOATS,
            _FLOATS,
            alike,
            _PLACES,
            _BLOCK,
            types.float64[::1],
        )
        for alike in (
            types.Array(number, 2, "C", readonly=True) for number in (types.float64, types.float32)
        )
    )
)
def _speakers(start, stop, rows, targets, raters, levels, items, alike, counts, sums, closest):  # type: ignore[no-untyped-def]
    for cell in range(start, stop):
        target, like = targets[cell], alike[rows[cell]]
        for here in range(raters.starts[target], raters.starts[target + 1]):
            other = raters.columns[here]
            if like[other] != 0:
                side = 0 if like[other] > 0 else 1
                counts[cell, side] += 1
                sums[cell, side] += raters.values[here] + levels[other] + items[target]
                closest[cell] = max(closest[cell], like[other])


@compiled((types.int64, types.int64, _CELLS, _INTS, _COLUMNS, _COLUMNS, _READ, types.int64[::1]))
def _strongest(start, stop, profiles, rows, targets, places, weights, found):  # type: ignore[no-untyped-def]
    for cell in range(start, stop):
        most, target = 0.0, targets[cell]
        for rated in range(profiles.starts[rows[cell]], profiles.starts[rows[cell] + 1]):
            place = places[profiles.columns[rated]]
            if place >= 0 and target >= 0 and place != target:
                mark = np.rint(profiles.values[rated] * weights[place, target] * EQUAL_LEARNT)
                if mark > most:
                    most, found[cell] = mark, profiles.columns[rated]


@compiled(
    (
        types.int64,
        types.int64,
        _CELLS,
        _INTS,
        _INTS,
        _CELLS,
        _READ,
        _INTS,
        _FLOATS,
        types.int64[::1],
    )
)
def _strongest_through(start, stop, profiles, rows, targets, raters, through, lines, scale, found):  # type: ignore[no-untyped-def]
    for cell in range(start, stop):
        most, line = 0.0, through[lines[cell]]
        for rated in range(profiles.starts[rows[cell]], profiles.starts[rows[cell] + 1]):
            item = profiles.columns[rated]
            if item != targets[cell] and profiles.values[rated] != 0:
                total = 0.0
                for rater in range(raters.starts[item], raters.starts[item + 1]):
                    total += line[raters.columns[rater]] * raters.values[rater]
                mark = np.rint(profiles.values[rated] * total * scale[cell] * EQUAL_LEARNT)
                if mark > most:
                    most, found[cell] = mark, item
