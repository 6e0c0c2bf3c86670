"""A seed -> when users come and films are released, and from that when each film is rated.

A film draws most attention at its release. That halves every six weeks, down to a small part that
stays. A user can rate a film from the day on which both are there.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FIRST_DAY = 1_704_067_200  # 2024-01-01, seconds since 1970
DAY = 86_400  # seconds
DAYS = 731  # two years
OLD = 0.4
"""Share of the films that were released long before the first day."""
HALF_LIFE = 42.0  # days
FLOOR = 0.02
"""What stays of the attention that a film draws at its release."""


class Calendar(NamedTuple):
    """When users come and films are released, in days since the first."""

    arrived: Floats  # (n_users,)
    released: Floats  # (n_items,); -inf long before


class Attention(NamedTuple):
    """What films draw from users until the last day, in days at full attention.

    All arrays have the shape of the pairs of users and films.
    """

    start: Floats  # day from which both user and film are there
    steady: Floats  # by the part that stays
    fading: Floats  # by the part that fades


def draw_calendar(rng: np.random.Generator, n_users: int, n_items: int) -> Calendar:
    """Users come evenly over all days, and so do the films that are not old."""
    arrived = rng.uniform(0, DAYS, n_users)  # (n_users,)
    released = rng.uniform(0, DAYS, n_items)  # (n_items,)
    is_old = rng.random(n_items) < OLD  # (n_items,)
    return Calendar(arrived, np.where(is_old, -np.inf, released))


def log_attention(calendar: Calendar) -> Floats:
    """Log weight of each pair, (n_users, n_items): what the film draws while the user is there."""
    drawn = _attention(calendar.arrived[:, None], calendar.released)
    weights: Floats = np.log(drawn.steady + drawn.fading)
    return weights


def draw_times(rng: np.random.Generator, calendar: Calendar, users: Ints, items: Ints) -> Ints:
    """Seconds since 1970 at which each pair is rated, (n,): drawn by the attention of the film."""
    drawn = _attention(calendar.arrived[users], calendar.released[items])  # (n,)
    left = DAYS - drawn.start  # (n,) days
    part = rng.random(len(users))  # (n,)
    evenly = drawn.start + part * left  # (n,) days
    early = drawn.start - HALF_LIFE * np.log2(1 - part * _lost(left))  # (n,) days
    is_steady = rng.random(len(users)) * (drawn.steady + drawn.fading) < drawn.steady  # (n,)
    days = np.where(is_steady, evenly, early)
    return FIRST_DAY + (days * DAY).astype(np.int64)


def _attention(arrived: Floats, released: Floats) -> Attention:
    """The integral of FLOOR + (1 - FLOOR) * 2 ** (-age / HALF_LIFE) over the days of each pair.

    `arrived` and `released` are the days of users and films, of shapes that broadcast.
    """
    start = np.maximum(arrived, released)
    left = DAYS - start
    at_start = (1 - FLOOR) * 2 ** ((released - start) / HALF_LIFE)
    return Attention(
        start=start,
        steady=FLOOR * left,
        fading=at_start * _lost(left) * HALF_LIFE / np.log(2),
    )


def _lost(days: Floats) -> Floats:
    """Part of the attention that fades within so many days."""
    lost: Floats = 1 - 2 ** (-days / HALF_LIFE)
    return lost
