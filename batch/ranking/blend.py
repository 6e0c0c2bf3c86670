"""Model predictions and signals -> one blended rating (ridge regression) and one ranking score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from batch.ratings import Bools, Floats, Ints

SHRINKAGE = 100.0
"""L2 penalty of the ridge regression, in held-out ratings."""
INVERSE_PENALTY = 1.0
"""scikit-learn's C of the logistic regression."""
LEAST_LIKED = 30
"""Minimum liked films among the candidates to learn from: about one for each feature."""

STARS_WEIGHT = "stars_weight_"
"""Prefix of the metric that stores the ridge weight of a feature."""
LIST_WEIGHT = "list_weight_"
"""Prefix of the metric that stores the logistic weight of a feature."""
SIGNALS = {
    "user_effect": "average",
    "item_effect": "average",
    "fame": "popularity",
    "affinity": "genres",
    "preference": "taste",
    "liking": "taste",
}
"""Signal -> the share of a reason it counts towards. Features of a model count towards a share
named after the model, `session_*` features towards `recent`."""

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
class TrainingBlock:
    """Features and held-out ratings of a block of users, to learn from."""

    candidates: Floats  # (n_listed, n_features) less the mean over the user's candidates
    liked: Bools  # (n_listed,)
    levels: Floats  # (n_listed, n_features) of the same candidates, not centred
    pairs: Floats  # (n_pairs, n_features) of held-out ratings
    stars: Floats  # (n_pairs,)


@dataclass(frozen=True)
class FeatureScale:
    """Mean and spread of each feature within one fit.

    The scale belongs to a fit because it grows with the number of ratings a model
    was fitted on.
    """

    mean: Floats  # (n_features,) over candidates
    spread: Floats  # (n_features,) standard deviation over candidates
    spread_in_list: Floats  # (n_features,) standard deviation of values less each user's mean

    @staticmethod
    def of(levels: Floats, centred: Floats) -> "FeatureScale":
        """The scale of candidates' features, (n_listed, n_features) each.

        The spread is 1 where a feature does not vary.
        """
        n_features = levels.shape[1]
        if not len(levels):
            ones = np.ones(n_features)
            return FeatureScale(np.zeros(n_features), ones, ones)
        return FeatureScale(levels.mean(axis=0), _spread(levels), _spread(centred))


@dataclass(frozen=True)
class Weights:
    """Learnt weights, per standard deviation of each feature, so that they apply to every fit."""

    names: tuple[str, ...]
    stars: Floats  # (n_features,)
    average: float  # stars of the average candidate
    relevance: Floats  # (n_features,)
    odds: float  # log-odds that the average candidate is liked
    n_pairs: int  # held-out ratings learnt from
    n_liked: int  # liked films among the candidates learnt from

    def figures(self) -> dict[str, float]:
        """All weights by name, as they are stored in `run_metrics`."""
        figures = {
            "learnt_from_ratings": float(self.n_pairs),
            "learnt_from_liked": float(self.n_liked),
            "stars_average": self.average,
            "list_odds": self.odds,
        }
        for name, weight in zip(self.names, self.stars.tolist(), strict=True):
            figures[STARS_WEIGHT + name] = weight
        for name, weight in zip(self.names, self.relevance.tolist(), strict=True):
            figures[LIST_WEIGHT + name] = weight
        return figures

    @staticmethod
    def from_figures(figures: Mapping[str, float]) -> "Weights":
        """The weights that these figures store, in order of name.

        Raises KeyError if one is missing.
        """
        stored = sorted(name for name in figures if name.startswith(LIST_WEIGHT))
        names = tuple(name.removeprefix(LIST_WEIGHT) for name in stored)
        return Weights(
            names=names,
            stars=np.array([figures[STARS_WEIGHT + name] for name in names]),
            average=figures["stars_average"],
            relevance=np.array([figures[LIST_WEIGHT + name] for name in names]),
            odds=figures["list_odds"],
            n_pairs=int(figures["learnt_from_ratings"]),
            n_liked=int(figures["learnt_from_liked"]),
        )


def learn(names: Sequence[str], blocks: Sequence[TrainingBlock], seed: int) -> Weights | None:
    """Fit both regressions on held-out ratings; None where there are too few to learn from.

    Rating: ridge regression over held-out ratings. Ranking: logistic regression
    of liked or not liked over each user's candidates, which are the films that a
    good ranker would put first anyway. With negatives drawn from all films it
    would learn to separate popular films from unpopular ones, and nothing about
    the order at the top.
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    if not blocks:
        return None
    centred = np.concatenate([block.candidates for block in blocks])
    liked = np.concatenate([block.liked for block in blocks])
    n_liked = int(liked.sum())
    if n_liked < LEAST_LIKED or n_liked == len(liked):
        return None
    levels = np.concatenate([block.levels for block in blocks])
    pairs = np.concatenate([block.pairs for block in blocks])
    stars = np.concatenate([block.stars for block in blocks])
    scale = FeatureScale.of(levels, centred)
    rating = Ridge(alpha=SHRINKAGE)
    rating.fit((pairs - scale.mean) / scale.spread, stars)
    ranking = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000, random_state=seed)
    ranking.fit(centred / scale.spread_in_list, liked)
    return Weights(
        names=tuple(names),
        stars=rating.coef_.astype(np.float64),
        average=float(rating.intercept_),
        relevance=ranking.coef_[0].astype(np.float64),
        odds=float(ranking.intercept_[0]),
        n_pairs=len(stars),
        n_liked=n_liked,
    )


@dataclass(frozen=True)
class Blend:
    """Weights with the feature scale of one fit.

    Without weights the rating is the models' mean, and candidates keep the order
    in which they were chosen.
    """

    weights: Weights | None
    scale: FeatureScale

    def stars(self, features: Features, baseline: Floats, models: Sequence[str]) -> Floats:
        """Predicted ratings of p cells, stars, (p,); `baseline` is mu + b_u + b_i."""
        if self.weights is None:
            departures = sum((features[name] for name in models), np.zeros_like(baseline))
            return baseline + departures / max(len(models), 1)
        rating = np.full(len(baseline), self.weights.average)
        for feature, name in enumerate(self.weights.names):
            step = self.weights.stars[feature] / self.scale.spread[feature]  # stars per unit
            rating += step * (features[name] - self.scale.mean[feature])
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
        odds = (centred / self.scale.spread_in_list) @ self.weights.relevance
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
        added = centred / self.scale.spread_in_list * self.weights.relevance  # (p, n_features)
        shares: dict[str, Floats] = {}
        for feature, name in enumerate(self.weights.names):
            share = _share_of(name)
            shares[share] = shares.get(share, 0.0) + added[:, feature]
        return self.weights.odds, dict(sorted(shares.items()))


def _share_of(feature: str) -> str:
    if feature.startswith("session_"):
        return "recent"
    return SIGNALS.get(feature, feature.removesuffix("_evidence").removesuffix("_sure"))


def table(features: Features, names: Sequence[str]) -> Floats:
    """Features as columns, (p, n_features), in the order of `names`."""
    return np.stack([features[name] for name in names], axis=1)


def less_own_mean(levels: Floats, rows: Ints) -> Floats:
    """Features of candidates, (p, n_features), less their mean over the same user's candidates.

    `rows`, (p,), are the candidates' users, in order.
    """
    first = np.flatnonzero(np.diff(rows, prepend=-1))  # (b,) first candidate of each user
    counts = np.diff(np.append(first, len(rows)))  # (b,)
    means = np.add.reduceat(levels, first, axis=0) / counts[:, None]  # (b, n_features)
    return levels - np.repeat(means, counts, axis=0)


def _spread(values: Floats) -> Floats:
    spread = values.std(axis=0)
    return np.where(spread > 1e-9, spread, 1.0)
