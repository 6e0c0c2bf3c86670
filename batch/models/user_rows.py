"""A trained shared layer and ratings -> each user's own row of the last layer, in closed form."""

from collections.abc import Iterator

import numpy as np

from batch.params import Neural
from batch.ratings import Floats, Ints, Ratings

CELLS_PER_SOLVE = 100_000
"""Ratings, with the padding of shorter rows, that are solved together: 25 MB of hidden values."""
NUMBERS_PER_SOLVE = 100_000 * 32**2
"""Numbers in the matrices, hidden x hidden per user, that are solved together: 0.8 GB."""
MIN_DECAY = 1e-6
"""Below this penalty a user with few ratings has no unique solution."""
EXTRA_DECAY = (0.0, 3.0, 10.0, 30.0, 100.0)
"""Penalties, in ratings' worth, tried on top of `weight_decay`, in place of early stopping."""


def best_penalty(
    ratings: Ratings, targets: Floats, hidden: Floats, params: Neural, seed: int
) -> float:
    """The penalty of a row's square with the lowest error on ratings held back."""
    from batch.models.training import shuffled_order  # loads torch

    order, n_held = shuffled_order(ratings.n_ratings, seed)
    is_held = np.zeros(ratings.n_ratings, dtype=np.bool_)
    is_held[order[:n_held].numpy()] = True
    users = ratings.user_of_rating()[is_held]
    items = ratings.matrix.indices[is_held]
    rest = ratings.keep(~is_held)
    errors: dict[float, float] = {}
    for extra in EXTRA_DECAY:
        penalty = params.weight_decay + extra
        rows = solve_rows(rest, targets[~is_held], hidden, penalty)
        predicted = (rows["W2"][users] * hidden[items]).sum(axis=1) + rows["b2"][users]
        errors[penalty] = float(((predicted - targets[is_held]) ** 2).sum())
    return min(errors, key=lambda penalty: errors[penalty])


def solve_rows(
    ratings: Ratings, targets: Floats, hidden: Floats, penalty: float
) -> dict[str, Floats]:
    """W2 and b2 of every user, (n_users, hidden) and (n_users,), for a fixed shared layer.

    Each row minimises its own sum of (target - y)^2 + penalty |row|^2, where training it would
    end: a ridge regression with a free b2. Users with about as many ratings are solved together.
    """
    n_users = ratings.n_users
    width = hidden.shape[1]
    rows = np.zeros((n_users, width))
    biases = np.zeros(n_users)
    starts = ratings.matrix.indptr
    counts = ratings.user_counts()
    items = ratings.matrix.indices
    ridge = max(penalty, MIN_DECAY)
    for users in _users_by_count(counts, width):
        places = np.arange(counts[users].max())  # (widest,)
        is_rated = (places < counts[users][:, None]).astype(np.float64)  # (b, widest)
        last = starts[users + 1][:, None] - 1
        cells = np.minimum(starts[users][:, None] + places, last)  # (b, widest)
        h = hidden[items[cells]]  # (b, widest, hidden)
        share = is_rated / is_rated.sum(axis=1, keepdims=True)
        mean_h = (h * share[:, :, None]).sum(axis=1, keepdims=True)  # (b, 1, hidden)
        centred = (h - mean_h) * is_rated[:, :, None]
        target = targets[cells]  # (b, widest)
        mean = (target * share).sum(axis=1)  # (b,)
        row = _ridge_regression(centred, (target - mean[:, None]) * is_rated, ridge)  # (b, hidden)
        rows[users] = row
        biases[users] = mean - (row * mean_h[:, 0]).sum(axis=1)
    return {"W2": rows, "b2": biases}


def _ridge_regression(centred: Floats, target: Floats, ridge: float) -> Floats:
    """The w that minimise |target - X w|^2 + ridge |w|^2, (b, hidden), with X = `centred`.

    X is (b, n, hidden) and the target (b, n), each less its mean. It is solved on the smaller side
    of X: w = (X'X + ridge I)^-1 X' target = X' (XX' + ridge I)^-1 target.
    """
    n, width = centred.shape[1:]
    if n < width:
        system = centred @ centred.mT + ridge * np.eye(n)  # (b, n, n)
        weights = np.linalg.solve(system, target[:, :, None])  # (b, n, 1)
        return np.asarray((centred * weights).sum(axis=1))
    system = centred.mT @ centred + ridge * np.eye(width)  # (b, hidden, hidden)
    moments = (centred * target[:, :, None]).sum(axis=1)  # (b, hidden)
    return np.asarray(np.linalg.solve(system, moments[:, :, None])[:, :, 0])


def _users_by_count(counts: Ints, width: int) -> Iterator[Ints]:
    """Users with ratings by rising count, in parts that are solved together.

    A part has at most CELLS_PER_SOLVE padded cells, and matrices of width^2 numbers per user of
    at most NUMBERS_PER_SOLVE; but one user at least.
    """
    most_users = NUMBERS_PER_SOLVE // width**2
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    while len(order):
        # Counts rise: the last user of a part is its widest row.
        cells = counts[order] * np.arange(1, len(order) + 1)
        size = int(np.searchsorted(cells, CELLS_PER_SOLVE, side="right"))
        size = max(min(size, most_users), 1)
        yield order[:size]
        order = order[size:]
