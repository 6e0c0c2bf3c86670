"""Predictions and held-out ratings -> metrics; definitions and sources are in docs/metrics.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batch.ranking.metric_names import Bound, MetricName
from batch.ratings import NOBODY, Bools, Floats, Ints, Sparse

RESAMPLES = 1000
"""Bootstrap samples of users for an interval."""
DRAWN_AT_ONCE = 1 << 13
"""Users drawn in one call; a call for each sample would cost more than its draws."""
CONFIDENCE = 0.95
LIGHT_SHARE = 0.25
"""The quarters of users with the fewest and the most training ratings are the light and the heavy
raters."""
WITH_INTERVAL = ("precision", "ndcg")
"""Metrics of lists that have an interval and a gain."""

Metrics = Mapping[str, float]
"""Stored name, such as `precision_low@5` -> value."""


@dataclass(frozen=True)
class Judged:
    """One model's lists and predictions beside the held-out ratings of u users."""

    users: Ints  # (u,) rows of the rating matrix
    listed: Ints  # (u, n) columns, NOBODY after the end of a list
    hits: Bools  # (u, n) the listed film is relevant
    relevant: Ints  # (u,) number of relevant held-out films
    user: Ints  # (n_pairs,) position in `users` of each held-out rating's user
    truth: Floats  # (n_pairs,) stars
    predicted: Floats  # (n_pairs,) stars, clipped to the scale
    is_fallback: Bools  # (n_pairs,) no prediction: `predicted` is the model's baseline

    @property
    def counted(self) -> Bools:
        """Users who liked a held-out film, over whom metrics of lists are means, (u,)."""
        return self.relevant > 0


@dataclass(frozen=True)
class Catalogue:
    """Training ratings and genres, which metrics of lists depend on."""

    rated: Sparse  # CSR (n_users, n_items) training ratings
    genres: Floats  # (n_items, n_genres) 0/1


def measure(judged: Judged, catalogue: Catalogue, seed: int) -> Metrics:
    """All metrics of one model by stored name; those that cannot be computed are left out."""
    n = judged.listed.shape[1]
    counted = judged.counted  # (u,)
    metrics: dict[str, float] = {"users": float(counted.sum())}
    metrics |= _errors(judged, seed)
    if counted.any():
        by_user = _accuracy(judged.hits[counted], judged.relevant[counted])
        for name, values in by_user.items():
            metrics[_name(name, n)] = float(values.mean())
        for name in WITH_INTERVAL:
            low, high = interval(by_user[name], np.ones_like(by_user[name]), seed)
            metrics[_name(name, n, "low")] = low
            metrics[_name(name, n, "high")] = high
        activity = np.diff(catalogue.rated.indptr)[judged.users[counted]]
        light, heavy = _light_and_heavy(activity, by_user["precision"])
        metrics[_name("precision_light", n)] = light
        metrics[_name("precision_heavy", n)] = heavy
    for name, value in _lists(judged.listed, catalogue).items():
        metrics[_name(name, n)] = value
    return metrics


def gain(judged: Judged, others: Sequence[Judged], seed: int) -> Metrics:
    """How much better one model is than the best of the others.

    Precision and NDCG: the mean difference, paired by user, with its interval.
    RMSE: the lowest of the others less the model's own.
    """
    n = judged.listed.shape[1]
    counted = judged.counted  # (u,)
    metrics: dict[str, float] = {}
    if counted.any() and others:
        own = _accuracy(judged.hits[counted], judged.relevant[counted])
        by_other = [_accuracy(other.hits[counted], other.relevant[counted]) for other in others]
        for name in WITH_INTERVAL:
            values = [accuracy[name] for accuracy in by_other]
            best = max(values, key=lambda by_user: float(by_user.mean()))
            difference = own[name] - best  # (users,)
            low, high = interval(difference, np.ones_like(best), seed)
            metrics[_name(f"{name}_gain", n)] = float(difference.mean())
            metrics[_name(f"{name}_gain", n, "low")] = low
            metrics[_name(f"{name}_gain", n, "high")] = high
    own_rmse = _errors(judged, seed).get("rmse")
    errors = [_errors(other, seed).get("rmse") for other in others]
    other_rmses = [error for error in errors if error is not None]
    if own_rmse is not None and other_rmses:
        metrics["rmse_gain"] = min(other_rmses) - own_rmse
    return metrics


def ndcg_by_user(judged: Judged) -> Floats:
    """NDCG of each user with a relevant held-out film, (users,), in the order of `judged.users`."""
    counted = judged.counted  # (u,)
    return _accuracy(judged.hits[counted], judged.relevant[counted])["ndcg"]


def _name(metric: str, n: int, bound: Bound = "") -> str:
    """The stored name of a metric of lists."""
    return str(MetricName(metric, bound, n))


def _errors(judged: Judged, seed: int) -> dict[str, float]:
    """RMSE and MAE in stars over pairs, and the share of pairs without a prediction."""
    if judged.is_fallback.all():
        return {}
    n_users = len(judged.listed)
    errors = judged.predicted - judged.truth  # (n_pairs,)
    by_user = np.bincount(judged.user, weights=errors**2, minlength=n_users)
    squared: Floats = by_user.astype(np.float64)  # (n_users,)
    pairs = np.bincount(judged.user, minlength=n_users).astype(np.float64)  # (n_users,)
    low, high = interval(squared, pairs, seed)
    return {
        "raters": float((pairs > 0).sum()),
        "rmse": float(np.sqrt(np.mean(errors**2))),
        str(MetricName("rmse", "low")): float(np.sqrt(low)),
        str(MetricName("rmse", "high")): float(np.sqrt(high)),
        "mae": float(np.mean(np.abs(errors))),
        "fallback_share": float(np.mean(judged.is_fallback)),
    }


def _accuracy(hits: Bools, relevant: Ints) -> dict[str, Floats]:
    """Per user, (users,): precision, recall, NDCG, average precision and hit rate."""
    n = hits.shape[1]
    possible = np.minimum(relevant, n)  # (users,)
    gains = 1.0 / np.log2(np.arange(n) + 2.0)  # (n,)
    precision_at = np.cumsum(hits, axis=1) / np.arange(1, n + 1)  # (users, n) at each rank
    return {
        "precision": hits.sum(axis=1) / n,
        "recall": hits.sum(axis=1) / relevant,
        "ndcg": (hits * gains).sum(axis=1) / np.cumsum(gains)[possible - 1],
        "map": (hits * precision_at).sum(axis=1) / possible,
        "hit_rate": hits.any(axis=1).astype(np.float64),
    }


def _light_and_heavy(activity: Ints, values: Floats) -> tuple[float, float]:
    """Means over light and over heavy raters; users with equally many ratings in order."""
    order = np.argsort(activity, kind="stable")
    size = max(1, int(LIGHT_SHARE * len(order)))
    light = values[order[:size]]
    heavy = values[order[-size:]]
    return float(light.mean()), float(heavy.mean())


def _lists(listed: Ints, catalogue: Catalogue) -> dict[str, float]:
    """Coverage, novelty, Gini index, popularity lift and diversity of the lists."""
    n_users, n_items = catalogue.rated.shape
    films = listed[listed != NOBODY]  # (rows,)
    metrics = {"coverage": len(np.unique(films)) / max(n_items, 1)}
    if not len(films):
        return metrics
    counts = np.bincount(catalogue.rated.indices, minlength=n_items)  # (n_items,) training ratings
    # A film without ratings is as novel as one with a single rating.
    share = np.maximum(counts, 1) / n_users
    metrics["novelty"] = float(-np.log2(share[films]).mean())
    metrics["gini"] = gini(np.bincount(films, minlength=n_items))
    mean_count = counts[catalogue.rated.indices].mean() if catalogue.rated.nnz else 0.0
    if mean_count:
        metrics["popularity_lift"] = float(counts[films].mean() / mean_count)
    diversity = _diversity(listed, catalogue.genres)
    if diversity is not None:
        metrics["diversity"] = diversity
    return metrics


def _diversity(listed: Ints, genres: Floats) -> float | None:
    """Mean over users of 1 - cosine of genres, over pairs of listed films that have genres."""
    norms: Floats = np.sqrt((genres**2).sum(axis=1))  # (n_items,)
    unit = np.divide(genres, norms[:, None], out=np.zeros_like(genres), where=norms[:, None] > 0)
    means = []
    for row in listed:
        films = row[row != NOBODY]
        films = films[norms[films] > 0]  # (m,)
        if len(films) > 1:
            cosines = unit[films] @ unit[films].T  # (m, m)
            n_pairs = len(films) * (len(films) - 1)
            means.append(1.0 - (cosines.sum() - len(films)) / n_pairs)
    return float(np.mean(means)) if means else None


def gini(exposure: Ints) -> float:
    """Gini index of how often each film is listed, `exposure`, (n_items,).

    0 where every film is listed equally often, towards 1 where only one is listed
    at all.
    """
    n = len(exposure)
    total = int(exposure.sum())
    if total == 0:
        return 0.0
    ascending: Ints = np.sort(exposure)
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float((weights * ascending).sum() / (n * total))


def interval(sums: Floats, weights: Floats, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of sum(sums) / sum(weights) over users, (users,) each."""
    [ends] = intervals([(sums, weights)], seed)
    return ends


def intervals(parts: Sequence[tuple[Floats, Floats]], seed: int) -> list[tuple[float, float]]:
    """The intervals of several such ratios over the same users, from the same samples of them."""
    random = np.random.default_rng(seed)
    n_users = len(parts[0][0])
    ratios = np.empty((RESAMPLES, len(parts)))
    step = max(1, DRAWN_AT_ONCE // max(1, n_users))
    for start in range(0, RESAMPLES, step):
        drawn = random.integers(0, n_users, (min(step, RESAMPLES - start), n_users))
        drawn += n_users * np.arange(len(drawn))[:, None]  # so that each sample has its own counts
        counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        for sample, row in enumerate(counts.astype(np.float64), start):
            for part, (sums, weights) in enumerate(parts):
                ratios[sample, part] = row.dot(sums) / max(row.dot(weights), 1e-12)
    tail = (1 - CONFIDENCE) / 2
    lows, highs = np.quantile(ratios, [tail, 1 - tail], axis=0)
    return list(zip(lows.tolist(), highs.tolist(), strict=True))
