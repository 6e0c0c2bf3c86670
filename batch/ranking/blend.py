"""Predictions and signals -> features; features and weights -> ratings and ranking scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from batch.models.trends import PREFIX
from batch.ranking.blend_weights import Weights, cut_for_products
from batch.ratings import Floats, Ints

SIGNALS = {
    "user_effect": "average",
    "item_effect": "average",
    "fame": "popularity",
    "affinity": "genres",
    "preference": "taste",
    "liking": "taste",
}
"""Signal -> the share of a reason it counts towards. Features of a model count towards a share
named after the model, `session_*` features towards `recent`, `trend_*` towards `trend`."""

Features = Mapping[str, Floats]
"""Name -> values of p cells, (p,)."""


class CellScores(NamedTuple):
    """Predictions of one model for p cells, (p,) each."""

    rating: Floats  # stars
    support: Floats
    baseline: Floats  # stars, of the model's own baseline


def blend_features(signals: Features, models: Mapping[str, CellScores]) -> dict[str, Floats]:
    """Signals and model predictions -> all features by name, (p,) each.

    Each model has three features: the departure of its prediction from its
    baseline, the logarithm of its support, and the product of both. All three are
    0 without a prediction.
    """
    features = dict(signals)
    for name, scores in models.items():
        departure = np.where(scores.support > 0, scores.rating - scores.baseline, 0.0)
        evidence = np.log1p(scores.support)
        features[name] = departure
        features[f"{name}_evidence"] = evidence
        features[f"{name}_sure"] = departure * evidence
    return features


@dataclass(frozen=True)
class Blend:
    """What is made of features.

    Without weights the rating is the models' mean, and candidates keep the order
    in which they were chosen.
    """

    weights: Weights | None

    def stars(self, features: Features, baseline: Floats, models: Sequence[str]) -> Floats:
        """Predicted ratings of p cells, stars, (p,); `baseline` is mu + b_u + b_i."""
        if self.weights is None:
            departures = sum((features[name] for name in models), np.zeros_like(baseline))
            return baseline + departures / max(len(models), 1)
        weights = self.weights
        standard = [
            (features[name] - weights.mean[feature]) / weights.spread[feature]
            for feature, name in enumerate(weights.names)
        ]  # (p,) each
        cut = [cut_for_products(values) for values in standard]
        # One feature after the other: in a product of matrices the last digits of a cell would
        # depend on how many others there are.
        rating = baseline + weights.level
        for first, values in enumerate(standard):
            rating += weights.stars[first] * values
            for second in np.flatnonzero(weights.products[first]):
                rating += weights.products[first, second] * cut[first] * cut[second]
        return rating

    def chances(self, features: Features, rows: Ints, candidate_score: Floats) -> Floats:
        """Probability that each candidate is liked, 0 to 1, (p,).

        `rows` are the candidates' users, in order. `candidate_score`, (p,), is
        what candidates were chosen by, and their order where there are no
        weights.
        """
        if self.weights is None:
            return expit(candidate_score)
        centred = less_own_mean(table(features, self.weights.names), rows)
        odds = (centred / self.weights.list_spread) @ self.weights.relevance
        return expit(self.weights.odds + odds)

    def chances_beside(
        self, features: Features, candidates: Features, candidate_rows: Ints
    ) -> Floats:
        """Probability that one film of each user is liked, (b,), judged beside their candidates.

        For a film that is a candidate it is that of `chances`. nan for a user without candidates,
        but where there are no weights.
        """
        if self.weights is None:
            return expit(features["preference"] + features["liking"])
        levels = table(features, self.weights.names)  # (b, n_features)
        owners, means, _ = _own_means(table(candidates, self.weights.names), candidate_rows)
        means_of_all = np.full_like(levels, np.nan)
        means_of_all[owners] = means
        odds = ((levels - means_of_all) / self.weights.list_spread) @ self.weights.relevance
        return expit(self.weights.odds + odds)

    def shares(
        self, features: Features, rows: Ints, candidate_score: Floats
    ) -> tuple[float, dict[str, Floats]]:
        """The log-odds of `chances`: their start, and what each share adds, (p,).

        Shares are in order of name. Arguments are those of `chances`.
        """
        if self.weights is None:
            return 0.0, {"taste": candidate_score}
        centred = less_own_mean(table(features, self.weights.names), rows)
        added = centred / self.weights.list_spread * self.weights.relevance  # (p, n_features)
        shares: dict[str, Floats] = {}
        for feature, name in enumerate(self.weights.names):
            share = _share_of(name)
            shares[share] = shares.get(share, 0.0) + added[:, feature]
        return self.weights.odds, dict(sorted(shares.items()))


def _share_of(feature: str) -> str:
    if feature.startswith("session_"):
        return "recent"
    if feature.startswith(PREFIX):
        return "trend"
    return SIGNALS.get(feature, feature.removesuffix("_evidence").removesuffix("_sure"))


def table(features: Features, names: Sequence[str]) -> Floats:
    """Features as columns, (p, n_features), in the order of `names`."""
    return np.stack([features[name] for name in names], axis=1)


def less_own_mean(levels: Floats, rows: Ints) -> Floats:
    """Features of candidates, (p, n_features), less their mean over the same user's candidates.

    `rows`, (p,), are the candidates' users, in order.
    """
    _, means, counts = _own_means(levels, rows)
    return levels - np.repeat(means, counts, axis=0)


def _own_means(levels: Floats, rows: Ints) -> tuple[Ints, Floats, Ints]:
    """The users that have candidates, the means over these, and their number.

    (u,), (u, n_features) and (u,); arguments are those of `less_own_mean`.
    """
    first = np.flatnonzero(np.diff(rows, prepend=-1))  # (u,) first candidate of each user
    counts = np.diff(np.append(first, len(rows)))  # (u,)
    means = np.add.reduceat(levels, first, axis=0) / counts[:, None]  # (u, n_features)
    return rows[first], means, counts
