"""All ratings of a file together -> refused where they cannot be what they seem."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from batch.ingest.errors import RefusedError
from batch.ingest.parsing import MARKS
from batch.store.scale import most_typos, near_range

MAX_VALUES = 10_000
"""Different ratings that are counted: real files have dozens, a hostile one may have millions."""
MIN_TIMES = 10
"""From so many times on a column whose times are all in 1970 is a mistake."""
YEAR_SECONDS = 365 * 86_400
MARK_SHARE = 1 / 3
"""Share of a file's ratings from which on a lowest value of MARKS must be decided."""
HIGH_MARKS = (99.0, 999.0)
MARK_DISTANCE = 0.5
"""Largest part of a high mark that the next rating reaches: 99 behind 98 is a rating."""


@dataclass
class Seen:
    """What the accepted ratings of a file have in common."""

    lowest: float = math.inf  # stars
    highest: float = -math.inf
    n_ratings: int = 0
    n_times: int = 0  # ratings with a time of their own
    latest: float = 0.0  # seconds since 1970 UTC
    counts: Counter[float] | None = field(default_factory=Counter)
    """How often each rating occurs; None for more than MAX_VALUES different ones."""

    @property
    def all_timed(self) -> bool:
        """Whether each rating has its own time."""
        return 0 < self.n_ratings == self.n_times

    def add(self, stars: Mapping[float, int]) -> None:
        """More ratings: how often each occurs."""
        self.lowest = min(self.lowest, min(stars))
        self.highest = max(self.highest, max(stars))
        self.n_ratings += sum(stars.values())
        if self.counts is not None:
            self.counts.update(stars)
            if len(self.counts) > MAX_VALUES:
                self.counts = None

    def add_times(self, n_times: int, latest: float) -> None:
        """More times, and the latest of them."""
        self.n_times += n_times
        self.latest = max(self.latest, latest)


def require_times(seen: Seen) -> None:
    """Raise RefusedError where all of many times are in 1970: they are not in seconds."""
    if seen.n_times >= MIN_TIMES and seen.latest < YEAR_SECONDS:
        message = (
            f"all {seen.n_times:,} times are in 1970; write the right ones, such as 2026-11-23, "
            "name another column in ingest.columns.time, or remove this one"
        )
        raise RefusedError("TIMES_IN_1970", message)


def require_decided(seen: Seen) -> None:
    """Raise RefusedError where many ratings are marks that may mean "not rated".

    A third of the ratings are 0 or -1, or some are 99 where all others are far below. The caller
    asks where ingest.unrated is not set.
    """
    if seen.counts is None or len(seen.counts) <= 2:
        return
    marks = _low_marks(seen, seen.counts) + _high_marks(seen, seen.counts)
    if marks:
        count = sum(seen.counts[mark] for mark in marks)
        texts = [f"{mark:g}" for mark in marks]
        message = (
            f"{count:,} of {seen.n_ratings:,} ratings are {' or '.join(texts)}, which may mean "
            f'"not rated": set ingest.unrated to [{", ".join(texts)}] if so, '
            "or to [] if every value is a rating"
        )
        raise RefusedError("UNRATED_UNDECIDED", message)


def _low_marks(seen: Seen, counts: Counter[float]) -> list[float]:
    """0 and -1 where they are the lowest ratings, and a third of all."""
    if seen.lowest not in MARKS:
        return []
    marks = [mark for mark in MARKS if counts[mark]]
    n_marks = sum(counts[mark] for mark in marks)
    return marks if n_marks >= MARK_SHARE * seen.n_ratings else []


def _high_marks(seen: Seen, counts: Counter[float]) -> list[float]:
    """99 or 999 where it is the highest rating, far above the next."""
    below = max(stars for stars in counts if stars != seen.highest)
    is_mark = seen.highest in HIGH_MARKS and below <= seen.highest * MARK_DISTANCE
    return [seen.highest] if is_mark else []


def require_scale(seen: Seen) -> None:
    """Raise RefusedError where a few ratings lie far outside all others, such as 40 among 1 to 5.

    How few and how far is what `store.scale` says of all ratings together. The caller asks where
    no scale is set or fixed.
    """
    most = most_typos(seen.n_ratings)
    if seen.counts is None or not most:
        return
    values = sorted(seen.counts)
    low, high = near_range(
        _behind(values, seen.counts, most), _behind(values[::-1], seen.counts, most)
    )
    far = [value for value in values if not low <= value <= high]
    if far:
        near = [value for value in values if low <= value <= high]
        n_far = sum(seen.counts[value] for value in far)
        raise _beyond_scale(max(far, key=abs), n_far, near[0], near[-1])


def _behind(values: list[float], counts: Counter[float], n_ratings: int) -> float:
    """The value of the rating behind the first `n_ratings`, in the order of `values`."""
    for value in values:
        n_ratings -= counts[value]
        if n_ratings < 0:
            break
    return value


def _beyond_scale(outermost: float, n_outside: int, low: float, high: float) -> RefusedError:
    rows = "rating is" if n_outside == 1 else "ratings are"
    message = (
        f"{n_outside} {rows} as far out as {outermost:g}, where all others are in "
        f"{low:g}..{high:g}: set ingest.scale to [{low:g}, {high:g}] to reject such rows, "
        f"or to [{min(low, outermost):g}, {max(high, outermost):g}] to accept them"
    )
    return RefusedError("SCALE_OUTLIERS", message)
