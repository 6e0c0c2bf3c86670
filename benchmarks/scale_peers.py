"""Ratings in a file -> what one model of another project takes for them: its fit, and everyone's five unseen films.

    python benchmarks/scale_peers.py 'implicit ALS' cells.npz   # cells.npz comes from alone.py

Prints JSON. Peers run their own code at their own defaults, on as many threads as they know to use. Where lists of
everyone take long, as many random users as the time allows are asked, and the time is scaled up. LensKit is missing:
2025.8.1 wants pandas 2 and this project pandas 3.
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
"""Users, (b,) -> their unseen films, best first, in whatever form the peer gives them."""


class Cells(NamedTuple):
    """All ratings."""

    matrix: Any  # scipy.sparse.csr_matrix (n_users, n_items), stars, float32
    scale: tuple[float, float]


@dataclass(frozen=True)
class Peer:
    """A model of another project."""

    needs: str  # the module it comes from
    beside: str  # the model of ours that answers the same question
    prepare: Callable[[Cells], Any]  # ratings as its own code wants them; not timed
    fit: Callable[[Any], Lists]
    block: int  # users asked at a time
    square_arrays: int = 0  # (n_users, n_users) of 8 bytes that it must hold

    @property
    def installed(self) -> bool:
        """Whether it can be fitted here."""
        return find_spec(self.needs) is not None

    def least_mb(self, n_users: int) -> float:
        """What its own arrays take at the least."""
        return self.square_arrays * 8 * n_users**2 / 1e6


def main() -> None:
    """Fit one and ask for lists."""
    parser = argparse.ArgumentParser(description="What one model of another project takes.")
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--budget", type=float, default=120.0, help="seconds for lists")
    asked = parser.parse_args()
    peer = PEERS[asked.peer]
    with np.load(asked.cells) as kept:
        matrix = sparse.csr_matrix(
            (kept["stars"], kept["columns"], kept["starts"]), shape=tuple(kept["shape"])
        )
        cells = Cells(matrix, (float(kept["scale"][0]), float(kept["scale"][1])))
    n_users = matrix.shape[0]
    prepared = peer.prepare(cells)
    del cells, matrix
    began = time.perf_counter()
    lists = peer.fit(prepared)
    fitted = time.perf_counter() - began
    asked_for = for_some(lists, n_users, peer.block, asked.budget, SEED, most=n_users)
    print(json.dumps({"fit_seconds": fitted, "n_users": n_users, **asked_for}))


# implicit ranks by what was rated; it is given 1 for each rating.


def _rated(cells: Cells) -> Any:
    return sparse.csr_matrix(
        (np.ones_like(cells.matrix.data), cells.matrix.indices, cells.matrix.indptr),
        shape=cells.matrix.shape,
    )


def _implicit_lists(model: Any, rated: Any) -> Lists:
    return lambda users: model.recommend(users, rated[users], N=N, filter_already_liked_items=True)


def implicit_als(rated: Any) -> Lists:
    """Alternating least squares: 100 factors, 15 sweeps, single precision."""
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, "blas")  # it runs its own threads, and warns of BLAS's beside them
    model = AlternatingLeastSquares(random_state=SEED, dtype=np.float32)
    model.fit(rated, show_progress=False)
    return _implicit_lists(model, rated)


def implicit_cosine(rated: Any) -> Lists:
    """Each film's 20 most similar by cosine."""
    from implicit.nearest_neighbours import CosineRecommender

    model = CosineRecommender()
    with catch_warnings():
        simplefilter("ignore")  # its own weighing gives a kind of matrix that it warns of
        model.fit(rated, show_progress=False)
    return _implicit_lists(model, rated)


# Surprise predicts stars, pair by pair. Its own numbering is by first appearance.


class Trainset(NamedTuple):
    """Surprise's ratings, and its numbers of our users, (n_users,); -1 for who rated nothing."""

    trainset: Any
    numbers: Ints


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


def surprise_svd(given: Trainset) -> Lists:
    """100 factors, 20 epochs; lists by products of its factors, which is far faster than asking it pair by pair."""
    from surprise import SVD

    model = SVD(random_state=SEED).fit(given.trainset)

    def lists(users: Ints) -> None:
        known = given.numbers[users]
        known = known[known >= 0]
        score = model.bi + model.pu[known] @ model.qi.T  # (b, n_items)
        for row, user in enumerate(known):
            score[row, [item for item, _ in given.trainset.ur[user]]] = -np.inf
        np.argpartition(-score, N, axis=1)

    return lists


def surprise_knn(given: Trainset) -> Lists:
    """User neighbours by Pearson correlation about baselines, the 40 nearest; asked pair by pair, its only way."""
    from surprise import KNNBaseline

    alike = {"name": "pearson_baseline", "user_based": True}
    model = KNNBaseline(sim_options=alike, bsl_options={"method": "als"}, verbose=False).fit(
        given.trainset
    )

    def lists(users: Ints) -> None:
        for user in given.numbers[users][given.numbers[users] >= 0]:
            seen = {item for item, _ in given.trainset.ur[user]}
            estimates = [
                (_estimate(model, user, item), item)
                for item in given.trainset.all_items()
                if item not in seen
            ]
            sorted(estimates, reverse=True)[:N]

    return lists


def _estimate(model: Any, user: int, item: int) -> float:
    found = model.estimate(user, item)
    return float(found[0] if isinstance(found, tuple) else found)


PEERS = {
    "Surprise KNNBaseline, users": Peer(
        "surprise", "user_user", _trainset, surprise_knn, 1, square_arrays=5
    ),
    "Surprise SVD": Peer("surprise", "user_user", _trainset, surprise_svd, 256),
    "implicit ALS": Peer("implicit", "item_item", _rated, implicit_als, 1024),
    "implicit item cosine": Peer("implicit", "item_item", _rated, implicit_cosine, 1024),
}
"""Beside the model of ours that predicts stars from users, or ranks from films."""

if __name__ == "__main__":
    main()
