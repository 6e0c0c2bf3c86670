"""Scores of a block -> the best unseen columns of each user: the loop behind `rank`, loaded only when it is needed."""

import numpy as np
from numba import types

from batch.compiled import compiled, in_parts, read_only
from batch.ratings import NOBODY, SCORE_DECIMALS, Floats, Ints, Sparse

USERS_A_PART = 8
"""Lists that a thread makes before it asks for more."""
UNIT = 10.0**SCORE_DECIMALS
_READ = types.Array(types.float64, 2, "A", readonly=True)
_INTS, _COLUMNS = (types.Array(of, 1, "C", readonly=True) for of in (types.int64, types.int32))


def first_unseen(relevance: Floats, seen: Sparse, places: Ints, n: int) -> Ints:
    """The n best columns of each row, (b, n): by relevance rounded to SCORE_DECIMALS, then by place, lowest first.

    `relevance` is (b, n_items), nan where nothing can be said; `seen` CSR (b, n_items); `places` (n_items,).
    """
    shown = relevance.view()  # as it lies: of everyone's one list, such as the most rated films, there is one line
    shown.flags.writeable = False
    listed = np.full((len(relevance), n), NOBODY, dtype=np.int64)
    given = seen.indptr.astype(np.int64), seen.indices.astype(np.int32), places
    arrays = *(read_only(array) for array in given), listed
    in_parts(lambda start, stop: _first_unseen(start, stop, shown, *arrays), len(listed), USERS_A_PART)
    return listed


@compiled((types.int64, types.int64, _READ, _INTS, _COLUMNS, _INTS, types.int64[:, ::1]))
def _first_unseen(start, stop, relevance, starts, columns, places, listed):  # type: ignore[no-untyped-def]
    n_items, n = len(places), listed.shape[1]
    seen, marks = np.zeros(n_items, dtype=np.bool_), np.empty(n)
    for user in range(start, stop):
        rated = columns[starts[user] : starts[user + 1]]
        for item in rated:
            seen[item] = True
        found, bar = 0, -np.inf  # the mark that the last of a full list has
        for item in range(n_items):
            # The rounded one is at most half a unit higher: most films are passed over by this one comparison.
            if not relevance[user, item] * UNIT >= bar - 1.0 or seen[item]:
                continue
            mark = np.rint(relevance[user, item] * UNIT)
            if found == n and (mark < bar or (mark == bar and places[item] > places[listed[user, n - 1]])):
                continue
            found = min(found + 1, n)
            at = found - 1
            while at > 0 and (
                marks[at - 1] < mark or (marks[at - 1] == mark and places[listed[user, at - 1]] > places[item])
            ):
                marks[at], listed[user, at] = marks[at - 1], listed[user, at - 1]
                at -= 1
            marks[at], listed[user, at] = mark, item
            if found == n:
                bar = marks[n - 1]
        for item in rated:
            seen[item] = False
