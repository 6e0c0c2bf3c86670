"""Ratings and genres -> predictions of a two-layer network that knows films by their genres only."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
SHARED = 0.1
"""Of the learning rate, for the layer that all users share: as fast as a user's own, it overfits in two epochs."""


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
    """Adam on sum (target - y)^2 + weight_decay (|W1|^2 + |W2|^2), twice: to learn for how long, then on everything.

    y = W2 f(W1 x + b1) + b2. The first training holds a tenth back and ends `patience` epochs after the best one; the
    second runs that best number of epochs over all ratings. The penalty is spread over the steps of an epoch, so that
    its strength in ratings' worth is the same for a hundred ratings as for a million.
    """
    shuffled = torch.randperm(ratings.n_ratings, generator=torch.Generator().manual_seed(seed))
    n_held = int(HELD_BACK * ratings.n_ratings)
    run = _Training(ratings, targets, params, seed)
    with _one_thread():
        _, best = run.train(shuffled[n_held:], shuffled[:n_held] if n_held else shuffled, params.epochs)
        trained, _ = run.train(shuffled, None, best)
    return {name: weight.detach().double().numpy() for name, weight in trained.items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    """A step on a thousand ratings gains nothing from a second thread, and waits long for it where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Training:
    """The ratings as tensors, and where training starts, for one training after another."""

    def __init__(self, ratings: Ratings, targets: Floats, params: Neural, seed: int) -> None:
        self.genres = torch.from_numpy(ratings.genres).float()  # (n_items, n_genres)
        self.users = torch.from_numpy(ratings.user_of_rating())  # (n_ratings,)
        self.items = torch.from_numpy(ratings.matrix.indices.astype(np.int64))
        self.wanted = torch.from_numpy(targets).float()
        self.n_users, self.params, self.seed = ratings.n_users, params, seed

    def start(self, random: torch.Generator) -> dict[str, torch.Tensor]:
        """W1 with orthonormal columns (or rows), so that at first no genre is louder than another; little else."""
        n_genres, hidden = self.genres.shape[1], self.params.hidden
        tall = torch.randn(max(hidden, n_genres), min(hidden, n_genres), generator=random)
        axes, _ = torch.linalg.qr(tall)
        weights = {
            "W1": (axes if hidden >= n_genres else axes.T).contiguous(),  # (hidden, n_genres)
            "b1": torch.zeros(hidden),
            "W2": torch.randn(self.n_users, hidden, generator=random) * 0.01,
            "b2": torch.zeros(self.n_users),
        }
        return {name: weight.requires_grad_(True) for name, weight in weights.items()}

    def train(
        self, fitting: torch.Tensor, judged: torch.Tensor | None, epochs: int
    ) -> tuple[dict[str, torch.Tensor], int]:
        """Weights after training on these ratings, and the epoch, from 1, after which `judged` were predicted best."""
        random = torch.Generator().manual_seed(self.seed)
        weights = self.start(random)
        decay = 2 * self.params.weight_decay / max(len(fitting), 1)
        rate = self.params.learning_rate
        groups: list[dict[str, Any]] = [
            {"params": [weights["W1"]], "weight_decay": decay, "lr": SHARED * rate},
            {"params": [weights["b1"]], "lr": SHARED * rate},
            {"params": [weights["W2"]], "weight_decay": decay},
            {"params": [weights["b2"]]},
        ]
        optimiser = torch.optim.Adam(groups, lr=rate)
        best, best_error = 1, float("inf")
        for epoch in range(1, epochs + 1 if len(fitting) else 1):
            order = torch.randperm(len(fitting), generator=random)
            for rows in fitting[order].split(self.params.batch_size):  # type: ignore[no-untyped-call]
                optimiser.zero_grad()
                self.error(weights, rows).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            if judged is None:
                continue
            with torch.no_grad():
                error = float(self.error(weights, judged))
            if error < best_error:
                best, best_error = epoch, error
            elif epoch - best >= self.params.patience:
                break
        return weights, best

    def error(self, weights: Mapping[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        """Mean squared error over these ratings."""
        hidden = self.genres[self.items[rows]] @ weights["W1"].T + weights["b1"]  # (rows, hidden)
        if self.params.activation == "relu":
            hidden = torch.relu(hidden)
        said = (embedding(self.users[rows], weights["W2"]) * hidden).sum(1) + weights["b2"][self.users[rows]]
        return ((said - self.wanted[rows]) ** 2).mean()
