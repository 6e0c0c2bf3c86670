"""Films of a run's lists that were rated since -> how good the lists were; docs/outcome.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batch.ranking.metric_names import Bound, MetricName
from batch.ranking.metrics import Metrics, intervals
from batch.ratings import Bools, Floats, Ints

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
    """The metrics of each model by stored name; without any new rating there are none.

    `judged`, (u,), are the ids of users who liked a film that is new to them, in order:
    precision and hit rate are means over them, as in `metrics.measure`. Stars are of every
    listed film that was rated, whoever rated it.
    """
    if not len(judged) and not any(len(rated.users) for rated in by_model.values()):
        return {}
    metrics = {name: _measure(judged, rated, terms) for name, rated in by_model.items()}
    if terms.has_spare:
        for name in by_model.keys() - {POPULAR}:
            metrics[name][SPARE_HITS] = _spare_hits(by_model[name], terms)
    return {**metrics}


def _spare_hits(rated: Rated, terms: Terms) -> float:
    """How many liked films were below rank n: they move up where others were rated."""
    return float(((rated.stars >= terms.liked_from) & (rated.ranks > terms.n)).sum())


def _measure(judged: Ints, rated: Rated, terms: Terms) -> dict[str, float]:
    shown = rated.ranks <= terms.n  # (n_rows,)
    liked = rated.stars >= terms.liked_from  # (n_rows,)
    metrics = {"users": float(len(judged)), "rated": float(shown.sum())}
    if len(judged):
        metrics |= _hits(judged, rated.users[shown & liked], terms)
    if shown.any():
        metrics |= _stars(rated, shown, terms)
    return metrics


def _hits(judged: Ints, users: Ints, terms: Terms) -> dict[str, float]:
    """Precision and hit rate; `users`, (n_hits,), has a user once for each liked film."""
    counts = np.bincount(np.searchsorted(judged, users), minlength=len(judged))  # (u,)
    precision = counts / terms.n  # (u,)
    hit_rate = (counts > 0).astype(np.float64)  # (u,)
    once = np.ones(len(judged))
    return _with_intervals(
        {"precision": (precision, once), "hit_rate": (hit_rate, once)}, terms.seed, terms.n
    )


def _stars(rated: Rated, shown: Bools, terms: Terms) -> dict[str, float]:
    """Stars given and predicted, and by how much predictions were too high, over rows."""
    stars = rated.stars[shown]
    predicted = rated.predicted[shown].clip(*terms.scale)
    raters, user = np.unique(rated.users[shown], return_inverse=True)  # (r,), (n_shown,)
    known = ~np.isnan(predicted)  # (n_shown,)

    def by_rater(values: Floats, rows: Bools) -> tuple[Floats, Floats]:
        sums = np.bincount(user[rows], weights=values[rows], minlength=len(raters))
        counts = np.bincount(user[rows], minlength=len(raters))
        return sums.astype(np.float64), counts.astype(np.float64)

    sums = {"stars": by_rater(stars, np.ones_like(known))}
    if known.any():
        sums["calibration"] = by_rater(predicted - stars, known)
    metrics = {"raters": float(len(raters))} | _with_intervals(sums, terms.seed)
    if known.any():
        metrics["predicted"] = float(predicted[known].mean())
    return metrics


def _with_intervals(
    parts: Mapping[str, tuple[Floats, Floats]], seed: int, n: int | None = None
) -> dict[str, float]:
    """Ratios of sums and weights by user, (users,) each, with their 95 % intervals."""
    metrics = {}
    bounds: Sequence[Bound] = ("low", "high")
    found = intervals(list(parts.values()), seed)
    for (name, (sums, weights)), ends in zip(parts.items(), found, strict=True):
        metrics[str(MetricName(name, n=n))] = float(sums.sum() / weights.sum())
        for bound, end in zip(bounds, ends, strict=True):
            metrics[str(MetricName(name, bound, n))] = end
    return metrics
