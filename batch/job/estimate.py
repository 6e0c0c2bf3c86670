"""What a run took, and a block measured now -> how long a night will take."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from sqlalchemy import Connection, select

from batch.models import fit
from batch.params import Models
from batch.ratings import Ratings
from batch.store import schema
from batch.store.runs import NIGHT, SECONDS

SCORE = f"{SECONDS}score"


@dataclass(frozen=True)
class Estimate:
    """How long a night will take, seconds, and on what basis."""

    seconds: float
    evidence: str


def estimate(connection: Connection, ratings: Ratings, params: Models, block: int) -> Estimate:
    """From the newest measured run: scoring by users times ratings, the rest by ratings.

    Before the first run there is only what can be measured now: one block of users scored by `user_user`, whose sums
    over everyone are most of a large night.
    """
    r, m = schema.runs.c, schema.run_metrics.c
    measured = select(m.run_id).where(m.model == NIGHT, m.metric == SCORE)
    newest = (
        select(r.run_id, r.n_users, r.n_ratings)
        .where(r.run_id.in_(measured))
        .order_by(r.run_id.desc())
    )
    run = connection.execute(newest.limit(1)).first()
    if run is None or not run.n_ratings:
        return _measured(ratings, params, block)
    figures = select(m.metric, m.value).where(m.run_id == run.run_id, m.model == NIGHT)
    return _scaled(
        run.run_id, dict(connection.execute(figures).all()), ratings, run.n_users, run.n_ratings
    )


def _scaled(
    run_id: int, figures: Mapping[str, float], ratings: Ratings, n_users: int, n_ratings: int
) -> Estimate:
    steps = {name: value for name, value in figures.items() if name.startswith(SECONDS)}
    growth, crowd = ratings.n_ratings / n_ratings, ratings.n_users / max(n_users, 1)
    seconds = sum(
        value * growth * (crowd if name == SCORE else 1.0) for name, value in steps.items()
    )
    return Estimate(
        seconds, f"run {run_id} took {sum(steps.values()):,.0f} s for {n_ratings:,} ratings"
    )


def _measured(ratings: Ratings, params: Models, block: int) -> Estimate:
    able = ratings.some_users(block, 0)
    if not len(able):
        return Estimate(0.0, "there are no ratings")
    model = fit("user_user", ratings, params.user_user, 0)
    model.score(able[:1])  # whatever has to be compiled first
    began = perf_counter()
    model.score(able)
    taken = perf_counter() - began
    seconds = taken / len(able) * int(np.count_nonzero(ratings.user_counts()))
    return Estimate(
        seconds,
        f"user_user alone, from {len(able):,} users scored now in {taken:.2g} s; no run measured yet",
    )
