"""A film -> the users who would like it most, by the published run's models."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, select

from batch.config import Config
from batch.job.explain_pair import require_film
from batch.job.inputs import block_size
from batch.job.restored import kept_of, restored_ensemble, run_to_restore
from batch.params import SCORE_DECIMALS
from batch.ranking.audience import Appeal, appeal, eligible
from batch.ranking.mask import Mask
from batch.ratings import Ratings
from batch.store import schema
from batch.store.database import Database
from batch.store.filters import active_filters
from batch.store.load import load
from batch.store.seen import seen_pairs


@dataclass(frozen=True)
class Member:
    """A user who would like the film.

    `score`, 0 to 1, is what the film has, or would have, in the user's list of `blend`, and orders
    the audience; `predicted_rating` is in stars, unclipped.
    """

    rank: int
    user_key: str
    user_name: str | None
    score: float
    predicted_rating: float


@dataclass(frozen=True)
class Audience:
    """The users who would like a film most, the best first."""

    movie_key: str
    title: str
    run_id: int  # the published run, with whose models they were scored
    scored: int  # users who were compared
    scale: tuple[float, float]  # lowest and highest rating, stars
    users: tuple[Member, ...]


def audience(database: Database, config: Config, movie_key: str, title: str, n: int) -> Audience:
    """The n users who would like a film most, of all who may be shown it; writes nothing.

    Every user is scored again, from the current ratings, with what the published run learnt. Users
    are left out if they rated or saw the film, if it is filtered for them, or if they have so few
    ratings that they get popular films. Raises UnknownFilmError, CannotRestoreError.
    """
    with database.reader.connect() as connection:
        base = run_to_restore(connection)
        kept = kept_of(connection, base)
        loaded = load(connection, scale=base.scale)
        require_film(loaded, movie_key)
        filtered, _ = active_filters(connection)
        mask = Mask.of(loaded.ratings, filtered, seen_pairs(connection))
        names = _names(connection)
    ratings = loaded.ratings
    item = loaded.movie_keys.index(movie_key)
    least_ratings = 1 if base.preset == "plain" else base.least_ratings or 1
    users = eligible(ratings, mask, item, least_ratings)
    diversity = config.publish.diversity
    ensemble = restored_ensemble(base, kept, ratings, users, mask, diversity)
    found = appeal(ensemble, item, users, block_size(ratings, config.resources.memory_mb))
    return Audience(
        movie_key=movie_key,
        title=title,
        run_id=base.run_id,
        scored=len(found.users),
        scale=ratings.scale,
        users=_best(found, ratings, names, n),
    )


def _best(
    found: Appeal, ratings: Ratings, names: dict[int, tuple[str, str | None]], n: int
) -> tuple[Member, ...]:
    """The n highest scores; of equal ones the first by key."""
    scores = found.score.round(SCORE_DECIMALS)
    order = np.argsort(-scores, kind="stable")[:n]
    user_ids = ratings.user_ids[found.users[order]]
    rows = zip(user_ids.tolist(), scores[order].tolist(), found.rating[order].tolist(), strict=True)
    return tuple(
        Member(rank, *names[user_id], score, rating)
        for rank, (user_id, score, rating) in enumerate(rows, 1)
    )


def _names(connection: Connection) -> dict[int, tuple[str, str | None]]:
    """user_id -> key and name."""
    u = schema.users.c
    rows = connection.execute(select(u.user_id, u.user_key, u.name))
    return {user_id: (user_key, name) for user_id, user_key, name in rows}
