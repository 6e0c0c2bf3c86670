"""Ratings and genres -> the weights of a two-layer network, trained by Adam with early stopping."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.adam import adam

from batch.params import Neural
from batch.ratings import Floats, Ints, Ratings

HELD_BACK = 0.1
"""Share of the ratings held back to find the best number of epochs."""
MIN_PATIENCE = 5
"""Epochs without a better one before training ends, however early the best one was."""
SHARED_RATE = 0.1
"""Learning rate of the layer that all users share, relative to `learning_rate`.

At the full rate it overfits in two epochs.
"""


def best_epochs(training: "Training") -> int:
    """The number of epochs, from 1, with which a tenth of the ratings is best predicted.

    It is held back, and training on the others ends `patience` epochs after the best one.
    """
    order, n_held = shuffled_order(len(training.ratings.targets), training.seed)
    shuffled = training.ratings.at(order)
    with one_thread(), torch.no_grad():
        held = shuffled.at(slice(n_held)) if n_held else shuffled
        _, best = training.train(shuffled.at(slice(n_held, None)), held, training.params.epochs)
    return best


def train(training: "Training", epochs: int) -> dict[str, Floats]:
    """Adam on sum (target - y)^2 + weight_decay (|W1|^2 + |W2|^2), y = W2 f(W1 x + b1) + b2.

    The penalty is spread over the steps of an epoch, so that its strength in ratings' worth is
    the same for a hundred ratings as for a million.
    """
    order, _ = shuffled_order(len(training.ratings.targets), training.seed)
    with one_thread(), torch.no_grad():
        layers, _ = training.train(training.ratings.at(order), None, epochs)
    shared = layers.shared.double().numpy()
    own = layers.own.double().numpy()
    return {"W1": shared[:, :-1], "b1": shared[:, -1], "W2": own[:, :-1], "b2": own[:, -1]}


def shuffled_order(n_ratings: int, seed: int) -> tuple[Tensor, int]:
    """The ratings in random order, (n_ratings,), and how many of the first are held back."""
    order = torch.randperm(n_ratings, generator=torch.Generator().manual_seed(seed))
    return order, int(HELD_BACK * n_ratings)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread.

    A step on a thousand ratings gains nothing from a second one, and where cores are busy it
    waits long for it. Sums over several threads may also end in other digits the next time.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Cells(NamedTuple):
    """Ratings as tensors, (k,) each: user, item, and what the network should predict."""

    users: Tensor
    items: Tensor
    targets: Tensor

    def at(self, places: Tensor | slice) -> "Cells":
        """The ratings at these places, in that order."""
        return Cells(self.users[places], self.items[places], self.targets[places])

    def parts(self, size: int) -> Iterator["Cells"]:
        """All of them in order, `size` at a time."""
        columns = [column.split(size) for column in self]
        return map(Cells._make, zip(*columns, strict=True))


class Layers(NamedTuple):
    """The weights, each with its bias as the last column."""

    shared: Tensor  # W1 and b1, (hidden, n_genres + 1)
    own: Tensor  # W2 and b2, (n_users, hidden + 1)


class Training:
    """Ratings as tensors, and the start of the weights: the data of two trainings."""

    def __init__(
        self, ratings: Ratings, learners: Ints, targets: Floats, params: Neural, seed: int
    ) -> None:
        with_ones = np.hstack([ratings.genres, np.ones((ratings.n_items, 1))])
        self.genres = torch.from_numpy(with_ones).float()  # (n_items, n_genres + 1)
        rows = np.repeat(np.arange(len(learners)), ratings.user_counts()[learners])
        self.ratings = Cells(
            users=torch.from_numpy(rows),
            items=torch.from_numpy(ratings.matrix.indices.astype(np.int64)),
            targets=torch.from_numpy(targets.astype(np.float32)),
        )  # (n_ratings,) each
        self.n_users = len(learners)
        self.params = params
        self.seed = seed

    def start(self, random: torch.Generator) -> Layers:
        """W1 with orthonormal columns (or rows), so that genres weigh the same; W2 near 0."""
        n_genres = self.genres.shape[1] - 1
        hidden = self.params.hidden
        tall = torch.randn(max(hidden, n_genres), min(hidden, n_genres), generator=random)
        axes, _ = torch.linalg.qr(tall)
        W1 = axes if hidden >= n_genres else axes.T
        W2 = torch.randn(self.n_users, hidden, generator=random) * 0.01
        shared = torch.hstack([W1, torch.zeros(hidden, 1)])
        own = torch.hstack([W2, torch.zeros(self.n_users, 1)])
        return Layers(shared, own)

    def train(self, fitting: Cells, held: Cells | None, epochs: int) -> tuple[Layers, int]:
        """Weights trained on `fitting`, and the epoch, from 1, with the lowest error on `held`.

        Training ends early where `held` has had no lower error for `patience` epochs, or for as
        many as the best one took, if that is fewer, but not before MIN_PATIENCE. Without `held`
        it takes all epochs.
        """
        random = torch.Generator().manual_seed(self.seed)
        n_ratings = len(fitting.targets)
        layers = self.start(random)
        optimiser = Adam(layers, self.params, 2 * self.params.weight_decay / max(n_ratings, 1))
        best = 1
        best_error = float("inf")
        for epoch in range(1, epochs + 1 if n_ratings else 1):
            order = torch.randperm(n_ratings, generator=random)
            for cells in fitting.at(order).parts(self.params.batch_size):
                optimiser.step(layers, self.gradients(layers, cells))
            if held is None:
                continue
            errors, *_ = self.forward(layers, held)
            error = float((errors**2).mean())
            if error < best_error:
                best = epoch
                best_error = error
            elif epoch - best >= min(self.params.patience, max(best, MIN_PATIENCE)):
                break
        return layers, best

    def forward(self, layers: Layers, cells: Cells) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Prediction - target of these ratings, (k,), and x, h and the user's row for each."""
        # By index_select, which is faster than [] and gives the same rows.
        x = self.genres.index_select(0, cells.items)  # (k, n_genres + 1)
        hidden = x @ layers.shared.T  # (k, hidden)
        if self.params.activation == "relu":
            hidden = torch.relu(hidden)
        own = layers.own.index_select(0, cells.users)  # (k, hidden + 1)
        errors = (own[:, :-1] * hidden).sum(1) + own[:, -1] - cells.targets  # (k,)
        return errors, x, hidden, own

    def gradients(self, layers: Layers, cells: Cells) -> Layers:
        """Gradients of the mean squared error over these ratings.

        By hand: torch's autograd takes longer to find them than they take to compute.
        """
        errors, x, hidden, own = self.forward(layers, cells)
        slope = (errors * (2 / len(errors)))[:, None]  # (k, 1)
        hidden_gradient = slope * own[:, :-1]  # (k, hidden)
        if self.params.activation == "relu":
            hidden_gradient = hidden_gradient * (hidden > 0)
        own_gradient = torch.hstack([slope * hidden, slope])  # (k, hidden + 1)
        return Layers(
            shared=hidden_gradient.T @ x,
            own=torch.zeros_like(layers.own).index_add_(0, cells.users, own_gradient),
        )


class Adam:
    """The moments of one training.

    Torch's optimiser classes load a compiler, which takes longer than a training.
    """

    def __init__(self, layers: Layers, params: Neural, decay: float) -> None:
        self.rates = [SHARED_RATE * params.learning_rate, params.learning_rate]
        # (n_genres + 1,) and (hidden + 1,); the bias, the last column, has no penalty
        self.decays = [torch.tensor([decay] * (layer.shape[1] - 1) + [0.0]) for layer in layers]
        self.means = [torch.zeros_like(layer) for layer in layers]
        self.squares = [torch.zeros_like(layer) for layer in layers]
        self.steps = [torch.zeros(()) for _ in layers]

    def step(self, layers: Layers, gradients: Layers) -> None:
        """Update the weights in place."""
        for place, (layer, gradient) in enumerate(zip(layers, gradients, strict=True)):
            gradient.addcmul_(layer, self.decays[place])
            adam(
                [layer],
                [gradient],
                [self.means[place]],
                [self.squares[place]],
                [],
                [self.steps[place]],
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=self.rates[place],
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )
