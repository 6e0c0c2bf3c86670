"""Filters -> a mask of the films that lists may not contain, beside those the user has rated."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from batch.ratings import Ints, Ratings, Sparse, with_data


@dataclass(frozen=True)
class Mask:
    """Filtered films as columns, for all users and for single users."""

    for_everyone: Ints  # (k,) columns filtered for all users, in order
    for_user: Sparse  # CSR (n_users, n_items), a stored cell for each film filtered for that user

    @staticmethod
    def empty(ratings: Ratings) -> "Mask":
        """A mask without filters."""
        nothing = np.empty(0, dtype=np.int64)
        return Mask(nothing, sparse.csr_array(ratings.matrix.shape))

    @staticmethod
    def of(ratings: Ratings, filtered: Iterable[tuple[int, int | None]]) -> "Mask":
        """Pairs of movie_id and user_id -> mask; user_id is None for a filter for all users.

        Ids that are not in `ratings` have no effect.
        """
        column_of = {movie_id: column for column, movie_id in enumerate(ratings.movie_ids.tolist())}
        row_of = {user_id: row for row, user_id in enumerate(ratings.user_ids.tolist())}
        columns: set[int] = set()
        pairs: set[tuple[int, int]] = set()
        for movie_id, user_id in filtered:
            if movie_id not in column_of:
                continue
            if user_id is None:
                columns.add(column_of[movie_id])
            elif user_id in row_of:
                pairs.add((row_of[user_id], column_of[movie_id]))
        cells = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
        rows_and_columns = tuple(cells.T)
        for_user = sparse.csr_array(
            (np.ones(len(cells)), rows_and_columns), shape=ratings.matrix.shape
        )
        return Mask(np.array(sorted(columns), dtype=np.int64), for_user)

    def excluded(self, ratings: Ratings, users: Ints) -> Sparse:
        """Rated and filtered films of these users, (b,), which no list may contain.

        CSR (b, n_items), a stored cell for each.
        """
        rated = ratings.matrix[users]
        if not len(self.for_everyone) and not self.for_user.nnz:
            return rated
        b = len(users)
        k = len(self.for_everyone)
        columns = np.tile(self.for_everyone, b)
        starts = np.arange(b + 1) * k
        filtered = sparse.csr_array((np.ones(b * k), columns, starts), shape=rated.shape)
        return with_data(rated, np.ones(rated.nnz)) + self.for_user[users] + filtered
