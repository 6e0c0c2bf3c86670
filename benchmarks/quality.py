"""Ratings -> this project's models beside their peers on the same folds: a Markdown table a split.

    pip install --constraint constraints.txt --editable '.[bench]'
    python benchmarks/quality.py
    python benchmarks/quality.py --data FOLDER --split next --json next.json

Without arguments all splits of MovieLens ml-latest-small and of MovieTweetings, in under
two hours on 2 cores.

`random` is five folds over ratings, drawn with the seed, without times. `own` holds out the
last 20 % of each user's ratings, so that models know what others rated later. `next` holds out
the newest 15 % of all ratings of users who have rated before, so that models know only what
was known then; it is cut three times, the second and third time without the newest 15 % and
30 %. Every model goes through `batch.ranking.evaluate.judge` and
`batch.ranking.metrics.measure`: all films not rated in training are candidates, precision
divides by 5, users with a liked held-out film count, one with 80 % of the highest rating or
more, predictions are clipped to the scale, and a missing prediction is replaced by
mu + b_u + b_i for peers and by the model's own baseline for ours. Coverage is of the lists of
users with held-out ratings.

Our models have the shipped settings. A peer has the best of a few settings (peers.py),
chosen on the very ratings it is measured on: by NDCG@5 for the columns on lists, and
again by RMSE for that column. That favours peers on purpose, so that a model that is
better here is better.

The last column is the blend's NDCG@5 less the model's, over the users of all folds, with the
95 % bootstrap interval over users. The last lines say for each split whether the blend is
first, within an interval of what is before it, or behind.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from batch.ratings import Ratings
from peers import PEERS, Peer
from quality_data import FOLDS, MOVIELENS, MOVIETWEETINGS, SPLITS, describe, folds, read
from quality_measure import N, differences, log, measure_all
from quality_tables import all_table, as_json, best_table, verdict


def main() -> None:
    """Measure what the arguments name."""
    arguments = _arguments()
    peers = PEERS if arguments.models == "all" else []
    verdicts = []
    written: dict[str, Any] = {}
    for source in arguments.data:
        ratings = read(source)
        name = Path(source).name
        for split in SPLITS if arguments.split == "all" else [arguments.split]:
            if split == "next" and ratings.rated_at is None:
                log(f"{name} has no times: `next` is left out")
                continue
            words, results = _measure_split(arguments, name, ratings, split, peers)
            verdicts.append(f"- {name}, `{split}`: {words}")
            written.setdefault(name, {})[split] = results
    if not verdicts:
        sys.exit("nothing was measured; `next` needs ratings with times")
    print("\n".join(["The blend by NDCG@5, and its RMSE:\n", *verdicts]))
    if arguments.json:
        text = json.dumps({"seed": arguments.seed, "data": written}, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="This project's models beside their peers, on the same folds."
    )
    parser.add_argument(
        "--data",
        nargs=1,
        default=[str(MOVIELENS), str(MOVIETWEETINGS)],
        help="a folder that `ingest` accepts, or `sample` for generated data; "
        "by default MovieLens ml-latest-small and MovieTweetings",
    )
    parser.add_argument("--split", choices=[*SPLITS, "all"], default="all")
    parser.add_argument(
        "--folds", type=int, choices=range(1, FOLDS + 1), default=FOLDS, help="of the random split"
    )
    parser.add_argument("--models", choices=["ours", "all"], default="all")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every metric of every fold as well"
    )
    arguments = parser.parse_args()
    for source in arguments.data:
        if source != "sample" and not Path(source).is_dir():
            parser.error(f"--data: there is no folder {source}; name one with ratings, or `sample`")
    return arguments


def _measure_split(
    arguments: argparse.Namespace, name: str, ratings: Ratings, split: str, peers: list[Peer]
) -> tuple[str, dict[str, Any]]:
    """Print the tables of one split; what they say of the blend, and their figures."""
    parts = list(folds(ratings, split, arguments.seed, arguments.folds))
    train, _ = parts[0]
    left_out = {peer.name: peer.left_out(train) for peer in peers}
    fitted = [peer for peer in peers if not left_out[peer.name]]
    trials = measure_all(parts, fitted, arguments.seed)
    ahead = differences(trials, arguments.seed)
    users = sum(len(fold.users) for fold in trials[0].folds)
    print(
        f"**{name}, `{split}`: {describe(split, ratings, arguments.folds)}** "
        f"({ratings.n_users:,} users, {ratings.n_items:,} films, "
        f"{ratings.n_ratings:,} ratings; seed {arguments.seed}). "
        f"{users:,} lists of users with a liked film are measured. "
        f"Peers at the best of their settings, chosen on the test ratings themselves: "
        f"by RMSE for that column, by NDCG@{N} for the others. Best in bold.\n"
    )
    print(f"{best_table(trials, ahead)}\n")
    reasons = [f"{peer} ({why})" for peer, why in left_out.items() if why]
    if reasons:
        print(f"Left out: {', '.join(reasons)}.\n")
    if fitted:
        print(f"Settings tried, `r` best by RMSE, `n` best by NDCG@{N}:\n")
        print(f"{all_table(trials)}\n", flush=True)
    return verdict(trials, ahead), as_json(trials, ahead)


if __name__ == "__main__":
    main()
