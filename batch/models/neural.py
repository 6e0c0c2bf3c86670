"""Ratings and genres -> a two-layer network that predicts from a film's genres only."""

from collections.abc import Mapping

import numpy as np

from batch.models import flattened
from batch.models.baseline import fit_baseline
from batch.models.networks import Flattened, PerMovie
from batch.models.training import Training, one_thread, train
from batch.models.user_rows import best_penalty, solve_rows
from batch.params import Neural
from batch.ratings import Floats, Ratings

LEARNERS = 2000
"""Users that the shared layer is trained on, where there are more.

They have some 300,000 ratings, for a thousand weights.
"""


def fit(ratings: Ratings, params: Neural, seed: int) -> PerMovie | Flattened:
    """Fit the chosen architecture; raises `flattened.TooLargeError` above that form's limit.

    Up to LEARNERS users, all weights are trained. With more, a seeded sample of them trains the
    shared layer, and every user's own row is then solved in closed form.
    """
    if params.architecture == "flattened":
        with one_thread():
            return flattened.fit(ratings, params, seed)
    added = params.baseline == "bias"
    baseline = fit_baseline("bias" if added else "user_mean", ratings)
    targets = baseline.deviations(ratings).data  # (n_ratings,)
    sampled = ratings.n_users > LEARNERS
    if sampled:
        learners = ratings.some_users(LEARNERS, seed)
        is_training = ratings.of(learners)  # (n_ratings,)
        training_ratings = ratings.keep(is_training)
        training_targets = targets[is_training]
    else:
        learners = np.arange(ratings.n_users)
        training_ratings = ratings
        training_targets = targets
    trained = train(Training(training_ratings, learners, training_targets, params, seed))
    hidden = _hidden(trained, ratings.genres, params)
    if sampled:
        penalty = best_penalty(training_ratings, training_targets, hidden, params, seed)
        trained |= solve_rows(ratings, targets, hidden, penalty)
    if not added:  # then b2 holds the mean that training started from
        trained["b2"] = trained["b2"] + baseline.mu + baseline.user
    return PerMovie(
        baseline=baseline,
        added=added,
        genres=ratings.genres,
        rectified=params.activation == "relu",
        hidden=hidden,
        counts=ratings.user_counts().astype(np.float64),
        trained=trained,
    )


def _hidden(trained: Mapping[str, Floats], genres: Floats, params: Neural) -> Floats:
    """h of each film, (n_items, hidden)."""
    hidden = genres @ trained["W1"].T + trained["b1"]
    return np.maximum(hidden, 0.0) if params.activation == "relu" else hidden
