"""A million made-up ratings -> what fewer neighbours save, and what they cost or gain in accuracy, against all of them.

    python benchmarks/neighbours.py        # shape 1m; ten minutes. 100k: half a minute

`user_user` and `item_item` as shipped but for `neighbours`, fitted without a fifth of every user's ratings, the last by
time, and judged on those of all users: seconds to fit and to score everyone, and how far off and how useful they are.
Learnt weights are left out, so that the list of `item_item` is ordered by its neighbours. The last rows are of a
quarter of the users, who hear everyone, and then each other only.
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
from batch.ranking.hold_out import hold_out
from batch.ranking.metrics import Catalogue, measure
from batch.ranking.rank import tie_order
from batch.ranking.ranked_block import RankedBlock
from batch.ratings import Ints, Pairs, Ratings
from shapes import SHAPES, in_memory

SEED, N, BLOCK, RELEVANT_FROM = 20261123, 5, 128, 4.0
TRIED: tuple[int | str, ...] = (20, 80, 320, "all")
QUARTER = 4
"""Of so many users one is in the sample."""
MODELS: dict[str, Any] = {"user_user": user_user, "item_item": item_item}


@dataclass(frozen=True)
class Alone:
    """One model, as the judge holds it."""

    model: Model
    ratings: Ratings
    places: Ints

    def rank_users(
        self, names: Sequence[str], users: Ints, n: int, pairs: Pairs
    ) -> Mapping[str, RankedBlock]:
        """Its lists for these users, (b,), and its ratings of these pairs."""
        scores, rated = self.model.score(users), self.ratings.matrix[users]
        return dict.fromkeys(names, rank_scores(scores, rated, self.places, n, pairs))

    def baseline(self, _name: str) -> Baseline:
        """What stands in where it cannot say."""
        return self.model.baseline


def main() -> None:
    """Print a table of Markdown."""
    parser = argparse.ArgumentParser(description="What `neighbours: k` saves and costs.")
    parser.add_argument("shape", choices=SHAPES, nargs="?", default="1m")
    ratings = in_memory(SHAPES[parser.parse_args().shape], SEED)
    test = hold_out(ratings, SEED)
    train, held = ratings.keep(~test), ratings.keep(test)
    print("| model | neighbours | users | fit, s | score them, s | RMSE | precision@5 | NDCG@5 |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    everyone, some = np.arange(held.n_users), train.some_users(train.n_users // QUARTER, SEED)
    for name in ("user_user", "item_item"):
        for k in TRIED:
            row(name, k, str(k), train, held, everyone)
    row("user_user", "all", "all", train, held, some)
    row("user_user", "all", f"1 in {QUARTER}", train.keep(train.of(some)), held, some)


def row(name: str, k: int | str, label: str, train: Ratings, held: Ratings, users: Ints) -> None:
    """Fit a model with so many neighbours, judge it on these users, and print its row."""
    params = getattr(PRESETS["tuned"], name).model_copy(update={"neighbours": k})
    if name == "item_item":
        params = params.model_copy(update={"learnt_ridge": 0.0})
    began = time.perf_counter()
    fitted = MODELS[name].fit(train, params, SEED)
    seconds = time.perf_counter() - began
    alone = Alone(fitted, train, tie_order(train.item_counts()))
    theirs = held.keep(held.of(users))
    began = time.perf_counter()
    judged = judge(alone, [name], theirs, users, N, RELEVANT_FROM, BLOCK)[name]
    scored = time.perf_counter() - began
    found = measure(judged, Catalogue(train.matrix, train.genres), SEED)
    figures = " | ".join(
        f"{found[metric]:.4f}" for metric in ("rmse", f"precision@{N}", f"ndcg@{N}")
    )
    print(
        f"| `{name}` | {label} | {len(users):,} | {seconds:.1f} | {scored:.1f} | {figures} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
