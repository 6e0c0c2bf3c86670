"""Scores -> the best n unseen items of each user, with every tie decided."""

import numpy as np

from batch.ratings import Floats, Ints, Sparse


def tie_order(item_counts: Ints) -> Ints:
    """Columns by rating count, most first, then by key: the order in which tied films are listed, (n_items,)."""
    return np.lexsort((np.arange(len(item_counts)), -item_counts))


def best_unseen(relevance: Floats, seen: Sparse, order: Ints, n: int) -> Ints:
    """The columns of the best items, best first, (b, n), filled up with NOBODY.

    `relevance` is (b, n_items), nan where nothing can be said; `seen` the same users' rows of the rating matrix, CSR
    (b, n_items); `order` comes from `tie_order`.
    """
    from batch.unseen import first_unseen  # the compiler behind it loads only where something is ranked

    return first_unseen(relevance, seen, np.argsort(order), n)
