"""`recommendations` -> a caller: each user's list, from which run, published when.

from batch.query import snapshot, top

with snapshot("sqlite:///recbatch.db") as connection:
    answer = top(connection, "1", model="item_item")
    for film in answer.films:
        print(film.rank, film.title, film.score)

It imports no numerical library, so that it starts fast; only `frame` loads pandas.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Column, Connection, Select, TextualSelect, exists, select, text

from batch import RecbatchError, reasons
from batch.store import schema
from batch.store.database import Database, open_database
from batch.store.filters import is_filtered, is_rated_or_filtered, now_on
from batch.store.first_steps import first_steps
from batch.store.runs import ROWS, Run, UnknownRunError, current_run, find_run
from batch.store.runs import NoSuchRunError as NoSuchRunError
from batch.store.versions import require_tables
from batch.store.views import ANY_RUN, lists_query

if TYPE_CHECKING:
    import pandas

_users, _movies, _genres = schema.users, schema.movies, schema.genres
_lists, _popular = schema.recommendations, schema.popular_items
_similar, _metrics, _publication = schema.similar_items, schema.run_metrics, schema.publication

_SHOWN = """
    SELECT * FROM ({lists}) shown WHERE model = :model {condition} ORDER BY user_id, rank {limit}"""
RAN_SHORT = reasons.read(reasons.fallback("list ran short"))
"""The reason of a popular film that fills a list since its run."""

_FRAME_TYPES = {
    "user_key": "str",
    "user_name": "str",
    "model": "str",
    "rank": "int64",
    "movie_key": "str",
    "title": "str",
    "score": "float64",
    "predicted_rating": "float64",
    "reason": "str",
    "run_id": "int64",
    "published_at": "datetime64[us, UTC]",
    "why": "str",
}
"""Types of pandas for the columns of `frame`: those of a table without rows too."""
FRAME_BLOCK = 50_000
"""Rows that are Python objects at a time: as a table they take a quarter of the memory."""


class UnknownUserError(RecbatchError):
    """No user has this key or name."""


class AmbiguousUserError(RecbatchError):
    """Several users have this name; the message lists their keys."""


class UnknownFilmError(RecbatchError):
    """No film has this key or title."""


class AmbiguousFilmError(RecbatchError):
    """Several films have this title; the message lists their keys."""


class NoSimilarFilmsError(RecbatchError):
    """The run made no lists of similar films; the message says what makes them."""


class NoSuchModelError(RecbatchError):
    """The run has no lists of this model; the message names the models it has."""


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


class Row(NamedTuple):
    """One film of one user's list: the columns of the view `current_recommendations`, and `why`.

    `why` is `reason` as a sentence; both are None where the model gives no
    reason. Every row of a run has the same `run_id` and `published_at`.
    """

    user_key: str | None
    user_name: str | None
    model: str
    rank: int
    movie_key: str
    title: str
    score: float
    predicted_rating: float | None
    reason: dict[str, Any] | None
    run_id: int
    published_at: datetime | None
    why: str | None

    def cells(self) -> tuple[Any, ...]:
        """The values, with `reason` as JSON text: for tables, whose cells hold no objects."""
        values = self._asdict()
        values["reason"] = reasons.as_text(self.reason)
        return tuple(values.values())


@dataclass(frozen=True)
class SimilarFilm:
    """A film that the people who liked another film liked too.

    `score`, 0 to 1, orders the list. `support` is how many of them liked it, and `why` says so.
    """

    rank: int
    movie_key: str
    title: str
    score: float
    support: int
    why: str


@dataclass(frozen=True)
class SimilarFilms:
    """The films most like one film; none where nobody liked it together with another."""

    movie_key: str
    title: str
    run_id: int
    published_at: datetime | None  # None for a run that was never published
    films: tuple[SimilarFilm, ...]


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
    """A read-only connection on which every answer is of one moment.

    Open a new one to see a new night; one that stays open for hours keeps
    the database from reusing space. The URL may lead to a pooler. Raises
    `batch.store.database.NotReadyError` where there are no tables.
    """
    with _database(url, schema_name).reader.connect() as connection:
        yield connection


def published(connection: Connection) -> Publication | None:
    """The current run; None before the first is published."""
    p = _publication.c
    columns = select(p.run_id, p.previous_run_id, p.published_at)
    row = connection.execute(columns).first()
    return Publication(*row) if row else None


def find_user(connection: Connection, user: str) -> str:
    """The key of the user with this key, or of the only one with this name.

    Raises UnknownUserError or AmbiguousUserError.
    """
    u = _users.c
    by_key = select(u.user_key).where(u.user_key == user)
    if connection.execute(by_key).first():
        return user
    by_name = select(u.user_key).where(u.name == user).limit(6)
    keys = list(connection.execute(by_name).scalars())
    if not keys:
        raise UnknownUserError(f"no user has the key or name {user!r}")
    if len(keys) > 1:
        remedy = f"use one of the keys {', '.join(keys)}"
        raise AmbiguousUserError(f"several users are named {user!r}; {remedy}")
    return keys[0]


def find_film(connection: Connection, film: str) -> tuple[str, str]:
    """Key and title of the film with this key, or the only one with this title.

    Raises UnknownFilmError or AmbiguousFilmError.
    """
    m = _movies.c
    films = select(m.movie_key, m.title)
    by_title = films.where(m.title == film).order_by(m.movie_key).limit(6)
    rows = connection.execute(films.where(m.movie_key == film)).all()
    if not rows:
        rows = connection.execute(by_title).all()
    if not rows:
        raise UnknownFilmError(f"no film has the key or title {film!r}")
    if len(rows) > 1:
        keys = ", ".join(row.movie_key for row in rows)
        remedy = f"use one of the keys {keys}"
        raise AmbiguousFilmError(f"several films are titled {film!r}; {remedy}")
    return rows[0].movie_key, rows[0].title


def top(
    connection: Connection,
    user: str,
    *,
    model: str,
    n: int | None = None,
    run_id: int | None = None,
) -> Answer:
    """One user's list by key, at most n films, of the published run or of `run_id`.

    Films that the user has rated since that run, or that are filtered now,
    are left out; those that are stored after them move up. A list that still
    runs short is filled with popular films, which have a reason of kind
    `fallback`; not in a run of `plain`. A user without a list, or with none of
    it left, gets the popular one, labelled by its `model`. Raises
    NoSuchRunError, NoSuchModelError, UnknownUserError.
    """
    run = _run(connection, run_id)
    n_films = run.top_n if n is None else min(n, run.top_n)
    owners = _owners(run, model).where(_users.c.user_key == user)
    owner = connection.execute(owners).first()
    if owner is not None:
        of_user = {**_of(run, model), "user_key": user, "n": n_films}
        statement = _films(connection, "AND user_key = :user_key", "LIMIT :n")
        rows = connection.execute(statement, of_user).all()
        films = _filled(connection, run, owner.user_id, rows, n_films)
        if films:
            return _answer(owner, films, model, run, Names(connection))
    else:
        _require_model(connection, run.run_id, model)
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
    run = _run(connection, run_id)
    _require_model(connection, run.run_id, model)
    return _answers(connection, run, model)


def _answers(connection: Connection, run: Run, model: str) -> Iterator[Answer]:
    streamed = connection.execution_options(yield_per=10_000)
    owners = streamed.execute(_owners(run, model).order_by(_lists.c.user_id))
    rows = streamed.execute(_films(connection), _of(run, model))
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


def rows(
    connection: Connection,
    *,
    model: str | None = None,
    run_id: int | None = None,
) -> Iterator[Row]:
    """Every film of every list, as `lists` gives them: of one model, or of all by name.

    Rows are read as they are needed, not held in memory. Raises
    NoSuchRunError, NoSuchModelError, at the call.
    """
    names = models(connection, run_id=run_id) if model is None else (model,)
    answers = [lists(connection, model=name, run_id=run_id) for name in names]
    return _rows(chain.from_iterable(answers))


def _rows(answers: Iterable[Answer]) -> Iterator[Row]:
    for answer in answers:
        for film in answer.films:
            yield Row(
                user_key=answer.user_key,
                user_name=answer.user_name,
                model=answer.model,
                rank=film.rank,
                movie_key=film.movie_key,
                title=film.title,
                score=film.score,
                predicted_rating=film.predicted_rating,
                reason=film.reason,
                run_id=answer.run_id,
                published_at=answer.published_at,
                why=film.why or None,
            )


def frame(
    connection: Connection,
    *,
    model: str | None = None,
    run_id: int | None = None,
) -> "pandas.DataFrame":
    """The rows of `rows` as a pandas table, `reason` as JSON text, missing where None.

    Loads pandas, and holds the whole table in memory. Raises
    NoSuchRunError, NoSuchModelError.
    """
    import pandas

    cells = (row.cells() for row in rows(connection, model=model, run_id=run_id))
    blocks = [_block([], pandas)]
    while block := list(islice(cells, FRAME_BLOCK)):
        blocks.append(_block(block, pandas))
    return pandas.concat(blocks, ignore_index=True)


def _block(cells: Sequence[tuple[Any, ...]], pandas: Any) -> Any:
    return pandas.DataFrame(cells, columns=Row._fields).astype(_FRAME_TYPES)


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
    run = _run(connection, run_id)
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


def similar(
    connection: Connection,
    film: str,
    *,
    n: int | None = None,
    run_id: int | None = None,
) -> SimilarFilms:
    """The films most like a film, by key, at most n, of the published run or of `run_id`.

    Films that are filtered for everyone now are left out; the others keep their ranks. Raises
    NoSuchRunError, UnknownFilmError, and NoSimilarFilmsError where no film has such a list.
    """
    run = _run(connection, run_id)
    s, m = _similar.c, _movies.c
    by_key = select(m.movie_id, m.title).where(m.movie_key == film)
    row = connection.execute(by_key).first()
    if row is None:
        raise UnknownFilmError(f"no film has the key {film!r}")
    films = (
        select(s.rank, m.movie_key, m.title, s.score, s.support)
        .join_from(_similar, _movies, m.movie_id == s.other_id)
        .where(s.run_id == run.run_id, s.movie_id == row.movie_id)
        .where(~is_filtered(now_on(connection.dialect), s.other_id))
        .order_by(s.rank)
    )
    rows = connection.execute(films.limit(n)).all()
    if not rows:
        _require_similar(connection, run.run_id)
    listed = tuple(SimilarFilm(*each, reasons.liked_by(each.support)) for each in rows)
    return SimilarFilms(film, row.title, run.run_id, run.published_at, listed)


def _require_similar(connection: Connection, run_id: int) -> None:
    """Raise NoSimilarFilmsError unless the run has rows of similar films."""
    any_row = select(exists().where(_similar.c.run_id == run_id))
    if not connection.execute(any_row).scalar_one():
        raise NoSimilarFilmsError(
            f"run {run_id} has no lists of similar films; the next run makes them, where"
            " similar.n is not 0 and anybody has liked two films"
        )


def models(
    connection: Connection,
    *,
    run_id: int | None = None,
) -> tuple[str, ...]:
    """The models that a run made lists of, empty ones included.

    Raises NoSuchRunError.
    """
    return _models(connection, _run(connection, run_id).run_id)


def _models(connection: Connection, run_id: int) -> tuple[str, ...]:
    """By the metrics: a run counts the rows of each model, which may be 0."""
    m = _metrics.c
    with_lists = select(m.model).where(m.run_id == run_id, m.metric == ROWS)
    return tuple(sorted(connection.execute(with_lists).scalars()))


def _require_model(connection: Connection, run_id: int, model: str) -> None:
    available = _models(connection, run_id)
    if model in available:
        return
    message = f"run {run_id} has no lists of a model {model!r}"
    message += f"; it has {', '.join(available) or 'none'}"
    close = get_close_matches(model.lower(), available, n=1)
    if close:
        message += f"; did you mean {close[0]!r}?"
    raise NoSuchModelError(message)


def hidden_titles(
    connection: Connection, user: str, *, run_id: int | None = None
) -> tuple[str, ...]:
    """Titles in a user's lists of any model that are filtered now.

    Raises NoSuchRunError.
    """
    run = _run(connection, run_id)
    u, m, r = _users.c, _movies.c, _lists.c
    filtered = is_filtered(now_on(connection.dialect), r.movie_id, r.user_id)
    titles = (
        select(m.title)
        .distinct()
        .join_from(_lists, _users, u.user_id == r.user_id)
        .join(_movies, m.movie_id == r.movie_id)
        .where(r.run_id == run.run_id, u.user_key == user, r.rank <= run.top_n, filtered)
        .order_by(m.title)
    )
    return tuple(connection.execute(titles).scalars())


def _run(connection: Connection, run_id: int | None) -> Run:
    """The published run, or run `run_id` if it has lists."""
    if run_id is None:
        current = current_run(connection)
        if current is None:
            raise NoSuchRunError(f"nothing is published yet; {first_steps(connection)}")
        return replace(current, published_at=current.current_since)
    run = find_run(connection, run_id)
    if run is None:
        raise UnknownRunError(run_id)
    if not run.has_lists:
        state = "purged" if run.purged else run.status
        raise NoSuchRunError(f"run {run_id} has no lists: it is {state}")
    return run


def _owners(run: Run, model: str) -> Select[Any]:
    """The users who have a list of a model, also where nothing of it may be shown now."""
    u, r = _users.c, _lists.c
    return (
        select(u.user_id, u.user_key, u.name)
        .join_from(_lists, _users, u.user_id == r.user_id)
        .where(r.run_id == run.run_id, r.model == model, r.rank == 1)
    )


def _of(run: Run, model: str) -> dict[str, Any]:
    return {"run_id": run.run_id, "model": model}


def _films(connection: Connection, condition: str = "", limit: str = "") -> TextualSelect:
    """The films of a run's and model's lists as they may be shown now, by user_id and rank."""
    shown = lists_query(connection.dialect, ANY_RUN, "u.user_id, l.support")
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


class Names:
    """Titles of films and names of genres by id, each looked up once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._titles: dict[int, str] = {}
        self._genres: dict[int, str] = {}

    def sentences(self, data: Sequence[dict[str, Any] | None]) -> list[str]:
        """Each reason as a sentence; names of all are looked up together."""
        movie_ids: set[int] = set()
        genre_ids: set[int] = set()
        for reason in data:
            movie_ids.update(reasons.films(reason))
            genre_ids.update(reasons.genres(reason))
        self._look_up(_movies.c.movie_id, _movies.c.title, movie_ids, self._titles)
        self._look_up(_genres.c.genre_id, _genres.c.name, genre_ids, self._genres)
        names = (self._titles, self._genres)
        return [reasons.sentence(reason, *names) for reason in data]

    def _look_up(
        self,
        key: Column[int],
        name: Column[str],
        ids: Iterable[int],
        names: dict[int, str],
    ) -> None:
        """Add the names of the ids that `names` lacks."""
        missing = sorted(set(ids) - names.keys())
        if missing:
            by_id = select(key, name).where(key.in_(missing))
            rows = self._connection.execute(by_id)
            names.update((number, text) for number, text in rows)


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
