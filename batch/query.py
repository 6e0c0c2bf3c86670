"""`recommendations` -> a caller: who should see what, from which run, published when. Starts fast, needs no numerics.

from batch.query import snapshot, top

with snapshot("sqlite:///recbatch.db") as connection:
    answer = top(connection, "1", model="item_item")
    for film in answer.films:
        print(film.rank, film.title, film.score)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, exists, select

from batch import RecbatchError, reasons
from batch.store import schema
from batch.store.database import Database, open_database, require_tables
from batch.store.filters import is_filtered, now_on
from batch.store.runs import Run, current_run, find_run

_users, _movies, _genres, _ratings = schema.users, schema.movies, schema.genres, schema.ratings
_runs = schema.runs
_lists, _popular, _publication = schema.recommendations, schema.popular_items, schema.publication


class UnknownUserError(RecbatchError):
    """No user has this key or name."""


class AmbiguousUserError(RecbatchError):
    """Several users have this name; the message lists their keys."""


class UnknownFilmError(RecbatchError):
    """No film has this key or title."""


class AmbiguousFilmError(RecbatchError):
    """Several films have this title; the message lists their keys."""


class NoSuchRunError(RecbatchError):
    """Nothing is published yet, or the run asked for has no lists."""


@dataclass(frozen=True)
class Film:
    """One recommended film. `score` orders the list; `predicted_rating` is in stars, unclipped, None for `popular`.

    `reason` is the data of docs/reasons.md, and `why` the same in words; None and empty where nothing is told.
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
    """A list, and where it comes from. Its model is `popular` where there is no other; `user_key` None: for anyone."""

    user_key: str | None
    user_name: str | None
    model: str
    run_id: int
    published_at: datetime | None  # None for a run that was never published
    scale: tuple[float, float] | None  # lowest and highest rating, stars
    films: tuple[Film, ...]


@dataclass(frozen=True)
class Publication:
    """Which run is current, and since when."""

    run_id: int
    previous_run_id: int | None
    published_at: datetime


@lru_cache(maxsize=8)
def _database(url: str, schema_name: str) -> Database:
    database = open_database(url, schema_name)
    require_tables(database)
    return database


@contextmanager
def snapshot(url: str, schema_name: str = "recbatch") -> Iterator[Connection]:
    """A read-only connection on which every answer is of one moment, whatever is published meanwhile.

    Open a new one to see a new night; a snapshot kept for hours keeps the database from tidying up. Raises
    `batch.store.database.NotReadyError` where there are no tables.
    """
    with _database(url, schema_name).reader.connect() as connection:
        yield connection


def published(connection: Connection) -> Publication | None:
    """The current run; None before the first is published."""
    p = _publication.c
    row = connection.execute(select(p.run_id, p.previous_run_id, p.published_at)).first()
    return Publication(*row) if row else None


def find_user(connection: Connection, user: str) -> str:
    """The key of the user with this key, or with this name if only one has it.

    Raises UnknownUserError or AmbiguousUserError.
    """
    if connection.execute(select(_users.c.user_key).where(_users.c.user_key == user)).first():
        return user
    named = (
        connection.execute(select(_users.c.user_key).where(_users.c.name == user).limit(6))
        .scalars()
        .all()
    )
    if not named:
        raise UnknownUserError(f"no user has the key or name {user!r}")
    if len(named) > 1:
        raise AmbiguousUserError(
            f"several users are named {user!r}; use one of the keys {', '.join(named)}"
        )
    return str(named[0])


def find_film(connection: Connection, film: str) -> tuple[str, str]:
    """Key and title of the film with this key, or with this title if only one has it.

    Raises UnknownFilmError or AmbiguousFilmError.
    """
    m = _movies.c
    query = select(m.movie_key, m.title)
    found = connection.execute(query.where(m.movie_key == film)).all()
    found = (
        found
        or connection.execute(query.where(m.title == film).order_by(m.movie_key).limit(6)).all()
    )
    if not found:
        raise UnknownFilmError(f"no film has the key or title {film!r}")
    if len(found) > 1:
        keys = ", ".join(row.movie_key for row in found)
        raise AmbiguousFilmError(f"several films are titled {film!r}; use one of the keys {keys}")
    return found[0].movie_key, found[0].title


def top(
    connection: Connection,
    user: str,
    *,
    model: str,
    n: int | None = None,
    run_id: int | None = None,
) -> Answer:
    """One user's list by key, at most n films, of the published run or of the run given.

    Films that the user has rated since that run, or that a filter hides by now, are left out; the others keep the ranks
    they were published with. Who has no list, or none of it left, gets the popular one, whose `model` says so. Raises
    NoSuchRunError, UnknownUserError.
    """
    run = _run(connection, run_id)
    query = _films(connection, run.run_id, model).where(_users.c.user_key == user)
    rows = connection.execute(query if n is None else query.limit(n)).all()
    if rows:
        return _answer(rows, model, run, Names(connection))
    return popular(connection, user=user, n=n, run_id=run_id)


def lists(connection: Connection, *, model: str, run_id: int | None = None) -> Iterator[Answer]:
    """Every user's list of one model, as `top` gives it, in order of the database's user ids; who has none is left out.

    Read as they come, not held in memory. Raises NoSuchRunError.
    """
    run = _run(connection, run_id)
    rows = connection.execution_options(yield_per=10_000).execute(
        _films(connection, run.run_id, model)
    )
    names = Names(connection)  # films that were named before are not looked up again
    for _, of_user in groupby(rows, key=lambda row: row.user_key):
        yield _answer(list(of_user), model, run, names)


def popular(
    connection: Connection,
    *,
    user: str | None = None,
    n: int | None = None,
    run_id: int | None = None,
) -> Answer:
    """The most rated films, for anyone the models do not know; to a user's key, less what this user has rated.

    Raises NoSuchRunError, UnknownUserError.
    """
    run = _run(connection, run_id)
    i, m = _popular.c, _movies.c
    query = select(i.rank, m.movie_key, m.title, i.score).join_from(
        _popular, _movies, i.movie_id == m.movie_id
    )
    user_id = name = None
    if user is not None:
        known = connection.execute(
            select(_users.c.user_id, _users.c.name).where(_users.c.user_key == user)
        ).first()
        if known is None:
            raise UnknownUserError(f"no user has the key {user!r}")
        user_id, name = known
        query = query.where(~_rated(user_id, i.movie_id))
    query = query.where(
        i.run_id == run.run_id, ~is_filtered(now_on(connection), i.movie_id, user_id)
    ).order_by(i.rank)
    rows = connection.execute(query if n is None else query.limit(n)).all()
    films = tuple(
        Film(row.rank, row.movie_key, row.title, row.score, None, None, "") for row in rows
    )
    return Answer(user, name, "popular", run.run_id, run.published_at, run.scale, films)


def models(connection: Connection, *, run_id: int | None = None) -> tuple[str, ...]:
    """The models that a run has lists of. Raises NoSuchRunError."""
    run = _run(connection, run_id)
    rows = connection.execute(
        select(_lists.c.model).distinct().where(_lists.c.run_id == run.run_id)
    )
    return tuple(sorted(rows.scalars()))


def hidden_titles(
    connection: Connection, user: str, *, run_id: int | None = None
) -> tuple[str, ...]:
    """Films of a user's lists, of any model, that a filter hides by now, by title. Raises NoSuchRunError."""
    run, u, m = _run(connection, run_id), _users.c, _movies.c
    listed = (
        select(m.title)
        .distinct()
        .join_from(_lists, _users, u.user_id == _lists.c.user_id)
        .join(_movies, m.movie_id == _lists.c.movie_id)
        .where(_lists.c.run_id == run.run_id, u.user_key == user)
        .where(is_filtered(now_on(connection), _lists.c.movie_id, _lists.c.user_id))
    )
    return tuple(connection.execute(listed.order_by(m.title)).scalars())


def _run(connection: Connection, run_id: int | None) -> Run:
    """The published run, or the one of this number if it has lists."""
    if run_id is None:
        current = current_run(connection)
        if current is None:
            raise NoSuchRunError("nothing is published yet; run 'recbatch run'")
        return replace(current, published_at=current.current_since)
    run = find_run(connection, run_id)
    if run is None:
        raise NoSuchRunError(f"there is no run {run_id}; 'recbatch runs' lists them")
    if not run.has_lists:
        state = "purged" if run.purged else run.status
        raise NoSuchRunError(f"run {run_id} has no lists: it is {state}")
    return run


def _films(connection: Connection, run_id: int, model: str) -> Select[Any]:
    film = _lists.c.movie_id
    columns = (
        _lists.c.rank,
        _movies.c.movie_key,
        _movies.c.title,
        _lists.c.score,
        _lists.c.predicted_rating,
    )
    return (
        select(_users.c.user_key, _users.c.name, *columns, _lists.c.reason)
        .join_from(_lists, _users, _users.c.user_id == _lists.c.user_id)
        .join(_movies, _movies.c.movie_id == _lists.c.movie_id)
        .where(_lists.c.run_id == run_id, _lists.c.model == model)
        .where(
            ~_rated(_lists.c.user_id, film),
            ~is_filtered(now_on(connection), film, _lists.c.user_id),
        )
        .order_by(_lists.c.user_id, _lists.c.rank)
    )


def _rated(user_id: Any, movie_id: Any) -> ColumnElement[bool]:
    """Whether the user has rated the film by now: `ratings` may be newer than the run."""
    return exists(
        select(_ratings.c.movie_id).where(
            _ratings.c.user_id == user_id, _ratings.c.movie_id == movie_id
        )
    )


class Names:
    """Titles of films and names of genres by id, each looked up once, all that are asked for together in one query."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._films: dict[int, str] = {}
        self._genres: dict[int, str] = {}

    def sentences(self, told: Sequence[dict[str, Any] | None]) -> list[str]:
        """Each of these reasons in words."""
        self._look_up(
            _movies.c.movie_id, _movies.c.title, self._films, set().union(*map(reasons.films, told))
        )
        self._look_up(
            _genres.c.genre_id,
            _genres.c.name,
            self._genres,
            set().union(*map(reasons.genres, told)),
        )
        return [reasons.sentence(reason, self._films, self._genres) for reason in told]

    def _look_up(
        self, key: Column[int], name: Column[str], known: dict[int, str], wanted: set[int]
    ) -> None:
        missing = sorted(wanted - known.keys())
        if missing:
            rows = self._connection.execute(select(key, name).where(key.in_(missing)))
            known.update((number, text) for number, text in rows)


def _answer(rows: Any, model: str, run: Run, names: Names) -> Answer:
    told = [reasons.read(row.reason) for row in rows]
    films = tuple(
        Film(row.rank, row.movie_key, row.title, row.score, row.predicted_rating, reason, why)
        for row, reason, why in zip(rows, told, names.sentences(told), strict=True)
    )
    return Answer(
        rows[0].user_key, rows[0].name, model, run.run_id, run.published_at, run.scale, films
    )
