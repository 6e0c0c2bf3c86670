"""The network: its formula, when it stops, what it learns, and its original form on small data."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from batch.models import flattened, neural, training, user_rows
from batch.models.baseline import fit_baseline
from batch.models.flattened import TooLargeError
from batch.params import PRESETS, Neural
from batch.ranking.rank import best_unseen, tie_order
from batch.ratings import Ratings
from reference import Floats, lines_of, random_stars, ratings_of

NAN = np.nan
PLAIN = PRESETS["plain"].neural
Weights = dict[tuple[int, ...], Floats]
"""Weights by their shape."""
HeldOut = list[tuple[int, int, float]]
"""User, film and stars of ratings that are not trained on."""


def knobs(**changed: Any) -> Neural:
    """The settings of the plain network with some changed."""
    return Neural.model_validate(PLAIN.model_dump() | changed)


@contextmanager
def steps_taken() -> Iterator[list[Weights]]:
    """The weights after each optimiser step while this is open."""
    steps: list[Weights] = []

    def record(weights: Iterable[torch.Tensor]) -> None:
        arrays = [weight.detach().double().numpy().copy() for weight in weights]
        steps.append({array.shape: array for array in arrays})

    def record_flattened(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        record(weight for group in optimiser.param_groups for weight in group["params"])

    step = training.Adam.step

    def recorded(adam: training.Adam, layers: training.Layers, gradients: training.Layers) -> None:
        step(adam, layers, gradients)
        record(parts_of(layers).values())

    handle = register_optimizer_step_post_hook(record_flattened)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training.Adam, "step", recorded)
            yield steps
    finally:
        handle.remove()


def parts_of(layers: training.Layers) -> dict[str, torch.Tensor]:
    """Weights and biases apart."""
    shared, own = layers
    return {"W1": shared[:, :-1], "b1": shared[:, -1], "W2": own[:, :-1], "b2": own[:, -1]}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Torch on one thread: on small data, several mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    """30 users x 25 films, 7 genres, one user and one film without ratings."""
    random = np.random.default_rng(1)
    genres = (random.random((25, 7)) < 0.3).astype(np.float64)  # (25, 7)
    return ratings_of(random_stars(0, 30, 25, [1, 2, 3, 4, 5], 0.4, n_empty=1), genres=genres)


def forward(model: Any, genres: Floats, activation: str) -> Floats:
    """W2 f(W1 x + b1) + b2 for every user and film, one cell at a time, (n_users, n_items)."""
    W1, b1, W2, b2 = (model.weights()[name] for name in ("W1", "b1", "W2", "b2"))
    output = np.empty((len(W2), len(genres)))  # (n_users, n_items)
    for item, x in enumerate(genres):
        hidden = [dot(row, x) + bias for row, bias in zip(W1, b1, strict=True)]
        if activation == "relu":
            hidden = [max(h, 0.0) for h in hidden]
        for user, preference in enumerate(W2):
            output[user, item] = dot(preference, hidden) + b2[user]
    return output


def dot(first: Iterable[float], second: Iterable[float]) -> float:
    return float(sum(a * b for a, b in zip(first, second, strict=True)))


@pytest.mark.parametrize("baseline", ["none", "bias"])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_scores_are_the_formula_of_the_weights(
    ratings: Ratings, activation: str, baseline: str
) -> None:
    """A rating is W2 f(W1 x + b1) + b2 of the weights, plus mu + b_u + b_i with `bias`."""
    model = neural.fit(ratings, knobs(activation=activation, baseline=baseline, hidden=6), 0)
    expected = forward(model, ratings.genres, activation)
    if baseline == "bias":
        bias = fit_baseline("bias", ratings)
        expected += [[bias.mu + b_u + b_i for b_i in bias.item] for b_u in bias.user]
    without_ratings = [not line for line in lines_of(ratings)]
    expected[without_ratings] = NAN
    assert np.isnan(expected).any()
    np.testing.assert_allclose(model.score(np.arange(30)).rating, expected, rtol=1e-9, atol=1e-9)


def test_without_activation_it_is_linear(ratings: Ratings) -> None:
    """With activation `none` two genres add up to what each adds; with `relu` they do not."""
    kinds = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])  # (4, 2) genres of a film
    # either genre is liked, both together are not
    stars = np.tile([3.0, 5.0, 5.0, 1.0], (20, 5))  # (20, 20)
    data = ratings_of(stars, genres=np.tile(kinds, (5, 1)))
    excess = {}
    for activation in ("none", "relu"):
        params = knobs(activation=activation, epochs=400, patience=400, learning_rate=0.1)
        scores = neural.fit(data, params, 0).score(np.arange(20))
        neither, first, second, both = scores.rating.T[:4]  # (20,) each
        excess[activation] = both - first - second + neither
    np.testing.assert_allclose(excess["none"], 0, atol=1e-9)
    np.testing.assert_allclose(excess["relu"], 1 - 5 - 5 + 3, atol=0.5)


def test_support_is_the_rating_count(ratings: Ratings) -> None:
    """The support of a user's scores is how many films that user rated."""
    support = neural.fit(ratings, PLAIN, 0).score(np.arange(30)).support
    assert support.tolist() == [[len(line)] * 25 for line in lines_of(ratings)]


def test_another_seed_gives_other_weights(ratings: Ratings) -> None:
    """The same seed gives the same weights, another one others."""
    first, same, other = (neural.fit(ratings, PLAIN, seed).weights() for seed in (0, 0, 1))
    for name, array in first.items():
        assert array.tobytes() == same[name].tobytes()
        assert array.tobytes() != other[name].tobytes()


def genre_rule(n_users: int, n_items: int) -> tuple[Ratings, HeldOut]:
    """Every user gives 5 to films of one genre and 2 to all others; a fifth is held out."""
    random = np.random.default_rng(2)
    genre = random.integers(0, 4, n_items)  # (n_items,)
    favourite = random.integers(0, 4, n_users)  # (n_users,)
    stars = np.where(genre[None, :] == favourite[:, None], 5.0, 2.0)  # (n_users, n_items)
    is_held = random.random(stars.shape) < 0.2
    data = ratings_of(np.where(is_held, NAN, stars), genres=np.eye(4)[genre])
    return data, held_out(stars, is_held)


def held_out(stars: Floats, is_held: Any) -> HeldOut:
    return [(user, item, stars[user, item]) for user, item in np.argwhere(is_held).tolist()]


def rmse(rating: Floats, cells: HeldOut) -> float:
    squares = [(rating[user, item] - stars) ** 2 for user, item, stars in cells]
    return float(np.sqrt(np.mean(squares)))


@pytest.mark.parametrize("baseline", ["none", "bias"])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_learns_a_genre_rule(activation: str, baseline: str) -> None:
    """Where stars follow genres, the network predicts far better than the user's mean."""
    data, unseen = genre_rule(30, 40)
    users = np.arange(30)
    of_mean = rmse(fit_baseline("user_mean", data).rows(users), unseen)
    model = neural.fit(data, knobs(activation=activation, baseline=baseline), 0)
    of_network = rmse(model.score(users).rating, unseen)
    assert of_mean > 1
    assert of_network < 0.25 * of_mean


def test_weight_decay_pulls_towards_the_mean() -> None:
    """The stronger the weight decay, the closer ratings without a baseline are to the mean."""
    data, _ = genre_rule(30, 40)
    mean = fit_baseline("user_mean", data).rows(np.arange(30))  # (30, 40)
    distances = []
    for decay in (0, 10, 100, 1000):
        rating = neural.fit(data, knobs(weight_decay=decay), 0).score(np.arange(30)).rating
        distances.append(float(np.abs(rating - mean).mean()))
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 1
    assert distances[3] < 0.05


def noisy(n_users: int, n_items: int, n_genres: int) -> tuple[Ratings, HeldOut]:
    """Stars by genres and as much by chance, which can be overfit; and held-out ones."""
    random = np.random.default_rng(3)
    likes = random.normal(size=(n_users, n_genres))
    chance = random.normal(scale=1.5, size=(n_users, n_items))
    genres = (random.random((n_items, n_genres)) < 0.5).astype(np.float64)
    stars = np.clip(np.rint(3 + 0.6 * (likes @ (genres - 0.5).T) + chance), 1, 5)
    is_held = random.random(stars.shape) < 0.3
    return ratings_of(np.where(is_held, NAN, stars), genres=genres), held_out(stars, is_held)


def first_shuffled(n_ratings: int, n: int) -> Any:
    """The first n ratings in the random order of seed 0, (n,)."""
    random = torch.Generator().manual_seed(0)
    return torch.randperm(n_ratings, generator=random)[:n].numpy()


@pytest.mark.parametrize(("patience", "rate"), [(2, 0.05), (7, 0.05), (40, 0.05), (40, 0.2)])
def test_early_stopping_finds_how_long_to_train(patience: int, rate: float) -> None:
    """A first training ends `patience` epochs after its best; a second takes that many on all.

    Where the best was the n-th of fewer than `patience`, it ends n epochs later, or 5.
    """
    data, unseen = noisy(25, 40, 12)
    params = knobs(baseline="bias", patience=patience, batch_size=100_000, learning_rate=rate)
    with steps_taken() as steps:  # one step is one epoch
        model = neural.fit(data, params, 0)
    waits = {best: min(patience, max(best, 5)) for best in range(1, 200)}
    (best,) = [epoch for epoch, wait in waits.items() if 2 * epoch + wait == len(steps)]
    assert 1 < best < params.epochs - patience
    for array in model.weights().values():
        assert (steps[-1][array.shape] == array).all()
    held = first_shuffled(data.n_ratings, int(0.1 * data.n_ratings))
    targets = fit_baseline("bias", data).deviations(data).data[held]
    users = data.user_of_rating()[held]
    items = data.matrix.indices[held]
    errors = []
    for step in steps[: best + waits[best]]:
        hidden = data.genres[items] @ step[(32, 12)].T + step[(32,)]  # (n_held, 32)
        predicted = (hidden * step[(25, 32)][users]).sum(axis=1) + step[(25,)][users]
        errors.append(float(np.mean((predicted - targets) ** 2)))
    assert int(np.argmin(errors)) + 1 == best
    second_start = steps[best + waits[best]]
    np.testing.assert_allclose(second_start[(32, 12)], steps[0][(32, 12)], atol=0.4 * rate)
    # The first training had begun to overfit when it ended: it is worse on held-out films.
    last = steps[best + waits[best] - 1]
    hidden = data.genres @ last[(32, 12)].T + last[(32,)]  # (n_items, 32)
    overfit = hidden @ last[(25, 32)].T + last[(25,)]  # (n_items, n_users)
    users = np.arange(25)
    of_overfit = rmse(model.baseline.rows(users) + overfit.T, unseen)
    assert rmse(model.score(users).rating, unseen) < of_overfit


def test_training_for_a_number_of_epochs() -> None:
    """A given number of epochs takes so many, with the weights that the same best number gives."""
    data, _ = noisy(25, 40, 12)
    params = knobs(baseline="bias", batch_size=100_000, learning_rate=0.05)
    best = neural.best_epochs(data, params, 0)
    assert best is not None
    assert best > 1
    chosen = neural.fit(data, params, 0).weights()
    for epochs in (best, best + 3):
        with steps_taken() as steps:  # one step is one epoch
            weights = neural.fit(data, params, 0, epochs=epochs).weights()
        assert len(steps) == epochs
        same = all((weights[name] == chosen[name]).all() for name in chosen)
        assert same == (epochs == best)
    assert neural.best_epochs(data, FLATTENED, 0) is None


@pytest.mark.parametrize("batch_size", [50, 100_000])
@pytest.mark.parametrize("epochs", [1, 3, 20])
def test_never_more_than_the_stated_epochs(epochs: int, batch_size: int) -> None:
    """A network that still improves makes the stated passes over nine tenths, then over all."""
    data, _ = genre_rule(30, 40)
    fitting = data.n_ratings - int(0.1 * data.n_ratings)
    with steps_taken() as steps:
        neural.fit(data, knobs(epochs=epochs, batch_size=batch_size, learning_rate=0.001), 0)
    assert len(steps) == epochs * (-(-fitting // batch_size) + -(-data.n_ratings // batch_size))


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_a_step_is_adam_on_the_gradient(activation: str) -> None:
    """A step moves every weight as torch's own Adam does with torch's own gradient."""
    data, _ = noisy(25, 40, 12)
    params = knobs(activation=activation, weight_decay=3.0, learning_rate=0.02, hidden=5)
    targets = fit_baseline("bias", data).deviations(data).data
    run = training.Training(data, np.arange(25), targets, params, 0)
    layers = run.start(torch.Generator())
    parts = parts_of(layers)
    weights = {name: weight.clone().requires_grad_(True) for name, weight in parts.items()}
    groups = [
        {"params": [weights["W1"]], "lr": 0.002, "weight_decay": 0.5},
        {"params": [weights["b1"]], "lr": 0.002},
        {"params": [weights["W2"]], "lr": 0.02, "weight_decay": 0.5},
        {"params": [weights["b2"]], "lr": 0.02},
    ]
    optimiser = torch.optim.Adam(groups)
    adam = training.Adam(layers, params, 0.5)
    genres = torch.from_numpy(data.genres).float()
    for cells in run.ratings.at(torch.arange(300)).parts(60):
        hidden = genres[cells.items] @ weights["W1"].T + weights["b1"]
        if activation == "relu":
            hidden = torch.relu(hidden)
        predicted = (weights["W2"][cells.users] * hidden).sum(1) + weights["b2"][cells.users]
        optimiser.zero_grad()
        ((predicted - cells.targets) ** 2).mean().backward()
        optimiser.step()
        adam.step(layers, run.gradients(layers, cells))
    for name, weight in weights.items():
        expected = weight.detach().numpy()
        np.testing.assert_allclose(parts[name].numpy(), expected, rtol=1e-4, atol=1e-5)


def crowd() -> Ratings:
    """60 users x 30 films of 5 genres; from 1 to 20 ratings a user, five users without any."""
    random = np.random.default_rng(8)
    stars = random.integers(1, 6, (60, 30)).astype(np.float64)
    counts = random.integers(1, 21, 60)  # (60,)
    counts[::12] = 0
    order = random.random(stars.shape).argsort(axis=1).argsort(axis=1)  # (60, 30)
    stars[order >= counts[:, None]] = NAN
    return ratings_of(stars, genres=(random.random((30, 5)) < 0.4).astype(np.float64))


@pytest.mark.parametrize(
    ("cells", "numbers"), [(1, 10**8), (60, 10**8), (100_000, 10**8), (100_000, 7 * 4**2)]
)
@pytest.mark.parametrize("decay", [0.0, 2.5])
def test_of_a_crowd_each_row_is_its_own_ridge_regression(
    decay: float, cells: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many users each row minimises its own squared error plus penalty, with a free bias.

    However many users, or numbers, are solved together.
    """
    monkeypatch.setattr(neural, "LEARNERS", 20)
    monkeypatch.setattr(user_rows, "CELLS_PER_SOLVE", cells)
    monkeypatch.setattr(user_rows, "NUMBERS_PER_SOLVE", numbers)
    monkeypatch.setattr(user_rows, "EXTRA_DECAY", (0.0,))
    data = crowd()
    model = neural.fit(data, knobs(baseline="bias", weight_decay=decay, hidden=4), 0)
    deviations = fit_baseline("bias", data).deviations(data)  # CSR (60, 30)
    W2 = model.weights()["W2"]
    b2 = model.weights()["b2"]
    assert W2.shape == (60, 4)
    for user in range(60):
        items = deviations[[user]].indices
        targets = deviations[[user]].data
        if not len(items):
            assert not W2[user].any()
            assert b2[user] == 0
            continue
        h = model.hidden[items]  # (n, 4)
        with_ones = np.column_stack([h, np.ones(len(items))])
        penalty = np.diag([max(decay, 1e-6)] * 4 + [0.0])
        expected = np.linalg.solve(with_ones.T @ with_ones + penalty, with_ones.T @ targets)
        solved = np.array([*W2[user], b2[user]])
        fitted = with_ones @ solved
        np.testing.assert_allclose(fitted, with_ones @ expected, rtol=1e-4, atol=1e-5)
        if decay:
            np.testing.assert_allclose(solved, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("width", "most"), [(32, 100_000), (1024, 97), (20_000, 1)])
def test_matrices_solved_together_are_bounded(width: int, most: int) -> None:
    """However many hidden units, the matrices that are solved together take at most 0.8 GB."""
    counts = np.ones(2 * most + 1, dtype=np.int64)
    sizes = [len(users) for users in user_rows._users_by_count(counts, width)]
    assert sizes == [most, most, 1]


@pytest.mark.parametrize(("decay", "expected"), [(0.0, 10.0), (25.0, 25.0)])
def test_of_a_crowd_the_penalty_is_what_predicts_best(decay: float, expected: float) -> None:
    """The penalty of rows is the weight decay plus the extra one with the least held-out error."""
    data, _ = noisy(60, 60, 12)
    targets = fit_baseline("bias", data).deviations(data).data
    hidden = data.genres
    penalty = user_rows.best_penalty(data, targets, hidden, knobs(weight_decay=decay), 0)
    held = first_shuffled(data.n_ratings, data.n_ratings // 10)
    rest = np.setdiff1d(np.arange(data.n_ratings), held)
    user_of_rating = data.user_of_rating()
    items = data.matrix.indices
    errors = {}
    for extra in (0, 3, 10, 30, 100):
        total = 0.0
        for user in range(60):
            fitting = rest[user_of_rating[rest] == user]
            judged = held[user_of_rating[held] == user]
            x = np.column_stack([hidden[items[fitting]], np.ones(len(fitting))])
            ridge = np.diag([max(decay + extra, 1e-6)] * hidden.shape[1] + [0.0])
            row = np.linalg.solve(x.T @ x + ridge, x.T @ targets[fitting])
            predicted = np.column_stack([hidden[items[judged]], np.ones(len(judged))]) @ row
            total += float(((predicted - targets[judged]) ** 2).sum())
        errors[decay + extra] = total
    assert penalty == min(errors, key=lambda penalty: errors[penalty]) == expected


def test_of_a_crowd_a_sample_trains_the_shared_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many users only the ratings of a seeded sample change the shared layer."""
    monkeypatch.setattr(neural, "LEARNERS", 20)
    data = crowd()
    params = knobs(baseline="none", hidden=4)
    learners = data.some_users(20, 3)
    others = np.setdiff1d(data.some_users(60, 0), learners)
    before = neural.fit(data, params, 3).weights()
    for user, is_learner in ((int(learners[4]), True), (int(others[4]), False)):
        own = data.of(np.array([user]))
        matrix = data.matrix.copy()
        matrix.data[own] = 6 - matrix.data[own]
        matrix.data[own] += np.linspace(0, 1, int(data.user_counts()[user]))
        after = neural.fit(replace(data, matrix=matrix), params, 3).weights()
        assert (after["W1"].tobytes() != before["W1"].tobytes()) == is_learner
        assert after["W2"][user].tobytes() != before["W2"][user].tobytes()


@pytest.mark.parametrize("baseline", ["none", "bias"])
def test_a_crowd_learns_the_genre_rule(baseline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The genre rule is also learnt for users who did not train the shared layer."""
    monkeypatch.setattr(neural, "LEARNERS", 10)
    data, unseen = genre_rule(30, 40)
    users = np.arange(30)
    network = neural.fit(data, knobs(baseline=baseline), 0)
    of_mean = rmse(fit_baseline("user_mean", data).rows(users), unseen)
    assert rmse(network.score(users).rating, unseen) < 0.25 * of_mean


def weights_as_bytes(data: Ratings) -> dict[str, bytes]:
    weights = neural.fit(data, knobs(), 0).weights()
    return {name: array.tobytes() for name, array in weights.items()}


@pytest.mark.promise("D3")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_change_no_digit(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are the same to the last bit with any number of threads."""
    data = crowd()
    before = torch.get_num_threads()
    for learners in (2000, 20):
        monkeypatch.setattr(neural, "LEARNERS", learners)
        expected = weights_as_bytes(data)
        try:
            torch.set_num_threads(threads)
            weights = weights_as_bytes(data)
        finally:
            torch.set_num_threads(before)
        assert weights == expected


def test_flattened_trains_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over several threads may end in other digits the next time."""
    forward = flattened._forward
    threads = set()

    def watched(*arguments: Any) -> torch.Tensor:
        threads.add(torch.get_num_threads())
        return forward(*arguments)

    monkeypatch.setattr(flattened, "_forward", watched)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        neural.fit(small(), FLATTENED, 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == {1}


FLATTENED = knobs(architecture="flattened")
SMALL = [[5.0, NAN, 3.0, 1.0], [NAN, 4.0, 2.0, NAN], [1.0, 2.0, NAN, 5.0]]  # (3, 4)


def small(scale: tuple[float, float] = (1.0, 5.0)) -> Ratings:
    return ratings_of(SMALL, genres=np.array([[1, 0], [0, 1], [1, 1], [0, 0]]), scale=scale)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [(1.0, 5.0), (0.0, 10.0)])
def test_flattened_reaches_its_stop(scale: tuple[float, float], seed: int) -> None:
    """On small data the original form trains until the summed squared error is under 0.1."""
    data = small(scale)
    with steps_taken() as steps:
        model = flattened.fit(data, FLATTENED, seed)
    rating = model.score(np.arange(3)).rating
    total = 0.0
    for user, row in enumerate(lines_of(data)):
        for item, stars in row.items():
            total += ((rating[user, item] - float(stars)) / scale[1]) ** 2
    assert 0 < len(steps) < 5000
    assert model.final_error < 0.1
    assert total == pytest.approx(model.final_error, rel=1e-4)


def test_flattened_is_the_formula_of_its_weights() -> None:
    """Its output is W2 (W1 x + b1) + b2 of all films' genres in one row, user by user, times 5."""
    data = small()
    model = flattened.fit(data, FLATTENED, 0)
    weights = model.weights()
    assert {name: array.shape for name, array in weights.items()} == {
        "W1": (32, 8),
        "b1": (32,),
        "W2": (12, 32),
        "b2": (12,),
    }
    x = [genre for film in data.genres for genre in film]  # (n_items * n_genres,)
    hidden = [dot(row, x) + b for row, b in zip(weights["W1"], weights["b1"], strict=True)]
    outputs = [dot(row, hidden) + b for row, b in zip(weights["W2"], weights["b2"], strict=True)]
    expected = np.reshape(outputs, (3, 4)) * 5
    np.testing.assert_allclose(model.score(np.arange(3)).rating, expected, rtol=1e-5, atol=1e-5)


def test_flattened_is_chosen_by_architecture() -> None:
    """`architecture: flattened` is that form, whatever the settings of the other are."""
    data = small()
    ignored = {"hidden": 3, "epochs": 1, "learning_rate": 9, "patience": 1}
    model = neural.fit(data, knobs(architecture="flattened", **ignored), 0)
    assert isinstance(model, flattened.Flattened)
    assert model.output.tobytes() == flattened.fit(data, FLATTENED, 0).output.tobytes()


def test_flattened_never_trains_longer_than_5000_epochs() -> None:
    """Where its stop is out of reach, the original form ends after 5000 epochs with its error."""
    data = small(scale=(0.0, 1e-9))  # targets of up to 5e9 are too far away
    with steps_taken() as steps:
        model = flattened.fit(data, FLATTENED, 0)
    assert len(steps) == 5000
    assert model.final_error > 0.1


def test_flattened_is_refused_where_it_would_not_fit() -> None:
    """Above `max_weights_mb` nothing is trained; the message has memory, sizes and limit."""
    data = ratings_of(np.full((600, 2000), NAN), genres=np.zeros((2000, 25)))
    # float32: W1 32 x 50,000, b1 32, W2 1,200,000 x 32, b2 1,200,000: 41,200,032 of 4 bytes
    message = (
        "flattened needs 165 MB of weights for 600 users x 2,000 films, "
        r"above models\.neural\.max_weights_mb \(100\)"
    )
    with pytest.raises(TooLargeError, match=message):
        neural.fit(data, FLATTENED, 0)


@pytest.mark.parametrize(("limit", "fits"), [(0.002737, True), (0.002735, False)])
def test_the_limit_is_on_all_weights(limit: float, fits: bool) -> None:
    """Every weight and bias counts 4 bytes: 32 x 8 + 32 + 12 x 32 + 12 are 0.002736 MB."""
    params = FLATTENED.model_copy(update={"max_weights_mb": limit})
    with steps_taken() as steps:
        if fits:
            flattened.fit(small(), params, 0)
        else:
            with pytest.raises(TooLargeError):
                flattened.fit(small(), params, 0)
    assert bool(steps) == fits


@pytest.mark.parametrize("preset", PRESETS)
def test_a_film_nobody_rated_reaches_those_who_love_its_genre(preset: str) -> None:
    """A new film of a loved genre is ranked with that genre's unseen films, before all others."""
    loves_first = np.arange(40) % 2 == 0  # (40,) users
    is_first = np.arange(42) % 2 == 0  # (42,) films; the last two are new, one of each genre
    stars = np.where(loves_first[:, None] == is_first, 5.0, 1.0)  # (40, 42)
    stars[np.random.default_rng(0).random(stars.shape) < 0.1] = NAN
    stars[:, 40:] = NAN
    genres = np.stack([is_first, ~is_first], axis=1).astype(np.float64)  # (42, 2)
    ratings = ratings_of(stars, genres=genres)
    scores = neural.fit(ratings, PRESETS[preset].neural, 0).score(np.arange(40))
    order = tie_order(ratings.item_counts())
    lists = best_unseen(scores.relevance, ratings.matrix, order, 42)
    for user, films in enumerate(lists.tolist()):
        is_loved = np.isnan(stars[user]) & (is_first == loves_first[user])
        loved = np.flatnonzero(is_loved).tolist()
        assert loved[-1] in (40, 41)
        assert sorted(films[: len(loved)]) == loved
