"""A database -> what each neighbourhood model costs by itself: fitted on everything, then asked for some users' lists.

    python benchmarks/alone.py sqlite:///recbatch.db cells.npz

Prints JSON, and leaves the ratings in a file that other programs read as fast as this one has them.
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
"""Seconds after which no further block is begun, and what is left is scaled up."""
MOST_BLOCKS = 64
"""More of them change the mean by less than the machine does."""


def main() -> None:
    """Measure, and write the ratings down."""
    parser = argparse.ArgumentParser(description="What each neighbourhood model costs by itself.")
    parser.add_argument("url")
    parser.add_argument("cells", type=Path)
    asked = parser.parse_args()
    with open_database(asked.url).reader.connect() as connection:
        ratings = load(connection).ratings
    matrix = ratings.matrix
    np.savez(
        asked.cells,
        starts=matrix.indptr,
        columns=matrix.indices.astype(np.int32),
        stars=matrix.data.astype(np.float32),
        shape=matrix.shape,
        scale=ratings.scale,
    )
    raters = ratings.item_counts()  # (n_items,)
    found: dict[str, Any] = {
        "n_users": ratings.n_users,
        "n_items": ratings.n_items,
        "n_ratings": ratings.n_ratings,
        "pairs": float(
            (raters.astype(np.float64) ** 2).sum()
        ),  # of users with a film in common, film by film
        "single": bool(ratings.n_users * ratings.n_ratings >= user_user.SINGLE_FROM),
    }
    for name in MODELS:
        found[name] = alone(
            name, replace(ratings)
        )  # another value, of which no baseline is known yet
    print(json.dumps(found))


def alone(name: str, ratings: Ratings) -> dict[str, float]:
    """Seconds to fit, and to score and to rank everyone, at the shipped settings."""
    began = time.perf_counter()
    model: Model = MODELS[name].fit(ratings, getattr(PRESETS["tuned"], name), SEED)
    fitted = time.perf_counter() - began
    places = tie_order(ratings.item_counts())
    spent = {"score": 0.0, "rank": 0.0}
    done = for_some(
        lambda users: _lists(model, ratings, users, places, spent),
        ratings.n_users,
        BLOCK,
        BUDGET,
        SEED,
    )
    share = done["scored"] / ratings.n_users
    scaled = {f"{step}_seconds": seconds / share for step, seconds in spent.items()}
    return {"fit_seconds": fitted, **scaled, **done}


def _lists(
    model: Model, ratings: Ratings, users: Ints, places: Ints, spent: dict[str, float]
) -> None:
    began = time.perf_counter()
    relevance = model.score(users).relevance  # (b, n_items)
    scored = time.perf_counter()
    best_unseen(relevance, ratings.matrix[users], places, N)
    spent["score"] += scored - began
    spent["rank"] += time.perf_counter() - scored


def for_some(
    lists: Callable[[Ints], object],
    n_users: int,
    block: int,
    budget: float,
    seed: int,
    most: int = MOST_BLOCKS,
) -> dict[str, float]:
    """Seconds that everyone's lists take, from as many random blocks of users as the budget and `most` allow.

    `scored` is how many users that were: where it is fewer than all, the seconds are scaled up.
    """
    users = np.random.default_rng(seed).permutation(n_users)
    began, scored = time.perf_counter(), 0
    for start in range(0, min(n_users, most * block), block):
        chosen = users[start : start + block]
        lists(chosen)
        scored += len(chosen)
        if time.perf_counter() - began >= budget:
            break
    return {"lists_seconds": (time.perf_counter() - began) * n_users / scored, "scored": scored}


if __name__ == "__main__":
    main()
