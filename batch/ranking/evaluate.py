"""Ratings -> how well each model predicts what it was not shown."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from batch.models import PERSONAL, PUBLISHED, REFERENCE, Model, fit
from batch.models.baseline import Baseline
from batch.params import Models
from batch.ranking.blend import Weights
from batch.ranking.ensemble import BY_SCORE, RankedBlock, assemble, learn_weights, unblended
from batch.ranking.metrics import Catalogue, Judged, Metrics, gain, measure
from batch.ratings import NOBODY, Bools, Floats, Ints, Pairs, Ratings, blocks

HELD_OUT = 0.2
"""Share of each user's ratings, rounded down, that is held out."""
LATEST = 0.75
"""Share of those, rounded up, that are the user's last where the blend is learnt; the others are any of the earlier.

By time alone it learns what people rate at the end of a session, and is lost on everything else they like."""


def hold_out(ratings: Ratings, seed: int) -> Bools:
    """Which ratings are the test part, (n_ratings,): each user's last by time, or seeded where a time is missing."""
    _, order = _orders(ratings, seed)
    return _from_end(ratings, order) <= _share(ratings)


def hold_out_mixed(ratings: Ratings, seed: int) -> Bools:
    """Which ratings the blend is learnt on, (n_ratings,): as many, most of them the last by time, the others seeded."""
    random, order = _orders(ratings, seed)
    late = np.ceil(LATEST * _share(ratings))
    last = _from_end(ratings, order) <= late
    return last | (_from_end(ratings, np.where(last, -1.0, random)) <= _share(ratings) - late)


def _share(ratings: Ratings) -> Floats:
    """How many of the user's ratings are held out, beside each rating, (n_ratings,)."""
    return np.floor(HELD_OUT * ratings.user_counts())[ratings.user_of_rating()]


def _orders(ratings: Ratings, seed: int) -> tuple[Floats, Floats]:
    """A random number beside each rating, 0 to 1, and its time, or that number for users with a time missing."""
    random = np.random.default_rng(seed).random(ratings.n_ratings)
    if ratings.rated_at is None:
        return random, random
    timeless = np.isin(ratings.user_of_rating(), ratings.timeless_users())
    return random, np.where(timeless, random, ratings.rated_at)


def _from_end(ratings: Ratings, order: Floats) -> Floats:
    """Each rating's place among its user's from the last, 1 = last; `order` is (n_ratings,), ties by key."""
    users = ratings.user_of_rating()
    by_user = np.lexsort((order, users))  # stable
    place = np.empty(ratings.n_ratings)
    place[by_user] = ratings.matrix.indptr[users + 1] - np.arange(ratings.n_ratings)
    return place


SAMPLED_USERS = 2000
"""Users at most whose held-out ratings the blend is learnt from: 400,000 candidates settle thirty weights."""
MANY = 10_000_000
"""Ratings above which fitting the network and another model at once takes some 12 bytes a rating too many."""
MEASURED = (*PUBLISHED, *REFERENCE)
"""What metrics are of."""


@dataclass(frozen=True)
class Evaluation:
    """What a night learns before it publishes."""

    metrics: dict[str, Metrics]  # by model
    weights: Weights | None  # of the blend; None where there was too little to learn from


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
    """Metrics of every model and baseline, fitted without the held-out part and measured on it.

    The held-out part is of a seeded sample of so many `users`, or of all there are. RMSE and MAE are in stars, clipped
    to the scale, over held-out ratings; a pair the model cannot say is scored with its own baseline, and
    `fallback_share` is how often. Metrics of lists are means over users with a relevant held-out film (rated at or
    above `relevant_from`), all films unseen in training being candidates. With `diversity` the blend is measured
    without it too, as `blend_by_score`. Definitions: docs/metrics.md. A metric that nothing speaks to is left out.
    """
    test = _of_some(ratings, users, seed, hold_out)
    weights = _learnt(
        ratings, ~test, params, seed, relevant_from, block
    )  # before there is another copy of the ratings
    train, held = ratings.keep(~test), ratings.keep(test)
    ensemble = assemble(
        train, fit_all(train, params, seed), weights, seed, block, diversity=diversity
    )
    judged = judge(
        ensemble, _measured(diversity), held, _whose(held, users), n, relevant_from, block
    )
    return Evaluation(figures(judged, train, weights, seed), weights)


def learn_nightly(
    ratings: Ratings, params: Models, *, seed: int, relevant_from: float, block: int, users: int
) -> Weights | None:
    """The weights that `evaluate` comes to, without measuring anything."""
    return _learnt(
        ratings, ~_of_some(ratings, users, seed, hold_out), params, seed, relevant_from, block
    )


def _of_some(
    ratings: Ratings, users: int, seed: int, cut: Callable[[Ratings, int], Bools]
) -> Bools:
    """What a cut takes of the ratings of so many users, all or a seeded sample, (n_ratings,)."""
    chosen = ratings.of(ratings.some_users(users, seed))
    chosen[chosen] = cut(ratings.keep(chosen), seed)
    return chosen


def figures(
    judged: Mapping[str, Judged], train: Ratings, weights: Weights | None, seed: int
) -> dict[str, Metrics]:
    """The metrics of every model that was held against ratings it was not fitted on; the blend's gain and weights."""
    catalogue = Catalogue(train.matrix, train.genres)
    found = {name: measure(each, catalogue, seed) for name, each in judged.items()}
    found["blend"] = {
        **found["blend"],
        **gain(judged["blend"], [judged[name] for name in PERSONAL], seed),
        **(weights.figures() if weights else {}),
    }
    return found


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
    """Every model and baseline fitted on `train` and held against `held`, which has the same users and items.

    Judged are all users, or, where there are more than `users`, those who have ratings in `held`. The blend's weights
    come from a cut of `train` of its own, which the measured models are then fitted on too.
    """
    weights = _learnt(
        train, np.ones(train.n_ratings, dtype=np.bool_), params, seed, relevant_from, block
    )
    ensemble = assemble(
        train, fit_all(train, params, seed), weights, seed, block, diversity=diversity
    )
    return judge(
        ensemble, _measured(diversity), held, _whose(held, users), n, relevant_from, block
    ), weights


def _measured(diversity: float) -> tuple[str, ...]:
    return (*MEASURED, BY_SCORE) if diversity else MEASURED


def _whose(held: Ratings, users: int) -> Ints:
    """Who is judged: everyone, or, of more than so many, those of whom something is held out."""
    return np.arange(held.n_users) if held.n_users <= users else np.flatnonzero(held.user_counts())


def _learnt(
    ratings: Ratings, known: Bools, params: Models, seed: int, relevant_from: float, block: int
) -> Weights | None:
    """The blend's weights, from a cut of the ratings of some users, among those `known`, (n_ratings,)."""
    inner = np.zeros(ratings.n_ratings, dtype=np.bool_)
    inner[known] = _of_some(ratings.keep(known), SAMPLED_USERS, seed, hold_out_mixed)
    rest = ratings.keep(known & ~inner)
    return learn_weights(
        unblended(rest, fit_all(rest, params, seed)),
        ratings.keep(inner),
        relevant_from,
        seed,
        block,
    )


def fit_all(ratings: Ratings, params: Models, seed: int) -> dict[str, Model]:
    """Every model and baseline, fitted: the network, which keeps one core busy at most, beside the others.

    Above MANY ratings it is first, for the sake of memory.
    """

    def one(name: str) -> Model:
        return fit(name, ratings, getattr(params, name, None), seed)

    names, beside = (*PERSONAL, *REFERENCE), ThreadPoolExecutor(1)
    try:
        network = beside.submit(one, "neural")
        if ratings.n_ratings > MANY:
            network.result()
        found = {name: one(name) for name in names if name != "neural"}
        found["neural"] = network.result()  # what it raises is raised here
    finally:
        beside.shutdown(
            wait=False
        )  # a run that is told to end does not wait for a network to be trained
    return {name: found[name] for name in names}


class Scorer(Protocol):
    """Models fitted on the same ratings and asked together, such as an `Ensemble`."""

    @property
    def ratings(self) -> Ratings:
        """What they were fitted on."""

    def answers(
        self, names: Sequence[str], users: Ints, n: int, asked: Pairs
    ) -> Mapping[str, RankedBlock]:
        """Each model's lists of n for these users, (b,), and its ratings of the cells asked about."""

    def baseline(self, name: str) -> Baseline:
        """What stands in where this model cannot say."""


def judge(
    scorer: Scorer,
    names: Sequence[str],
    held: Ratings,
    users: Ints,
    n: int,
    relevant_from: float,
    block: int,
) -> dict[str, Judged]:
    """Every model of these names against the held-out ratings of these users, (u,), `block` at a time.

    `held` has ratings of no one else.
    """
    found = {name: _blank(held, users, n) for name in names}
    from batch.models.compiled import side_by_side

    def answers(places: Ints) -> tuple[Ints, Mapping[str, RankedBlock]]:
        return places, scorer.answers(
            names, users[places], n, Pairs.stored(held.matrix[users[places]])
        )

    begins = np.concatenate([[0], np.cumsum(held.user_counts()[users])])  # (u + 1,)
    for places, told in side_by_side(answers, blocks(len(users), block)):
        chosen = users[places]
        truth = held.matrix[chosen]  # CSR (b, n_items)
        asked = Pairs.stored(truth)
        pairs = slice(begins[places[0]], begins[places[-1] + 1])
        liked = np.zeros(truth.shape, dtype=np.bool_)
        liked[asked] = truth.data >= relevant_from
        for name, said in told.items():
            judged = found[name]
            unsaid = np.isnan(said.said)
            stars = np.where(unsaid, scorer.baseline(name).at(chosen, asked), said.said)
            judged.predicted[pairs], judged.unsaid[pairs] = (
                np.clip(stars, *scorer.ratings.scale),
                unsaid,
            )
            hits = said.listed != NOBODY
            hits[hits] = liked[Pairs.listed(said.listed)]
            judged.listed[places], judged.hits[places], judged.relevant[places] = (
                said.listed,
                hits,
                liked.sum(axis=1),
            )
    return found


def _blank(held: Ratings, users: Ints, n: int) -> Judged:
    counts = held.user_counts()[users]  # (u,)
    return Judged(
        users=users,
        listed=np.full((len(users), n), NOBODY, dtype=np.int64),
        hits=np.zeros((len(users), n), dtype=np.bool_),
        relevant=np.zeros(len(users), dtype=np.int64),
        user=np.repeat(np.arange(len(users)), counts),
        truth=held.matrix.data,
        predicted=np.zeros(held.n_ratings),
        unsaid=np.zeros(held.n_ratings, dtype=np.bool_),
    )
