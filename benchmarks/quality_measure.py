"""Ratings held out, and models -> their metrics, at every setting and at the best one."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from batch.models import Model
from batch.models.baseline import Baseline
from batch.params import PRESETS
from batch.ranking.ensemble import rank_scores
from batch.ranking.evaluate import Inputs, fit_and_judge, judge
from batch.ranking.metrics import Catalogue, Judged, Metrics, interval, measure, ndcg_by_user
from batch.ranking.rank import tie_order
from batch.ranking.ranked_block import RankedBlock
from batch.ratings import Floats, Ints, Pairs, Ratings
from fitted_peer import liked_from
from peers import Peer

N = 5
"""Films in a list, as `publish.top_n`."""
BLOCK = 256
"""Users scored at a time."""
ACCURACY = ("rmse", f"precision@{N}", f"ndcg@{N}")
OURS = "blend"
"""The model that the others are compared with."""

Part = tuple[Ratings, Ratings]
"""Training and held-out ratings."""


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
class Measured:
    """One model on one fold."""

    metrics: Metrics
    users: Ints  # (u,) rows of the users with a liked film
    ndcg: Floats  # (u,)


@dataclass(frozen=True)
class Trial:
    """One model at one setting, measured on every fold."""

    model: str
    setting: str  # empty for ours
    folds: list[Measured]

    def mean(self, metric: str) -> float:
        """Mean over folds; nan for what the model does not predict."""
        return float(np.mean([fold.metrics.get(metric, np.nan) for fold in self.folds]))


@dataclass(frozen=True)
class Row:
    """A model at its best settings for ratings and for lists."""

    by_rmse: Trial
    by_ndcg: Trial

    def value(self, metric: str) -> float:
        trial = self.by_rmse if metric == "rmse" else self.by_ndcg
        return trial.mean(metric)


@dataclass(frozen=True)
class Difference:
    """The blend's NDCG less another model's, with its 95 % interval."""

    mean: float
    low: float
    high: float


def measure_all(parts: Sequence[Part], peers: Sequence[Peer], seed: int) -> list[Trial]:
    """Our models, then peers at every setting, each on every fold."""
    by_trial: dict[tuple[str, str], list[Measured]] = {}
    for number, (train, held) in enumerate(parts):
        catalogue = Catalogue(train.matrix, train.genres)
        for model, setting, judged in _judged(train, held, peers, seed):
            metrics = measure(judged, catalogue, seed)
            measured = Measured(metrics, judged.users[judged.relevant > 0], ndcg_by_user(judged))
            by_trial.setdefault((model, setting), []).append(measured)
            values = [f"{name} {metrics.get(name, np.nan):.4f}" for name in ACCURACY]
            log(f"fold {number + 1}  {'  '.join(values)}  {model} {setting}")
    return [Trial(model, setting, folds) for (model, setting), folds in by_trial.items()]


def _judged(
    train: Ratings, held: Ratings, peers: Sequence[Peer], seed: int
) -> Iterator[tuple[str, str, Judged]]:
    inputs: Inputs = {
        "seed": seed,
        "n": N,
        "relevant_from": liked_from(train),
        "block": BLOCK,
        "users": 0,  # judged are users with held-out ratings, as in `alone`
        "diversity": 0.0,
    }
    ours, _ = fit_and_judge(train, held, PRESETS["tuned"], inputs)
    for name, judged in ours.items():
        yield name, "", judged
    for peer in peers:
        for setting in peer.settings:
            model = peer.fit(train, seed, **setting)
            text = ", ".join(f"{key} {value}" for key, value in setting.items()) or "defaults"
            yield peer.name, text, alone(peer.name, model, train, held)


def alone(name: str, model: Model, train: Ratings, held: Ratings) -> Judged:
    """One model, judged on all held-out ratings."""
    scorer = Alone(name, model, train)
    users = np.flatnonzero(held.user_counts())
    return judge(scorer, [name], held, users, N, liked_from(train), BLOCK)[name]


def at_best(trials: Sequence[Trial]) -> dict[str, Row]:
    """Each model at the setting with the lowest RMSE, and at the one with the highest NDCG."""
    by_model: dict[str, list[Trial]] = {}
    for trial in trials:
        by_model.setdefault(trial.model, []).append(trial)
    rows = {}
    for model, of_model in by_model.items():
        by_rmse = min(of_model, key=_rmse_or_inf)
        by_ndcg = max(of_model, key=lambda trial: trial.mean(f"ndcg@{N}"))
        rows[model] = Row(by_rmse, by_ndcg)
    return rows


def _rmse_or_inf(trial: Trial) -> float:
    return float(np.nan_to_num(trial.mean("rmse"), nan=np.inf))


def differences(trials: Sequence[Trial], seed: int) -> dict[str, Difference]:
    """The blend's NDCG less every other model's at its best setting, paired by user.

    A user of several folds is one user of the bootstrap, whose differences are drawn together.
    """
    rows = at_best(trials)
    blend = rows.pop(OURS).by_ndcg
    users = np.concatenate([fold.users for fold in blend.folds])  # (n,) user of each difference
    counts = np.bincount(users)
    judged = counts > 0
    by_model = {}
    for name, row in rows.items():
        pairs = zip(blend.folds, row.by_ndcg.folds, strict=True)
        of_folds = np.concatenate([ours.ndcg - other.ndcg for ours, other in pairs])  # (n,)
        sums = np.bincount(users, weights=of_folds)[judged]
        low, high = interval(sums, counts[judged].astype(np.float64), seed)
        by_model[name] = Difference(float(of_folds.mean()), low, high)
    return by_model


def log(text: str) -> None:
    """Progress, on standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
