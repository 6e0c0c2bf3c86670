"""Ratings and genres -> the network in its original form: all films' genres in, all ratings out."""

import numpy as np
import torch

from batch import RecbatchError
from batch.models.baseline import fit_baseline
from batch.models.networks import Flattened
from batch.params import Neural
from batch.ratings import Ratings

# The constants of the form as first described; the settings of `per_movie` do not change them.
HIDDEN = 32
LEARNING_RATE = 0.05
WEIGHT_DECAY = 0.001
EPOCHS = 5000
STOP = 0.1
"""Training ends when the summed squared error of the targets, rating / maximum, is below this."""
BYTES_PER_WEIGHT = 4
MIN_SCALE = 1e-9
"""Ratings are divided by the maximum of the scale, but never by less than this."""


class TooLargeError(RecbatchError):
    """The weights exceed the limit; the message says by how much, and what to do."""


def fit(ratings: Ratings, params: Neural, seed: int) -> Flattened:
    """Train on the only example there is; raises TooLargeError above `max_weights_mb`."""
    n_inputs = ratings.genres.size
    n_outputs = ratings.n_users * ratings.n_items
    _check_size(ratings, n_inputs, n_outputs, params.max_weights_mb)
    random = torch.Generator().manual_seed(seed)
    top = max(ratings.scale[1], MIN_SCALE)
    x = torch.from_numpy(ratings.genres.ravel()).float()  # (n_inputs,)
    positions = ratings.user_of_rating() * ratings.n_items + ratings.matrix.indices
    cells = torch.from_numpy(positions)  # (n_ratings,) which outputs have a target
    targets = torch.from_numpy(ratings.matrix.data / top).float()  # (n_ratings,)
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
        output = _forward(weights, x)
        error = ((output[cells] - targets) ** 2).sum()
        if error < STOP:
            break
        error.backward()
        optimiser.step()
    with torch.no_grad():
        stars = _forward(weights, x).double() * top
    return Flattened(
        baseline=fit_baseline("user_mean", ratings),
        output=stars.numpy().reshape(ratings.n_users, ratings.n_items),
        counts=ratings.user_counts().astype(np.float64),
        trained={name: weight.detach().double().numpy() for name, weight in weights.items()},
        final_error=float(error.detach()),
    )


def _check_size(ratings: Ratings, n_inputs: int, n_outputs: int, limit_mb: float) -> None:
    n_weights = (n_inputs + 1) * HIDDEN + (HIDDEN + 1) * n_outputs
    megabytes = BYTES_PER_WEIGHT * n_weights / 1e6
    if megabytes > limit_mb:
        raise TooLargeError(
            f"models.neural.architecture: flattened needs {megabytes:,.0f} MB of weights for "
            f"{ratings.n_users:,} users x {ratings.n_items:,} films, above "
            f"models.neural.max_weights_mb ({limit_mb:g}); use per_movie, or raise the limit"
        )


def _forward(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """W2 (W1 x + b1) + b2, (n_outputs,)."""
    return weights["W2"] @ (weights["W1"] @ x + weights["b1"]) + weights["b2"]


def _uniform(shape: tuple[int, ...], fan_in: int, random: torch.Generator) -> torch.Tensor:
    """Weights within 1 / sqrt(fan_in), the usual start of a linear layer."""
    spread = max(fan_in, 1) ** -0.5
    return ((torch.rand(shape, generator=random) * 2 - 1) * spread).requires_grad_(True)
