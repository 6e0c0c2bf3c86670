"""Stored lists -> each user's list as it may be shown now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, select

from batch import reasons
from batch.query.find import UnknownUserError
from batch.query.models_of_run import require_model
from batch.query.names import Names
from batch.query.run import run_with_lists
from batch.query.stored_lists import (
    is_list_of,
    owners_of_lists,
    parameters,
    popular_films,
    stored_films,
)
from batch.store import schema
from batch.store.filters import is_filtered, now_on
from batch.store.runs import Run

_users, _movies = schema.users, schema.movies
_lists = schema.recommendations
_refreshed = schema.refreshed_users

RAN_SHORT = reasons.read(reasons.fallback("list ran short"))
"""The reason of a popular film that fills a list since its run."""


@dataclass(frozen=True)
class Film:
    """One recommended film.

    `score` orders the list; `predicted_rating` is in stars, unclipped, None
    for a popular film. `reason` is the data described in docs/reasons.md, and
    `why` the same as a sentence; None and empty where the model gives no
    reason, or for a film that moved up since the run.
    """

    rank: int
    movie_key: str
    title: str
    score: float
    predicted_rating: float | None
    reason: dict[str, Any] | None
    why: str


@dataclass(frozen=True)
class Answer:
    """A list, and where it comes from.

    `model` is `popular` for the list that a user gets who has no other;
    `user_key` is None for the list for everyone.
    """

    user_key: str | None
    user_name: str | None
    model: str
    run_id: int
    published_at: datetime | None  # None for a run that was never published
    scale: tuple[float, float] | None  # lowest and highest rating, stars
    films: tuple[Film, ...]


def top(
    connection: Connection,
    user: str,
    *,
    model: str,
    n: int | None = None,
    run_id: int | None = None,
) -> Answer:
    """One user's list by key, at most n films, of the published run or of `run_id`.

    Films that the user has rated or seen since that run, or that are filtered
    now, are left out; those that are stored after them move up. A list that still
    runs short is filled with popular films, which have a reason of kind
    `fallback`; not in a run of `plain`. A user without a list, or with none of
    it left, gets the popular one, labelled by its `model`. Raises
    NoSuchRunError, NoSuchModelError, UnknownUserError.
    """
    run = run_with_lists(connection, run_id)
    n_films = run.top_n if n is None else min(n, run.top_n)
    is_current = run_id is None
    with_lists = owners_of_lists(run, model, is_current)
    owner = connection.execute(with_lists.where(_users.c.user_key == user)).first()
    if owner is not None:
        of_user = {**parameters(run, model), "user_key": user, "n": n_films}
        conditions = "AND user_key = :user_key", "LIMIT :n"
        statement = stored_films(connection, is_current, *conditions)
        rows = connection.execute(statement, of_user).all()
        films = _filled(connection, run, owner.user_id, rows, n_films)
        if films:
            return _answer(owner, films, model, run, Names(connection))
    else:
        require_model(connection, run.run_id, model)
    return popular(connection, user=user, n=n, run_id=run_id)


def lists(
    connection: Connection,
    *,
    model: str,
    run_id: int | None = None,
) -> Iterator[Answer]:
    """Every user's list of one model, as `top` gives it, in order of user_id.

    Users without a list are left out. Rows are read as they are needed, not
    held in memory. Raises NoSuchRunError, NoSuchModelError, at the call.
    """
    run = run_with_lists(connection, run_id)
    require_model(connection, run.run_id, model)
    return _answers(connection, run, model, run_id is None)


def _answers(connection: Connection, run: Run, model: str, is_current: bool) -> Iterator[Answer]:
    streamed = connection.execution_options(yield_per=10_000)
    owners = streamed.execute(owners_of_lists(run, model, is_current).order_by(_users.c.user_id))
    rows = streamed.execute(stored_films(connection, is_current), parameters(run, model))
    names = Names(connection)  # shared, so that each title is looked up once
    by_user = groupby(rows, key=lambda row: row.user_id)
    user_id, rows_of_user = next(by_user, (None, iter(())))
    for owner in owners:
        left: list[Any] = []  # none, where the user has rated all of the list
        if owner.user_id == user_id:
            left = list(rows_of_user)
            user_id, rows_of_user = next(by_user, (None, iter(())))
        films = _filled(connection, run, owner.user_id, left, run.top_n)
        if films:
            yield _answer(owner, films, model, run, names)


def popular(
    connection: Connection,
    *,
    user: str | None = None,
    n: int | None = None,
    run_id: int | None = None,
) -> Answer:
    """The most rated films, at most n; with a user's key, less those that the user rated.

    Raises NoSuchRunError, UnknownUserError.
    """
    run = run_with_lists(connection, run_id)
    user_id = None
    user_name = None
    if user is not None:
        u = _users.c
        by_key = select(u.user_id, u.name).where(u.user_key == user)
        row = connection.execute(by_key).first()
        if row is None:
            raise UnknownUserError(f"no user has the key {user!r}")
        user_id, user_name = row
    n_films = run.top_n if n is None else min(n, run.top_n)
    rows = connection.execute(popular_films(connection, run, user_id).limit(n_films))
    films = tuple(
        Film(rank, row.movie_key, row.title, row.score, None, None, "")
        for rank, row in enumerate(rows, 1)
    )
    return Answer(
        user_key=user,
        user_name=user_name,
        model="popular",
        run_id=run.run_id,
        published_at=run.published_at,
        scale=run.scale,
        films=films,
    )


def hidden_titles(
    connection: Connection, user: str, *, run_id: int | None = None
) -> tuple[str, ...]:
    """Titles in a user's lists of any model that are filtered now.

    Raises NoSuchRunError.
    """
    run = run_with_lists(connection, run_id)
    u, m, r = _users.c, _movies.c, _lists.c
    filtered = is_filtered(now_on(connection.dialect), r.movie_id, r.user_id)
    titles = (
        select(m.title)
        .distinct()
        .join_from(_users, _refreshed, _refreshed.c.user_id == u.user_id, isouter=True)
        .join(_lists, is_list_of(run, is_current=run_id is None))
        .join(_movies, m.movie_id == r.movie_id)
        .where(u.user_key == user, r.rank <= run.top_n, filtered)
        .order_by(m.title)
    )
    return tuple(connection.execute(titles).scalars())


def _filled(
    connection: Connection, run: Run, user_id: int, rows: Sequence[Any], n: int
) -> list[Film]:
    """The films of a list, filled up to n with popular ones; of `plain` nothing is filled.

    Nor is it where the preset is not known. As in stored lists, a popular film has no
    predicted rating, and a score one below that of the film above it.
    """
    films = [_film(row) for row in rows]
    if len(films) >= n or run.preset in (None, "plain"):
        return films
    listed = {film.movie_key for film in films}
    score = films[-1].score if films else 0.0
    # Of the first n at most as many are in the list as it has films.
    for row in connection.execute(popular_films(connection, run, user_id).limit(n)):
        if row.movie_key not in listed and len(films) < n:
            score -= 1
            place = len(films) + 1
            films.append(Film(place, row.movie_key, row.title, score, None, RAN_SHORT, ""))
    return films


def _film(row: Any) -> Film:
    """A stored film without its sentence."""
    reason = reasons.read(row.reason)
    if reason is None and row.support == 0:  # a popular film that moved up
        reason = RAN_SHORT
    stars = row.predicted_rating
    return Film(row.rank, row.movie_key, row.title, row.score, stars, reason, "")


def _answer(owner: Any, films: Sequence[Film], model: str, run: Run, names: Names) -> Answer:
    """A list with the sentences of its reasons."""
    sentences = names.sentences([film.reason for film in films])
    return Answer(
        user_key=owner.user_key,
        user_name=owner.name,
        model=model,
        run_id=run.run_id,
        published_at=run.published_at,
        scale=run.scale,
        films=tuple(replace(film, why=why) for film, why in zip(films, sentences, strict=True)),
    )
