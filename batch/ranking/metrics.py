"""What a model said of held-out ratings -> figures; the definitions and their sources are in docs/metrics.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batch.ratings import NOBODY, Bools, Floats, Ints, Sparse

RESAMPLES = 1000
"""Bootstrap samples of users behind an interval."""
CONFIDENCE = 0.95
LIGHT_SHARE = 0.25
"""The quarter of users with the fewest, and the most, training ratings are the light and the heavy raters."""

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Judged:
    """One model held against the held-out ratings of u users, one by one."""

    users: Ints  # (u,) their rows
    listed: Ints  # (u, n) columns, NOBODY where the list has ended
    hits: Bools  # (u, n) the listed film was relevant
    relevant: Ints  # (u,) relevant held-out films
    user: Ints  # (n_pairs,) whose each held-out rating is, counted among these users
    truth: Floats  # (n_pairs,) stars
    predicted: Floats  # (n_pairs,) stars, clipped to the scale; the model's baseline where it could not say
    unsaid: Bools  # (n_pairs,) the model could not say


@dataclass(frozen=True)
class Catalogue:
    """What the figures on lists need to know of the training part."""

    rated: Sparse  # CSR (n_users, n_items) training ratings
    genres: Floats  # (n_items, n_genres) 0/1


def measure(judged: Judged, catalogue: Catalogue, seed: int) -> Metrics:
    """Every figure there is something to say about; names of list metrics end in @n."""
    n = judged.listed.shape[1]
    counted = judged.relevant > 0
    found: dict[str, float] = {"users": float(counted.sum())}
    found |= _errors(judged, seed)
    if counted.any():
        by_user = _accuracy(judged.hits[counted], judged.relevant[counted])
        found |= {f"{name}@{n}": float(values.mean()) for name, values in by_user.items()}
        for name in ("precision", "ndcg"):
            low, high = interval(by_user[name], np.ones_like(by_user[name]), seed)
            found |= {f"{name}_low@{n}": low, f"{name}_high@{n}": high}
        light, heavy = _light_and_heavy(
            np.diff(catalogue.rated.indptr)[judged.users[counted]], by_user["precision"]
        )
        found |= {f"precision_light@{n}": light, f"precision_heavy@{n}": heavy}
    return found | {
        f"{name}@{n}": value for name, value in _lists(judged.listed, catalogue).items()
    }


def gain(judged: Judged, others: Sequence[Judged], seed: int) -> Metrics:
    """By how much lists beat those of the best of the others, precision and NDCG at n, with intervals; paired by user.

    Of stars: the lowest RMSE of the others less this one's.
    """
    n, counted = judged.listed.shape[1], judged.relevant > 0
    found: dict[str, float] = {}
    if counted.any() and others:
        own = _accuracy(judged.hits[counted], judged.relevant[counted])
        by_other = [_accuracy(other.hits[counted], other.relevant[counted]) for other in others]
        for name in ("precision", "ndcg"):
            best = max(
                (values[name] for values in by_other), key=lambda by_user: float(by_user.mean())
            )
            low, high = interval(own[name] - best, np.ones_like(best), seed)
            ahead = float((own[name] - best).mean())
            found |= {
                f"{name}_gain@{n}": ahead,
                f"{name}_gain_low@{n}": low,
                f"{name}_gain_high@{n}": high,
            }
    errors = [_errors(each, seed).get("rmse") for each in (judged, *others)]
    if errors[0] is not None and any(error is not None for error in errors[1:]):
        found["rmse_gain"] = min(error for error in errors[1:] if error is not None) - errors[0]
    return found


def _errors(judged: Judged, seed: int) -> dict[str, float]:
    """RMSE and MAE in stars over pairs, and how many pairs the model left to its baseline."""
    if judged.unsaid.all():
        return {}
    errors, n_users = judged.predicted - judged.truth, len(judged.listed)
    squared: Floats = np.bincount(judged.user, weights=errors**2, minlength=n_users).astype(
        np.float64
    )  # (n_users,)
    pairs = np.bincount(judged.user, minlength=n_users).astype(np.float64)
    low, high = interval(squared, pairs, seed)
    return {
        "raters": float((pairs > 0).sum()),
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "rmse_low": float(np.sqrt(low)),
        "rmse_high": float(np.sqrt(high)),
        "mae": float(np.mean(np.abs(errors))),
        "fallback_share": float(np.mean(judged.unsaid)),
    }


def _accuracy(hits: Bools, relevant: Ints) -> dict[str, Floats]:
    """Per user, (users,): precision, recall, NDCG, average precision, and whether there was a hit at all."""
    n = hits.shape[1]
    possible = np.minimum(relevant, n)  # (users,)
    gains = 1.0 / np.log2(np.arange(n) + 2.0)  # (n,)
    so_far = np.cumsum(hits, axis=1) / np.arange(1, n + 1)  # (users, n) precision at each rank
    return {
        "precision": hits.sum(axis=1) / n,
        "recall": hits.sum(axis=1) / relevant,
        "ndcg": (hits * gains).sum(axis=1) / np.cumsum(gains)[possible - 1],
        "map": (hits * so_far).sum(axis=1) / possible,
        "hit_rate": hits.any(axis=1).astype(np.float64),
    }


def _light_and_heavy(activity: Ints, values: Floats) -> tuple[float, float]:
    """Means over the quarter of users with the fewest and with the most ratings; ties by order of user."""
    order = np.argsort(activity, kind="stable")
    size = max(1, int(LIGHT_SHARE * len(order)))
    return float(values[order[:size]].mean()), float(values[order[-size:]].mean())


def _lists(listed: Ints, catalogue: Catalogue) -> dict[str, float]:
    """Coverage, exposure, popularity and diversity of what is recommended."""
    n_users, n_items = catalogue.rated.shape
    films = listed[listed != NOBODY]  # (rows,)
    found = {"coverage": len(np.unique(films)) / max(n_items, 1)}
    if not len(films):
        return found
    counts = np.bincount(catalogue.rated.indices, minlength=n_items)  # (n_items,) training ratings
    share = (
        np.maximum(counts, 1) / n_users
    )  # a film nobody rated surprises as one that a single user did
    rated = counts[catalogue.rated.indices].mean() if catalogue.rated.nnz else 0.0
    found |= {
        "novelty": float(-np.log2(share[films]).mean()),
        "gini": gini(np.bincount(films, minlength=n_items)),
    }
    if rated:
        found["popularity_lift"] = float(counts[films].mean() / rated)
    diversity = _diversity(listed, catalogue.genres)
    return found if diversity is None else found | {"diversity": diversity}


def _diversity(listed: Ints, genres: Floats) -> float | None:
    """Mean over users of 1 - cosine of genres over the pairs in their list; pairs without genres are left out."""
    norms: Floats = np.sqrt((genres**2).sum(axis=1))  # (n_items,)
    unit = np.divide(genres, norms[:, None], out=np.zeros_like(genres), where=norms[:, None] > 0)
    means = []
    for films in listed:
        known = films[films != NOBODY]
        known = known[norms[known] > 0]
        if len(known) > 1:
            alike = unit[known] @ unit[known].T  # (m, m)
            pairs = len(known) * (len(known) - 1)
            means.append(1.0 - (alike.sum() - len(known)) / pairs)
    return float(np.mean(means)) if means else None


def gini(exposure: Ints) -> float:
    """0 where every film is shown equally often, towards 1 where one film has it all; exposure is (n_items,)."""
    total, n = int(exposure.sum()), len(exposure)
    if total == 0:
        return 0.0
    ranked: Ints = np.sort(exposure)  # ascending
    return float(((2 * np.arange(1, n + 1) - n - 1) * ranked).sum() / (n * total))


def interval(sums: Floats, weights: Floats, seed: int) -> tuple[float, float]:
    """Percentile bootstrap interval of sum(sums) / sum(weights) over users, (users,) each."""
    random, users = np.random.default_rng(seed), len(sums)
    ratios = np.empty(RESAMPLES)
    for sample in range(RESAMPLES):
        drawn = np.bincount(
            random.integers(0, users, users), minlength=users
        )  # (users,) how often each was drawn
        ratios[sample] = float(drawn @ sums) / max(float(drawn @ weights), 1e-12)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)
