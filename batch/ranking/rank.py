"""Scores -> the best n unseen items of each user, with every tie decided."""

import numpy as np
from numba import types

from batch.models.compiled import compiled, in_parts, read_only
from batch.ratings import NOBODY, SCORE_DECIMALS, Floats, Ints, Sparse

USERS_A_PART = 8
"""Lists that a thread makes before it takes more work."""
UNIT = 10.0**SCORE_DECIMALS
_READ = types.Array(types.float64, 2, "A", readonly=True)
_INTS = types.Array(types.int64, 1, "C", readonly=True)
_COLUMNS = types.Array(types.int32, 1, "C", readonly=True)


def tie_order(item_counts: Ints) -> Ints:
    """Order of each column among tied films, (n_items,): by rating count, most first, then by key."""
    return np.argsort(np.argsort(-item_counts, kind="stable"))


def best_unseen(relevance: Floats, seen: Sparse, places: Ints, n: int) -> Ints:
    """The n best columns of each row, (b, n), best first, filled up with NOBODY.

    By relevance rounded to SCORE_DECIMALS, then by place, lowest first.
    `relevance` is (b, n_items), nan where nothing can be said; `seen` the same users' rows of the
    rating matrix, CSR (b, n_items); `places` comes from `tie_order`.
    """
    # In its own layout: a list that is the same for everyone, such as the most rated films, has
    # one row in memory, repeated with stride 0.
    shown = relevance.view()
    shown.flags.writeable = False
    listed = np.full((len(relevance), n), NOBODY, dtype=np.int64)
    starts = read_only(seen.indptr.astype(np.int64))
    columns = read_only(seen.indices.astype(np.int32))
    order = read_only(places)

    def part(start: int, stop: int) -> None:
        _best_unseen(start, stop, shown, starts, columns, order, listed)

    in_parts(part, len(listed), USERS_A_PART)
    return listed


@compiled((types.int64, types.int64, _READ, _INTS, _COLUMNS, _INTS, types.int64[:, ::1]))
def _best_unseen(start, stop, relevance, starts, columns, places, listed):  # type: ignore[no-untyped-def]
    n_items = len(places)
    n = listed.shape[1]
    seen = np.zeros(n_items, dtype=np.bool_)
    marks = np.empty(n)  # rounded relevance of the films listed so far, in units of 1e-6
    for user in range(start, stop):
        rated = columns[starts[user] : starts[user + 1]]
        for item in rated:
            seen[item] = True
        length = 0
        worst = -np.inf  # the mark of the last film of a full list
        for item in range(n_items):
            # Rounding adds at most half a unit: this one comparison passes over most films.
            if not relevance[user, item] * UNIT >= worst - 1.0 or seen[item]:
                continue
            mark = np.rint(relevance[user, item] * UNIT)
            if length == n:
                last = places[listed[user, n - 1]]
                if mark < worst or (mark == worst and places[item] > last):
                    continue
            length = min(length + 1, n)
            at = length - 1
            while at > 0 and (
                marks[at - 1] < mark
                or (marks[at - 1] == mark and places[listed[user, at - 1]] > places[item])
            ):
                marks[at] = marks[at - 1]
                listed[user, at] = listed[user, at - 1]
                at -= 1
            marks[at] = mark
            listed[user, at] = item
            if length == n:
                worst = marks[n - 1]
        for item in rated:
            seen[item] = False
