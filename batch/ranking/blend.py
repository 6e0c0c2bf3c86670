"""The models' scores and the signals -> one score: stars by ridge regression, relevance by logistic regression."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from batch.ratings import Bools, Floats, Ints

SHRINKAGE, INVERSE_PENALTY = 100.0, 1.0
"""L2 of the ridge regression, in held-out ratings, and scikit-learn's C of the logistic one."""
LEAST_LIKED = 30
"""Held-out liked films among the candidates below which nothing is learnt: as many as there are features."""

STARS_WEIGHT, LIST_WEIGHT = "stars_weight_", "list_weight_"
"""What the weights of either regression are recorded as, before the name of the feature."""
SIGNALS = {
    "user_effect": "average",
    "item_effect": "average",
    "fame": "popularity",
    "affinity": "genres",
    "preference": "taste",
    "liking": "taste",
}
"""The share that each signal belongs to; a model's features are its own share, those of sessions are `recent`."""

Features = Mapping[str, Floats]
"""name -> (p,) of so many cells."""


class CellScores(NamedTuple):
    """What one model says of some cells, and what it would say of anyone, (p,) each."""

    rating: Floats  # stars
    support: Floats
    expected: Floats  # stars, by the model's own baseline


def features(signals: Features, models: Mapping[str, CellScores]) -> dict[str, Floats]:
    """name -> (p,): the signals, and of each model how far it departs from its baseline, and on what evidence.

    A model that cannot say departs by 0 on evidence 0.
    """
    found = dict(signals)
    for name, said in models.items():
        departure = np.where(said.support > 0, said.rating - said.expected, 0.0)
        evidence = np.log1p(said.support)
        found |= {
            name: departure,
            f"{name}_evidence": evidence,
            f"{name}_sure": departure * evidence,
        }
    return found


@dataclass(frozen=True)
class TrainingBlock:
    """Features of a block of users where something is known of the truth."""

    candidates: Floats  # (n_listed, n_features) less the mean of the user's candidates
    liked: Bools  # (n_listed,)
    levels: Floats  # (n_listed, n_features) the same, as they are
    pairs: Floats  # (n_pairs, n_features) of held-out ratings
    stars: Floats  # (n_pairs,)


@dataclass(frozen=True)
class FeatureScale:
    """What features are measured by within one fit: their scale grows with the ratings that a model has seen."""

    mean: Floats  # (n_features,) over candidates
    spread: Floats  # (n_features,) standard deviation over candidates
    spread_in_list: Floats  # (n_features,) likewise, less each user's mean

    @staticmethod
    def of(levels: Floats, centred: Floats) -> "FeatureScale":
        """Of candidates' features, (n_listed, n_features) each; a spread of 1 where a feature does not vary."""
        if not len(levels):
            ones = np.ones(levels.shape[1])
            return FeatureScale(np.zeros(levels.shape[1]), ones, ones)
        return FeatureScale(levels.mean(axis=0), _spread(levels), _spread(centred))


@dataclass(frozen=True)
class Weights:
    """What was learnt, a weight per feature in standard deviations of that feature: the same for every fit."""

    names: tuple[str, ...]
    stars: Floats  # (n_features,)
    average: float  # stars of the average candidate
    relevance: Floats  # (n_features,)
    odds: float  # log-odds of the average candidate being liked
    n_pairs: int  # held-out ratings learnt from
    n_liked: int  # liked ones among the candidates

    def figures(self) -> dict[str, float]:
        """Everything by a name fit for `run_metrics`."""
        found = {
            "learnt_from_ratings": float(self.n_pairs),
            "learnt_from_liked": float(self.n_liked),
        }
        found |= {"stars_average": self.average, "list_odds": self.odds}
        for kind, weights in ((STARS_WEIGHT, self.stars), (LIST_WEIGHT, self.relevance)):
            found |= {
                kind + name: weight
                for name, weight in zip(self.names, weights.tolist(), strict=True)
            }
        return found

    @staticmethod
    def recorded(figures: Mapping[str, float]) -> "Weights":
        """Of these figures, in order of name. Raises KeyError where one is missing."""
        names = tuple(
            sorted(
                name.removeprefix(LIST_WEIGHT) for name in figures if name.startswith(LIST_WEIGHT)
            )
        )
        stars, relevance = (
            np.array([figures[kind + name] for name in names])
            for kind in (STARS_WEIGHT, LIST_WEIGHT)
        )
        counts = int(figures["learnt_from_ratings"]), int(figures["learnt_from_liked"])
        return Weights(
            names, stars, figures["stars_average"], relevance, figures["list_odds"], *counts
        )


def learn(names: Sequence[str], evidence: Sequence[TrainingBlock], seed: int) -> Weights | None:
    """Fit both regressions on held-out evidence; None where there is too little of it.

    Stars: ridge regression over held-out ratings. Relevance: logistic regression of liked or not over each user's
    candidates, which are the films that a good ranker would put first anyway: against negatives drawn from all films,
    it would learn to tell the famous from the unknown, and nothing of the order at the top.
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    if not evidence:
        return None
    centred, liked, levels, pairs, stars = (
        np.concatenate([getattr(held, part) for held in evidence])
        for part in ("candidates", "liked", "levels", "pairs", "stars")
    )
    n_liked = int(liked.sum())
    if n_liked < LEAST_LIKED or n_liked == len(liked):
        return None
    scale = FeatureScale.of(levels, centred)
    rating = Ridge(alpha=SHRINKAGE).fit((pairs - scale.mean) / scale.spread, stars)
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
    """Weights applied to the models of one fit; without weights, the models' mean and the candidates' own order."""

    weights: Weights | None
    scale: FeatureScale

    def stars(self, found: Features, expected: Floats, models: Sequence[str]) -> Floats:
        """The rating of some cells, (p,), `expected` being mu + b_u + b_i."""
        if self.weights is None:
            return expected + sum((found[name] for name in models), np.zeros_like(expected)) / max(
                len(models), 1
            )
        rating = np.full(len(expected), self.weights.average)
        for feature, name in enumerate(self.weights.names):
            step = self.weights.stars[feature] / self.scale.spread[feature]  # stars per unit
            rating += step * (found[name] - self.scale.mean[feature])
        return rating

    def chances(self, found: Features, rows: Ints, promised: Floats) -> Floats:
        """How likely each candidate is to be liked, 0 to 1, (p,); `rows` tells whose it is, users in order.

        Without weights the candidates keep the order of what they are promised, (p,).
        """
        if self.weights is None:
            return expit(promised)
        centred = less_own_mean(table(found, self.weights.names), rows)
        return expit(
            self.weights.odds + (centred / self.scale.spread_in_list) @ self.weights.relevance
        )

    def shares(
        self, found: Features, rows: Ints, promised: Floats
    ) -> tuple[float, dict[str, Floats]]:
        """Where those log-odds start, and what each model and signal adds to them, name -> (p,), in order of name."""
        if self.weights is None:
            return 0.0, {"taste": promised}
        centred = less_own_mean(table(found, self.weights.names), rows)
        added = centred / self.scale.spread_in_list * self.weights.relevance  # (p, n_features)
        shares: dict[str, Floats] = {}
        for feature, name in enumerate(map(_share_of, self.weights.names)):
            shares[name] = shares.get(name, 0.0) + added[:, feature]
        return self.weights.odds, dict(sorted(shares.items()))


def _share_of(feature: str) -> str:
    if feature.startswith("session_"):
        return "recent"
    return SIGNALS.get(feature, feature.removesuffix("_evidence").removesuffix("_sure"))


def table(found: Features, names: Sequence[str]) -> Floats:
    """(p, n_features), in the order of these names."""
    return np.stack([found[name] for name in names], axis=1)


def less_own_mean(levels: Floats, rows: Ints) -> Floats:
    """Features of candidates, (p, n_features), less their mean over the same user's; users stand in order."""
    firsts = np.flatnonzero(np.diff(rows, prepend=-1))  # where each user's begin
    counts = np.diff(np.append(firsts, len(rows)))
    return levels - np.repeat(
        np.add.reduceat(levels, firsts, axis=0) / counts[:, None], counts, axis=0
    )


def _spread(values: Floats) -> Floats:
    spread = values.std(axis=0)
    return np.where(spread > 1e-9, spread, 1.0)
