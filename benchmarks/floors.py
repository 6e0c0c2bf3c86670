"""A shape and the speed of a machine -> the least time that the sums of `user_user` can take.

The sums are, for each user u, film i and every v who rated i, s_uv d_vi and |s_uv|: users
times ratings multiply-adds, and as many additions. They do not include similarities,
baselines and ranking.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CELL_INDEX = 4
"""Bytes of the column of a stored rating."""
SUMS_A_PAIR = 4
"""Sums of an adjusted cosine for each film that two users rated.

They are the product, both squares, and the count.
"""


@dataclass(frozen=True)
class Floor:
    """The work that must be done, and how long it takes at best."""

    operations: float  # multiply-adds and additions
    alike_operations: float  # in addition, for the similarities of all users
    least_bytes: float  # each rating read once, both sums of every cell written once
    streamed_bytes: float  # ratings read once for each group of users that share a register
    arithmetic_seconds: float
    memory_seconds: float  # of least_bytes

    @property
    def seconds(self) -> float:
        """The longer of both: arithmetic and memory access can overlap."""
        return max(self.arithmetic_seconds, self.memory_seconds)


def floor(alone: Mapping[str, Any], rates: Mapping[str, float]) -> Floor:
    """The floor of the sums for the results of `alone.py`, in the model's precision.

    `rates` are operations a second in `single` and in `double` precision, and `bytes` a second.
    """
    from batch.models.kernels import LANE_BYTES

    n_users = float(alone["n_users"])
    n_items = float(alone["n_items"])
    n_ratings = float(alone["n_ratings"])
    precision = "single" if alone["single"] else "double"
    size = 4 if alone["single"] else 8  # bytes of a number
    operations = 2 * n_users * n_ratings
    rating_bytes = n_ratings * (CELL_INDEX + size)
    least_bytes = rating_bytes + 2 * n_users * n_items * size
    groups = n_users / (LANE_BYTES / size)
    return Floor(
        operations=operations,
        alike_operations=SUMS_A_PAIR * float(alone["pairs"]),
        least_bytes=least_bytes,
        streamed_bytes=rating_bytes * groups,
        arithmetic_seconds=operations / rates[precision],
        memory_seconds=least_bytes / rates["bytes"],
    )
