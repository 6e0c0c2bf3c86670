"""Fitted models -> arrays to keep; these and newer ratings -> models that score some users.

What is learnt by optimisation is kept: weights between films, and the network. What is counted
(baselines, neighbours, popularity, trends) is taken from the newer ratings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from batch import RecbatchError
from batch.models import Model, bias, popular
from batch.models.ease import ThroughItems, ThroughUsers
from batch.models.features import Learnt
from batch.models.networks import PerMovie, fitted_beside, hidden_layer, per_movie
from batch.models.preference import liking_of, preference_of
from batch.models.user_rows import solve_rows
from batch.params import Models, Neural
from batch.ratings import NOBODY, Ints, Ratings

Arrays: TypeAlias = Mapping[str, Any]
"""Arrays by name."""


NEEDED = ("settings", "ids", "preference", "liking", "neural")
"""Models and purposes whose arrays `restore` needs."""


class NotKeptError(RecbatchError):
    """The arrays are not enough to restore the models; the message says why, and what to do."""


@dataclass(frozen=True)
class Restored:
    """Models of newer ratings, which can score the users that they were restored for."""

    models: Mapping[str, Model]
    learnt: Learnt


def arrays_to_keep(
    ratings: Ratings, models: Mapping[str, Model], learnt: Learnt, params: Models, seed: int
) -> dict[str, Arrays]:
    """Every array that `restore` needs, by model or purpose and by name.

    The settings of the models are among them, as the bytes of a JSON text.
    """
    from batch.models.neural import penalty_of_rows  # loads torch

    arrays: dict[str, Arrays] = {name: model.weights() for name, model in models.items()}
    network = models["neural"]
    if isinstance(network, PerMovie):
        penalty = penalty_of_rows(ratings, params.neural, seed, network)
        arrays["neural"] = {**network.weights(), "penalty": np.array([penalty])}
    for name, preference in learnt._asdict().items():
        arrays[name] = _arrays_between_films(preference.learnt)
    arrays["ids"] = {
        "users": ratings.user_ids,
        "movies": ratings.movie_ids,
        "genres": ratings.genre_ids,
    }
    settings = np.frombuffer(params.model_dump_json().encode(), dtype=np.uint8)
    arrays["settings"] = {"models": settings}
    return arrays


def require_enough(kept: Mapping[str, Arrays]) -> None:
    """Raise NotKeptError unless `restore` can be called with these arrays."""
    missing = [name for name in NEEDED if name not in kept]
    if missing:
        raise NotKeptError(
            f"its file of weights is of an earlier version and lacks {', '.join(missing)}; "
            "the next run writes all ('recbatch run')"
        )
    if _settings(kept).neural.architecture == "flattened":
        raise NotKeptError(
            "a network of the flattened form knows the users and films that it was trained on, and "
            "no others; set models.neural.architecture to per_movie, and run 'recbatch run'"
        )


def restore(
    kept: Mapping[str, Arrays],
    ratings: Ratings,
    users: Ints,
    half_life: float | None,
) -> Restored:
    """Models of these ratings for some users, (u,), by arrays that were kept.

    Users, films and genres that are new since then are known by their ratings alone. The caller
    has called `require_enough`.
    """
    from batch.models import item_item, user_user

    params = _settings(kept)
    films = _places(ratings.movie_ids, kept["ids"]["movies"])
    learnt = Learnt(
        preference_of(ratings, _between_films(kept["preference"], films, ratings.n_items)),
        liking_of(ratings, _between_films(kept["liking"], films, ratings.n_items)),
    )
    network = _network(kept, ratings, params.neural, users)
    models: dict[str, Model] = {
        "user_user": user_user.fit(ratings, params.user_user, seed=0),
        "item_item": item_item.fit(
            ratings, params.item_item, seed=0, users=users, preference=learnt.preference
        ),
        "neural": network,
        "popular": popular.of_half_life(ratings, half_life),
        "popular_all": popular.of_half_life(ratings, None),
        "bias": bias.fit(ratings, None, seed=0),
    }
    return Restored(models, learnt)


def _settings(kept: Mapping[str, Arrays]) -> Models:
    text = bytes(kept["settings"]["models"].astype(np.uint8))
    return Models.model_validate_json(text)


def _places(ids: Ints, kept_ids: Ints) -> Ints:
    """The place in `ids` of each of the kept ones, (k,); NOBODY where it is not there."""
    place_of = {number: place for place, number in enumerate(ids.tolist())}
    places: Sequence[int] = [place_of.get(number, NOBODY) for number in kept_ids.tolist()]
    return np.array(places, dtype=np.int64)


# Weights between films


def _arrays_between_films(learnt: ThroughUsers | ThroughItems) -> Arrays:
    if isinstance(learnt, ThroughItems):
        return {"kept": learnt.kept, "weights": learnt.weights}
    return {
        "inverse": learnt.inverse,
        "diagonal": learnt.diagonal,
        "ridge": np.array([learnt.ridge]),
        "starts": learnt.raters.indptr.astype(np.int64),
        "raters": learnt.raters.indices.astype(np.int64),
        "values": learnt.raters.data,
    }


def _between_films(kept: Arrays, films: Ints, n_items: int) -> ThroughUsers | ThroughItems:
    """`films` are the columns now of the films then, (n_then,), or NOBODY."""
    if "weights" in kept:
        columns = films[kept["kept"]]
        is_there = columns != NOBODY
        weights = np.ascontiguousarray(kept["weights"][is_there][:, is_there], dtype=np.float64)
        positions: Ints = np.full(n_items, NOBODY, dtype=np.int32)
        positions[columns[is_there]] = np.arange(is_there.sum())
        return ThroughItems(columns[is_there], positions, weights)
    ridge = float(kept["ridge"][0])
    rows = np.repeat(films, np.diff(kept["starts"]))
    is_there = rows != NOBODY
    cells = kept["values"][is_there].astype(np.float64), (rows[is_there], kept["raters"][is_there])
    raters = sparse.csr_array(cells, shape=(n_items, len(kept["inverse"])))
    diagonal = np.full(n_items, 1.0 / ridge)  # of a film that nobody had rated
    diagonal[films[films != NOBODY]] = kept["diagonal"][films != NOBODY]
    return ThroughUsers(raters, kept["inverse"].astype(np.float64), diagonal, ridge)


# The network


def _network(kept: Mapping[str, Arrays], ratings: Ratings, params: Neural, users: Ints) -> PerMovie:
    """The network with its trained layer, and newly solved rows of these users."""
    arrays = kept["neural"]
    rectified = params.activation == "relu"
    genres = _places(ratings.genre_ids, kept["ids"]["genres"])
    W1 = np.zeros((len(arrays["b1"]), ratings.genres.shape[1]))
    W1[:, genres[genres != NOBODY]] = arrays["W1"][:, genres != NOBODY]
    shared = {"W1": W1, "b1": arrays["b1"].astype(np.float64)}
    hidden = hidden_layer(shared, ratings.genres, rectified=rectified)
    baseline = fitted_beside(ratings, params)
    is_theirs = ratings.of(users)  # (n_ratings,)
    targets = baseline.deviations(ratings).data[is_theirs]
    rows = solve_rows(ratings.keep(is_theirs), targets, hidden, float(arrays["penalty"][0]))
    return per_movie(ratings, params, baseline, hidden, {**shared, **rows})
