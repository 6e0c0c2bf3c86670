"""The value that flows: a frozen matrix of who rated what, with keys in order and genres beside it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Sparse: TypeAlias = Any  # scipy.sparse.csr_array, which carries no types

SCORE_DECIMALS = 6
"""Of a score: closer ones are a tie, and no more is published, so that rounding noise never decides a list."""
NOBODY = -1
"""Stands in a list of columns where the list has ended."""


@dataclass(frozen=True)
class Ratings:
    """Ratings by row (user) and column (item), both ordered by key, so that no result depends on ingestion order.

    A cell that is stored is a rating, whatever its value; a cell that is absent is not rated.
    """

    matrix: Sparse  # CSR (n_users, n_items), stars, sorted indices, no duplicates
    user_ids: Ints  # (n_users,) the database's ids
    movie_ids: Ints  # (n_items,)
    genres: Floats  # (n_items, n_genres) 0/1
    scale: tuple[float, float]  # lowest and highest possible rating, stars
    rated_at: Floats | None = None  # (n_ratings,) seconds since 1970 UTC beside matrix.data, nan = unknown; None = all

    @property
    def n_users(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def n_items(self) -> int:
        return int(self.matrix.shape[1])

    @property
    def n_ratings(self) -> int:
        return int(self.matrix.nnz)

    def item_counts(self) -> Ints:
        """How many users rated each item, (n_items,)."""
        return np.bincount(self.matrix.indices, minlength=self.n_items).astype(np.int64)

    def user_counts(self) -> Ints:
        """How many items each user rated, (n_users,)."""
        return np.diff(self.matrix.indptr).astype(np.int64)

    def user_of_rating(self) -> Ints:
        """The row of each stored rating, (n_ratings,), in the order of `matrix.data`."""
        return np.repeat(np.arange(self.n_users), self.user_counts())

    def timeless_users(self) -> Ints:
        """Rows of the users with a rating whose time is not known, in order."""
        unknown = np.ones(self.n_ratings, dtype=np.bool_) if self.rated_at is None else np.isnan(self.rated_at)
        return np.unique(self.user_of_rating()[unknown])

    def keep(self, chosen: Bools) -> "Ratings":
        """The same users and items with only the chosen ratings; `chosen` is (n_ratings,)."""
        users, items = self.user_of_rating()[chosen], self.matrix.indices[chosen]
        return replace(
            self,
            matrix=sparse.csr_array((self.matrix.data[chosen], (users, items)), shape=self.matrix.shape),
            rated_at=None if self.rated_at is None else self.rated_at[chosen],
        )


def filled(matrix: Sparse, values: Floats) -> Sparse:
    """The same cells with other values, (n_ratings,); a value of 0 stays a stored cell."""
    return sparse.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)


def blocks(n_users: int, size: int) -> Iterator[Ints]:
    """Row numbers 0..n_users-1 in consecutive blocks of at most `size`."""
    for start in range(0, n_users, size):
        yield np.arange(start, min(start + size, n_users))
