"""Filters and films seen -> a mask of what lists may not contain, beside what the user rated."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from batch.ratings import Bools, Ints, Ratings, Sparse, with_data

NOTHING_SEEN = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class Mask:
    """Filtered films as columns, for all users and for single users, who may have seen them too."""

    for_everyone: Ints  # (k,) columns filtered for all users, in order
    for_user: Sparse  # CSR (n_users, n_items), a stored cell for each film kept from that user

    @staticmethod
    def empty(ratings: Ratings) -> "Mask":
        """A mask without filters."""
        nothing = np.empty(0, dtype=np.int64)
        return Mask(nothing, sparse.csr_array(ratings.matrix.shape))

    @staticmethod
    def of(
        ratings: Ratings, filtered: Iterable[tuple[int, int | None]], seen: Ints = NOTHING_SEEN
    ) -> "Mask":
        """Pairs of movie_id and user_id -> mask; user_id is None for a filter for all users.

        `seen` (n, 2) has the user_id and movie_id of each film that a user has seen.
        Ids that are not in `ratings` have no effect.
        """
        column_of = {movie_id: column for column, movie_id in enumerate(ratings.movie_ids.tolist())}
        row_of = {user_id: row for row, user_id in enumerate(ratings.user_ids.tolist())}
        columns: set[int] = set()
        pairs: list[tuple[int, int]] = []
        for movie_id, user_id in filtered:
            if movie_id not in column_of:
                continue
            if user_id is None:
                columns.add(column_of[movie_id])
            elif user_id in row_of:
                pairs.append((row_of[user_id], column_of[movie_id]))
        of_filters = np.array(pairs, dtype=np.int64).reshape(-1, 2)  # (n, 2)
        users, seen_by = _positions(ratings.user_ids, seen[:, 0])
        items, is_item = _positions(ratings.movie_ids, seen[:, 1])
        is_known = seen_by & is_item
        rows = np.concatenate([of_filters[:, 0], users[is_known]])
        cells = np.concatenate([of_filters[:, 1], items[is_known]])
        for_user = sparse.csr_array((np.ones(len(rows)), (rows, cells)), shape=ratings.matrix.shape)
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


def _positions(ids: Ints, wanted: Ints) -> tuple[Ints, Bools]:
    """The places of `wanted`, (n,), in `ids`, in any order, and whether they are there at all."""
    if not len(ids):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=np.bool_)
    by_id = np.argsort(ids, kind="stable")
    places = np.minimum(np.searchsorted(ids[by_id], wanted), len(ids) - 1)
    found = by_id[places]
    return found, ids[found] == wanted
