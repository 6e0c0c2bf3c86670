"""Ratings -> how well each model predicts ratings that were held out."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypedDict

import numpy as np

from batch.models import PERSONAL, PUBLISHED, REFERENCE, Model, fit
from batch.models.baseline import Baseline
from batch.params import Models
from batch.ranking.blend_weights import Weights
from batch.ranking.ensemble import BY_SCORE, assemble, learn_weights, unblended
from batch.ranking.hold_out import (
    Evidence,
    HeldOut,
    hold_out_evidence,
    hold_out_next,
    hold_out_own,
)
from batch.ranking.least_ratings import choose_least_ratings
from batch.ranking.metric_names import Cut, RunMetrics, with_cut
from batch.ranking.metrics import Catalogue, Judged, Metrics, gain, measure
from batch.ranking.ranked_block import RankedBlock
from batch.ratings import NOBODY, Bools, Ints, Pairs, Ratings, blocks

SAMPLED_USERS = 2000
"""Maximum users of each kind that the blend is learnt from: 200,000 candidates settle 30 weights.
"""
MANY = 10_000_000
"""Maximum ratings for fitting the network beside another model, which takes about 12 bytes per
rating more memory."""
MEASURED = (*PUBLISHED, *REFERENCE)
"""The models that are measured."""


class Inputs(TypedDict):
    """How models are measured: settings, defaults filled in."""

    seed: int
    n: int  # length of lists
    relevant_from: float  # stars from which a film counts as liked
    block: int  # users scored at a time
    users: int  # maximum users that are measured on
    diversity: float  # 0 to 1, weight of dissimilarity in the blend's lists


@dataclass(frozen=True)
class Evaluation:
    """Metrics of all models in both cuts, and what was chosen for the lists."""

    metrics: Mapping[str, Metrics]  # by model, with the names of `run_metrics`
    headline: Cut  # the cut that the run is judged by
    weights: Weights | None  # of the published blend; None where there was too little to learn from
    least_ratings: int  # a user with fewer is better served by popular films

    @property
    def measured(self) -> RunMetrics:
        """The metrics, read in the headline."""
        return RunMetrics.of(self.metrics, self.headline)


def evaluate(ratings: Ratings, params: Models, inputs: Inputs, min_users: int) -> Evaluation:
    """Measure every model and baseline in both cuts, and learn the weights of the published blend.

    In each cut they are fitted without the ratings that it removes, and measured
    on those that it judges. The headline is `next` where `min_users` users could
    be judged by it. RMSE and MAE are in stars, of predictions clipped to the
    scale, over held-out ratings; a missing prediction is replaced by the model's
    own baseline, and `fallback_share` is how often that happens. Metrics of lists
    are means over users with a relevant held-out film, one rated at or above
    `relevant_from`; all films not rated in training are candidates. With
    `diversity` the blend is measured without it too, as `blend_by_score`. Metrics
    that cannot be computed are left out. Definitions: docs/metrics.md.
    """
    cuts: dict[Cut, HeldOut] = {
        "next": hold_out_next(ratings, inputs["users"], inputs["seed"]),
        "own": hold_out_own(ratings, inputs["users"], inputs["seed"]),
    }
    if not cuts["next"].judged.any():
        del cuts["next"]
    everything = np.ones(ratings.n_ratings, dtype=np.bool_)
    known = [*(~held_out.removed for held_out in cuts.values()), everything]
    evidence = [_evidence(ratings, part, inputs) for part in known]
    # The published models are fitted by the night.
    measured = [True] * len(cuts) + [False]
    parts = [
        _Part(part, of.fitted, is_measured)
        for part, of, is_measured in zip(known, evidence, measured, strict=True)
    ]
    metrics: dict[str, dict[str, float]] = {name: {} for name in _measured(inputs["diversity"])}
    headline: Cut = "own"
    least_ratings = 1
    with _networks(ratings, parts, params, inputs["seed"]) as networks:
        for (cut, held_out), evidence_of_cut in zip(cuts.items(), evidence, strict=False):
            network, network_for_weights = next(networks)
            cut_weights = _learn(ratings, evidence_of_cut, params, inputs, network_for_weights)
            judged, of_cut = measure_cut(ratings, held_out, params, cut_weights, inputs, network)
            for name, values in of_cut.items():
                metrics[name] |= with_cut(cut, values)
            leads = cut == "own" or judged["blend"].counted.sum() >= min_users
            if leads and headline == "own":
                headline = cut
                user_counts = ratings.keep(~held_out.removed).user_counts()
                least_ratings = choose_least_ratings(judged, user_counts, inputs["seed"])
        _, network_for_weights = next(networks)
        weights = _learn(ratings, evidence[-1], params, inputs, network_for_weights)
    if weights:
        metrics["blend"] |= weights.figures()
    return Evaluation(metrics, headline, weights, least_ratings)


Network = Future[Model]
"""A network that may still be trained."""


class _Part(NamedTuple):
    """A part of the ratings, and the part of it without what the blend's weights learn from."""

    known: Bools  # (n_ratings,)
    fitted: Bools  # (n_ratings,)
    is_measured: bool  # whether models fitted on all that is known are needed


@contextmanager
def _networks(
    ratings: Ratings, parts: Sequence[_Part], params: Models, seed: int
) -> Iterator[Iterator[tuple[Network | None, Network]]]:
    """The networks of these parts, if they are measured, and those for weights, in order.

    All of a part are trained for as many epochs as are best on what is known: the scale of a
    network's output grows with them, and weights that are learnt on one scale are used on the
    other. A network keeps one core busy, and takes longer than the other models together. So
    one after the other is trained beside everything else; above MANY ratings, to save memory,
    those of a part when they are asked for, while `fit_all` waits.
    """
    executor = ThreadPoolExecutor(1)

    def epochs_for(known: Bools) -> int | None:
        from batch.models.neural import best_epochs  # loads torch, beside everything else

        return best_epochs(ratings.keep(known), params.neural, seed)

    def networks_of(part: _Part) -> tuple[Network | None, Network]:
        epochs = executor.submit(epochs_for, part.known)

        def network(of: Bools) -> Model:
            chosen = {"epochs": epochs.result()}
            return fit("neural", ratings.keep(of), params.neural, seed, **chosen)

        measured = executor.submit(network, part.known) if part.is_measured else None
        return measured, executor.submit(network, part.fitted)

    try:
        when_asked = map(networks_of, parts)
        yield when_asked if ratings.n_ratings > MANY else iter(list(when_asked))
    finally:
        # An interrupted run does not wait for them.
        executor.shutdown(wait=False, cancel_futures=True)


def measure_cut(
    ratings: Ratings,
    held_out: HeldOut,
    params: Models,
    weights: Weights | None,
    inputs: Inputs,
    network: Network | None = None,
) -> tuple[dict[str, Judged], dict[str, Metrics]]:
    """What models fitted without the held-out ratings list and predict, and their metrics."""
    train = ratings.keep(~held_out.removed)
    held = ratings.keep(held_out.judged)
    judged = _fit_and_judge(train, held, params, weights, inputs, network)
    return judged, figures(judged, train, inputs["seed"])


def learn_nightly(ratings: Ratings, params: Models, inputs: Inputs) -> Weights | None:
    """The weights of the published blend, learnt from evidence among all ratings."""
    with _with_evidence(ratings, params, inputs, is_measured=False) as (evidence, networks):
        return _learn(ratings, evidence, params, inputs, networks[1])


@contextmanager
def _with_evidence(
    ratings: Ratings, params: Models, inputs: Inputs, *, is_measured: bool
) -> Iterator[tuple[Evidence, tuple[Network | None, Network]]]:
    """The evidence among all of these ratings, and the networks of `_networks`."""
    everything = np.ones(ratings.n_ratings, dtype=np.bool_)
    evidence = _evidence(ratings, everything, inputs)
    part = _Part(everything, evidence.fitted, is_measured)
    with _networks(ratings, [part], params, inputs["seed"]) as networks:
        yield evidence, next(networks)


def _evidence(ratings: Ratings, usable: Bools, inputs: Inputs) -> Evidence:
    return hold_out_evidence(ratings, usable, SAMPLED_USERS, inputs["seed"])


def figures(judged: Mapping[str, Judged], train: Ratings, seed: int) -> dict[str, Metrics]:
    """The metrics of every judged model, and the blend's gain over the models."""
    catalogue = Catalogue(train.matrix, train.genres)
    metrics = {name: measure(model, catalogue, seed) for name, model in judged.items()}
    gained = gain(judged["blend"], [judged[name] for name in PERSONAL], seed)
    metrics["blend"] = {**metrics["blend"], **gained}
    return metrics


def fit_and_judge(
    train: Ratings, held: Ratings, params: Models, inputs: Inputs
) -> tuple[dict[str, Judged], Weights | None]:
    """Fit every model and baseline on `train`, as a night would, and judge them on `held`.

    `held` has the same users and items. Judged are all users, or, if there are
    more than `users`, those with ratings in `held`.
    """
    with _with_evidence(train, params, inputs, is_measured=True) as (evidence, networks):
        network, for_weights = networks
        weights = _learn(train, evidence, params, inputs, for_weights)
        return _fit_and_judge(train, held, params, weights, inputs, network), weights


def _fit_and_judge(
    train: Ratings,
    held: Ratings,
    params: Models,
    weights: Weights | None,
    inputs: Inputs,
    network: Network | None,
) -> dict[str, Judged]:
    models = fit_all(train, params, inputs["seed"], network)
    ensemble = assemble(train, models, weights, diversity=inputs["diversity"])
    names = _measured(inputs["diversity"])
    users = _judged_users(held, inputs["users"])
    return judge(
        ensemble, names, held, users, inputs["n"], inputs["relevant_from"], inputs["block"]
    )


def fit_all(
    ratings: Ratings, params: Models, seed: int, network: Network | None = None
) -> dict[str, Model]:
    """Fit every model and baseline, but for a `network` that is fitted elsewhere.

    The network keeps at most one core busy and is fitted beside the others; above
    MANY ratings it is fitted before them, to save memory.
    """

    def fitted(name: str) -> Model:
        return fit(name, ratings, getattr(params, name, None), seed)

    names = (*PERSONAL, *REFERENCE)
    executor = ThreadPoolExecutor(1)
    try:
        network = network or executor.submit(fitted, "neural")
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


def _learn(
    ratings: Ratings, evidence: Evidence, params: Models, inputs: Inputs, network: Network
) -> Weights | None:
    """The blend's weights, learnt from this evidence."""
    seed = inputs["seed"]
    train = ratings.keep(evidence.fitted)
    ensemble = unblended(train, fit_all(train, params, seed, network))
    taste = ratings.keep(evidence.taste)
    trend = ratings.keep(evidence.trend)
    return learn_weights(ensemble, taste, trend, inputs["relevant_from"], seed, inputs["block"])


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
