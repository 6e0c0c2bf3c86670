"""Scores -> the best n unseen items of each user, with every tie decided."""

import numpy as np

from batch.ratings import NOBODY, SCORE_DECIMALS, Floats, Ints, Sparse


def tie_order(item_counts: Ints) -> Ints:
    """Columns by rating count, most first, then by key: the order in which tied films are listed, (n_items,)."""
    return np.lexsort((np.arange(len(item_counts)), -item_counts))


def best_unseen(relevance: Floats, seen: Sparse, order: Ints, n: int) -> Ints:
    """The columns of the best items, best first, (b, n), filled up with NOBODY.

    `relevance` is (b, n_items), nan where nothing can be said; `seen` the same users' rows of the rating matrix, CSR
    (b, n_items); `order` comes from `tie_order`.
    """
    cost = -np.round(relevance, SCORE_DECIMALS)  # (b, n_items)
    rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
    cost[rows, seen.indices] = np.nan
    cost = cost[:, order]  # tied columns now stand in the order they are to be listed in
    listed = np.full((len(cost), n), NOBODY, dtype=np.int64)
    if cost.size == 0:
        return listed
    width = min(n, cost.shape[1])
    limit = np.partition(cost, width - 1, axis=1)[:, width - 1]  # (b,) cost of the n-th; nan sorts last
    open_ended = np.isnan(limit)  # fewer than n films can be said anything about: all of them are candidates
    candidate = (cost <= limit[:, None]) | (open_ended[:, None] & ~np.isnan(cost))
    users, places = np.nonzero(candidate)
    by_cost = np.lexsort((places, cost[users, places], users))
    users, places = users[by_cost], places[by_cost]
    rank = np.arange(len(users)) - np.searchsorted(users, users)  # 0 for the first of each user
    kept = rank < n
    listed[users[kept], rank[kept]] = order[places[kept]]
    return listed
