"""The times of an earlier run, or of one block scored now -> how long a run will take."""

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
    """How long a run will take, seconds, and what that is based on."""

    seconds: float
    evidence: str


def estimate(connection: Connection, ratings: Ratings, params: Models, block: int) -> Estimate:
    """Scale the newest measured run: scoring by users times ratings, all else by ratings.

    Before the first run, one block of users is scored with `user_user`, whose
    sums over all users take most of the time of a large run.
    """
    runs = schema.runs.c
    metrics = schema.run_metrics.c
    measured = select(metrics.run_id).where(metrics.model == NIGHT, metrics.metric == SCORE)
    newest = (
        select(runs.run_id, runs.n_users, runs.n_ratings)
        .where(runs.run_id.in_(measured))
        .order_by(runs.run_id.desc())
        .limit(1)
    )
    run = connection.execute(newest).first()
    if run is None or not run.n_ratings:
        return _from_one_block(ratings, params, block)
    figures_of_run = select(metrics.metric, metrics.value).where(
        metrics.run_id == run.run_id, metrics.model == NIGHT
    )
    figures = dict(connection.execute(figures_of_run).all())
    return _from_run(run.run_id, figures, ratings, run.n_users, run.n_ratings)


def _from_run(
    run_id: int, figures: Mapping[str, float], ratings: Ratings, n_users: int, n_ratings: int
) -> Estimate:
    steps = {name: value for name, value in figures.items() if name.startswith(SECONDS)}
    ratings_growth = ratings.n_ratings / n_ratings
    users_growth = ratings.n_users / max(n_users, 1)
    seconds = 0.0
    for name, value in steps.items():
        seconds += value * ratings_growth * (users_growth if name == SCORE else 1.0)
    total = sum(steps.values())
    return Estimate(seconds, f"run {run_id} took {total:,.0f} s for {n_ratings:,} ratings")


def _from_one_block(ratings: Ratings, params: Models, block: int) -> Estimate:
    users = ratings.some_users(block, 0)
    if not len(users):
        return Estimate(0.0, "there are no ratings")
    model = fit("user_user", ratings, params.user_user, 0)
    model.score(users[:1])  # compiles the loops, which is not to be measured
    start = perf_counter()
    model.score(users)
    seconds = perf_counter() - start
    n_active = int(np.count_nonzero(ratings.user_counts()))
    return Estimate(
        seconds / len(users) * n_active,
        f"user_user alone, from {len(users):,} users scored now in {seconds:.2g} s; "
        "no run measured yet",
    )
