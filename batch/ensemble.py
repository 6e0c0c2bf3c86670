"""Fitted models -> all their scores of a block of users at once, the blend among them, learnt on held-out ratings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from batch.blend import Blend, Features, Scale, Weights, among_candidates, features, held_of, learn, promise
from batch.models import PERSONAL, Model, Scores
from batch.models.baseline import Baseline
from batch.models.signals import Signals, fit_signals
from batch.rank import best_unseen, tie_order
from batch.ratings import Floats, Ints, Ratings, blocks

PUBLISHED = (*PERSONAL, "blend")
"""The names that lists are published under."""
CANDIDATES = 100
"""Films of each user that the blend puts in order. Fewer miss some that are liked, more teach nothing."""
LEAST_RATED = 5
"""Ratings of a film below which it is no candidate: what two or three people say is chance, however promising."""
SAMPLED_USERS = 2000
"""Users at most whose held-out ratings the blend is learnt from: 400,000 candidates settle thirty weights."""
SCALED_USERS = 300
"""Users whose candidates give the features' scale."""


@dataclass(frozen=True)
class Ensemble:
    """Every model of one fit; `blend` is None while its weights are being learnt."""

    ratings: Ratings
    models: Mapping[str, Model]
    signals: Signals
    order: Ints  # of tied films, (n_items,)
    blend: Blend | None

    def score(self, users: Ints) -> dict[str, Scores]:
        """Every model's scores of these users, (b,), and the blend's."""
        scores = {name: model.score(users) for name, model in self.models.items()}
        if self.blend is not None:
            found = self._features(users, scores)
            counts = self.ratings.user_counts()[users].astype(np.float64)
            support = np.broadcast_to(counts[:, None], (len(users), self.ratings.n_items))
            expected = self.signals.bias.rows(users)
            scores["blend"] = self.blend.combine(found, expected, self._candidates(users, found), support, PERSONAL)
        return scores

    def baseline(self, name: str) -> Baseline:
        """What stands in where this model cannot say."""
        return self.signals.bias if name == "blend" else self.models[name].baseline

    def _features(self, users: Ints, scores: Mapping[str, Scores]) -> dict[str, Floats]:
        expected = {name: self.models[name].baseline.rows(users) for name in PERSONAL}
        return features({name: scores[name] for name in PERSONAL}, expected, self.signals.score(users))

    def _candidates(self, users: Ints, found: Features) -> Ints:
        """(b, CANDIDATES) columns of films that some have rated, NOBODY where there are fewer."""
        known = self.ratings.item_counts() >= LEAST_RATED  # (n_items,)
        return best_unseen(np.where(known, promise(found), np.nan), self.ratings.matrix[users], self.order, CANDIDATES)

    def examined(self, users: Ints, block: int) -> Iterator[tuple[Ints, Features, Ints]]:
        """Users, their features and their candidates, block by block."""
        for place in blocks(len(users), block):
            chosen = users[place]
            found = self._features(chosen, {name: self.models[name].score(chosen) for name in PERSONAL})
            yield chosen, found, self._candidates(chosen, found)


def assemble(ratings: Ratings, models: Mapping[str, Model], weights: Weights | None, seed: int, block: int) -> Ensemble:
    """Join the fitted models of PERSONAL and REFERENCE with a blend of these weights, on this fit's scale."""
    ensemble = unblended(ratings, models)
    seen = list(ensemble.examined(_some(ratings, SCALED_USERS, seed), block)) if weights else []
    parts = [among_candidates(found, candidates) for _, found, candidates in seen]
    empty = np.empty((0, len(weights.names) if weights else 0))
    centred, levels = (np.concatenate([empty, *(part[side] for part in parts)]) for side in (0, 1))
    return replace(ensemble, blend=Blend(weights, Scale.of(levels, centred)))


def unblended(ratings: Ratings, models: Mapping[str, Model]) -> Ensemble:
    """The fitted models without a blend."""
    signals = fit_signals(ratings, getattr(models["item_item"], "preference", None))
    return Ensemble(ratings, models, signals, tie_order(ratings.item_counts()), None)


def learn_weights(ensemble: Ensemble, held: Ratings, relevant_from: float, seed: int, block: int) -> Weights | None:
    """Weights from ratings that none of these models was fitted on; `held` has the same users and items."""
    names: Sequence[str] = ()
    evidence = []
    for users, found, candidates in ensemble.examined(_some(held, SAMPLED_USERS, seed), block):
        truth = held.matrix[users]  # CSR (b, n_items)
        rows = np.repeat(np.arange(len(users)), np.diff(truth.indptr))
        liked = np.zeros(truth.shape, dtype=np.bool_)
        liked[rows, truth.indices] = truth.data >= relevant_from
        names = tuple(found)
        evidence.append(held_of(found, candidates, liked, rows, truth.indices, truth.data))
    return learn(names, evidence, seed)


def _some(ratings: Ratings, limit: int, seed: int) -> Ints:
    """Rows of users with ratings, all or a seeded sample, in order."""
    able = np.flatnonzero(ratings.user_counts())
    if len(able) <= limit:
        return able
    return np.sort(np.random.default_rng(seed).choice(able, limit, replace=False))
