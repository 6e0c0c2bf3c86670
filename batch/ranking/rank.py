"""Scores -> the best n films of each user that are not excluded, with every tie decided."""

from functools import cache
from typing import Any

import numpy as np

from batch.params import SCORE_DECIMALS
from batch.ratings import NOBODY, Floats, Ints, Sparse

USERS_A_PART = 8
"""Users that a thread ranks before it takes more work."""
UNIT = 10.0**SCORE_DECIMALS


def tie_order(item_counts: Ints) -> Ints:
    """Position of each film among tied films, (n_items,).

    By rating count, highest first, then by key.
    """
    return np.argsort(np.argsort(-item_counts, kind="stable"))


def best_unseen(relevance: Floats, excluded: Sparse, order: Ints, n: int) -> Ints:
    """The n best columns of each row, (b, n), best first, filled up with NOBODY.

    Films are sorted by relevance rounded to SCORE_DECIMALS, highest first, then
    by `order`, lowest first. `relevance` is (b, n_items), nan where there is no
    score. `excluded`, CSR (b, n_items), stores a cell for each film that the user
    may not be recommended: rated or filtered. `order`, (n_items,), comes from
    `tie_order`.
    """
    from batch.models.compiled import in_parts, read_only  # loads the compiler

    # No copy and any layout: scores that are the same for every user, such as rating counts,
    # are one row in memory, repeated with stride 0.
    scores = relevance.view()
    scores.flags.writeable = False
    listed = np.full((len(relevance), n), NOBODY, dtype=np.int64)
    starts = read_only(excluded.indptr.astype(np.int64))
    columns = read_only(excluded.indices.astype(np.int32))
    positions = read_only(order)
    loop = compiled_loop()

    def part(start: int, stop: int) -> None:
        loop(start, stop, scores, starts, columns, positions, listed)

    in_parts(part, len(listed), USERS_A_PART)
    return listed


@cache
def compiled_loop() -> Any:
    """`_best_unseen` as machine code, made on first use: the compiler takes time to load."""
    from numba import types

    from batch.models.compiled import COLUMNS, INT, INTS, compiled

    scores = types.Array(types.float64, 2, "A", readonly=True)
    return compiled((INT, INT, scores, INTS, COLUMNS, INTS, types.int64[:, ::1]))(_best_unseen)


def _best_unseen(start, stop, relevance, starts, columns, order, listed):  # type: ignore[no-untyped-def]
    n_items = len(order)
    n = listed.shape[1]
    is_excluded = np.zeros(n_items, dtype=np.bool_)
    marks = np.empty(n)  # rounded relevance of the films listed so far, in units of 1e-6
    for user in range(start, stop):
        excluded = columns[starts[user] : starts[user + 1]]
        for item in excluded:
            is_excluded[item] = True
        length = 0
        worst = -np.inf  # the mark of the last film of a full list
        for item in range(n_items):
            # Rounding adds at most half a unit, so this one comparison rejects most films.
            if not relevance[user, item] * UNIT >= worst - 1.0 or is_excluded[item]:
                continue
            mark = np.rint(relevance[user, item] * UNIT)
            if length == n:
                last = order[listed[user, n - 1]]
                if mark < worst or (mark == worst and order[item] > last):
                    continue
            length = min(length + 1, n)
            at = length - 1
            while at > 0 and (
                marks[at - 1] < mark
                or (marks[at - 1] == mark and order[listed[user, at - 1]] > order[item])
            ):
                marks[at] = marks[at - 1]
                listed[user, at] = listed[user, at - 1]
                at -= 1
            marks[at] = mark
            listed[user, at] = item
            if length == n:
                worst = marks[n - 1]
        for item in excluded:
            is_excluded[item] = False
