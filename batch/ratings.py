"""Ratings as a frozen sparse matrix, users and films ordered by key, and the films' genres."""

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
Sparse: TypeAlias = Any  # scipy.sparse.csr_array, which has no types

NEWEST = 0.15
"""Share of all ratings, the newest, that stands for what people rate next."""
NOBODY = -1
"""Stands for a missing index of a film or a user, such as after the end of a list."""


def _no_ids() -> Ints:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings by row (user) and column (item).

    Rows and columns are ordered by key, so that no result depends on the order of ingestion. A
    stored cell is a rating, whatever its value; a cell that is not stored is not rated.
    """

    matrix: Sparse  # CSR (n_users, n_items), stars, sorted indices, no duplicates
    user_ids: Ints  # (n_users,) the database's ids
    movie_ids: Ints  # (n_items,) the database's ids
    genres: Floats  # (n_items, n_genres) 0/1
    scale: tuple[float, float]  # lowest and highest possible rating, stars
    rated_at: Floats | None = None
    """(n_ratings,) seconds since 1970 UTC, as matrix.data; nan = unknown; None = all unknown."""
    genre_ids: Ints = field(default_factory=_no_ids)  # (n_genres,) the database's ids

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
        """Rows of the users with a rating of unknown time, in order."""
        if self.rated_at is None:
            is_unknown = np.ones(self.n_ratings, dtype=np.bool_)
        else:
            is_unknown = np.isnan(self.rated_at)
        return np.unique(self.user_of_rating()[is_unknown])

    @property
    def newest_time(self) -> float:
        """When the newest rating was given, seconds since 1970 UTC; -inf if no time is known."""
        if self.rated_at is None:
            return -np.inf
        is_known = ~np.isnan(self.rated_at)
        return float(np.max(self.rated_at, initial=-np.inf, where=is_known))

    @property
    def now(self) -> float:
        """The time from which fading counts and ages are measured, seconds since 1970 UTC.

        One rating in a thousand is later, so that a few wrong clocks do not make
        everything else old; -inf if no time is known.
        """
        if self.rated_at is None or np.isinf(self.newest_time):
            return -np.inf
        times = self.rated_at[~np.isnan(self.rated_at)]
        place = int(np.ceil(0.999 * len(times))) - 1
        return float(np.partition(times, place)[place])

    def newest(self, share: float) -> Bools:
        """Which ratings are the newest `share` of those with a time, (n_ratings,).

        `share` is below 1. Ratings of one moment stay together, so that there may
        be fewer; a rating of unknown time is never among them.
        """
        if self.rated_at is None or np.isinf(self.newest_time):
            return np.zeros(self.n_ratings, dtype=np.bool_)
        times = np.sort(self.rated_at[~np.isnan(self.rated_at)])
        last_known = times[int(np.ceil((1.0 - share) * len(times))) - 1]
        return self.rated_at > last_known

    def keep(self, chosen: Bools) -> "Ratings":
        """The same users and items with only the chosen ratings; `chosen` is (n_ratings,)."""
        rated_at = None if self.rated_at is None else self.rated_at[chosen]
        return replace(self, matrix=select_stored(self.matrix, chosen), rated_at=rated_at)

    def of(self, users: Ints) -> Bools:
        """Which ratings are of these users, (n_ratings,)."""
        chosen = np.zeros(self.n_users, dtype=np.bool_)
        chosen[users] = True
        return np.repeat(chosen, self.user_counts())

    def some_users(self, limit: int, seed: int, least: int = 1) -> Ints:
        """Rows of the users with `least` ratings or more, in order; a sample as of `some`."""
        return some(np.flatnonzero(self.user_counts() >= least), limit, seed)


def some(rows: Ints, limit: int, seed: int) -> Ints:
    """All of these, or, if there are more, a seeded sample of `limit` of them in order."""
    if len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


class Pairs(NamedTuple):
    """Cells of a block of users, (p,) each: the user's place in the block, and the item."""

    rows: Ints
    columns: Ints

    @staticmethod
    def stored(block: Sparse) -> "Pairs":
        """The stored cells of a block, CSR (b, n_items), in order."""
        rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        return Pairs(rows, block.indices.astype(np.int64))

    @staticmethod
    def listed(lists: Ints) -> "Pairs":
        """The cells of lists of items, (b, n), list by list, without NOBODY."""
        rows, places = np.nonzero(lists != NOBODY)
        return Pairs(rows, lists[rows, places])

    def and_then(self, others: "Pairs") -> "Pairs":
        """These cells, followed by others."""
        rows = np.concatenate([self.rows, others.rows])
        columns = np.concatenate([self.columns, others.columns])
        return Pairs(rows, columns)


NO_PAIRS = Pairs(_no_ids(), _no_ids())


def select_stored(matrix: Sparse, chosen: Bools) -> Sparse:
    """A CSR matrix with only the chosen ones of its stored cells; `chosen` is (n_ratings,)."""
    chosen_before = np.zeros(len(chosen) + 1, matrix.indptr.dtype)
    np.cumsum(chosen, out=chosen_before[1:])
    arrays = matrix.data[chosen], matrix.indices[chosen], chosen_before[matrix.indptr]
    return sparse.csr_array(arrays, shape=matrix.shape)


def with_data(matrix: Sparse, values: npt.NDArray[Any]) -> Sparse:
    """The same cells with other values, (n_ratings,); a value of 0 stays a stored cell."""
    return sparse.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)


def blocks(n_users: int, size: int) -> Iterator[Ints]:
    """Row numbers 0..n_users-1 in consecutive blocks of at most `size`."""
    for start in range(0, n_users, size):
        yield np.arange(start, min(start + size, n_users))
