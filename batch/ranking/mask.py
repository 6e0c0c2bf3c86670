"""Films that no list may hold -> cells that ranking passes over, as it passes over what was rated."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from batch.ratings import Ints, Ratings, Sparse, with_data


@dataclass(frozen=True)
class Mask:
    """What the rules of the house keep out of lists, whatever models say of it."""

    everyone: Ints  # (k,) columns that nobody is shown, in order
    own: Sparse  # CSR (n_users, n_items), a cell stored for each film that is kept from that user alone

    @staticmethod
    def empty(ratings: Ratings) -> "Mask":
        """No rule."""
        return Mask(np.empty(0, dtype=np.int64), sparse.csr_array(ratings.matrix.shape))

    @staticmethod
    def of(ratings: Ratings, filtered: Iterable[tuple[int, int | None]]) -> "Mask":
        """Of pairs movie_id, user_id: None for a film that is kept from everyone. Ids that `ratings` lacks do nothing."""
        column_of = {number: column for column, number in enumerate(ratings.movie_ids.tolist())}
        row_of = {number: row for row, number in enumerate(ratings.user_ids.tolist())}
        known = [pair for pair in filtered if pair[0] in column_of]
        everyone = {column_of[movie_id] for movie_id, user_id in known if user_id is None}
        own = {
            (row_of[user_id], column_of[movie_id])
            for movie_id, user_id in known
            if user_id in row_of
        }
        cells = np.array(sorted(own), dtype=np.int64).reshape(-1, 2)
        matrix = sparse.csr_array((np.ones(len(cells)), tuple(cells.T)), shape=ratings.matrix.shape)
        return Mask(np.array(sorted(everyone), dtype=np.int64), matrix)

    def excluded(self, ratings: Ratings, users: Ints) -> Sparse:
        """What may not be listed of these users, (b,): what they rated and what is filtered, CSR (b, n_items)."""
        seen = ratings.matrix[users]
        if not len(self.everyone) and not self.own.nnz:
            return seen
        b, k = len(users), len(self.everyone)
        shared = np.tile(self.everyone, b), np.arange(b + 1) * k
        mask = sparse.csr_array((np.ones(b * k), *shared), shape=seen.shape)
        return with_data(seen, np.ones(seen.nnz)) + self.own[users] + mask
