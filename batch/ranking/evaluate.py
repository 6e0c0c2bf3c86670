"""Ratings -> how well each model predicts ratings that were held out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
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
EPOCHS = "epochs"
"""The metric that says for how many epochs the network was trained."""
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
    epochs: int | None  # of the published network; None for the flattened form
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
    following = hold_out_next(ratings, inputs["users"], inputs["seed"])
    cuts: dict[Cut, HeldOut] = {"next": following} if following.judged.any() else {}
    cuts["own"] = hold_out_own(ratings, inputs["users"], inputs["seed"])
    tonight = _part(ratings, _all(ratings), params, inputs, is_measured=False)
    parts = [_part(ratings, ~held_out.removed, params, inputs) for held_out in cuts.values()]
    # Tonight's epochs are chosen on what `own` leaves, so that they may be those of `own` too.
    parts[-1] = parts[-1]._replace(epochs=tonight.epochs)
    metrics: dict[str, dict[str, float]] = {name: {} for name in _measured(inputs["diversity"])}
    headline: Cut = "own"
    least_ratings = 1
    with _networks(ratings, [*parts, tonight], params, inputs["seed"]) as networks:
        for (cut, held_out), part in zip(cuts.items(), parts, strict=True):
            network, network_for_weights = next(networks)
            cut_weights = _learn(ratings, part.evidence, params, inputs, network_for_weights)
            judged, of_cut = measure_cut(ratings, held_out, params, cut_weights, inputs, network)
            for name, values in of_cut.items():
                metrics[name] |= with_cut(cut, values)
            leads = cut == "own" or judged["blend"].counted.sum() >= min_users
            if leads and headline == "own":
                headline = cut
                user_counts = ratings.keep(~held_out.removed).user_counts()
                least_ratings = choose_least_ratings(judged, user_counts, inputs["seed"])
        _, network_for_weights = next(networks)
        weights = _learn(ratings, tonight.evidence, params, inputs, network_for_weights)
    epochs = tonight.epochs()
    if weights:
        metrics["blend"] |= weights.figures()
    if epochs is not None:
        metrics["neural"][EPOCHS] = float(epochs)
    return Evaluation(metrics, headline, weights, epochs, least_ratings)


Network = Future[Model]
"""A network that may still be trained."""


class _Part(NamedTuple):
    """A part of the ratings: all of them, or those that a cut leaves."""

    known: Bools  # (n_ratings,)
    evidence: Evidence  # among what is known
    epochs: Callable[[], int | None]  # for how many its networks are trained
    is_measured: bool  # whether models fitted on all that is known are needed


def _part(
    ratings: Ratings, known: Bools, params: Models, inputs: Inputs, *, is_measured: bool = True
) -> _Part:
    """What is `known`, (n_ratings,), as a night sees it that has no other ratings.

    Such a night trains its networks for as many epochs as are best on what `own` leaves of it.
    """

    @cache
    def epochs() -> int | None:
        from batch.models.neural import best_epochs  # loads torch, beside everything else

        part = ratings.keep(known)
        left = ~hold_out_own(part, inputs["users"], inputs["seed"]).removed
        return best_epochs(part.keep(left), params.neural, inputs["seed"])

    evidence = hold_out_evidence(ratings, known, SAMPLED_USERS, inputs["seed"])
    return _Part(known, evidence, epochs, is_measured)


def _all(ratings: Ratings) -> Bools:
    return np.ones(ratings.n_ratings, dtype=np.bool_)


@contextmanager
def _networks(
    ratings: Ratings, parts: Sequence[_Part], params: Models, seed: int
) -> Iterator[Iterator[tuple[Network | None, Network]]]:
    """The networks of these parts, if they are measured, and those for weights, in order.

    All of a part are trained for the same number of epochs: the scale of a network's output
    grows with them, and weights that are learnt on one scale are used on the other. A network
    keeps one core busy, and takes longer than the other models together. So one after the
    other is trained beside everything else; above MANY ratings, to save memory, those of a
    part when they are asked for, while `fit_all` waits.
    """
    executor = ThreadPoolExecutor(1)

    def networks_of(part: _Part) -> tuple[Network | None, Network]:
        def network(of: Bools) -> Model:
            return fit("neural", ratings.keep(of), params.neural, seed, epochs=part.epochs())

        measured = executor.submit(network, part.known) if part.is_measured else None
        return measured, executor.submit(network, part.evidence.fitted)

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


def learn_nightly(
    ratings: Ratings, params: Models, inputs: Inputs
) -> tuple[Weights | None, int | None]:
    """The blend's weights and the network's epochs that a night would publish with."""
    tonight = _part(ratings, _all(ratings), params, inputs, is_measured=False)
    with _networks(ratings, [tonight], params, inputs["seed"]) as networks:
        _, for_weights = next(networks)
        weights = _learn(ratings, tonight.evidence, params, inputs, for_weights)
    return weights, tonight.epochs()


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
    part = _part(train, _all(train), params, inputs)
    with _networks(train, [part], params, inputs["seed"]) as networks:
        network, for_weights = next(networks)
        weights = _learn(train, part.evidence, params, inputs, for_weights)
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
    ratings: Ratings,
    params: Models,
    seed: int,
    network: Network | None = None,
    epochs: int | None = None,
) -> dict[str, Model]:
    """Fit every model and baseline, but for a `network` that is fitted elsewhere.

    Else it is fitted here for so many `epochs`, or for as many as are best. It
    keeps at most one core busy and is fitted beside the others; above MANY ratings
    it is fitted before them, to save memory.
    """

    def fitted(name: str, **chosen: int | None) -> Model:
        return fit(name, ratings, getattr(params, name, None), seed, **chosen)

    names = (*PERSONAL, *REFERENCE)
    executor = ThreadPoolExecutor(1)
    try:
        network = network or executor.submit(fitted, "neural", epochs=epochs)
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
    return learn_weights(ensemble, taste, trend, inputs["relevant_from"], inputs["block"])


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
