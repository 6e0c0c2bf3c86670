"""The peers of the table, models of other projects and of papers, and the settings tried.

LensKit is missing: 2025.8.1 needs pandas 2 and this project pandas 3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import peers_implicit
import peers_rankers
import peers_surprise
from batch.ratings import Ratings
from fitted_peer import FittedPeer
from peers_boosting import boosted

MOST_BYTES = 4e9
"""Memory that a peer's tables may take."""


def no_tables(ratings: Ratings) -> int:  # noqa: ARG001
    """What most peers keep is small."""
    return 0


@dataclass(frozen=True)
class Peer:
    """A model of another project or of a paper, and the settings it is tried at."""

    name: str
    needs: str | None  # the module it comes from; None if it is in this folder
    fit: Callable[..., FittedPeer]  # (ratings, seed, **setting)
    settings: list[Mapping[str, Any]]
    needs_times: bool = False
    table_bytes: Callable[[Ratings], int] = no_tables

    def left_out(self, ratings: Ratings) -> str:
        """Why it cannot be fitted on these ratings; empty if it can."""
        if self.needs is not None and find_spec(self.needs) is None:
            return f"{self.needs} is not installed"
        if self.needs_times and ratings.rated_at is None:
            return "there are no times"
        n_bytes = self.table_bytes(ratings)
        if n_bytes > MOST_BYTES:
            return f"its tables would take {n_bytes / 1e9:.1f} GB"
        return ""


PEERS = [
    Peer("recent popularity", None, peers_rankers.recent, [
        {"half_life": 1.0},
        {"half_life": 3.0},
        {"half_life": 7.0},
        {"half_life": 14.0},
        {"half_life": 30.0},
        {"half_life": 90.0},
    ], needs_times=True),
    Peer("EASE", None, peers_rankers.ease, [
        {"values": "rated", "penalty": 250.0},
        {"values": "liked", "penalty": 100.0},
        {"values": "liked", "penalty": 250.0},
        {"values": "stars", "penalty": 1000.0},
        {"values": "stars", "penalty": 1500.0},
        {"values": "stars", "penalty": 2500.0},
    ]),
    Peer("RP3beta", None, peers_rankers.rp3beta, [
        {"values": "rated", "alpha": 1.0, "beta": 0.0},
        {"values": "rated", "alpha": 1.0, "beta": 0.3},
        {"values": "liked", "alpha": 1.0, "beta": 0.0},
        {"values": "liked", "alpha": 1.0, "beta": 0.3},
        {"values": "liked", "alpha": 0.7, "beta": 0.0},
        {"values": "liked", "alpha": 0.7, "beta": 0.3},
    ]),
    Peer("user kNN", None, peers_rankers.user_knn, [
        {"values": "rated", "k": 50},
        {"values": "rated", "k": 400},
        {"values": "liked", "k": 25},
        {"values": "liked", "k": 50},
        {"values": "liked", "k": 100},
        {"values": "liked", "k": 400},
    ]),
    Peer("iALS", None, peers_rankers.ials, [
        {"values": "liked", "factors": 32, "unobserved": 0.3, "penalty": 0.005},
        {"values": "liked", "factors": 32, "unobserved": 0.6, "penalty": 0.005},
        {"values": "liked", "factors": 64, "unobserved": 0.3, "penalty": 0.01},
        {"values": "liked", "factors": 64, "unobserved": 0.1, "penalty": 0.02},
        {"values": "liked", "factors": 64, "unobserved": 0.03, "penalty": 0.02},
    ]),
    Peer("implicit ALS", "implicit", peers_implicit.als, [
        {"values": "rated", "factors": 32, "regularization": 0.1, "alpha": 1.0},
        {"values": "liked", "factors": 32, "regularization": 0.1, "alpha": 1.0},
        {"values": "liked", "factors": 28, "regularization": 10.0, "alpha": 2.0},
        {"values": "liked", "factors": 40, "regularization": 10.0, "alpha": 2.0},
        {"values": "liked", "factors": 64, "regularization": 30.0, "alpha": 5.0},
        {"values": "stars", "factors": 64, "regularization": 30.0, "alpha": 1.0},
    ]),
    Peer("implicit item kNN", "implicit", peers_implicit.film_neighbours, [
        {"kind": "Cosine", "values": "liked", "k": 50},
        {"kind": "Cosine", "values": "stars", "k": 20},
        {"kind": "BM25", "values": "rated", "k": 200},
        {"kind": "TFIDF", "values": "rated", "k": 50},
        {"kind": "TFIDF", "values": "liked", "k": 20},
        {"kind": "TFIDF", "values": "liked", "k": 200},
        {"kind": "TFIDF", "values": "liked", "k": 2000},
    ]),
    Peer("CatBoost", "catboost", boosted, [
        {"trees": 50, "depth": 4},
        {"trees": 150, "depth": 4},
        {"trees": 600, "depth": 6},
    ]),
    Peer("Surprise SVD", "surprise", peers_surprise.svd, [
        {},
        {"n_factors": 20},
        {"n_epochs": 40, "reg_all": 0.06},
        {"n_epochs": 120, "reg_all": 0.1},
    ]),
    Peer("Surprise SVD++", "surprise", peers_surprise.svdpp, [
        {},
        {"n_epochs": 30, "reg_all": 0.05},
    ]),
    Peer("Surprise KNNBaseline, users", "surprise", partial(peers_surprise.knn, user_based=True), [
        {"k": 40, "min_k": 1},
        {"k": 40, "min_k": 5},
        {"k": 40, "min_k": 10},
        {"k": 40, "min_k": 20},
    ], table_bytes=lambda ratings: peers_surprise.SQUARE_BYTES * ratings.n_users**2),
    Peer("Surprise KNNBaseline, films", "surprise", partial(peers_surprise.knn, user_based=False), [
        {"k": 40, "min_k": 1},
        {"k": 40, "min_k": 5},
        {"k": 20, "min_k": 10},
        {"k": 40, "min_k": 20},
    ], table_bytes=lambda ratings: peers_surprise.SQUARE_BYTES * ratings.n_items**2),
]  # fmt: skip
"""In the order of the table. Settings are the best of a wider search on ml-latest-small and
MovieTweetings, and Surprise's defaults."""
