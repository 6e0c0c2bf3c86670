"""Ratings -> how well each model predicts ratings that were held out."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from batch.models import PERSONAL, PUBLISHED, REFERENCE, Model, fit
from batch.models.baseline import Baseline
from batch.params import Models
from batch.ranking.blend import Weights
from batch.ranking.ensemble import BY_SCORE, assemble, learn_weights, unblended
from batch.ranking.hold_out import hold_out, hold_out_mixed
from batch.ranking.metrics import Catalogue, Judged, Metrics, gain, measure
from batch.ranking.ranked_block import RankedBlock
from batch.ratings import NOBODY, Bools, Ints, Pairs, Ratings, blocks

SAMPLED_USERS = 2000
"""Maximum users that the blend is learnt from: 200,000 candidates settle 30 weights."""
MANY = 10_000_000
"""Maximum ratings for fitting the network beside another model, which takes about 12 bytes per
rating more memory."""
MEASURED = (*PUBLISHED, *REFERENCE)
"""The models that are measured."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of all models, and the blend's weights."""

    metrics: dict[str, Metrics]  # by model
    weights: Weights | None  # None where there was too little to learn from


def evaluate(
    ratings: Ratings,
    params: Models,
    *,
    seed: int,
    n: int,
    relevant_from: float,
    block: int,
    users: int,
    diversity: float = 0.0,
) -> Evaluation:
    """Fit every model and baseline without the held-out ratings, and measure them on those.

    Ratings are held out of a seeded sample of at most `users` users. RMSE and MAE
    are in stars, of predictions clipped to the scale, over held-out ratings; a
    missing prediction is replaced by the model's own baseline, and
    `fallback_share` is how often that happens. Metrics of lists are means over
    users with a relevant held-out film, one rated at or above `relevant_from`;
    all films not rated in training are candidates. With `diversity` the blend is
    measured without it too, as `blend_by_score`. Metrics that cannot be computed
    are left out. Definitions: docs/metrics.md.
    """
    is_held = _cut_of_sample(ratings, users, seed, hold_out)
    # Before `train` is another copy of the ratings in memory.
    weights = _learn_weights(ratings, ~is_held, params, seed, relevant_from, block)
    train = ratings.keep(~is_held)
    held = ratings.keep(is_held)
    models = fit_all(train, params, seed)
    ensemble = assemble(train, models, weights, seed, block, diversity=diversity)
    names = _measured(diversity)
    judged_users = _judged_users(held, users)
    judged = judge(ensemble, names, held, judged_users, n, relevant_from, block)
    return Evaluation(figures(judged, train, weights, seed), weights)


def learn_nightly(
    ratings: Ratings, params: Models, *, seed: int, relevant_from: float, block: int, users: int
) -> Weights | None:
    """The weights that `evaluate` returns, without measuring anything."""
    is_held = _cut_of_sample(ratings, users, seed, hold_out)
    return _learn_weights(ratings, ~is_held, params, seed, relevant_from, block)


def figures(
    judged: Mapping[str, Judged], train: Ratings, weights: Weights | None, seed: int
) -> dict[str, Metrics]:
    """The metrics of every judged model, and the blend's gain over the models and its weights."""
    catalogue = Catalogue(train.matrix, train.genres)
    metrics = {name: measure(model, catalogue, seed) for name, model in judged.items()}
    blend_metrics = dict(metrics["blend"])
    blend_metrics |= gain(judged["blend"], [judged[name] for name in PERSONAL], seed)
    if weights:
        blend_metrics |= weights.figures()
    metrics["blend"] = blend_metrics
    return metrics


def fit_and_judge(
    train: Ratings,
    held: Ratings,
    params: Models,
    *,
    seed: int,
    n: int,
    relevant_from: float,
    block: int,
    users: int,
    diversity: float = 0.0,
) -> tuple[dict[str, Judged], Weights | None]:
    """Fit every model and baseline on `train` and judge them on `held`.

    `held` has the same users and items. Judged are all users, or, if there are
    more than `users`, those with ratings in `held`. The blend's weights are
    learnt from ratings that are held out of `train`, and on which the judged
    models are then fitted too.
    """
    everything = np.ones(train.n_ratings, dtype=np.bool_)
    weights = _learn_weights(train, everything, params, seed, relevant_from, block)
    models = fit_all(train, params, seed)
    ensemble = assemble(train, models, weights, seed, block, diversity=diversity)
    names = _measured(diversity)
    judged_users = _judged_users(held, users)
    judged = judge(ensemble, names, held, judged_users, n, relevant_from, block)
    return judged, weights


def fit_all(ratings: Ratings, params: Models, seed: int) -> dict[str, Model]:
    """Fit every model and baseline.

    The network keeps at most one core busy and is fitted beside the others; above
    MANY ratings it is fitted before them, to save memory.
    """

    def fitted(name: str) -> Model:
        return fit(name, ratings, getattr(params, name, None), seed)

    names = (*PERSONAL, *REFERENCE)
    executor = ThreadPoolExecutor(1)
    try:
        network = executor.submit(fitted, "neural")
        if ratings.n_ratings > MANY:
            network.result()
        models = {name: fitted(name) for name in names if name != "neural"}
        models["neural"] = network.result()  # raises what fitting it raised
    finally:
        # An interrupted run does not wait for the network.
        executor.shutdown(wait=False)
    return {name: models[name] for name in names}


class Scorer(Protocol):
    """Models fitted on the same ratings, such as an `Ensemble`."""

    @property
    def ratings(self) -> Ratings:
        """The ratings they were fitted on."""

    def rank_users(
        self, names: Sequence[str], users: Ints, n: int, pairs: Pairs
    ) -> Mapping[str, RankedBlock]:
        """Each model's lists of n for these users, (b,), and its ratings of `pairs`."""

    def baseline(self, name: str) -> Baseline:
        """The baseline that replaces a missing prediction of this model."""


def judge(
    scorer: Scorer,
    names: Sequence[str],
    held: Ratings,
    users: Ints,
    n: int,
    relevant_from: float,
    block: int,
) -> dict[str, Judged]:
    """Rank for these users, (u,), by each named model, and compare with `held`.

    `held` has ratings of these users only. `block` users are scored at a time.
    """
    from batch.models.compiled import side_by_side

    def ranked(positions: Ints) -> tuple[Ints, Mapping[str, RankedBlock]]:
        block_users = users[positions]
        pairs = Pairs.stored(held.matrix[block_users])
        return positions, scorer.rank_users(names, block_users, n, pairs)

    judged = {name: _empty(held, users, n) for name in names}
    starts = np.concatenate([[0], np.cumsum(held.user_counts()[users])])  # (u + 1,)
    for positions, by_model in side_by_side(ranked, blocks(len(users), block)):
        block_users = users[positions]
        truth = held.matrix[block_users]  # CSR (b, n_items)
        pairs = Pairs.stored(truth)
        liked = np.zeros(truth.shape, dtype=np.bool_)
        liked[pairs] = truth.data >= relevant_from
        block_pairs = slice(starts[positions[0]], starts[positions[-1] + 1])
        for name, lists in by_model.items():
            is_fallback = np.isnan(lists.predicted)
            baseline = scorer.baseline(name).at(block_users, pairs)
            stars = np.where(is_fallback, baseline, lists.predicted)
            hits = lists.listed != NOBODY
            hits[hits] = liked[Pairs.listed(lists.listed)]
            model = judged[name]
            model.predicted[block_pairs] = np.clip(stars, *scorer.ratings.scale)
            model.is_fallback[block_pairs] = is_fallback
            model.listed[positions] = lists.listed
            model.hits[positions] = hits
            model.relevant[positions] = liked.sum(axis=1)
    return judged


def _cut_of_sample(
    ratings: Ratings, users: int, seed: int, cut: Callable[[Ratings, int], Bools]
) -> Bools:
    """The ratings that `cut` takes from a seeded sample of at most `users` users, (n_ratings,)."""
    chosen = ratings.of(ratings.some_users(users, seed))
    chosen[chosen] = cut(ratings.keep(chosen), seed)
    return chosen


def _learn_weights(
    ratings: Ratings, usable: Bools, params: Models, seed: int, relevant_from: float, block: int
) -> Weights | None:
    """The blend's weights, learnt from held-out ratings among the `usable` ones, (n_ratings,)."""
    is_held = np.zeros(ratings.n_ratings, dtype=np.bool_)
    is_held[usable] = _cut_of_sample(ratings.keep(usable), SAMPLED_USERS, seed, hold_out_mixed)
    train = ratings.keep(usable & ~is_held)
    ensemble = unblended(train, fit_all(train, params, seed))
    return learn_weights(ensemble, ratings.keep(is_held), relevant_from, seed, block)


def _measured(diversity: float) -> tuple[str, ...]:
    return (*MEASURED, BY_SCORE) if diversity else MEASURED


def _judged_users(held: Ratings, users: int) -> Ints:
    """All users, or, if there are more than `users`, those with held-out ratings."""
    if held.n_users <= users:
        return np.arange(held.n_users)
    return np.flatnonzero(held.user_counts())


def _empty(held: Ratings, users: Ints, n: int) -> Judged:
    counts = held.user_counts()[users]  # (u,)
    return Judged(
        users=users,
        listed=np.full((len(users), n), NOBODY, dtype=np.int64),
        hits=np.zeros((len(users), n), dtype=np.bool_),
        relevant=np.zeros(len(users), dtype=np.int64),
        user=np.repeat(np.arange(len(users)), counts),
        truth=held.matrix.data,
        predicted=np.zeros(held.n_ratings),
        is_fallback=np.zeros(held.n_ratings, dtype=np.bool_),
    )
