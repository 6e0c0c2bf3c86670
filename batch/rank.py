"""Scores -> the best n unseen items of each user, with every tie decided."""

import numpy as np

from batch.ratings import Floats, Ints, Sparse


def tie_places(item_counts: Ints) -> Ints:
    """Where each column stands among tied films, (n_items,): by rating count, most first, then by key."""
    return np.argsort(np.argsort(-item_counts, kind="stable"))


def best_unseen(relevance: Floats, seen: Sparse, places: Ints, n: int) -> Ints:
    """The columns of the best items, best first, (b, n), filled up with NOBODY.

    `relevance` is (b, n_items), nan where nothing can be said; `seen` the same users' rows of the rating matrix, CSR
    (b, n_items); `places` comes from `tie_places`.
    """
    from batch.unseen import first_unseen  # the compiler behind it loads only where something is ranked

    return first_unseen(relevance, seen, places, n)
