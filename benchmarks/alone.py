"""A database -> what each neighbourhood model costs by itself: to fit, score and rank.

    python benchmarks/alone.py sqlite:///recbatch.db cells.npz

Each is fitted on all ratings, and then scores and ranks some users. Prints JSON, and saves
the ratings in a file that other programs can read quickly.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from batch.models import Model, item_item, user_user
from batch.params import PRESETS
from batch.ranking.rank import best_unseen, tie_order
from batch.ratings import Ints, Ratings
from batch.store.database import open_database
from batch.store.load import load

MODELS: dict[str, Any] = {"user_user": user_user, "item_item": item_item}
SEED = 20261123
N = 5
"""Films in a list."""
BLOCK = 32
"""Users scored at a time, drawn at random."""
BUDGET = 60.0
"""Seconds after which no further block is started; the time is then scaled up."""
MOST_BLOCKS = 64
"""More blocks change the mean by less than the noise of the machine."""


def main() -> None:
    """Measure, and save the ratings."""
    parser = argparse.ArgumentParser(description="What each neighbourhood model costs by itself.")
    parser.add_argument("url")
    parser.add_argument("cells", type=Path)
    arguments = parser.parse_args()
    with open_database(arguments.url).reader.connect() as connection:
        ratings = load(connection).ratings
    _save(ratings, arguments.cells)
    raters = ratings.item_counts().astype(np.float64)  # (n_items,)
    results: dict[str, Any] = {
        "n_users": ratings.n_users,
        "n_items": ratings.n_items,
        "n_ratings": ratings.n_ratings,
        "pairs": float((raters**2).sum()),  # of users with a film in common, film by film
        "single": bool(ratings.n_users * ratings.n_ratings >= user_user.SINGLE_FROM),
    }
    for name in MODELS:
        # A copy, for which no baseline is cached.
        results[name] = alone(name, replace(ratings))
    print(json.dumps(results))


def _save(ratings: Ratings, path: Path) -> None:
    matrix = ratings.matrix
    np.savez(
        path,
        starts=matrix.indptr,
        columns=matrix.indices.astype(np.int32),
        stars=matrix.data.astype(np.float32),
        shape=matrix.shape,
        scale=ratings.scale,
    )


def alone(name: str, ratings: Ratings) -> dict[str, float]:
    """Seconds to fit, and to score and rank all users, with the `tuned` preset."""
    params = getattr(PRESETS["tuned"], name)
    began = time.perf_counter()
    model: Model = MODELS[name].fit(ratings, params, SEED)
    fit_seconds = time.perf_counter() - began
    order = tie_order(ratings.item_counts())
    spent = {"score": 0.0, "rank": 0.0}

    def lists(users: Ints) -> None:
        began = time.perf_counter()
        relevance = model.score(users).relevance  # (b, n_items)
        scored = time.perf_counter()
        best_unseen(relevance, ratings.matrix[users], order, N)
        spent["score"] += scored - began
        spent["rank"] += time.perf_counter() - scored

    timing = for_some(lists, ratings.n_users, BLOCK, BUDGET, SEED)
    share = timing["scored"] / ratings.n_users
    scaled = {f"{step}_seconds": seconds / share for step, seconds in spent.items()}
    return {"fit_seconds": fit_seconds, **scaled, **timing}


def for_some(
    lists: Callable[[Ints], object],
    n_users: int,
    block: int,
    budget: float,
    seed: int,
    most: int = MOST_BLOCKS,
) -> dict[str, float]:
    """Seconds that the lists of all users take, measured on random blocks of users.

    There are as many blocks as `budget`, in seconds, and `most` allow. `scored` is the number
    of users in them; the seconds are scaled up from these to all users.
    """
    users = np.random.default_rng(seed).permutation(n_users)
    began = time.perf_counter()
    scored = 0
    for start in range(0, min(n_users, most * block), block):
        chosen = users[start : start + block]
        lists(chosen)
        scored += len(chosen)
        if time.perf_counter() - began >= budget:
            break
    seconds = (time.perf_counter() - began) * n_users / scored
    return {"lists_seconds": seconds, "scored": scored}


if __name__ == "__main__":
    main()
