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


def knobs(**changed: Any) -> Neural:
    """The plain network with some knobs turned."""
    return Neural.model_validate(PLAIN.model_dump() | changed)


@contextmanager
def steps_taken() -> Iterator[list[dict[tuple[int, ...], Floats]]]:
    """What each optimiser step left of the weights, by their shape, while this is open."""
    steps: list[dict[tuple[int, ...], Floats]] = []

    def note(weights: Iterable[torch.Tensor]) -> None:
        steps.append(
            {tuple(weight.shape): weight.detach().double().numpy().copy() for weight in weights}
        )

    def of_original_form(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        note(weight for group in optimiser.param_groups for weight in group["params"])

    step = training.Adam.step

    def noted(adam: training.Adam, layers: training.Layers, gradients: training.Layers) -> None:
        step(adam, layers, gradients)
        note([layers.shared[:, :-1], layers.shared[:, -1], layers.own[:, :-1], layers.own[:, -1]])

    handle = register_optimizer_step_post_hook(of_original_form)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training.Adam, "step", noted)
            yield steps
    finally:
        handle.remove()


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    """30 users x 25 films, 7 genres, one user and one film without ratings."""
    random = np.random.default_rng(1)
    genres = (random.random((25, 7)) < 0.3).astype(np.float64)  # (25, 7)
    return ratings_of(random_stars(0, 30, 25, [1, 2, 3, 4, 5], 0.4, n_empty=1), genres=genres)


def forward(model: Any, genres: Floats, activation: str) -> Floats:
    """W2 f(W1 x + b1) + b2 for every user and film, one cell at a time, (n_users, n_items)."""
    W1, b1, W2, b2 = (model.weights()[name] for name in ("W1", "b1", "W2", "b2"))
    said = np.empty((len(W2), len(genres)))  # (n_users, n_items)
    for item, x in enumerate(genres):
        hidden = [
            float(sum(w * g for w, g in zip(row, x, strict=True)) + b)
            for row, b in zip(W1, b1, strict=True)
        ]
        if activation == "relu":
            hidden = [max(h, 0.0) for h in hidden]
        for user, preference in enumerate(W2):
            said[user, item] = (
                sum(w * h for w, h in zip(preference, hidden, strict=True)) + b2[user]
            )
    return said


@pytest.mark.parametrize("baseline", ["none", "bias"])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_scores_are_the_formula_of_the_weights(
    ratings: Ratings, activation: str, baseline: str
) -> None:
    """A rating is W2 f(W1 x + b1) + b2 of the kept weights, plus mu + b_u + b_i where the baseline is `bias`."""
    model = neural.fit(ratings, knobs(activation=activation, baseline=baseline, hidden=6), 0)
    said = forward(model, ratings.genres, activation)
    if baseline == "bias":
        bias = fit_baseline("bias", ratings)
        said += [[bias.mu + of_user + of_item for of_item in bias.item] for of_user in bias.user]
    said[[not line for line in lines_of(ratings)]] = (
        NAN  # of a user without ratings nothing is known
    )
    assert np.isnan(said).any()
    np.testing.assert_allclose(model.score(np.arange(30)).rating, said, rtol=1e-9, atol=1e-9)


def test_without_activation_it_is_linear(ratings: Ratings) -> None:
    """With activation `none` what two genres add up to is what each adds; with `relu` it is not."""
    kinds = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])  # (4, 2) genres of a film
    stars = np.tile(
        [3.0, 5.0, 5.0, 1.0], (20, 5)
    )  # (20, 20): either genre is liked, both together are not
    data = ratings_of(stars, genres=np.tile(kinds, (5, 1)))
    excess = {}
    for activation in ("none", "relu"):
        params = knobs(activation=activation, epochs=400, patience=400, learning_rate=0.1)
        neither, first, second, both = (
            neural.fit(data, params, 0).score(np.arange(20)).rating.T[:4]
        )  # (20,) each
        excess[activation] = both - first - second + neither
    np.testing.assert_allclose(excess["none"], 0, atol=1e-9)
    np.testing.assert_allclose(excess["relu"], 1 - 5 - 5 + 3, atol=0.5)


def test_support_is_the_rating_count(ratings: Ratings) -> None:
    """The support of whatever is said to a user is how many films that user rated."""
    support = neural.fit(ratings, PLAIN, 0).score(np.arange(30)).support
    assert support.tolist() == [[len(line)] * 25 for line in lines_of(ratings)]


def test_another_seed_gives_other_weights(ratings: Ratings) -> None:
    """The seed decides where training starts."""
    first, same, other = (neural.fit(ratings, PLAIN, seed).weights() for seed in (0, 0, 1))
    for name, array in first.items():
        assert array.tobytes() == same[name].tobytes()
        assert array.tobytes() != other[name].tobytes()


def genre_rule(n_users: int, n_items: int) -> tuple[Ratings, list[tuple[int, int, float]]]:
    """Every user gives 5 to films of one genre and 2 to all others; and a fifth of the cells, withheld."""
    random = np.random.default_rng(2)
    genre, favourite = (
        random.integers(0, 4, n_items),
        random.integers(0, 4, n_users),
    )  # (n_items,), (n_users,)
    stars = np.where(genre[None, :] == favourite[:, None], 5.0, 2.0)  # (n_users, n_items)
    withheld = random.random(stars.shape) < 0.2
    cells = [(u, i, stars[u, i]) for u, i in np.argwhere(withheld).tolist()]
    return ratings_of(np.where(withheld, NAN, stars), genres=np.eye(4)[genre]), cells


def rmse(rating: Floats, cells: list[tuple[int, int, float]]) -> float:
    return float(
        np.sqrt(np.mean([(rating[user, item] - stars) ** 2 for user, item, stars in cells]))
    )


@pytest.mark.parametrize("baseline", ["none", "bias"])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_learns_a_genre_rule(activation: str, baseline: str) -> None:
    """Where users' stars follow genres, unseen films are predicted far better than by the user's mean."""
    data, withheld = genre_rule(30, 40)
    users = np.arange(30)
    mean = rmse(fit_baseline("user_mean", data).rows(users), withheld)
    network = rmse(
        neural.fit(data, knobs(activation=activation, baseline=baseline), 0).score(users).rating,
        withheld,
    )
    assert mean > 1
    assert network < 0.25 * mean


def test_weight_decay_pulls_towards_the_mean() -> None:
    """The stronger the weight decay, the closer a network without a baseline stays to each user's mean."""
    data, _ = genre_rule(30, 40)
    mean = fit_baseline("user_mean", data).rows(np.arange(30))  # (30, 40)
    away = []
    for decay in (0, 10, 100, 1000):
        rating = neural.fit(data, knobs(weight_decay=decay), 0).score(np.arange(30)).rating
        away.append(float(np.abs(rating - mean).mean()))
    assert away == sorted(away, reverse=True)
    assert away[0] > 1
    assert away[3] < 0.05


def noisy(
    n_users: int, n_items: int, n_genres: int
) -> tuple[Ratings, list[tuple[int, int, float]]]:
    """Stars by taste and as much by chance: there is something to learn, and more to memorise; and cells withheld."""
    random = np.random.default_rng(3)
    likes, chance = (
        random.normal(size=(n_users, n_genres)),
        random.normal(scale=1.5, size=(n_users, n_items)),
    )
    genres = (random.random((n_items, n_genres)) < 0.5).astype(np.float64)
    stars = np.clip(np.rint(3 + 0.6 * (likes @ (genres - 0.5).T) + chance), 1, 5)
    withheld = random.random(stars.shape) < 0.3
    cells = [(u, i, stars[u, i]) for u, i in np.argwhere(withheld).tolist()]
    return ratings_of(np.where(withheld, NAN, stars), genres=genres), cells


@pytest.mark.parametrize(("patience", "rate"), [(2, 0.05), (7, 0.05), (40, 0.05), (40, 0.2)])
def test_early_stopping_finds_how_long_to_train(patience: int, rate: float) -> None:
    """A first training ends `patience` epochs after its best one; a second, on everything, takes as many as that.

    Where the best was the n-th of fewer than `patience`, it ends n epochs later, or 5.
    """
    data, unseen = noisy(25, 40, 12)
    params = knobs(baseline="bias", patience=patience, batch_size=100_000, learning_rate=rate)
    with steps_taken() as steps:  # one step is one epoch
        model = neural.fit(data, params, 0)
    kept = {array.shape: array for array in model.weights().values()}
    waited = {best: min(patience, max(best, 5)) for best in range(1, 200)}
    (best,) = [epoch for epoch, more in waited.items() if 2 * epoch + more == len(steps)]
    assert 1 < best < params.epochs - patience
    assert all((steps[-1][shape] == kept[shape]).all() for shape in kept)
    held = torch.randperm(data.n_ratings, generator=torch.Generator().manual_seed(0))[
        : int(0.1 * data.n_ratings)
    ].numpy()
    off = fit_baseline("bias", data).deviations(data).data[held]
    users, items = data.user_of_rating()[held], data.matrix.indices[held]
    errors = []
    for step in steps[: best + waited[best]]:
        hidden = data.genres[items] @ step[(32, 12)].T + step[(32,)]  # (n_held, 32)
        said = (hidden * step[(25, 32)][users]).sum(axis=1) + step[(25,)][users]
        errors.append(float(np.mean((said - off) ** 2)))
    assert int(np.argmin(errors)) + 1 == best
    np.testing.assert_allclose(
        steps[best + waited[best]][(32, 12)], steps[0][(32, 12)], atol=0.4 * rate
    )
    # the first had begun to memorise when it ended: on films it was never shown, it does worse
    last = steps[best + waited[best] - 1]
    hidden = data.genres @ last[(32, 12)].T + last[(32,)]  # (n_items, 32)
    final = hidden @ last[(25, 32)].T + last[(25,)]  # (n_items, n_users)
    users = np.arange(25)
    assert rmse(model.score(users).rating, unseen) < rmse(
        model.baseline.rows(users) + final.T, unseen
    )


@pytest.mark.parametrize("batch_size", [50, 100_000])
@pytest.mark.parametrize("epochs", [1, 3, 20])
def test_never_more_than_the_stated_epochs(epochs: int, batch_size: int) -> None:
    """While the network still gets better it makes the stated passes over nine tenths of the ratings, then over all."""
    data, _ = genre_rule(30, 40)
    fitting = data.n_ratings - int(0.1 * data.n_ratings)
    with steps_taken() as steps:
        neural.fit(data, knobs(epochs=epochs, batch_size=batch_size, learning_rate=0.001), 0)
    assert len(steps) == epochs * (-(-fitting // batch_size) + -(-data.n_ratings // batch_size))


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_a_step_is_adam_on_the_gradient(activation: str) -> None:
    """One step over a part of the ratings moves every weight as torch's own Adam does, by torch's own gradient."""
    data, _ = noisy(25, 40, 12)
    params = knobs(activation=activation, weight_decay=3.0, learning_rate=0.02, hidden=5)
    off = fit_baseline("bias", data).deviations(data).data
    run = training.Training(data, np.arange(25), off, params, 0)
    ours = run.start(torch.Generator())
    split = {
        "W1": ours.shared[:, :-1],
        "b1": ours.shared[:, -1],
        "W2": ours.own[:, :-1],
        "b2": ours.own[:, -1],
    }
    weights = {name: weight.clone().requires_grad_(True) for name, weight in split.items()}
    optimiser = torch.optim.Adam(
        [
            {"params": [weights["W1"]], "lr": 0.002, "weight_decay": 0.5},
            {"params": [weights["b1"]], "lr": 0.002},
            {"params": [weights["W2"]], "lr": 0.02, "weight_decay": 0.5},
            {"params": [weights["b2"]], "lr": 0.02},
        ]
    )
    adam = training.Adam(ours, params, 0.5)
    genres = torch.from_numpy(data.genres).float()
    for cells in run.ratings.at(torch.arange(300)).parts(60):
        hidden = genres[cells.items] @ weights["W1"].T + weights["b1"]
        hidden = torch.relu(hidden) if activation == "relu" else hidden
        said = (weights["W2"][cells.users] * hidden).sum(1) + weights["b2"][cells.users]
        optimiser.zero_grad()
        ((said - cells.targets) ** 2).mean().backward()
        optimiser.step()
        adam.step(ours, run.gradients(ours, cells))
    for name, weight in weights.items():
        np.testing.assert_allclose(
            split[name].numpy(), weight.detach().numpy(), rtol=1e-4, atol=1e-5
        )


def crowd() -> Ratings:
    """60 users x 30 films of 5 genres; from 1 to 20 ratings a user, five users without any."""
    random = np.random.default_rng(8)
    stars = random.integers(1, 6, (60, 30)).astype(np.float64)
    few = random.integers(1, 21, 60)  # (60,)
    few[::12] = 0
    stars[random.random(stars.shape).argsort(axis=1).argsort(axis=1) >= few[:, None]] = NAN
    return ratings_of(stars, genres=(random.random((30, 5)) < 0.4).astype(np.float64))


@pytest.mark.parametrize("cells", [1, 60, 100_000])
@pytest.mark.parametrize("decay", [0.0, 2.5])
def test_of_a_crowd_each_row_is_its_own_ridge_regression(
    decay: float, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many users each one's row minimises its own squared error plus the penalty, with a free level; by hand."""
    monkeypatch.setattr(neural, "LEARNERS", 20)
    monkeypatch.setattr(user_rows, "CELLS_PER_SOLVE", cells)
    monkeypatch.setattr(user_rows, "EXTRA_DECAY", (0.0,))
    data = crowd()
    model = neural.fit(data, knobs(baseline="bias", weight_decay=decay, hidden=4), 0)
    off = fit_baseline("bias", data).deviations(data)  # CSR (60, 30)
    W2, b2 = model.weights()["W2"], model.weights()["b2"]
    assert W2.shape == (60, 4)
    for user in range(60):
        items, targets = off[[user]].indices, off[[user]].data
        if not len(items):
            assert not W2[user].any()
            assert b2[user] == 0
            continue
        h = model.hidden[items]  # (n, 4)
        wide = np.column_stack([h, np.ones(len(items))])
        penalty = np.diag([max(decay, 1e-6)] * 4 + [0.0])
        slow = np.linalg.solve(wide.T @ wide + penalty, wide.T @ targets)
        np.testing.assert_allclose(wide @ [*W2[user], b2[user]], wide @ slow, rtol=1e-4, atol=1e-5)
        if decay:
            np.testing.assert_allclose([*W2[user], b2[user]], slow, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("decay", "expected"), [(0.0, 10.0), (25.0, 25.0)])
def test_of_a_crowd_the_penalty_is_what_predicts_best(decay: float, expected: float) -> None:
    """The penalty of rows is the weight decay plus the one that predicts best a tenth of the ratings held back."""
    data, _ = noisy(60, 60, 12)
    off = fit_baseline("bias", data).deviations(data).data
    params, hidden = knobs(weight_decay=decay), data.genres
    found = user_rows.best_penalty(data, off, hidden, params, 0)
    held = torch.randperm(data.n_ratings, generator=torch.Generator().manual_seed(0))[
        : data.n_ratings // 10
    ].numpy()
    rest = np.setdiff1d(np.arange(data.n_ratings), held)
    users, errors = data.user_of_rating(), {}
    for more in (0, 3, 10, 30, 100):
        missed = 0.0
        for user in range(60):
            seen, asked = rest[users[rest] == user], held[users[held] == user]
            wide = np.column_stack([hidden[data.matrix.indices[seen]], np.ones(len(seen))])
            ridge = np.diag([max(decay + more, 1e-6)] * hidden.shape[1] + [0.0])
            row = np.linalg.solve(wide.T @ wide + ridge, wide.T @ off[seen])
            said = np.column_stack([hidden[data.matrix.indices[asked]], np.ones(len(asked))]) @ row
            missed += float(((said - off[asked]) ** 2).sum())
        errors[decay + more] = missed
    assert found == min(errors, key=lambda penalty: errors[penalty]) == expected


def test_of_a_crowd_some_teach_the_shared_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many users a seeded sample teaches the shared layer: their ratings change it, and nobody else's do."""
    monkeypatch.setattr(neural, "LEARNERS", 20)
    data = crowd()
    params = knobs(baseline="none", hidden=4)
    learners = data.some_users(20, 3)
    before = neural.fit(data, params, 3)
    for user, taught in (
        (int(learners[4]), True),
        (int(np.setdiff1d(data.some_users(60, 0), learners)[4]), False),
    ):
        matrix = data.matrix.copy()
        matrix.data[data.of(np.array([user]))] = 6 - matrix.data[data.of(np.array([user]))]
        matrix.data[data.of(np.array([user]))] += np.linspace(0, 1, int(data.user_counts()[user]))
        after = neural.fit(replace(data, matrix=matrix), params, 3)
        assert (after.weights()["W1"].tobytes() != before.weights()["W1"].tobytes()) == taught
        assert after.weights()["W2"][user].tobytes() != before.weights()["W2"][user].tobytes()


@pytest.mark.parametrize("baseline", ["none", "bias"])
def test_a_crowd_learns_the_genre_rule(baseline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where most users did not teach the shared layer, what stars follow is found for all of them."""
    monkeypatch.setattr(neural, "LEARNERS", 10)
    data, withheld = genre_rule(30, 40)
    network = neural.fit(data, knobs(baseline=baseline), 0)
    mean = rmse(fit_baseline("user_mean", data).rows(np.arange(30)), withheld)
    assert rmse(network.score(np.arange(30)).rating, withheld) < 0.25 * mean


@pytest.mark.promise("D3")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_change_no_digit(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads torch may use, the weights are the same to the last bit, of few users and of many."""
    data, before = crowd(), torch.get_num_threads()
    for learners in (2000, 20):
        monkeypatch.setattr(neural, "LEARNERS", learners)
        alone = neural.fit(data, knobs(), 0).weights()
        try:
            torch.set_num_threads(threads)
            found = neural.fit(data, knobs(), 0).weights()
        finally:
            torch.set_num_threads(before)
        assert {name: array.tobytes() for name, array in found.items()} == {
            name: array.tobytes() for name, array in alone.items()
        }


FLATTENED = knobs(architecture="flattened")
SMALL = [[5.0, NAN, 3.0, 1.0], [NAN, 4.0, 2.0, NAN], [1.0, 2.0, NAN, 5.0]]  # (3, 4)


def small(scale: tuple[float, float] = (1.0, 5.0)) -> Ratings:
    return ratings_of(SMALL, genres=np.array([[1, 0], [0, 1], [1, 1], [0, 0]]), scale=scale)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [(1.0, 5.0), (0.0, 10.0)])
def test_flattened_reaches_its_stop(scale: tuple[float, float], seed: int) -> None:
    """On small data the original form fits the ratings it has until their summed squared error is under 0.1."""
    data = small(scale)
    with steps_taken() as steps:
        model = flattened.fit(data, FLATTENED, seed)
    rating = model.score(np.arange(3)).rating
    errors = [
        (rating[user, item] - float(stars)) / scale[1]
        for user, row in enumerate(lines_of(data))
        for item, stars in row.items()
    ]
    assert 0 < len(steps) < 5000
    assert model.final_error < 0.1
    assert sum(error**2 for error in errors) == pytest.approx(model.final_error, rel=1e-4)


def test_flattened_is_the_formula_of_its_weights() -> None:
    """Its output is W2 (W1 x + b1) + b2 of all films' genres in one row, film by film and user by user, times 5."""
    data = small()
    model = flattened.fit(data, FLATTENED, 0)
    weights = model.weights()
    x = [genre for film in data.genres for genre in film]  # (n_items * n_genres,)
    hidden = [
        sum(w * g for w, g in zip(row, x, strict=True)) + b
        for row, b in zip(weights["W1"], weights["b1"], strict=True)
    ]
    said = [
        [
            float(weights["W2"][4 * user + item] @ hidden + weights["b2"][4 * user + item]) * 5
            for item in range(4)
        ]
        for user in range(3)
    ]
    assert {name: array.shape for name, array in weights.items()} == {
        "W1": (32, 8),
        "b1": (32,),
        "W2": (12, 32),
        "b2": (12,),
    }
    np.testing.assert_allclose(model.score(np.arange(3)).rating, said, rtol=1e-5, atol=1e-5)


def test_flattened_is_chosen_by_architecture() -> None:
    """`architecture: flattened` is that form, whatever the knobs of the other say."""
    data = small()
    model = neural.fit(
        data, knobs(architecture="flattened", hidden=3, epochs=1, learning_rate=9, patience=1), 0
    )
    assert isinstance(model, flattened.Flattened)
    assert model.output.tobytes() == flattened.fit(data, FLATTENED, 0).output.tobytes()


def test_flattened_never_trains_longer_than_5000_epochs() -> None:
    """Where its stop is out of reach, the original form gives up after 5000 epochs and says with what error."""
    with steps_taken() as steps:
        model = flattened.fit(
            small(scale=(0.0, 1e-9)), FLATTENED, 0
        )  # targets of up to 5e9 are too far away
    assert len(steps) == 5000
    assert model.final_error > 0.1


def test_flattened_is_refused_where_it_would_not_fit() -> None:
    """Above `max_weights_mb` nothing is trained, and the refusal names the memory, the sizes and the limit."""
    data = ratings_of(np.full((600, 2000), NAN), genres=np.zeros((2000, 25)))
    # float32: W1 32 x 50,000, b1 32, W2 1,200,000 x 32, b2 1,200,000: 41,200,032 weights of 4 bytes
    said = r"flattened needs 165 MB of weights for 600 users x 2,000 films, above models\.neural\.max_weights_mb \(100\)"
    with pytest.raises(TooLargeError, match=said):
        neural.fit(data, FLATTENED, 0)


@pytest.mark.parametrize(("limit", "fits"), [(0.002737, True), (0.002735, False)])
def test_the_limit_is_on_all_weights(limit: float, fits: bool) -> None:
    """The limit counts every weight and bias at 4 bytes: 32 x 8 + 32 + 12 x 32 + 12 make 0.002736 MB."""
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
    """A new film of a loved genre comes with the unseen ones of that genre, before all others, in everyone's list."""
    loves_first = np.arange(40) % 2 == 0  # (40,) users
    is_first = np.arange(42) % 2 == 0  # (42,) films; the last two are new, one of either genre
    stars = np.where(loves_first[:, None] == is_first, 5.0, 1.0)  # (40, 42)
    stars[np.random.default_rng(0).random(stars.shape) < 0.1] = NAN
    stars[:, 40:] = NAN
    genres = np.stack([is_first, ~is_first], axis=1).astype(np.float64)  # (42, 2)
    ratings = ratings_of(stars, genres=genres)
    scores = neural.fit(ratings, PRESETS[preset].neural, 0).score(np.arange(40))
    listed = best_unseen(scores.relevance, ratings.matrix, tie_order(ratings.item_counts()), 42)
    for user, films in enumerate(listed.tolist()):
        loved = np.flatnonzero(np.isnan(stars[user]) & (is_first == loves_first[user])).tolist()
        assert loved[-1] in (40, 41)
        assert sorted(films[: len(loved)]) == loved
