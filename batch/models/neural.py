"""Ratings and genres -> predictions of a two-layer network that knows films by their genres only."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.optim.adam import adam

from batch import RecbatchError
from batch.models import flattened
from batch.models.baseline import fit_baseline
from batch.models.trained import Flattened, PerMovie
from batch.params import Neural
from batch.ratings import Floats, Ints, Ratings

HELD_BACK = 0.1
"""Share of the fitting ratings kept aside to know when to stop."""
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


class NoDeviceError(RecbatchError):
    """The device asked for is not there; the message says what is."""


def fit(ratings: Ratings, params: Neural, seed: int) -> PerMovie | Flattened:
    """Fit the chosen architecture; raises `flattened.TooLargeError` where that form would not fit its limit.

    Raises NoDeviceError where `device` names one that this machine has not.
    """
    if params.architecture == "flattened":
        return flattened.fit(ratings, params, seed)
    device = _device(params)
    added = params.baseline == "bias"
    baseline = fit_baseline("bias" if added else "user_mean", ratings)
    targets = baseline.deviations(ratings).data  # (n_ratings,) what is left to learn
    crowd = ratings.n_users > LEARNERS
    learners = ratings.some_users(LEARNERS, seed) if crowd else np.arange(ratings.n_users)
    taught = ratings.of(learners)
    heard, wanted = (ratings.keep(taught), targets[taught]) if crowd else (ratings, targets)
    trained = _train(_Training(heard, learners, wanted, params, seed, device))
    hidden = _hidden(trained, ratings.genres, params)
    if crowd:
        penalty = _penalty(heard, wanted, hidden, params, seed, device)
        trained |= _own_rows(ratings, targets, hidden, penalty, device)
    if not added:  # the network alone predicts: its b2 carries the mean that training started from
        trained["b2"] = trained["b2"] + baseline.mu + baseline.user
    return PerMovie(baseline, added, hidden, ratings.user_counts().astype(np.float64), trained)


def _device(params: Neural) -> torch.device:
    if params.device == "cuda" and not torch.cuda.is_available():
        raise NoDeviceError("models.neural.device: cuda, but torch finds no GPU here; use auto or cpu")
    return torch.device("cuda" if params.device != "cpu" and torch.cuda.is_available() else "cpu")


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
    shuffled, n_held = _shuffled(len(run.wanted), run.seed)
    shuffled = shuffled.to(run.wanted.device)
    with _one_thread(), torch.no_grad():
        _, best = run.train(shuffled[n_held:], shuffled[:n_held] if n_held else shuffled, run.params.epochs)
        trained, _ = run.train(shuffled, None, best)
    return {name: weight.double().cpu().numpy() for name, weight in trained.items()}


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


class _Training:
    """The ratings as tensors, and where training starts, for one training after another."""

    def __init__(
        self, ratings: Ratings, learners: Ints, targets: Floats, params: Neural, seed: int, device: torch.device
    ) -> None:
        self.genres = torch.from_numpy(ratings.genres).float().to(device)  # (n_items, n_genres)
        rows = np.repeat(np.arange(len(learners)), ratings.user_counts()[learners])  # (n_ratings,)
        self.users = torch.from_numpy(rows).to(device)
        self.items = torch.from_numpy(ratings.matrix.indices.astype(np.int64)).to(device)
        self.wanted = torch.from_numpy(targets).float().to(device)
        self.n_users, self.params, self.seed = len(learners), params, seed

    def start(self, random: torch.Generator) -> dict[str, Tensor]:
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
        return {name: weight.to(self.genres.device) for name, weight in weights.items()}

    def train(self, fitting: Tensor, judged: Tensor | None, epochs: int) -> tuple[dict[str, Tensor], int]:
        """Weights after training on these ratings, and the epoch, from 1, after which `judged` were predicted best."""
        random = torch.Generator().manual_seed(self.seed)
        weights = self.start(random)
        adam = _Adam(weights, self.params, 2 * self.params.weight_decay / max(len(fitting), 1))
        best, best_error = 1, float("inf")
        for epoch in range(1, epochs + 1 if len(fitting) else 1):
            order = torch.randperm(len(fitting), generator=random).to(fitting.device)
            for rows in fitting[order].split(self.params.batch_size):  # type: ignore[no-untyped-call]
                adam.step(weights, self.gradients(weights, rows))
            if judged is None:
                continue
            error = float((self.missed(weights, judged)[0] ** 2).mean())
            if error < best_error:
                best, best_error = epoch, error
            elif epoch - best >= self.params.patience:
                break
        return weights, best

    def missed(self, weights: Mapping[str, Tensor], rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """How far the network is off these ratings, (rows,), and, of each, x, h and the user's row of W2."""
        x = self.genres[self.items[rows]]  # (rows, n_genres)
        hidden = torch.addmm(weights["b1"], x, weights["W1"].T)  # (rows, hidden)
        if self.params.activation == "relu":
            hidden = torch.relu(hidden)
        users = self.users[rows]
        own = weights["W2"][users]  # (rows, hidden)
        return (own * hidden).sum(1) + weights["b2"][users] - self.wanted[rows], x, hidden, own

    def gradients(self, weights: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """Of the mean squared error over these ratings; by hand, as finding them costs torch more than they do."""
        off, x, hidden, own = self.missed(weights, rows)
        slope = off * (2 / len(rows))  # (rows,)
        users, below = self.users[rows], slope[:, None] * own  # (rows,), (rows, hidden)
        if self.params.activation == "relu":
            below = below * (hidden > 0)
        return {
            "W1": below.T @ x,
            "b1": below.sum(0),
            "W2": torch.zeros_like(weights["W2"]).index_add_(0, users, slope[:, None] * hidden),
            "b2": torch.zeros_like(weights["b2"]).index_add_(0, users, slope),
        }


class _Adam:
    """Adam's memory of one training. Torch's optimiser classes load a compiler, which takes longer than a training."""

    def __init__(self, weights: Mapping[str, Tensor], params: Neural, decay: float) -> None:
        self.rates = {"W1": SHARED, "b1": SHARED, "W2": 1.0, "b2": 1.0}
        self.decays = {"W1": decay, "b1": 0.0, "W2": decay, "b2": 0.0}
        self.rate = params.learning_rate
        self.means = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.steps = {name: torch.zeros((), device=weight.device) for name, weight in weights.items()}

    def step(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        """Move the weights, in place."""
        for name, weight in weights.items():
            adam(
                [weight], [gradients[name]], [self.means[name]], [self.squares[name]], [], [self.steps[name]],
                fused=True, amsgrad=False, beta1=0.9, beta2=0.999, lr=self.rates[name] * self.rate,
                weight_decay=self.decays[name], eps=1e-8, maximize=False,
            )  # fmt: skip


def _penalty(
    ratings: Ratings, targets: Floats, hidden: Floats, params: Neural, seed: int, device: torch.device
) -> float:
    """What a row's square costs: the weight decay, and as much more as predicts best what is held back."""
    shuffled, n_held = _shuffled(ratings.n_ratings, seed)
    held = np.zeros(ratings.n_ratings, dtype=np.bool_)
    held[shuffled[:n_held].numpy()] = True
    users, items = ratings.user_of_rating()[held], ratings.matrix.indices[held]
    rest, wanted = ratings.keep(~held), targets[~held]
    errors: dict[float, float] = {}
    for more in MORE_DECAY:
        rows = _own_rows(rest, wanted, hidden, params.weight_decay + more, device)
        said = (rows["W2"][users] * hidden[items]).sum(axis=1) + rows["b2"][users]
        errors[params.weight_decay + more] = float(((said - targets[held]) ** 2).sum())
    return min(errors, key=lambda penalty: errors[penalty])


def _own_rows(
    ratings: Ratings, targets: Floats, hidden: Floats, penalty: float, device: torch.device
) -> dict[str, Floats]:
    """W2 and b2 of every user, (n_users, hidden) and (n_users,), with the shared layer as it is.

    Each row minimises its own sum of (target - y)^2 + penalty |row|^2, which is where training it would end: a ridge
    regression, with a free b2. Solved for users of about as many ratings together.
    """
    n_users, width = ratings.n_users, hidden.shape[1]
    rows, levels = np.zeros((n_users, width)), np.zeros(n_users)
    starts, counts = torch.from_numpy(ratings.matrix.indptr.astype(np.int64)), torch.from_numpy(ratings.user_counts())
    items, wanted = ratings.matrix.indices, torch.from_numpy(targets)
    films = torch.from_numpy(hidden).to(device)
    ridge = max(penalty, LEAST_DECAY) * torch.eye(width, dtype=torch.float64, device=device)
    for users in _together(ratings.user_counts()):
        widest = int(counts[users].max())
        places = torch.arange(widest)  # (widest,)
        there = (places < counts[users][:, None]).double().to(device)  # (b, widest) 1 where there is a rating
        cells = torch.minimum(starts[users][:, None] + places, starts[users + 1][:, None] - 1)
        h = films[torch.from_numpy(items[cells.numpy()].astype(np.int64)).to(device)]  # (b, widest, hidden)
        share = there / there.sum(1, keepdim=True)
        middle = (h * share[:, :, None]).sum(1, keepdim=True)  # (b, 1, hidden)
        off = (h - middle) * there[:, :, None]
        want = wanted[cells].to(device)
        row = torch.linalg.solve(off.mT @ off + ridge, (off * want[:, :, None]).sum(1))  # (b, hidden)
        rows[users] = row.cpu().numpy()
        levels[users] = ((want * share).sum(1) - (row * middle[:, 0]).sum(1)).cpu().numpy()
    return {"W2": rows, "b2": levels}


def _together(counts: Ints) -> Iterator[Ints]:
    """Users with ratings, those with about as many beside each other, in parts of so many cells."""
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    while len(order):
        # Counts rise, so that the last of a part is the widest: as many as fit if it were that one.
        size = int(np.searchsorted(counts[order] * np.arange(1, len(order) + 1), CELLS_A_SOLVE, side="right"))
        yield order[: max(size, 1)]
        order = order[max(size, 1) :]
