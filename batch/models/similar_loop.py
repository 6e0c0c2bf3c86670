"""Films, and the people who liked them -> the most similar films: the compiled loop."""

import math

import numpy as np
from numba import types

from batch.models.compiled import FLOAT, INT, INTS, TABLE_OUT, compiled
from batch.models.csr import SINGLE_CELLS
from batch.params import SCORE_DECIMALS

UNIT = 10.0**SCORE_DECIMALS

INT_TABLE_OUT = types.int64[:, ::1]


@compiled(
    (
        INT,
        INT,
        SINGLE_CELLS,
        SINGLE_CELLS,
        INTS,
        FLOAT,
        FLOAT,
        INT_TABLE_OUT,
        TABLE_OUT,
        INT_TABLE_OUT,
    )
)
def most_similar(  # type: ignore[no-untyped-def]
    start, stop, by_film, by_user, order, nearby, shrinkage, listed, score, support
):
    """Write the lists of these films; cells have the user's position of the film.

    Users are added in order of their rows, each film on one thread, so that sums are the same
    for any number of threads.
    """
    n_items = len(order)
    n = listed.shape[1]
    sums = np.zeros((n_items, 2))  # weights, and users who liked both
    others = np.empty(n_items + 1, np.int32)
    marks = np.empty(n)  # scores of the films listed so far, in units of 1e-6
    for film in range(start, stop):
        n_others = 0
        n_likes = by_film.starts[film + 1] - by_film.starts[film]
        for like in range(by_film.starts[film], by_film.starts[film + 1]):
            user = by_film.columns[like]
            position = by_film.values[like]
            for cell in range(by_user.starts[user], by_user.starts[user + 1]):
                other = by_user.columns[cell]
                # Always written, then kept or not: a branch would be mispredicted too often.
                others[n_others] = other
                n_others += sums[other, 1] == 0.0
                distance = abs(position - by_user.values[cell])
                sums[other, 0] += nearby / (nearby + distance)
                sums[other, 1] += 1.0
        length = 0
        for place in range(n_others):
            other = others[place]
            both = sums[other, 1]
            weight = sums[other, 0]
            sums[other, 0] = 0.0
            sums[other, 1] = 0.0
            if other == film or order[other] < 0:
                continue
            n_other = by_film.starts[other + 1] - by_film.starts[other]
            similarity = weight / (math.sqrt(n_likes * n_other) + shrinkage)
            mark = np.rint(similarity * UNIT)
            if length == n:
                last = order[listed[film, n - 1]]
                if mark < marks[n - 1] or (mark == marks[n - 1] and order[other] > last):
                    continue
            length = min(length + 1, n)
            at = length - 1
            while at > 0 and (
                marks[at - 1] < mark
                or (marks[at - 1] == mark and order[listed[film, at - 1]] > order[other])
            ):
                marks[at] = marks[at - 1]
                listed[film, at] = listed[film, at - 1]
                score[film, at] = score[film, at - 1]
                support[film, at] = support[film, at - 1]
                at -= 1
            marks[at] = mark
            listed[film, at] = other
            score[film, at] = similarity
            support[film, at] = int(both)
