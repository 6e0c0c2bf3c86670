"""Ratings and genres -> predictions of a two-layer network that knows films by their genres only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import embedding

from batch.models import Scores, flattened
from batch.models.baseline import Baseline, fit_baseline
from batch.params import Neural
from batch.ratings import Floats, Ints, Ratings

HELD_BACK = 0.1
"""Share of the fitting ratings kept aside to know when to stop."""


@dataclass(frozen=True)
class PerMovie:
    """y_ui = b_ui + W2[u] . h_i + b2[u], with h_i = f(W1 x_i + b1) and x_i the film's genres."""

    baseline: Baseline  # b_ui where `baseline: bias` adds it; else it only stands in where the network cannot say
    added: bool
    hidden: Floats  # (n_items, hidden) h
    counts: Floats  # (n_users,) ratings of each user: the support of whatever is said to them
    trained: Mapping[str, Floats]  # W1 (hidden, n_genres), b1 (hidden,), W2 (n_users, hidden), b2 (n_users,)

    def score(self, users: Ints) -> Scores:
        """Score every item for these users, (b,); nothing can be said to a user without ratings."""
        rating = self.trained["W2"][users] @ self.hidden.T + self.trained["b2"][users, None]  # (b, n_items)
        if self.added:
            rating += self.baseline.rows(users)
        support = np.broadcast_to(self.counts[users, None], rating.shape)
        rating = np.where(support > 0, rating, np.nan)
        return Scores(rating, support, rating)

    def weights(self) -> Mapping[str, Any]:
        """The trained weights by name."""
        return self.trained


def fit(ratings: Ratings, params: Neural, seed: int) -> "PerMovie | flattened.Flattened":
    """Fit the chosen architecture; raises `flattened.TooLargeError` where that form would not fit its limit."""
    if params.architecture == "flattened":
        return flattened.fit(ratings, params, seed)
    added = params.baseline == "bias"
    baseline = fit_baseline("bias" if added else "user_mean", ratings)
    targets = baseline.deviations(ratings).data  # (n_ratings,) what is left to learn
    trained = _train(ratings, targets, params, seed)
    hidden = ratings.genres @ trained["W1"].T + trained["b1"]  # (n_items, hidden)
    if params.activation == "relu":
        hidden = np.maximum(hidden, 0.0)
    if not added:  # the network alone predicts: its b2 carries the mean that training started from
        trained["b2"] = trained["b2"] + baseline.mu + baseline.user
    return PerMovie(baseline, added, hidden, ratings.user_counts().astype(np.float64), trained)


def _train(ratings: Ratings, targets: Floats, params: Neural, seed: int) -> dict[str, Floats]:
    """Adam on sum (target - y)^2 + weight_decay (|W1|^2 + |W2|^2), stopped early on held-back ratings.

    y = W2 f(W1 x + b1) + b2. The penalty is spread over the steps of an epoch, so that its strength in ratings'
    worth is the same for a hundred ratings as for a million.
    """
    random = torch.Generator().manual_seed(seed)
    genres = torch.from_numpy(ratings.genres).float()  # (n_items, n_genres)
    users = torch.from_numpy(ratings.user_of_rating())  # (n_ratings,)
    items = torch.from_numpy(ratings.matrix.indices.astype(np.int64))
    wanted = torch.from_numpy(targets).float()
    n_genres, scale = genres.shape[1], max(genres.shape[1], 1) ** -0.5
    weights = {
        "W1": (torch.rand(params.hidden, n_genres, generator=random) * 2 - 1) * scale,
        "b1": torch.zeros(params.hidden),
        "W2": torch.randn(ratings.n_users, params.hidden, generator=random) * 0.01,
        "b2": torch.zeros(ratings.n_users),
    }
    shuffled = torch.randperm(len(wanted), generator=random)
    held, fitting = shuffled[: int(HELD_BACK * len(wanted))], shuffled[int(HELD_BACK * len(wanted)) :]
    judged = held if len(held) else fitting
    for weight in weights.values():
        weight.requires_grad_(True)
    decay = 2 * params.weight_decay / max(len(fitting), 1)
    groups: list[dict[str, Any]] = [
        {"params": [weights["W1"], weights["W2"]], "weight_decay": decay},
        {"params": [weights["b1"], weights["b2"]]},
    ]
    optimiser = torch.optim.Adam(groups, lr=params.learning_rate)

    def error(rows: torch.Tensor) -> torch.Tensor:
        """Mean squared error over these ratings."""
        hidden = genres[items[rows]] @ weights["W1"].T + weights["b1"]  # (rows, hidden)
        if params.activation == "relu":
            hidden = torch.relu(hidden)
        said = (embedding(users[rows], weights["W2"]) * hidden).sum(1) + weights["b2"][users[rows]]
        return ((said - wanted[rows]) ** 2).mean()

    best, best_error, waited = _copied(weights), float("inf"), 0
    for _ in range(params.epochs if len(fitting) else 0):
        for rows in fitting[torch.randperm(len(fitting), generator=random)].split(params.batch_size):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            error(rows).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            now = float(error(judged))
        if now < best_error:
            best, best_error, waited = _copied(weights), now, 0
        else:
            waited += 1
        if waited == params.patience:
            break
    return best


def _copied(weights: Mapping[str, torch.Tensor]) -> dict[str, Floats]:
    return {name: weight.detach().double().numpy().copy() for name, weight in weights.items()}
