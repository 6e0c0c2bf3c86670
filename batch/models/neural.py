"""Ratings and genres -> a two-layer network that predicts from a film's genres only."""

from dataclasses import dataclass

import numpy as np

from batch.models import flattened, training
from batch.models.baseline import Baseline
from batch.models.networks import Flattened, PerMovie, fitted_beside, hidden_layer, per_movie
from batch.models.training import Training, one_thread, train
from batch.models.user_rows import best_penalty, solve_rows
from batch.params import Neural
from batch.ratings import Floats, Ratings

LEARNERS = 2000
"""Users that the shared layer is trained on, where there are more.

They have some 300,000 ratings, for a thousand weights.
"""


def fit(
    ratings: Ratings, params: Neural, seed: int, epochs: int | None = None
) -> PerMovie | Flattened:
    """Fit the chosen architecture; raises `flattened.TooLargeError` above that form's limit.

    Up to LEARNERS users, all weights are trained. With more, a seeded sample of them trains the
    shared layer, and every user's own row is then solved in closed form. It is trained for so
    many `epochs`, or for `best_epochs`; the flattened form knows when to stop.
    """
    if params.architecture == "flattened":
        with one_thread():
            return flattened.fit(ratings, params, seed)
    learning = _Learning.of(ratings, params, seed)
    baseline = learning.baseline
    trained = train(learning.training, epochs or training.best_epochs(learning.training))
    rectified = params.activation == "relu"
    hidden = hidden_layer(trained, ratings.genres, rectified=rectified)
    if learning.sampled is not None:
        sample, targets = learning.sampled
        penalty = best_penalty(sample, targets, hidden, params, seed)
        trained |= solve_rows(ratings, learning.targets, hidden, penalty)
    return per_movie(ratings, params, baseline, hidden, trained)


def best_epochs(ratings: Ratings, params: Neural, seed: int) -> int | None:
    """How long `fit` would train on these ratings; None for the flattened form."""
    if params.architecture == "flattened":
        return None
    return training.best_epochs(_Learning.of(ratings, params, seed).training)


@dataclass(frozen=True)
class _Learning:
    """What the network learns from."""

    baseline: Baseline
    targets: Floats  # (n_ratings,) deviations from it
    training: Training
    sampled: tuple[Ratings, Floats] | None  # of the learners, and their deviations; None: all

    @staticmethod
    def of(ratings: Ratings, params: Neural, seed: int) -> "_Learning":
        baseline = fitted_beside(ratings, params)
        targets = baseline.deviations(ratings).data
        if ratings.n_users <= LEARNERS:
            everyone = np.arange(ratings.n_users)
            whole = Training(ratings, everyone, targets, params, seed)
            return _Learning(baseline, targets, whole, None)
        learners = ratings.some_users(LEARNERS, seed)
        is_theirs = ratings.of(learners)  # (n_ratings,)
        sample = ratings.keep(is_theirs)
        part = Training(sample, learners, targets[is_theirs], params, seed)
        return _Learning(baseline, targets, part, (sample, targets[is_theirs]))


def penalty_of_rows(ratings: Ratings, params: Neural, seed: int, network: PerMovie) -> float:
    """The penalty with which rows of new or changed users are best solved beside this network.

    It is chosen on a seeded sample of at most LEARNERS users.
    """
    is_theirs = ratings.of(ratings.some_users(LEARNERS, seed))  # (n_ratings,)
    targets = fitted_beside(ratings, params).deviations(ratings).data
    sample = ratings.keep(is_theirs)
    return best_penalty(sample, targets[is_theirs], network.hidden, params, seed)
