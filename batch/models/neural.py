"""Ratings and genres -> predictions of a two-layer network that knows films by their genres only."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.adam import adam

from batch.models import flattened
from batch.models.baseline import fit_baseline
from batch.models.networks import Flattened, PerMovie
from batch.params import Neural
from batch.ratings import Floats, Ints, Ratings

HELD_BACK = 0.1
"""Share of the fitting ratings kept aside to know when to stop."""
AT_LEAST = 5
"""Epochs that a training waits for a better one. Where the best came early it waits no longer than that took."""
SHARED = 0.1
"""Of the learning rate, for the layer that all users share: as fast as a user's own, it overfits in two epochs."""
LEARNERS = 2000
"""Users that the shared layer is learnt from, where there are more: it has a thousand weights for 300,000 ratings."""
CELLS_A_SOLVE = 100_000
"""Ratings, with what fills up shorter rows, that are solved together: 25 MB of hidden values."""
LEAST_DECAY = 1e-6
"""Penalty below which a user with few ratings has no one answer."""
MORE_DECAY = (0.0, 3.0, 10.0, 30.0, 100.0)
"""Ratings' worth of penalty tried on top of `weight_decay` where rows are solved: it stands for stopping early."""


def fit(ratings: Ratings, params: Neural, seed: int) -> PerMovie | Flattened:
    """Fit the chosen architecture; raises `flattened.TooLargeError` where that form would not fit its limit."""
    if params.architecture == "flattened":
        return flattened.fit(ratings, params, seed)
    added = params.baseline == "bias"
    baseline = fit_baseline("bias" if added else "user_mean", ratings)
    targets = baseline.deviations(ratings).data  # (n_ratings,) what is left to learn
    crowd = ratings.n_users > LEARNERS
    learners = ratings.some_users(LEARNERS, seed) if crowd else np.arange(ratings.n_users)
    taught = ratings.of(learners)
    user_weighted_sums, wanted = (
        (ratings.keep(taught), targets[taught]) if crowd else (ratings, targets)
    )
    trained = _train(_Training(user_weighted_sums, learners, wanted, params, seed))
    hidden = _hidden(trained, ratings.genres, params)
    if crowd:
        penalty = _penalty(user_weighted_sums, wanted, hidden, params, seed)
        trained |= _own_rows(ratings, targets, hidden, penalty)
    if not added:  # the network alone predicts: its b2 carries the mean that training started from
        trained["b2"] = trained["b2"] + baseline.mu + baseline.user
    rectified, counts = params.activation == "relu", ratings.user_counts().astype(np.float64)
    return PerMovie(baseline, added, ratings.genres, rectified, hidden, counts, trained)


def _hidden(trained: Mapping[str, Floats], genres: Floats, params: Neural) -> Floats:
    """h of each film, (n_items, hidden)."""
    hidden = genres @ trained["W1"].T + trained["b1"]
    return np.maximum(hidden, 0.0) if params.activation == "relu" else hidden


def _train(run: "_Training") -> dict[str, Floats]:
    """Adam on sum (target - y)^2 + weight_decay (|W1|^2 + |W2|^2), twice: to learn for how long, then on everything.

    y = W2 f(W1 x + b1) + b2. The first training holds a tenth back and ends `patience` epochs after the best one; the
    second runs that best number of epochs over all ratings. The penalty is spread over the steps of an epoch, so that
    its strength in ratings' worth is the same for a hundred ratings as for a million.
    """
    order, n_held = _shuffled(len(run.ratings.wanted), run.seed)
    shuffled = run.ratings.at(order)
    with _one_thread(), torch.no_grad():
        held = shuffled.at(slice(n_held)) if n_held else shuffled
        _, best = run.train(shuffled.at(slice(n_held, None)), held, run.params.epochs)
        layers, _ = run.train(shuffled, None, best)
    shared, own = (layer.double().numpy() for layer in layers)
    return {"W1": shared[:, :-1], "b1": shared[:, -1], "W2": own[:, :-1], "b2": own[:, -1]}


def _shuffled(n_ratings: int, seed: int) -> tuple[Tensor, int]:
    """The ratings in random order, (n_ratings,), and how many of the first are held back."""
    order = torch.randperm(n_ratings, generator=torch.Generator().manual_seed(seed))
    return order, int(HELD_BACK * n_ratings)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A step on a thousand ratings gains nothing from a second thread, and waits long for it where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Cells(NamedTuple):
    """Ratings, (k,) each: whose, of what, and what is to be learnt of them."""

    users: Tensor
    items: Tensor
    wanted: Tensor

    def at(self, places: Tensor | slice) -> "_Cells":
        """Some of them, in that order."""
        return _Cells(*(column[places] for column in self))

    def parts(self, size: int) -> Iterator["_Cells"]:
        """All of them, so many at a time."""
        return map(_Cells._make, zip(*(column.split(size) for column in self), strict=True))  # type: ignore[no-untyped-call]


class _Layers(NamedTuple):
    """The weights, with the level that is added to each output as the last column."""

    shared: Tensor  # W1 and b1, (hidden, n_genres + 1)
    own: Tensor  # W2 and b2, (n_users, hidden + 1)


class _Training:
    """The ratings as tensors, and where training starts, for one training after another."""

    def __init__(
        self, ratings: Ratings, learners: Ints, targets: Floats, params: Neural, seed: int
    ) -> None:
        levelled = np.hstack([ratings.genres, np.ones((ratings.n_items, 1))])
        self.genres = torch.from_numpy(levelled).float()  # (n_items, n_genres + 1)
        rows = np.repeat(np.arange(len(learners)), ratings.user_counts()[learners])  # (n_ratings,)
        columns = rows, ratings.matrix.indices.astype(np.int64), targets.astype(np.float32)
        self.ratings = _Cells(*(torch.from_numpy(column) for column in columns))
        self.n_users, self.params, self.seed = len(learners), params, seed

    def start(self, random: torch.Generator) -> _Layers:
        """W1 with orthonormal columns (or rows), so that at first no genre is louder than another; little else."""
        n_genres, hidden = self.genres.shape[1] - 1, self.params.hidden
        tall = torch.randn(max(hidden, n_genres), min(hidden, n_genres), generator=random)
        axes, _ = torch.linalg.qr(tall)
        shared = torch.hstack([axes if hidden >= n_genres else axes.T, torch.zeros(hidden, 1)])
        own = torch.randn(self.n_users, hidden, generator=random) * 0.01
        own = torch.hstack([own, torch.zeros(self.n_users, 1)])
        return _Layers(shared, own)

    def train(self, fitting: _Cells, judged: _Cells | None, epochs: int) -> tuple[_Layers, int]:
        """Weights after training on these ratings, and the epoch, from 1, after which `judged` were predicted best."""
        random, n_ratings = torch.Generator().manual_seed(self.seed), len(fitting.wanted)
        layers = self.start(random)
        adam = _Adam(layers, self.params, 2 * self.params.weight_decay / max(n_ratings, 1))
        best, best_error = 1, float("inf")
        for epoch in range(1, epochs + 1 if n_ratings else 1):
            order = torch.randperm(n_ratings, generator=random)
            for cells in fitting.at(order).parts(self.params.batch_size):
                adam.step(layers, self.gradients(layers, cells))
            if judged is None:
                continue
            error = float((self.missed(layers, judged)[0] ** 2).mean())
            if error < best_error:
                best, best_error = epoch, error
            elif epoch - best >= min(self.params.patience, max(best, AT_LEAST)):
                break
        return layers, best

    def missed(self, layers: _Layers, cells: _Cells) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """How far the network is off these ratings, (k,), and, of each, x, h and the user's row."""
        x = self.genres[cells.items]  # (k, n_genres + 1)
        hidden = x @ layers.shared.T  # (k, hidden)
        if self.params.activation == "relu":
            hidden = torch.relu(hidden)
        own = layers.own[cells.users]  # (k, hidden + 1)
        return (own[:, :-1] * hidden).sum(1) + own[:, -1] - cells.wanted, x, hidden, own

    def gradients(self, layers: _Layers, cells: _Cells) -> _Layers:
        """Of the mean squared error over these ratings; by hand, as finding them costs torch more than they do."""
        off, x, hidden, own = self.missed(layers, cells)
        slope = (off * (2 / len(off)))[:, None]  # (k, 1)
        below = slope * own[:, :-1]  # (k, hidden)
        if self.params.activation == "relu":
            below = below * (hidden > 0)
        above = torch.hstack([slope * hidden, slope])  # (k, hidden + 1)
        return _Layers(below.T @ x, torch.zeros_like(layers.own).index_add_(0, cells.users, above))


class _Adam:
    """Adam's memory of one training. Torch's optimiser classes load a compiler, which takes longer than a training."""

    def __init__(self, layers: _Layers, params: Neural, decay: float) -> None:
        self.rates = SHARED * params.learning_rate, params.learning_rate
        # (hidden or n_genres, + 1) each; levels are free
        self.decays = [torch.tensor([decay] * (layer.shape[1] - 1) + [0.0]) for layer in layers]
        self.means, self.squares = ([torch.zeros_like(layer) for layer in layers] for _ in range(2))
        self.steps = [torch.zeros(()) for layer in layers]

    def step(self, layers: _Layers, gradients: _Layers) -> None:
        """Move the weights, in place."""
        for place, (layer, gradient) in enumerate(zip(layers, gradients, strict=True)):
            gradient.addcmul_(layer, self.decays[place])
            adam(
                [layer], [gradient], [self.means[place]], [self.squares[place]], [], [self.steps[place]],
                fused=True, amsgrad=False, beta1=0.9, beta2=0.999, lr=self.rates[place],
                weight_decay=0.0, eps=1e-8, maximize=False,
            )  # fmt: skip


def _penalty(ratings: Ratings, targets: Floats, hidden: Floats, params: Neural, seed: int) -> float:
    """What a row's square costs: the weight decay, and as much more as predicts best what is held back."""
    shuffled, n_held = _shuffled(ratings.n_ratings, seed)
    held = np.zeros(ratings.n_ratings, dtype=np.bool_)
    held[shuffled[:n_held].numpy()] = True
    users, items = ratings.user_of_rating()[held], ratings.matrix.indices[held]
    rest, wanted = ratings.keep(~held), targets[~held]
    errors: dict[float, float] = {}
    for more in MORE_DECAY:
        rows = _own_rows(rest, wanted, hidden, params.weight_decay + more)
        said = (rows["W2"][users] * hidden[items]).sum(axis=1) + rows["b2"][users]
        errors[params.weight_decay + more] = float(((said - targets[held]) ** 2).sum())
    return min(errors, key=lambda penalty: errors[penalty])


def _own_rows(
    ratings: Ratings, targets: Floats, hidden: Floats, penalty: float
) -> dict[str, Floats]:
    """W2 and b2 of every user, (n_users, hidden) and (n_users,), with the shared layer as it is.

    Each row minimises its own sum of (target - y)^2 + penalty |row|^2, which is where training it would end: a ridge
    regression, with a free b2. Solved for users of about as many ratings together.
    """
    n_users, width = ratings.n_users, hidden.shape[1]
    rows, levels = np.zeros((n_users, width)), np.zeros(n_users)
    starts, counts = (
        torch.from_numpy(ratings.matrix.indptr.astype(np.int64)),
        torch.from_numpy(ratings.user_counts()),
    )
    items, wanted = ratings.matrix.indices, torch.from_numpy(targets)
    films = torch.from_numpy(hidden)
    ridge = max(penalty, LEAST_DECAY) * torch.eye(width, dtype=torch.float64)
    for users in _together(ratings.user_counts()):
        widest = int(counts[users].max())
        places = torch.arange(widest)  # (widest,)
        there = (places < counts[users][:, None]).double()  # (b, widest) 1 where there is a rating
        cells = torch.minimum(starts[users][:, None] + places, starts[users + 1][:, None] - 1)
        h = films[torch.from_numpy(items[cells.numpy()].astype(np.int64))]  # (b, widest, hidden)
        share = there / there.sum(1, keepdim=True)
        middle = (h * share[:, :, None]).sum(1, keepdim=True)  # (b, 1, hidden)
        off = (h - middle) * there[:, :, None]
        want = wanted[cells]
        row = torch.linalg.solve(
            off.mT @ off + ridge, (off * want[:, :, None]).sum(1)
        )  # (b, hidden)
        rows[users] = row.numpy()
        levels[users] = ((want * share).sum(1) - (row * middle[:, 0]).sum(1)).numpy()
    return {"W2": rows, "b2": levels}


def _together(counts: Ints) -> Iterator[Ints]:
    """Users with ratings, those with about as many beside each other, in parts of so many cells."""
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    while len(order):
        # Counts rise, so that the last of a part is the widest: as many as fit if it were that one.
        size = int(
            np.searchsorted(
                counts[order] * np.arange(1, len(order) + 1), CELLS_A_SOLVE, side="right"
            )
        )
        yield order[: max(size, 1)]
        order = order[max(size, 1) :]
