"""Ratings and genres -> the network in its original form: every film's genres in one row in, all ratings out."""

import numpy as np
import torch

from batch import RecbatchError
from batch.models.baseline import fit_baseline
from batch.models.networks import Flattened
from batch.params import Neural
from batch.ratings import Ratings

HIDDEN, LEARNING_RATE, WEIGHT_DECAY, EPOCHS = 32, 0.05, 0.001, 5000
"""The form as first described; the knobs of `per_movie` do not touch it."""
STOP = 0.1
"""Training ends when the summed squared error of the targets, rating / maximum, is below this."""


class TooLargeError(RecbatchError):
    """The weights would not fit the limit; the message says how large they are and what to do."""


def fit(ratings: Ratings, params: Neural, seed: int) -> Flattened:
    """Train on the one example there is. Raises TooLargeError above `max_weights_mb` of weights."""
    n_inputs, n_outputs = ratings.genres.size, ratings.n_users * ratings.n_items
    megabytes = 4 * ((n_inputs + 1) * HIDDEN + (HIDDEN + 1) * n_outputs) / 1e6
    if megabytes > params.max_weights_mb:
        raise TooLargeError(
            f"models.neural.architecture: flattened needs {megabytes:,.0f} MB of weights for {ratings.n_users:,} users "
            f"x {ratings.n_items:,} films, above models.neural.max_weights_mb ({params.max_weights_mb:g}); "
            "use per_movie, or raise the limit"
        )
    random = torch.Generator().manual_seed(seed)
    top = max(ratings.scale[1], 1e-9)
    x = torch.from_numpy(ratings.genres.ravel()).float()  # (n_inputs,)
    cells = torch.from_numpy(
        ratings.user_of_rating() * ratings.n_items + ratings.matrix.indices
    )  # (n_ratings,)
    wanted = torch.from_numpy(ratings.matrix.data / top).float()
    weights = {
        "W1": _uniform((HIDDEN, n_inputs), n_inputs, random),
        "b1": _uniform((HIDDEN,), n_inputs, random),
        "W2": _uniform((n_outputs, HIDDEN), HIDDEN, random),
        "b2": _uniform((n_outputs,), HIDDEN, random),
    }
    optimiser = torch.optim.Adam(
        list(weights.values()), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    error = torch.zeros(())
    for _ in range(EPOCHS if ratings.n_ratings else 0):
        optimiser.zero_grad()
        output = weights["W2"] @ (weights["W1"] @ x + weights["b1"]) + weights["b2"]  # (n_outputs,)
        error = ((output[cells] - wanted) ** 2).sum()
        if error < STOP:
            break
        error.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        output = (
            weights["W2"] @ (weights["W1"] @ x + weights["b1"]) + weights["b2"]
        ).double() * top
    return Flattened(
        fit_baseline("user_mean", ratings),
        output.numpy().reshape(ratings.n_users, ratings.n_items),
        ratings.user_counts().astype(np.float64),
        {name: weight.detach().double().numpy() for name, weight in weights.items()},
        float(error.detach()),
    )


def _uniform(shape: tuple[int, ...], fan_in: int, random: torch.Generator) -> torch.Tensor:
    """Weights within 1 / sqrt(fan_in), the usual start of a linear layer."""
    spread = max(fan_in, 1) ** -0.5
    return ((torch.rand(shape, generator=random) * 2 - 1) * spread).requires_grad_(True)
