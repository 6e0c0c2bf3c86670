"""Films of a run's lists that were rated since -> how good the lists were; docs/metrics.md."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from batch.ranking.metric_names import MetricName
from batch.ranking.metrics import Metrics, intervals
from batch.ratings import Floats, Ints

POPULAR = "popular"
"""The name, among models, of the popular list less what each user had rated at the run."""
SPARE_HITS = "spare_hits"
"""The metric that counts liked films among the spare rows of a run's lists."""


@dataclass(frozen=True)
class Rated:
    """The films of one model's lists that their users rated since, in any order."""

    users: Ints  # (n_rows,) user_id
    ranks: Ints  # (n_rows,)
    stars: Floats  # (n_rows,)
    predicted: Floats  # (n_rows,) stars as they are stored, unclipped; nan = none


@dataclass(frozen=True)
class Terms:
    """What a run's lists are judged by."""

    n: int  # length of lists
    has_spare: bool  # rows below rank n are stored too
    liked_from: float  # stars
    scale: tuple[float, float]  # lowest and highest rating, stars
    seed: int


def outcome(judged: Ints, by_model: Mapping[str, Rated], terms: Terms) -> dict[str, Metrics]:
    """The metrics of each model by stored name; those that cannot be computed are left out.

    `judged`, (u,), are the ids of users who liked a film that is new to them, in order:
    precision and hit rate are means over them, as in `metrics.measure`. Stars are means over
    all listed films that were rated, also of users who are not judged.
    """
    metrics = {name: _counts(judged, rated, terms) for name, rated in by_model.items()}
    if terms.has_spare:
        for name in by_model.keys() - {POPULAR}:
            metrics[name][SPARE_HITS] = _spare_hits(by_model[name], terms)
    shown = {name: _first(rated, terms.n) for name, rated in by_model.items()}
    for parts, n in ((_hits(judged, shown, terms), terms.n), (_stars(shown, terms), None)):
        for (name, metric), (value, low, high) in _with_intervals(parts, terms.seed).items():
            metrics[name][str(MetricName(metric, n=n))] = value
            metrics[name][str(MetricName(metric, "low", n))] = low
            metrics[name][str(MetricName(metric, "high", n))] = high
    return {**metrics}


def _counts(judged: Ints, rated: Rated, terms: Terms) -> dict[str, float]:
    """Numbers of users and films, and the mean of what was predicted for these films."""
    shown = _first(rated, terms.n)
    metrics = {"users": float(len(judged)), "rated": float(len(shown.users))}
    if len(shown.users):
        metrics["raters"] = float(len(np.unique(shown.users)))
    known = ~np.isnan(shown.predicted)  # (n_rows,)
    if known.any():
        metrics["predicted"] = float(shown.predicted[known].clip(*terms.scale).mean())
    return metrics


def _first(rated: Rated, n: int) -> Rated:
    """The rows down to rank n, which were shown."""
    shown = rated.ranks <= n  # (n_rows,)
    return Rated(rated.users[shown], rated.ranks[shown], rated.stars[shown], rated.predicted[shown])


def _spare_hits(rated: Rated, terms: Terms) -> float:
    """How many liked films were below rank n: they move up where others were rated."""
    return float(((rated.stars >= terms.liked_from) & (rated.ranks > terms.n)).sum())


Parts = dict[tuple[str, str], tuple[Floats, Floats]]
"""By model and metric, sums and weights by user, (users,) each: the metric is their ratio."""


def _hits(judged: Ints, shown: Mapping[str, Rated], terms: Terms) -> Parts:
    """Precision and hit rate of each model, over the judged users."""
    parts: Parts = {}
    if not len(judged):
        return parts
    once = np.ones(len(judged))
    places = np.full(len(judged), float(terms.n))
    for name, rated in shown.items():
        users = rated.users[rated.stars >= terms.liked_from]  # (n_hits,)
        hits = np.bincount(np.searchsorted(judged, users), minlength=len(judged))  # (u,)
        parts[name, "precision"] = (hits.astype(np.float64), places)
        parts[name, "hit_rate"] = ((hits > 0).astype(np.float64), once)
    return parts


def _stars(shown: Mapping[str, Rated], terms: Terms) -> Parts:
    """Stars given, and how much higher predictions were, over users who rated a listed film."""
    raters = np.unique(np.concatenate([rated.users for rated in shown.values()]))  # (r,)

    def by_rater(users: Ints, values: Floats) -> tuple[Floats, Floats]:
        rows = np.searchsorted(raters, users)  # (n_rows,)
        sums = np.bincount(rows, weights=values, minlength=len(raters))
        counts = np.bincount(rows, minlength=len(raters))
        return sums.astype(np.float64), counts.astype(np.float64)

    parts: Parts = {}
    for name, rated in shown.items():
        off = rated.predicted.clip(*terms.scale) - rated.stars  # (n_rows,) nan = not predicted
        known = ~np.isnan(off)
        if len(rated.users):
            parts[name, "stars"] = by_rater(rated.users, rated.stars)
        if known.any():
            parts[name, "calibration"] = by_rater(rated.users[known], off[known])
    return parts


def _with_intervals(parts: Parts, seed: int) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Each ratio with its 95 % interval, by bootstrap over users."""
    if not parts:
        return {}
    ratios = [float(sums.sum() / weights.sum()) for sums, weights in parts.values()]
    ends = intervals(list(parts.values()), seed)
    return {
        key: (ratio, low, high) for key, ratio, (low, high) in zip(parts, ratios, ends, strict=True)
    }
