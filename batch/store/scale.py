"""Merged files, and the ratings in the tables -> the scale of all ratings, without its typos."""

from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, func, or_, select

from batch.ratings import Floats
from batch.store import schema

DEFAULT_SCALE = (1.0, 5.0)
"""The scale where there are no ratings."""
FEW = 3
"""Typos of one kind that any database may have."""
FEW_SHARE = 0.001
"""Share of all ratings that typos may be."""
LARGEST_SHARE = 0.05
"""Nor are they more than a twentieth: of a few ratings it cannot be known which are the typos."""
FAR = 1.5
"""Widths beyond the rest: a 10 among ratings of 1 to 5 may be meant, a 40 is 4 or 4.0."""

Scale = tuple[float, float]
"""Lowest and highest rating, stars."""

FIXED_SCALES: dict[str, Scale] = {
    "MovieLens ratings.csv": (0.5, 5.0),
    "MovieLens u.data": (1.0, 5.0),
    "Netflix Prize ratings": (1.0, 5.0),
    "Letterboxd ratings.csv": (0.5, 5.0),
}
"""Formats whose files have one scale, whatever ratings they contain."""


class Outliers(NamedTuple):
    """Ratings far outside all others on one side."""

    value: float  # the outermost, stars
    n_ratings: int


def find_scale(connection: Connection, stars: Floats) -> tuple[Scale, list[Outliers]]:
    """The scale of all ratings, and those far outside it; `stars` is (n_ratings,), those used.

    It is the lowest and highest rating of all merged files, as their format or the settings fix
    them, else as seen. Left out are values far outside the rest. The rest is what remains
    without the `n` lowest and `n` highest ratings, where `n` is 3, or 0.1 % of all if that is
    more, but at most 5 %; its range includes 0, so that ratings which crowd at one end of a scale
    do not make it narrow. Far is more than 1.5 times the width of that range away from it.
    """
    low, high = _extremes(connection)
    if low is None or high is None:
        return DEFAULT_SCALE, []
    n = most_typos(len(stars))
    if n == 0 or not _may_be_far(stars, (low, high), n):
        return (low, high), []
    near = _near(stars, n)
    if near[0] <= low and high <= near[1]:
        return (low, high), []
    is_low = stars < near[0]
    is_high = stars > near[1]
    rest = stars[~is_low & ~is_high]
    outliers = [
        Outliers(float(outermost(stars[is_far])), int(is_far.sum()))
        for is_far, outermost in ((is_low, np.min), (is_high, np.max))
        if is_far.any()
    ]
    # The file that brought a typo has it as its highest rating, even after it was corrected.
    near_low, near_high = _extremes(connection, near)
    lowest = min(float(rest.min()), near[1] if near_low is None else near_low)
    highest = max(float(rest.max()), near[0] if near_high is None else near_high)
    return (lowest, highest), outliers


def _may_be_far(stars: Floats, scale: Scale, n: int) -> bool:
    """Whether an end of the scale can be far from the rest: tells nearly all data without a copy.

    If more than `n` ratings are at least the highest / 2.5, the rest reaches that far, and
    the highest is at most 1.5 of its widths away from it.
    """
    low, high = scale
    if np.count_nonzero(stars >= high / (1 + FAR)) <= n:
        return True
    return low < 0 and bool(np.count_nonzero(stars <= low / (1 + FAR)) <= n)


def _near(stars: Floats, n: int) -> Scale:
    """The lowest and highest value that is not far from the rest."""
    last = len(stars) - 1 - n
    ordered = np.partition(stars, [n, last])
    return near_range(float(ordered[n]), float(ordered[last]))


def most_typos(n_ratings: int) -> int:
    """How many of so many ratings may be typos at each end of the scale."""
    return min(max(FEW, int(FEW_SHARE * n_ratings)), int(LARGEST_SHARE * n_ratings))


def near_range(lowest: float, highest: float) -> Scale:
    """The lowest and highest value that is not far from ratings of this range."""
    bottom = min(lowest, 0.0)
    top = max(highest, 0.0)
    width = top - bottom
    if width == 0:  # only zeros: any other value would be far
        return -np.inf, np.inf
    return bottom - FAR * width, top + FAR * width


def _extremes(
    connection: Connection, near: Scale = (-np.inf, np.inf)
) -> tuple[float | None, float | None]:
    """Lowest and highest rating of all merged files, of those that are fixed or within `near`."""
    b = schema.ingest_batches.c
    is_fixed = b.format.in_(FIXED_SCALES)
    lows = [b.status == "merged", or_(is_fixed, b.scale_min >= near[0])]
    highs = [b.status == "merged", or_(is_fixed, b.scale_max <= near[1])]
    low = connection.execute(select(func.min(b.scale_min)).where(*lows)).scalar()
    high = connection.execute(select(func.max(b.scale_max)).where(*highs)).scalar()
    return low, high
