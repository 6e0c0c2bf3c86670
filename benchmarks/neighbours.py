"""A million made-up ratings -> the time that fewer neighbours save, and how accuracy changes.

    python benchmarks/neighbours.py        # shape 1m; ten minutes. 100k: half a minute

`user_user` and `item_item` with the `tuned` preset but for `neighbours`, fitted without the
last fifth of every user's ratings, and evaluated on it for all users: seconds to fit and to
score everyone, and accuracy. Learnt weights are left out, so that the lists of `item_item` are
ordered by its neighbours. The last rows are for a quarter of the users, with all users as
neighbours, and then with that quarter only.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.models import Model, item_item, user_user
from batch.models.baseline import Baseline
from batch.params import PRESETS
from batch.ranking.ensemble import rank_scores
from batch.ranking.evaluate import judge
from batch.ranking.hold_out import hold_out_own
from batch.ranking.metrics import Catalogue, measure
from batch.ranking.rank import tie_order
from batch.ranking.ranked_block import RankedBlock
from batch.ratings import Ints, Pairs, Ratings
from shapes import SHAPES, in_memory

SEED = 20261123
N = 5
BLOCK = 128
RELEVANT_FROM = 4.0
COUNTS: tuple[int | str, ...] = (20, 80, 320, "all")
"""Values of `neighbours`."""
QUARTER = 4
"""The sample is one user of so many."""
MODELS: dict[str, Any] = {"user_user": user_user, "item_item": item_item}
METRICS = ("rmse", f"precision@{N}", f"ndcg@{N}")


@dataclass(frozen=True)
class Alone:
    """One model with the interface that `judge` expects."""

    model: Model
    ratings: Ratings
    places: Ints

    def rank_users(
        self, names: Sequence[str], users: Ints, n: int, pairs: Pairs
    ) -> Mapping[str, RankedBlock]:
        """The model's lists for these users, (b,), and its ratings of these pairs."""
        rated = self.ratings.matrix[users]
        ranked = rank_scores(self.model.score(users), rated, self.places, n, pairs)
        return dict.fromkeys(names, ranked)

    def baseline(self, _name: str) -> Baseline:
        """The rating to use where the model has no prediction."""
        return self.model.baseline


def main() -> None:
    """Print a table of Markdown."""
    parser = argparse.ArgumentParser(description="What `neighbours: k` saves and costs.")
    parser.add_argument("shape", choices=SHAPES, nargs="?", default="1m")
    ratings = in_memory(SHAPES[parser.parse_args().shape], SEED)
    test = hold_out_own(ratings, ratings.n_users, SEED).removed
    train = ratings.keep(~test)
    held = ratings.keep(test)
    print("| model | neighbours | users | fit, s | score them, s | RMSE | precision@5 | NDCG@5 |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    everyone = np.arange(held.n_users)
    sample = train.some_users(train.n_users // QUARTER, SEED)
    for name in ("user_user", "item_item"):
        for k in COUNTS:
            row(name, k, str(k), train, held, everyone)
    row("user_user", "all", "all", train, held, sample)
    of_sample = train.keep(train.of(sample))
    row("user_user", "all", f"1 in {QUARTER}", of_sample, held, sample)


def row(name: str, k: int | str, label: str, train: Ratings, held: Ratings, users: Ints) -> None:
    """Fit a model with so many neighbours, evaluate it on these users, and print its row."""
    params = getattr(PRESETS["tuned"], name).model_copy(update={"neighbours": k})
    if name == "item_item":
        params = params.model_copy(update={"learnt_ridge": 0.0})
    began = time.perf_counter()
    model = MODELS[name].fit(train, params, SEED)
    fit_seconds = time.perf_counter() - began
    alone = Alone(model, train, tie_order(train.item_counts()))
    of_users = held.keep(held.of(users))
    began = time.perf_counter()
    judged = judge(alone, [name], of_users, users, N, RELEVANT_FROM, BLOCK)[name]
    score_seconds = time.perf_counter() - began
    metrics = measure(judged, Catalogue(train.matrix, train.genres), SEED)
    cells = [f"`{name}`", label, f"{len(users):,}", f"{fit_seconds:.1f}", f"{score_seconds:.1f}"]
    cells += [f"{metrics[metric]:.4f}" for metric in METRICS]
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
