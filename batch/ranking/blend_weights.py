"""Held-out ratings and candidates -> the blend's weights: ridge and logistic regressions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batch.models.trends import PREFIX
from batch.ratings import Bools, Floats, Ints

if TYPE_CHECKING:  # it takes a second to load
    from sklearn.linear_model import LogisticRegression

SHRINKAGES = (100.0, 300.0, 1000.0, 3000.0)
"""L2 penalties of the ridge regression, in held-out ratings; the best is chosen.

That is the one with which each rating is best predicted from all others.
"""
PRODUCT_SCALE = 0.2
"""Factor on products of two features: the penalty on their weights is 25 times as large."""
PRODUCT_LIMIT = 3.0
"""Standard deviations to which features are cut in products, so that none explodes."""
SOLVER = "newton-cholesky"
"""scikit-learn's name of the method that solves logistic regressions.

Others stop far from the optimum, and where depends on the last bit of a feature.
"""
INVERSE_PENALTY = 1.0
"""scikit-learn's C of the logistic regression."""
INVERSE_TREND_PENALTY = 0.1
"""The same of the logistic regression that learns the weights of trends.

It is stronger, because people who rate in the same weeks tell nearly the same.
"""
UNPENALISED = 100.0
"""Factor on a feature whose weight is not to be shrunk."""
LEAST_LIKED = 30
"""Minimum liked films among the candidates to learn from: about one for each feature."""
LEAST_FOLLOWERS = 30
"""Minimum users who liked a candidate in the newest part of time to learn trends from."""
FOLDS = 5
"""Parts of these users, each of which is left out once to see whether trends help."""
MIN_GAIN = 2.0
"""Standard errors above 0 that the gain by trends must have: about one chance in forty."""

NO_SPREAD = 1e-9
"""Standard deviation up to which a feature is the same everywhere, but for rounding."""

STARS_WEIGHT = "stars_weight_"
STARS_PRODUCT = "stars_product_"
STARS_MEAN = "stars_mean_"
STARS_SPREAD = "stars_spread_"
"""Prefixes of the metrics that store the ridge weights of a feature and of products, `a*b`, and
the scale of a feature."""
LIST_WEIGHT = "list_weight_"
LIST_SPREAD = "list_spread_"
"""Prefixes of the metrics that store the logistic weight of a feature, and its scale."""


class Candidates(NamedTuple):
    """Candidates of some users, to learn their order from."""

    features: Floats  # (n_listed, n_features) less the mean over the user's candidates
    liked: Bools  # (n_listed,)


@dataclass(frozen=True)
class TrainingBlock:
    """Features and held-out ratings of a block of users, to learn from."""

    taste: Candidates  # liked at any time
    trend: Candidates  # liked next
    followers: Ints  # (n_listed,) the user of each of them
    pairs: Floats  # (n_pairs, n_features) of held-out ratings
    departures: Floats  # (n_pairs,) stars above the `bias` baseline


@dataclass(frozen=True)
class Weights:
    """Learnt weights, each per standard deviation of its feature where they were learnt.

    The mean and the deviations belong to the weights: on a scale of another
    sample of users, stars would all be too high or too low.
    """

    names: tuple[str, ...]
    stars: Floats  # (n_features,)
    products: Floats  # (n_features, n_features) of two features each, 0 below the diagonal
    level: float  # stars above the baseline at the mean of all features
    mean: Floats  # (n_features,) over held-out ratings
    spread: Floats  # (n_features,) standard deviation over held-out ratings
    relevance: Floats  # (n_features,)
    odds: float  # log-odds that the average candidate is liked
    list_spread: Floats  # (n_features,) standard deviation of candidates less the user's mean
    n_pairs: int  # held-out ratings learnt from
    n_liked: int  # liked films among the candidates learnt from
    n_trend: (
        int  # films liked next among the candidates that trends were learnt from; 0: not learnt
    )

    def figures(self) -> dict[str, float]:
        """All weights by name, as they are stored in `run_metrics`."""
        figures = {
            "learnt_from_ratings": float(self.n_pairs),
            "learnt_from_liked": float(self.n_liked),
            "learnt_from_next": float(self.n_trend),
            "stars_level": self.level,
            "list_odds": self.odds,
        }
        for prefix, values in self._by_prefix().items():
            for name, value in zip(self.names, values.tolist(), strict=True):
                figures[prefix + name] = value
        for first, second in zip(*np.nonzero(self.products), strict=True):
            pair = "*".join(sorted((self.names[first], self.names[second])))
            figures[STARS_PRODUCT + pair] = float(self.products[first, second])
        return figures

    def _by_prefix(self) -> dict[str, Floats]:
        return {
            STARS_WEIGHT: self.stars,
            STARS_MEAN: self.mean,
            STARS_SPREAD: self.spread,
            LIST_WEIGHT: self.relevance,
            LIST_SPREAD: self.list_spread,
        }

    @staticmethod
    def from_figures(figures: Mapping[str, float]) -> "Weights":
        """The weights that these figures store, in order of name.

        Products that are not stored have weight 0. Raises KeyError if another is missing.
        """
        stored = sorted(name for name in figures if name.startswith(LIST_WEIGHT))
        names = tuple(name.removeprefix(LIST_WEIGHT) for name in stored)

        def values(prefix: str) -> Floats:
            return np.array([figures[prefix + name] for name in names])

        products = np.zeros((len(names), len(names)))
        for stored_name, value in figures.items():
            if stored_name.startswith(STARS_PRODUCT):
                pair = stored_name.removeprefix(STARS_PRODUCT).split("*")
                first, second = sorted(names.index(name) for name in pair)
                products[first, second] = value

        return Weights(
            names=names,
            stars=values(STARS_WEIGHT),
            products=products,
            level=figures["stars_level"],
            mean=values(STARS_MEAN),
            spread=values(STARS_SPREAD),
            relevance=values(LIST_WEIGHT),
            odds=figures["list_odds"],
            list_spread=values(LIST_SPREAD),
            n_pairs=int(figures["learnt_from_ratings"]),
            n_liked=int(figures["learnt_from_liked"]),
            n_trend=int(figures["learnt_from_next"]),
        )


class _StarWeights(NamedTuple):
    """Weights of a ridge regression, as `Weights` has them."""

    weights: Floats  # (n_features,)
    products: Floats  # (n_features, n_features)
    level: float
    mean: Floats  # (n_features,)
    spread: Floats  # (n_features,)


class _ListWeights(NamedTuple):
    """Weights of a logistic regression per standard deviation of each feature."""

    relevance: Floats  # (n_features,)
    odds: float
    spread: Floats  # (n_features,)


def learn(names: Sequence[str], blocks: Sequence[TrainingBlock]) -> Weights | None:
    """Fit the regressions on held-out ratings; None where there are too few to learn from.

    Stars: ridge regression of the departures from the baseline on features and their
    products: how much a model's departure counts depends on what supports it. Ranking: logistic
    regression of liked or not liked over each user's candidates, which are the
    films that a good ranker would put first anyway. With negatives drawn from all
    films it would learn to separate popular films from unpopular ones, and nothing
    about the order at the top.
    """
    if not blocks:
        return None
    taste = _joined([block.taste for block in blocks])
    trend = _joined([block.trend for block in blocks])
    n_liked = int(taste.liked.sum())
    if n_liked < LEAST_LIKED or n_liked == len(taste.liked):
        return None
    lists = _learn_taste(names, taste)
    followers = np.concatenate([block.followers for block in blocks])
    with_trend = _with_trend(names, lists, trend, followers)
    stars = _learn_stars(
        names,
        np.concatenate([block.pairs for block in blocks]),
        np.concatenate([block.departures for block in blocks]),
    )
    return Weights(
        names=tuple(names),
        stars=stars.weights,
        products=stars.products,
        level=stars.level,
        mean=stars.mean,
        spread=stars.spread,
        relevance=(with_trend or lists).relevance,
        odds=(with_trend or lists).odds,
        list_spread=(with_trend or lists).spread,
        n_pairs=sum(len(block.departures) for block in blocks),
        n_liked=n_liked,
        n_trend=int(trend.liked.sum()) if with_trend else 0,
    )


def cut_for_products(standard: Floats) -> Floats:
    """Features in standard deviations from their mean, cut to PRODUCT_LIMIT."""
    return np.clip(standard, -PRODUCT_LIMIT, PRODUCT_LIMIT)


def _learn_stars(names: Sequence[str], pairs: Floats, departures: Floats) -> _StarWeights:
    """How far ratings are from the baseline, (n_pairs,), by features, (n_pairs, n_features).

    Trends have weight 0, and so have features that are the same everywhere.
    """
    from sklearn.linear_model import RidgeCV

    mean = pairs.mean(axis=0)
    spread = _spread(pairs)
    known = np.flatnonzero(~_is_trend(names) & (pairs.std(axis=0) > NO_SPREAD))
    standard = ((pairs - mean) / spread)[:, known]  # (n_pairs, n_known)
    cut = cut_for_products(standard)
    first, second = np.triu_indices(len(known))
    columns = np.hstack([standard, PRODUCT_SCALE * cut[:, first] * cut[:, second]])
    ridge = RidgeCV(alphas=SHRINKAGES).fit(columns, departures)
    weights = np.zeros(len(names))
    weights[known] = ridge.coef_[: len(known)]
    products = np.zeros((len(names), len(names)))
    products[known[first], known[second]] = PRODUCT_SCALE * ridge.coef_[len(known) :]
    return _StarWeights(weights, products, float(ridge.intercept_), mean, spread)


def _learn_taste(names: Sequence[str], taste: Candidates) -> _ListWeights:
    """What people like, whenever they rate it; trends have weight 0."""
    from sklearn.linear_model import LogisticRegression

    spread = _spread(taste.features)
    known_taste = ~_is_trend(names)
    ranking = LogisticRegression(C=INVERSE_PENALTY, solver=SOLVER)
    ranking.fit(taste.features / spread * known_taste, taste.liked)
    return _ListWeights(ranking.coef_[0].astype(np.float64), float(ranking.intercept_[0]), spread)


def _with_trend(
    names: Sequence[str], taste: _ListWeights, trend: Candidates, followers: Ints
) -> _ListWeights | None:
    """How much taste counts in what people like next, and how much trends do.

    None where too few users liked something next, or trends do not help to tell
    what those liked whom they were not learnt from.
    """
    from sklearn.linear_model import LogisticRegression

    is_trend = _is_trend(names)
    n_liking = len(np.unique(followers[trend.liked]))
    if not is_trend.any() or n_liking < LEAST_FOLLOWERS:
        return None
    spread = np.where(is_trend, _spread(trend.features), taste.spread)
    taste_odds = (trend.features / spread) @ taste.relevance  # (n_listed,)
    trends = trend.features[:, is_trend] / spread[is_trend]
    # The penalty is for trends: that of a feature so large is as good as none.
    columns = np.column_stack([UNPENALISED * taste_odds, trends])
    ranking = LogisticRegression(C=INVERSE_TREND_PENALTY, solver=SOLVER)
    without = columns[:, :1]
    if not _is_better(ranking, columns, without, trend.liked, followers):
        return None
    ranking.fit(columns, trend.liked)
    relevance = UNPENALISED * ranking.coef_[0, 0] * taste.relevance
    relevance[is_trend] = ranking.coef_[0, 1:]
    return _ListWeights(relevance, float(ranking.intercept_[0]), spread)


def _is_better(
    ranking: "LogisticRegression", columns: Floats, without: Floats, liked: Bools, users: Ints
) -> bool:
    """Whether further columns, (n_listed, k), tell more of what left-out users liked.

    The mean gain in log-likelihood by user must be above MIN_GAIN standard errors.
    """
    from sklearn.model_selection import GroupKFold, cross_val_predict

    signs = np.where(liked, 1.0, -1.0)

    def log_likelihood(table_of: Floats) -> Floats:
        odds = cross_val_predict(
            ranking,
            table_of,
            liked,
            groups=users,
            cv=GroupKFold(FOLDS),
            method="decision_function",
        )
        return -np.logaddexp(0.0, -signs * odds)

    _, rows = np.unique(users, return_inverse=True)
    gains = np.bincount(rows, log_likelihood(columns) - log_likelihood(without))
    return bool(gains.mean() > MIN_GAIN * gains.std() / np.sqrt(len(gains)))


def _is_trend(names: Sequence[str]) -> Bools:
    return np.array([name.startswith(PREFIX) for name in names])


def _joined(parts: Sequence[Candidates]) -> Candidates:
    features = np.concatenate([part.features for part in parts])
    liked = np.concatenate([part.liked for part in parts])
    return Candidates(features, liked)


def _spread(values: Floats) -> Floats:
    spread = values.std(axis=0)
    return np.where(spread > NO_SPREAD, spread, 1.0)
