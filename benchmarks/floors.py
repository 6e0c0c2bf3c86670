"""A shape and what the machine can do -> the least time in which the sums of user_user can be made.

The sums are, for each user u, film i and every v who rated i, s_uv d_vi and |s_uv|: users times ratings multiply-adds
and as many additions. Similarities, baselines and ranking are not in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CELL_INDEX = 4
"""Bytes of the column of a stored rating."""
SUMS_A_PAIR = 4
"""Of an adjusted cosine, for each film that two users rated: their product, both squares, and how many films."""


@dataclass(frozen=True)
class Floor:
    """What must be done, and how long that takes at best."""

    operations: float  # multiply-adds and additions
    alike_operations: float  # beside them: what similarities between everyone take
    least_bytes: float  # each rating read once, both sums of every cell written once
    streamed_bytes: float  # the ratings read once per group of users that share a register
    arithmetic_seconds: float
    memory_seconds: float  # of least_bytes

    @property
    def seconds(self) -> float:
        """Arithmetic and memory can go on side by side: the longer one counts."""
        return max(self.arithmetic_seconds, self.memory_seconds)


def floor(alone: Mapping[str, Any], rates: Mapping[str, float]) -> Floor:
    """Of the sums at this size, in the precision that the model makes them in."""
    from batch.models.kernels import LANE_BYTES

    n_users, n_items, n_ratings = (
        float(alone[name]) for name in ("n_users", "n_items", "n_ratings")
    )
    precision, size = ("single", 4) if alone["single"] else ("double", 8)
    operations = 2 * n_users * n_ratings
    alike = SUMS_A_PAIR * float(alone["pairs"])
    cells = n_ratings * (CELL_INDEX + size)
    least = cells + 2 * n_users * n_items * size
    groups = n_users / (LANE_BYTES / size)
    return Floor(
        operations,
        alike,
        least,
        cells * groups,
        operations / rates[precision],
        least / rates["bytes"],
    )
