"""Ratings in a file -> time of another project's model: its fit, and five films for every user.

    python benchmarks/scale_peers.py 'implicit ALS' cells.npz   # cells.npz comes from alone.py

Prints JSON. Peers run their own code with their own defaults, on as many threads as they use by
themselves. Where lists of all users take long, as many random users as the time allows are
measured, and the time is scaled up. LensKit is missing: 2025.8.1 needs pandas 2, this project
pandas 3.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from warnings import catch_warnings, simplefilter

import numpy as np
import numpy.typing as npt
from scipy import sparse

from alone import SEED, N, for_some

Ints: TypeAlias = npt.NDArray[np.int64]
Lists: TypeAlias = Callable[[Ints], object]
"""Users, (b,) -> their unseen films, best first, in whatever form the peer returns them."""


class Cells(NamedTuple):
    """All ratings."""

    matrix: Any  # scipy.sparse.csr_matrix (n_users, n_items), stars, float32
    scale: tuple[float, float]


@dataclass(frozen=True)
class Peer:
    """A model of another project."""

    needs: str  # the module it comes from
    beside: str  # the comparable model of ours
    prepare: Callable[[Cells], Any]  # converts ratings for its own code; not timed
    fit: Callable[[Any], Lists]
    block: int  # users per call
    square_arrays: int = 0  # arrays (n_users, n_users) of 8 bytes that it holds

    @property
    def installed(self) -> bool:
        """Whether it can be fitted here."""
        return find_spec(self.needs) is not None

    def least_mb(self, n_users: int) -> float:
        """The memory that its square arrays take."""
        return self.square_arrays * 8 * n_users**2 / 1e6


def main() -> None:
    """Fit one peer and make lists."""
    parser = argparse.ArgumentParser(description="What one model of another project takes.")
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--budget", type=float, default=120.0, help="seconds for lists")
    arguments = parser.parse_args()
    peer = PEERS[arguments.peer]
    with np.load(arguments.cells) as arrays:
        parts = (arrays["stars"], arrays["columns"], arrays["starts"])
        matrix = sparse.csr_matrix(parts, shape=tuple(arrays["shape"]))
        low, high = arrays["scale"]
        cells = Cells(matrix, (float(low), float(high)))
    n_users = matrix.shape[0]
    prepared = peer.prepare(cells)
    del cells, matrix
    start = time.perf_counter()
    lists = peer.fit(prepared)
    fit_seconds = time.perf_counter() - start
    figures = for_some(lists, n_users, peer.block, arguments.budget, SEED, most=n_users)
    print(json.dumps({"fit_seconds": fit_seconds, "n_users": n_users, **figures}))


# implicit ranks by what was rated: every rating becomes a 1.


def _rated(cells: Cells) -> Any:
    matrix = cells.matrix
    parts = (np.ones_like(matrix.data), matrix.indices, matrix.indptr)
    return sparse.csr_matrix(parts, shape=matrix.shape)


def _implicit_lists(model: Any, rated: Any) -> Lists:
    return lambda users: model.recommend(users, rated[users], N=N, filter_already_liked_items=True)


def implicit_als(rated: Any) -> Lists:
    """Alternating least squares: 100 factors, 15 sweeps, single precision."""
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, "blas")  # it has its own threads, and warns of those of BLAS
    model = AlternatingLeastSquares(random_state=SEED, dtype=np.float32)
    model.fit(rated, show_progress=False)
    return _implicit_lists(model, rated)


def implicit_cosine(rated: Any) -> Lists:
    """Each film's 20 most similar by cosine."""
    from implicit.nearest_neighbours import CosineRecommender

    model = CosineRecommender()
    with catch_warnings():
        simplefilter("ignore")  # it warns of the matrix type of its own weights
        model.fit(rated, show_progress=False)
    return _implicit_lists(model, rated)


# Surprise predicts stars, pair by pair. Its own numbering is by first
# appearance.


class Trainset(NamedTuple):
    """Surprise's ratings, and its own numbers of users."""

    trainset: Any
    numbers: Ints  # (n_users,); -1 for users without ratings


def _trainset(cells: Cells) -> Trainset:
    from pandas import DataFrame
    from surprise import Dataset, Reader

    n_users = cells.matrix.shape[0]
    table = DataFrame(
        {
            "user": np.repeat(np.arange(n_users), np.diff(cells.matrix.indptr)),
            "item": cells.matrix.indices,
            "stars": cells.matrix.data.astype(np.float64),
        }
    )
    trainset = Dataset.load_from_df(table, Reader(rating_scale=cells.scale)).build_full_trainset()
    numbers = np.full(n_users, -1)
    for user in trainset.all_users():
        numbers[trainset.to_raw_uid(user)] = user
    return Trainset(trainset, numbers)


def surprise_svd(ratings: Trainset) -> Lists:
    """100 factors, 20 epochs; lists by products of its factors, far faster than pair by pair."""
    from surprise import SVD

    model = SVD(random_state=SEED).fit(ratings.trainset)

    def lists(users: Ints) -> None:
        numbers = ratings.numbers[users]
        numbers = numbers[numbers >= 0]
        score = model.bi + model.pu[numbers] @ model.qi.T  # (b, n_items)
        for row, user in enumerate(numbers):
            score[row, [item for item, _ in ratings.trainset.ur[user]]] = -np.inf
        np.argpartition(-score, N, axis=1)

    return lists


def surprise_knn(ratings: Trainset) -> Lists:
    """The 40 nearest users by Pearson correlation about baselines; pair by pair, its only way."""
    from surprise import KNNBaseline

    similarity = {"name": "pearson_baseline", "user_based": True}
    baseline = {"method": "als"}
    model = KNNBaseline(sim_options=similarity, bsl_options=baseline, verbose=False)
    model.fit(ratings.trainset)

    def lists(users: Ints) -> None:
        numbers = ratings.numbers[users]
        for user in numbers[numbers >= 0]:
            seen = {item for item, _ in ratings.trainset.ur[user]}
            unseen = [item for item in ratings.trainset.all_items() if item not in seen]
            estimates = [(_estimate(model, user, item), item) for item in unseen]
            sorted(estimates, reverse=True)[:N]

    return lists


def _estimate(model: Any, user: int, item: int) -> float:
    estimate = model.estimate(user, item)
    return float(estimate[0] if isinstance(estimate, tuple) else estimate)


PEERS = {
    "Surprise KNNBaseline, users": Peer(
        "surprise", "user_user", _trainset, surprise_knn, 1, square_arrays=5
    ),
    "Surprise SVD": Peer("surprise", "user_user", _trainset, surprise_svd, 256),
    "implicit ALS": Peer("implicit", "item_item", _rated, implicit_als, 1024),
    "implicit item cosine": Peer("implicit", "item_item", _rated, implicit_cosine, 1024),
}
"""Each with the model of ours that also predicts stars from users, or ranks by films."""


if __name__ == "__main__":
    main()
