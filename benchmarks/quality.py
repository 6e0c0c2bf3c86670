"""Ratings -> this project's models beside their peers on the same folds: a Markdown table a split.

    pip install --constraint constraints.txt --editable '.[bench]'
    python benchmarks/quality.py
    python benchmarks/quality.py --models ours --split time --json quality.json

Without arguments both splits of MovieLens ml-latest-small, in 20 minutes on 2 cores.

`random` is five folds over ratings, drawn with the seed, without times. `time` holds out
the last 20 % of each user's ratings, as a night does. Every model goes through
`batch.ranking.evaluate.judge` and `batch.ranking.metrics.measure`: all films not rated in
training are candidates, precision divides by 5, users with a held-out film of 4 stars or
more count, predictions are clipped to the scale, and a missing prediction is replaced by
mu + b_u + b_i for peers and by the model's own baseline for ours.

Our models have the shipped settings. A peer has the best of a few settings (peers.py),
chosen on the very ratings it is measured on: by precision@5 for the columns on lists, and
again by RMSE for that column. That favours peers on purpose, so that a model that is
better here is better.
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
from batch.ranking.ensemble import rank_scores
from batch.ranking.evaluate import fit_and_judge, judge
from batch.ranking.hold_out import hold_out
from batch.ranking.metrics import Catalogue, Judged, Metrics, measure
from batch.ranking.rank import tie_order
from batch.ranking.ranked_block import RankedBlock
from batch.ratings import Ints, Pairs, Ratings
from batch.store.database import open_database
from batch.store.load import load
from batch.store.run_lock import run_lock
from batch.store.versions import prepare
from peers import PEERS, Peer

FOLDS = 5
"""Parts of the random split."""
N = 5
"""Films in a list, as `publish.top_n`."""
RELEVANT_FROM = 4.0
"""Stars; 80 % of the highest rating, as `evaluation.relevant_from`."""
BLOCK = 256
"""Users scored at a time."""
COLUMNS = {
    "rmse": "RMSE",
    f"precision@{N}": f"precision@{N}",
    f"ndcg@{N}": f"NDCG@{N}",
    f"coverage@{N}": "coverage",
    f"novelty@{N}": "novelty",
}
ACCURACY = list(COLUMNS)[:3]
NO_BEST = {f"novelty@{N}"}
"""Metrics of which neither more nor less is better."""
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ml-latest-small"


@dataclass(frozen=True)
class Alone:
    """One model, a peer or ours, as a `Scorer`."""

    name: str
    model: Model
    ratings: Ratings

    def rank_users(
        self, names: Sequence[str], users: Ints, n: int, pairs: Pairs
    ) -> dict[str, RankedBlock]:
        """Its lists of n for these users, (b,), and its ratings of these pairs."""
        if self.name not in names:
            return {}
        order = tie_order(self.ratings.item_counts())
        scores, rated = self.model.score(users), self.ratings.matrix[users]
        return {self.name: rank_scores(scores, rated, order, n, pairs)}

    def baseline(self, _name: str) -> Baseline:
        """mu + b_u + b_i for peers, the model's own for ours."""
        return self.model.baseline


@dataclass(frozen=True)
class Trial:
    """One model at one setting, measured on every fold."""

    model: str
    setting: str  # empty for ours
    folds: list[Metrics]

    def mean(self, metric: str) -> float:
        """Mean over folds; nan for what the model does not predict."""
        return float(np.mean([metrics.get(metric, np.nan) for metrics in self.folds]))


@dataclass(frozen=True)
class Row:
    """A model at its best settings for ratings and for lists."""

    by_rmse: Trial
    by_precision: Trial

    def value(self, metric: str) -> float:
        trial = self.by_rmse if metric == "rmse" else self.by_precision
        return trial.mean(metric)


def main() -> None:
    """Measure what the arguments name."""
    arguments = _arguments()
    ratings = read(arguments.data)
    splits = ["random", "time"] if arguments.split == "both" else [arguments.split]
    if ratings.rated_at is None and "time" in splits:
        _log("these ratings have no times: `time` is a random 20 % of each user's")
    peers = list(PEERS) if arguments.models == "all" else []
    for peer in peers:
        if not peer.installed:
            _log(f"{peer.name} is left out: {peer.needs} is not installed")
    installed = [peer for peer in peers if peer.installed]
    trials_by_split = {}
    for split in splits:
        parts = folds(ratings, split, arguments.seed, arguments.folds)
        trials = measure_all(parts, installed, arguments.seed)
        trials_by_split[split] = trials
        print(f"{title(arguments, ratings, split, trials)}\n\n{best_table(trials)}\n")
        if peers:
            print(f"Settings tried, `r` best by RMSE, `p` best by precision@{N}:\n")
            print(f"{all_table(trials)}\n")
    if arguments.json:
        text = json.dumps(_json(arguments, trials_by_split), indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="This project's models beside their peers, on the same folds."
    )
    parser.add_argument(
        "--data",
        default=str(DATA),
        help="a folder that `ingest` accepts, or `sample` for generated data",
    )
    parser.add_argument("--split", choices=["random", "time", "both"], default="both")
    parser.add_argument(
        "--folds", type=int, choices=range(1, FOLDS + 1), default=FOLDS, help="of the random split"
    )
    parser.add_argument("--models", choices=["ours", "all"], default="all")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every metric of every fold as well"
    )
    arguments = parser.parse_args()
    if arguments.data != "sample" and not Path(arguments.data).is_dir():
        parser.error(
            f"--data: there is no folder {arguments.data}; name one with ratings, or `sample`"
        )
    return arguments


def read(source: str) -> Ratings:
    """A folder, or the generated sample -> ratings, through a temporary database."""
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
    """Training and held-out ratings: the first `number` of five at random, or one pair by time.

    At random, times are removed: a model that could order the past by them would have an
    advantage over its peers.
    """
    if split == "time":
        held = hold_out(ratings, seed)
        yield ratings.keep(~held), ratings.keep(held)
        return
    timeless = replace(ratings, rated_at=None)
    fold = np.random.default_rng(seed).permutation(ratings.n_ratings) % FOLDS  # (n_ratings,)
    for held_fold in range(number):
        yield timeless.keep(fold != held_fold), timeless.keep(fold == held_fold)


def measure_all(
    parts: Iterable[tuple[Ratings, Ratings]], peers: Sequence[Peer], seed: int
) -> list[Trial]:
    """Our models, then peers at every setting, each on every fold."""
    by_trial: dict[tuple[str, str], list[Metrics]] = {}
    for number, (train, held) in enumerate(parts):
        catalogue = Catalogue(train.matrix, train.genres)
        for model, setting, judged in _judged(train, held, peers, seed):
            metrics = measure(judged, catalogue, seed)
            by_trial.setdefault((model, setting), []).append(metrics)
            values = [f"{COLUMNS[name]} {metrics.get(name, np.nan):.4f}" for name in ACCURACY]
            _log(f"fold {number + 1}  {'  '.join(values)}  {model} {setting}")
    return [Trial(model, setting, metrics) for (model, setting), metrics in by_trial.items()]


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
    """One model, judged on all users' held-out ratings."""
    scorer, everyone = Alone(name, model, train), np.arange(train.n_users)
    return judge(scorer, [name], held, everyone, N, RELEVANT_FROM, BLOCK)[name]


def at_best(trials: Sequence[Trial]) -> dict[str, Row]:
    """Each model at the setting with the lowest RMSE, and at the one with the highest precision."""
    by_model: dict[str, list[Trial]] = {}
    for trial in trials:
        by_model.setdefault(trial.model, []).append(trial)
    rows = {}
    for model, of_model in by_model.items():
        by_rmse = min(of_model, key=_rmse_or_inf)
        by_precision = max(of_model, key=lambda trial: trial.mean(f"precision@{N}"))
        rows[model] = Row(by_rmse, by_precision)
    return rows


def _rmse_or_inf(trial: Trial) -> float:
    return float(np.nan_to_num(trial.mean("rmse"), nan=np.inf))


def title(
    arguments: argparse.Namespace, ratings: Ratings, split: str, trials: Sequence[Trial]
) -> str:
    """Data, split and rules of the table below it."""
    cut = f"{len(trials[0].folds)} of {FOLDS} random folds"
    if split == "time" and ratings.rated_at is None:
        cut = "a random 20 % of each user's"
    elif split == "time":
        cut = "each user's last 20 %"
    return (
        f"**{Path(arguments.data).name}, {cut}** "
        f"({ratings.n_users:,} users, {ratings.n_items:,} films, "
        f"{ratings.n_ratings:,} ratings; seed {arguments.seed}). "
        f"Peers at the best of their settings, chosen on the test ratings themselves: "
        f"by RMSE for that column, by precision@{N} for the others. Best in bold."
    )


def best_table(trials: Sequence[Trial]) -> str:
    """A row for each model, best values in bold."""
    rows = at_best(trials)
    best = {}
    for metric in COLUMNS.keys() - NO_BEST:
        values = [round(row.value(metric), 3) for row in rows.values()]
        measured = [value for value in values if not np.isnan(value)]
        best[metric] = min(measured) if metric == "rmse" else max(measured)
    lines = [
        [model, *(_figure(row.value(metric), best.get(metric)) for metric in COLUMNS)]
        for model, row in rows.items()
    ]
    return _markdown(["model", *COLUMNS.values()], lines)


def all_table(trials: Sequence[Trial]) -> str:
    """A row for each setting of a peer, marked where it was the best."""
    rows = at_best(trials)
    lines = []
    for trial in trials:
        if not trial.setting:
            continue
        row = rows[trial.model]
        marks = ""
        if trial is row.by_rmse and "rmse" in trial.folds[0]:
            marks += "r"
        if trial is row.by_precision:
            marks += "p"
        values = [_figure(trial.mean(metric)) for metric in ACCURACY]
        lines.append([trial.model, trial.setting, *values, marks])
    return _markdown(["model", "setting", *(COLUMNS[metric] for metric in ACCURACY), "best"], lines)


def _figure(value: float, best: float | None = None) -> str:
    text = "-" if np.isnan(value) else f"{value:.3f}"
    return f"**{text}**" if best is not None and text == f"{best:.3f}" else text


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose cells are padded to the same width, so that it is readable as text."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    rows = []
    for line in (head, rule, *lines):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _json(
    arguments: argparse.Namespace, trials_by_split: Mapping[str, Sequence[Trial]]
) -> dict[str, Any]:
    """Every metric of every fold, and the settings in the table."""
    splits = {}
    for split, trials in trials_by_split.items():
        best = {}
        for model, row in at_best(trials).items():
            values: dict[str, Any] = {name: _or_none(row.value(name)) for name in COLUMNS}
            values["rmse_setting"] = row.by_rmse.setting
            values["lists_setting"] = row.by_precision.setting
            best[model] = values
        tried = [
            {"model": trial.model, "setting": trial.setting, "folds": trial.folds}
            for trial in trials
        ]
        splits[split] = {"best": best, "tried": tried}
    return {"data": Path(arguments.data).name, "seed": arguments.seed, "splits": splits}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _log(text: str) -> None:
    """Progress, on standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
