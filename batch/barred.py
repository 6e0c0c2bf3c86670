"""Films that no list may hold -> cells that ranking passes over, as it passes over what was rated."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from batch.ratings import Ints, Ratings, Sparse, filled


@dataclass(frozen=True)
class Barred:
    """What the rules of the house keep out of lists, whatever models say of it."""

    everyone: Ints  # (k,) columns that nobody is shown, in order
    own: Sparse  # CSR (n_users, n_items), a cell stored for each film that is kept from that user alone

    @staticmethod
    def nothing(ratings: Ratings) -> "Barred":
        """No rule."""
        return Barred(np.empty(0, dtype=np.int64), sparse.csr_array(ratings.matrix.shape))

    def taken(self, ratings: Ratings, users: Ints) -> Sparse:
        """What may not be listed of these users, (b,): what they rated and what is barred, CSR (b, n_items)."""
        seen = ratings.matrix[users]
        if not len(self.everyone) and not self.own.nnz:
            return seen
        b, k = len(users), len(self.everyone)
        shared = np.tile(self.everyone, b), np.arange(b + 1) * k
        barred = sparse.csr_array((np.ones(b * k), *shared), shape=seen.shape)
        return filled(seen, np.ones(seen.nnz)) + self.own[users] + barred
