"""Stored lists -> each user's list as it may be shown now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    TextualSelect,
    and_,
    func,
    literal,
    select,
    text,
)

from batch import reasons
from batch.query.find import UnknownUserError
from batch.query.models_of_run import require_model
from batch.query.names import Names
from batch.query.run import run_with_lists
from batch.store import schema
from batch.store.filters import is_filtered, is_rated_or_filtered, now_on
from batch.store.runs import Run
from batch.store.views import ANY_RUN, AS_OF_RUN, REFRESHED, lists_query

_users, _movies = schema.users, schema.movies
_lists, _popular = schema.recommendations, schema.popular_items
_refreshed = schema.refreshed_users

_SHOWN = """
    SELECT * FROM ({lists}) shown WHERE model = :model {condition} ORDER BY user_id, rank {limit}"""
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
    owners = _owners(run, model, is_current).where(_users.c.user_key == user)
    owner = connection.execute(owners).first()
    if owner is not None:
        of_user = {**_of(run, model), "user_key": user, "n": n_films}
        conditions = "AND user_key = :user_key", "LIMIT :n"
        statement = _films(connection, is_current, *conditions)
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
    owners = streamed.execute(_owners(run, model, is_current).order_by(_users.c.user_id))
    rows = streamed.execute(_films(connection, is_current), _of(run, model))
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
    rows = connection.execute(_popular_films(connection, run, user_id).limit(n_films))
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


def _popular_films(connection: Connection, run: Run, user_id: int | None) -> Select[Any]:
    """The popular films that may be shown now, to everyone or to a user, best first."""
    i, m = _popular.c, _movies.c
    films = (
        select(m.movie_key, m.title, i.score)
        .join_from(_popular, _movies, i.movie_id == m.movie_id)
        .where(i.run_id == run.run_id)
        .order_by(i.rank)
    )
    now = now_on(connection.dialect)
    if user_id is None:
        return films.where(~is_filtered(now, i.movie_id))
    return films.where(~is_rated_or_filtered(now, user_id, i.movie_id))


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
        .join(_lists, _is_list_of(run, is_current=run_id is None))
        .join(_movies, m.movie_id == r.movie_id)
        .where(u.user_key == user, r.rank <= run.top_n, filtered)
        .order_by(m.title)
    )
    return tuple(connection.execute(titles).scalars())


def _owners(run: Run, model: str, is_current: bool) -> Select[Any]:
    """The users who have a list of a model, also where nothing of it may be shown now."""
    u, r = _users.c, _lists.c
    return (
        select(u.user_id, u.user_key, u.name)
        .join_from(_users, _refreshed, _refreshed.c.user_id == u.user_id, isouter=True)
        .join(_lists, _is_list_of(run, is_current))
        .where(r.model == model, r.rank == 1)
    )


def _is_list_of(run: Run, is_current: bool) -> ColumnElement[bool]:
    """Whether a stored row is what a user is shown of a run.

    Of the current run a user may be shown a refresh.
    """
    of_run: ColumnElement[int] = literal(run.run_id)
    if is_current:
        of_run = func.coalesce(_refreshed.c.run_id, run.run_id)
    return and_(_lists.c.run_id == of_run, _lists.c.user_id == _users.c.user_id)


def _of(run: Run, model: str) -> dict[str, Any]:
    return {"run_id": run.run_id, "model": model}


def _films(
    connection: Connection, is_current: bool, condition: str = "", limit: str = ""
) -> TextualSelect:
    """The films of a run's and model's lists as they may be shown now, by user_id and rank."""
    run_id = REFRESHED if is_current else AS_OF_RUN
    shown = lists_query(connection.dialect, ANY_RUN, run_id, "u.user_id, l.support")
    statement = text(_SHOWN.format(lists=shown, condition=condition, limit=limit))
    r = _lists.c
    return statement.columns(
        user_id=r.user_id.type,
        rank=r.rank.type,
        score=r.score.type,
        predicted_rating=r.predicted_rating.type,
        reason=r.reason.type,
        support=r.support.type,
    )


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
    for row in connection.execute(_popular_films(connection, run, user_id).limit(n)):
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
