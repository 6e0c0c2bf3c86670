"""The value that flows: a frozen matrix of who rated what, with keys in order and genres beside it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Texts: TypeAlias = npt.NDArray[np.str_]
Sparse: TypeAlias = Any  # scipy.sparse.csr_array, which carries no types

SCORE_DECIMALS = 6
"""Of a score: closer ones are a tie, and no more is published, so that rounding noise never decides a list."""
NOBODY = -1
"""Stands in a list of columns where the list has ended."""


@dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings by row (user) and column (item), both ordered by key, so that no result depends on ingestion order.

    A cell that is stored is a rating, whatever its value; a cell that is absent is not rated.
    """

    matrix: Sparse  # CSR (n_users, n_items), stars, sorted indices, no duplicates
    user_ids: Ints  # (n_users,) the database's ids
    movie_ids: Ints  # (n_items,)
    genres: Floats  # (n_items, n_genres) 0/1
    scale: tuple[float, float]  # lowest and highest possible rating, stars
    rated_at: Floats | None = (
        None  # (n_ratings,) seconds since 1970 UTC beside matrix.data, nan = unknown; None = all
    )
    genre_ids: Ints = field(
        default_factory=lambda: np.empty(0, dtype=np.int64)
    )  # (n_genres,) the database's ids

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
        unknown = (
            np.ones(self.n_ratings, dtype=np.bool_)
            if self.rated_at is None
            else np.isnan(self.rated_at)
        )
        return np.unique(self.user_of_rating()[unknown])

    def keep(self, chosen: Bools) -> "Ratings":
        """The same users and items with only the chosen ratings; `chosen` is (n_ratings,)."""
        return replace(
            self,
            matrix=select_stored(self.matrix, chosen),
            rated_at=None if self.rated_at is None else self.rated_at[chosen],
        )

    def of(self, users: Ints) -> Bools:
        """Which ratings are of these users, (n_ratings,)."""
        chosen = np.zeros(self.n_users, dtype=np.bool_)
        chosen[users] = True
        return np.repeat(chosen, self.user_counts())

    def some_users(self, limit: int, seed: int) -> Ints:
        """Rows of users with ratings, in order: all of them, or a seeded sample of so many."""
        able = np.flatnonzero(self.user_counts())
        if len(able) <= limit:
            return able
        return np.sort(np.random.default_rng(seed).choice(able, limit, replace=False))


class Pairs(NamedTuple):
    """Cells of a block of users: which of its users, and which item; (p,) each."""

    rows: Ints
    columns: Ints

    @staticmethod
    def stored(block: Sparse) -> "Pairs":
        """The cells that a block, CSR (b, n_items), has a value in, in order."""
        return Pairs(
            np.repeat(np.arange(block.shape[0]), np.diff(block.indptr)),
            block.indices.astype(np.int64),
        )

    @staticmethod
    def listed(lists: Ints) -> "Pairs":
        """The cells that lists, (b, n), name, list by list."""
        rows, places = np.nonzero(lists != NOBODY)
        return Pairs(rows, lists[rows, places])

    def and_then(self, others: "Pairs") -> "Pairs":
        """These, followed by others."""
        return Pairs(
            np.concatenate([self.rows, others.rows]), np.concatenate([self.columns, others.columns])
        )


NO_PAIRS = Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


def select_stored(matrix: Sparse, chosen: Bools) -> Sparse:
    """A CSR matrix with only the chosen of its stored cells, (n_ratings,)."""
    kept_before = np.zeros(len(chosen) + 1, matrix.indptr.dtype)
    np.cumsum(chosen, out=kept_before[1:])
    kept = matrix.data[chosen], matrix.indices[chosen], kept_before[matrix.indptr]
    return sparse.csr_array(kept, shape=matrix.shape)


def with_data(matrix: Sparse, values: npt.NDArray[Any]) -> Sparse:
    """The same cells with other values, (n_ratings,); a value of 0 stays a stored cell."""
    return sparse.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)


def blocks(n_users: int, size: int) -> Iterator[Ints]:
    """Row numbers 0..n_users-1 in consecutive blocks of at most `size`."""
    for start in range(0, n_users, size):
        yield np.arange(start, min(start + size, n_users))
