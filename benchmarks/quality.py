"""Ratings -> this project's models beside their peers, judged alike on the same folds: a Markdown table a split.

    pip install --constraint constraints.txt --editable '.[bench]'
    python benchmarks/quality.py                      # both splits of MovieLens ml-latest-small: 20 minutes, 2 cores
    python benchmarks/quality.py --models ours --split time --json quality.json

`random` is five folds over ratings, drawn with the seed; nobody is told times. `time` holds out the last 20 % of each
user's ratings, as a night does. Every model, ours or not, goes through `batch.ranking.evaluate.judge` and
`batch.ranking.metrics.measure`: all films unseen in training are candidates, precision divides by 5, users with a held-out
film of 4 stars or more count, predictions are clipped to the scale, and a pair a model cannot say is scored with
mu + b_u + b_i for peers and the model's own baseline for ours.

Ours stand at the shipped settings. A peer stands at the best of a few (peers.py), and the best is chosen on the very
ratings it is measured on: by precision@5 for the columns on lists, and once more by RMSE for that column. That flatters
peers on purpose, so that what beats them here beats them.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from batch.cli.sample_data import write_sample
from batch.config import Config
from batch.ingest import ingest
from batch.job.inputs import ingest_settings
from batch.models import Model
from batch.models.baseline import Baseline
from batch.params import PRESETS
from batch.ranking.ensemble import RankedBlock, answer
from batch.ranking.evaluate import fit_and_judge, hold_out, judge
from batch.ranking.metrics import Catalogue, Judged, Metrics, measure
from batch.ranking.rank import tie_order
from batch.ratings import Ints, Pairs, Ratings
from batch.store.database import open_database, prepare, run_lock
from batch.store.load import load
from peers import PEERS, Peer

FOLDS = 5
"""Parts the random split is cut into."""
N = 5
"""Films in a list, as `publish.top_n`."""
RELEVANT_FROM = 4.0
"""Stars; 80 % of the highest rating, as `evaluation.relevant_from`."""
BLOCK = 256
"""Users scored at a time."""
COLUMNS = {
    "rmse": "RMSE", f"precision@{N}": f"precision@{N}", f"ndcg@{N}": f"NDCG@{N}",
    f"coverage@{N}": "coverage", f"novelty@{N}": "novelty",
}  # fmt: skip
ACCURACY = list(COLUMNS)[:3]
NO_BEST = {f"novelty@{N}"}
"""More or less of it is neither good nor bad by itself."""
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ml-latest-small"


@dataclass(frozen=True)
class Alone:
    """One model, a peer or ours, as the judge holds it."""

    name: str
    model: Model
    ratings: Ratings

    def answers(
        self, names: Sequence[str], users: Ints, n: int, asked: Pairs
    ) -> dict[str, RankedBlock]:
        """Its lists for these users, (b,), and its ratings of the cells asked about."""
        places = tie_order(self.ratings.item_counts())
        scores, seen = self.model.score(users), self.ratings.matrix[users]
        return {name: answer(scores, seen, places, n, asked) for name in names if name == self.name}

    def baseline(self, _name: str) -> Baseline:
        """mu + b_u + b_i."""
        return self.model.baseline


@dataclass(frozen=True)
class Tried:
    """One model at one setting, measured on every fold."""

    model: str
    setting: str  # empty for ours
    folds: list[Metrics]

    def mean(self, metric: str) -> float:
        """Over folds; nan for what the model does not do."""
        return float(np.mean([figures.get(metric, np.nan) for figures in self.folds]))


@dataclass(frozen=True)
class Row:
    """A model at its best: once for ratings, and once for lists."""

    by_rmse: Tried
    by_precision: Tried

    def value(self, metric: str) -> float:
        return (self.by_rmse if metric == "rmse" else self.by_precision).mean(metric)


def main() -> None:
    """Measure what the arguments ask for."""
    asked = _arguments()
    ratings = read(asked.data)
    splits = ["random", "time"] if asked.split == "both" else [asked.split]
    if ratings.rated_at is None and "time" in splits:
        _say("these ratings have no times: `time` is a random 20 % of each user's")
    peers = [peer for peer in PEERS if asked.models == "all"]
    for peer in peers:
        if not peer.installed:
            _say(f"{peer.name} is left out: {peer.needs} is not installed")
    found = {}
    for split in splits:
        parts = folds(ratings, split, asked.seed, asked.folds)
        found[split] = tried(parts, [peer for peer in peers if peer.installed], asked.seed)
        print(f"{title(asked, ratings, split, found[split])}\n\n{best_table(found[split])}\n")
        if peers:
            print(
                f"Settings tried, `r` best by RMSE, `p` best by precision@{N}:\n\n{all_table(found[split])}\n"
            )
    if asked.json:
        asked.json.write_text(json.dumps(_plain(asked, found), indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="This project's models beside their peers, on the same folds."
    )
    parser.add_argument(
        "--data",
        default=str(DATA),
        help="a folder that `ingest` knows, or `sample` for made-up data",
    )
    parser.add_argument("--split", choices=["random", "time", "both"], default="both")
    parser.add_argument(
        "--folds", type=int, choices=range(1, FOLDS + 1), default=FOLDS, help="of the random split"
    )
    parser.add_argument("--models", choices=["ours", "all"], default="all")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every figure of every fold as well"
    )
    asked = parser.parse_args()
    if asked.data != "sample" and not Path(asked.data).is_dir():
        parser.error(f"--data: there is no folder {asked.data}; name one with ratings, or `sample`")
    return asked


def read(source: str) -> Ratings:
    """A folder, or the generated sample -> ratings, by way of a database that lives as long as this call."""
    with TemporaryDirectory() as folder:
        files = Path(source)
        if source == "sample":
            files = Path(folder) / "sample"
            write_sample(files)
        database = open_database(f"sqlite:///{folder}/recbatch.db")
        prepare(database)
        with run_lock(database):
            reports = ingest(database, [files], ingest_settings(Config()))
        for report in reports:
            if report.status == "refused":
                sys.exit(f"{report.file}: {report.why}")
        with database.reader.connect() as connection:
            return load(connection).ratings


def folds(
    ratings: Ratings, split: str, seed: int, number: int
) -> Iterator[tuple[Ratings, Ratings]]:
    """Train and held-out ratings, with the same users and items: the first `number` of five at random, or one by time.

    At random, times are taken away: a model that could order the past by them would know more than its peers.
    """
    if split == "time":
        held = hold_out(ratings, seed)
        yield ratings.keep(~held), ratings.keep(held)
        return
    timeless = replace(ratings, rated_at=None)
    fold = np.random.default_rng(seed).permutation(ratings.n_ratings) % FOLDS  # (n_ratings,)
    for which in range(number):
        yield timeless.keep(fold != which), timeless.keep(fold == which)


def tried(
    parts: Iterable[tuple[Ratings, Ratings]], peers: Sequence[Peer], seed: int
) -> list[Tried]:
    """Ours, then peers at every setting, each on every fold."""
    found: dict[tuple[str, str], list[Metrics]] = {}
    for number, (train, held) in enumerate(parts):
        for model, setting, judged in _judged(train, held, peers, seed):
            figures = measure(judged, Catalogue(train.matrix, train.genres), seed)
            found.setdefault((model, setting), []).append(figures)
            seen = "  ".join(
                f"{COLUMNS[name]} {figures.get(name, np.nan):.4f}" for name in ACCURACY
            )
            _say(f"fold {number + 1}  {seen}  {model} {setting}")
    return [Tried(model, setting, figures) for (model, setting), figures in found.items()]


def _judged(
    train: Ratings, held: Ratings, peers: Sequence[Peer], seed: int
) -> Iterator[tuple[str, str, Judged]]:
    ours, _ = fit_and_judge(
        train,
        held,
        PRESETS["tuned"],
        seed=seed,
        n=N,
        relevant_from=RELEVANT_FROM,
        block=BLOCK,
        users=train.n_users,
    )
    for name, judged in ours.items():
        yield name, "", judged
    for peer in peers:
        for setting in peer.settings:
            model = peer.fit(train, seed, **setting)
            text = ", ".join(f"{key} {value}" for key, value in setting.items()) or "defaults"
            yield peer.name, text, alone(peer.name, model, train, held)


def alone(name: str, model: Model, train: Ratings, held: Ratings) -> Judged:
    """One model against the held-out part of everyone."""
    scorer, everyone = Alone(name, model, train), np.arange(train.n_users)
    return judge(scorer, [name], held, everyone, N, RELEVANT_FROM, BLOCK)[name]


def at_best(found: Sequence[Tried]) -> dict[str, Row]:
    """Each model at the setting with the lowest RMSE, and at the one with the highest precision."""
    by_model: dict[str, list[Tried]] = {}
    for one in found:
        by_model.setdefault(one.model, []).append(one)
    return {
        model: Row(
            by_rmse=min(ones, key=lambda one: np.nan_to_num(one.mean("rmse"), nan=np.inf)),
            by_precision=max(ones, key=lambda one: one.mean(f"precision@{N}")),
        )
        for model, ones in by_model.items()
    }


def title(asked: argparse.Namespace, ratings: Ratings, split: str, found: Sequence[Tried]) -> str:
    """What the table below it is of."""
    number = len(found[0].folds)
    how = f"{number} of {FOLDS} random folds"
    if split == "time":
        how = (
            "a random 20 % of each user's" if ratings.rated_at is None else "each user's last 20 %"
        )
    return (
        f"**{Path(asked.data).name}, {how}** ({ratings.n_users:,} users, {ratings.n_items:,} films, "
        f"{ratings.n_ratings:,} ratings; seed {asked.seed}). Peers at the best of their settings, chosen on the test "
        f"ratings themselves: by RMSE for that column, by precision@{N} for the others. Best in bold."
    )


def best_table(found: Sequence[Tried]) -> str:
    """A row a model, best values bold."""
    rows = at_best(found)
    best = {
        metric: (min if metric == "rmse" else max)(
            value for row in rows.values() if not np.isnan(value := round(row.value(metric), 3))
        )
        for metric in COLUMNS.keys() - NO_BEST
    }
    lines = [
        [model, *(_figure(row.value(metric), best.get(metric)) for metric in COLUMNS)]
        for model, row in rows.items()
    ]
    return _markdown(["model", *COLUMNS.values()], lines)


def all_table(found: Sequence[Tried]) -> str:
    """A row a peer's setting, marked where it was the best."""
    rows = at_best(found)
    lines = []
    for one in found:
        if one.setting:
            row = rows[one.model]
            marks = "r" * (one is row.by_rmse and "rmse" in one.folds[0]) + "p" * (
                one is row.by_precision
            )
            lines.append(
                [one.model, one.setting, *(_figure(one.mean(metric)) for metric in ACCURACY), marks]
            )
    return _markdown(["model", "setting", *(COLUMNS[metric] for metric in ACCURACY), "best"], lines)


def _figure(value: float, best: float | None = None) -> str:
    text = "-" if np.isnan(value) else f"{value:.3f}"
    return f"**{text}**" if best is not None and text == f"{best:.3f}" else text


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Padded, so that it reads as it stands."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in (head, rule, *lines)
    )


def _plain(asked: argparse.Namespace, found: Mapping[str, Sequence[Tried]]) -> dict[str, Any]:
    """Every figure of every fold, and which setting stands in the table."""
    return {
        "data": Path(asked.data).name,
        "seed": asked.seed,
        "splits": {
            split: {
                "best": {
                    model: {metric: _or_none(row.value(metric)) for metric in COLUMNS}
                    | {
                        "rmse_setting": row.by_rmse.setting,
                        "lists_setting": row.by_precision.setting,
                    }
                    for model, row in at_best(ones).items()
                },
                "tried": [
                    {"model": one.model, "setting": one.setting, "folds": one.folds} for one in ones
                ],
            }
            for split, ones in found.items()
        },
    }


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _say(text: str) -> None:
    """Progress, beside the tables."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
