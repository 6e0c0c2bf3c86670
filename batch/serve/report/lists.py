"""Lists of a run -> what they are made of, counted by the database, and those of a few users."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, select

from batch import query
from batch.query import Film
from batch.store import schema
from batch.store.checks import is_model_row

FEW = 10
"""Films whose share of all places shows how much every user gets the same."""
CANDIDATES = 24
"""Users, spread over all user ids, among whom the sample users are chosen."""
SAMPLE_USERS = 4
"""Users that the page shows, spread by number of ratings."""
SAMPLE_FILMS = 10
"""Maximum films shown of each list of a sample user."""
FAVOURITES = 3
"""Films that a sample user rated highest."""

_lists = schema.recommendations
_movies = schema.movies
_users = schema.users
_ratings = schema.ratings


@dataclass(frozen=True)
class ListSummary:
    """Counts over one model's lists, without fallback rows."""

    users: int  # who have a list
    full: int  # whose list has all n films
    rows: int
    films: int  # different ones
    few_share: float  # share of rows that are of the FEW films listed most


@dataclass(frozen=True)
class ListedFilm:
    """A film and how many lists it is in."""

    title: str
    lists: int


@dataclass(frozen=True)
class SampleUser:
    """One user: what they rated, and their list of each model."""

    name: str
    ratings: int
    favourites: tuple[tuple[str, float], ...]  # title, stars
    lists: Mapping[str, tuple[Film, ...]]  # by model
    agreed: Mapping[str, int]  # by movie_key: how many lists have the film, where more than one


def list_summaries(connection: Connection, run_id: int, top_n: int) -> dict[str, ListSummary]:
    """Counts by model: one pass over a run's rows for the users, one for the films."""
    by_users = connection.execute(_user_counts(run_id, top_n)).all()
    by_films = {row.model: row for row in connection.execute(_film_counts(run_id, top_n))}
    return {
        row.model: ListSummary(
            users=int(row.users),
            full=int(row.full),
            rows=row.rows,
            films=by_films[row.model].films,
            few_share=int(by_films[row.model].few_rows) / row.rows,
        )
        for row in by_users
    }


def _user_counts(run_id: int, top_n: int) -> Any:
    """By model: users with a first film, users with an n-th film, rows."""
    first = case((_lists.c.rank == 1, 1), else_=0)
    last = case((_lists.c.rank == top_n, 1), else_=0)
    return (
        select(
            _lists.c.model,
            func.sum(first).label("users"),
            func.sum(last).label("full"),
            func.count().label("rows"),
        )
        .where(_is_shown(run_id, top_n))
        .group_by(_lists.c.model)
    )


def _is_shown(run_id: int, top_n: int) -> ColumnElement[bool]:
    """Whether a row is a model's own, and not spare."""
    return and_(_lists.c.run_id == run_id, _lists.c.rank <= top_n, is_model_row(_lists.c.support))


def _film_counts(run_id: int, top_n: int) -> Any:
    """By model: different films, and rows of the FEW films that are listed most."""
    by_film = (
        select(_lists.c.model, func.count().label("lists"))
        .where(_is_shown(run_id, top_n))
        .group_by(_lists.c.model, _lists.c.movie_id)
        .subquery()
    )
    place = func.row_number().over(partition_by=by_film.c.model, order_by=by_film.c.lists.desc())
    ranked = select(by_film.c.model, by_film.c.lists, place.label("place")).subquery()
    places_of_few = case((ranked.c.place <= FEW, ranked.c.lists), else_=0)
    return select(
        ranked.c.model,
        func.count().label("films"),
        func.sum(places_of_few).label("few_rows"),
    ).group_by(ranked.c.model)


def most_listed_films(
    connection: Connection, run_id: int, model: str, top_n: int
) -> tuple[ListedFilm, ...]:
    """The FEW films that are in most of a model's lists; ties by title."""
    counted = (
        select(_lists.c.movie_id, func.count().label("lists"))
        .where(_is_shown(run_id, top_n), _lists.c.model == model)
        .group_by(_lists.c.movie_id)
        .subquery()
    )
    films = (
        select(_movies.c.title, counted.c.lists)
        .where(_movies.c.movie_id == counted.c.movie_id)
        .order_by(counted.c.lists.desc(), _movies.c.title)
        .limit(FEW)
    )
    return tuple(ListedFilm(title, lists) for title, lists in connection.execute(films))


def sample_users(
    connection: Connection, run_id: int, models: Sequence[str]
) -> tuple[SampleUser, ...]:
    """A few users with a list, from who rated least to who rated most; the same ones every time."""
    candidates = _candidates(connection, run_id, models[0])
    if not candidates:
        return ()
    last = len(candidates) - 1
    places = {last * step // max(SAMPLE_USERS - 1, 1) for step in range(SAMPLE_USERS)}
    return tuple(
        _sample_user(connection, run_id, models, candidates[place]) for place in sorted(places)
    )


def _candidates(connection: Connection, run_id: int, model: str) -> Sequence[Row[Any]]:
    """Up to CANDIDATES users with a list of the model, by number of ratings."""
    has_list = (_lists.c.run_id == run_id) & (_lists.c.model == model) & (_lists.c.rank == 1)
    n_users = connection.execute(select(func.count()).where(has_list)).scalar_one()
    places = {1 + n_users * step // CANDIDATES for step in range(CANDIDATES)}
    place = func.row_number().over(order_by=_lists.c.user_id)
    numbered = select(_lists.c.user_id, place.label("place")).where(has_list).subquery()
    chosen = select(numbered.c.user_id).where(numbered.c.place.in_(sorted(places)))
    n_ratings = func.count(_ratings.c.movie_id)
    columns = (_users.c.user_id, _users.c.user_key, _users.c.name)
    by_ratings = (
        select(*columns, n_ratings.label("n_ratings"))
        .join_from(_users, _ratings, _ratings.c.user_id == _users.c.user_id, isouter=True)
        .where(_users.c.user_id.in_(chosen))
        .group_by(*columns)
        .order_by(n_ratings, _users.c.user_id)
    )
    return connection.execute(by_ratings).all()


def _sample_user(
    connection: Connection, run_id: int, models: Sequence[str], user: Row[Any]
) -> SampleUser:
    lists: dict[str, tuple[Film, ...]] = {}
    for model in models:
        answer = query.top(connection, user.user_key, model=model, run_id=run_id, n=SAMPLE_FILMS)
        # Another model's name is that of the popular list: the user has none of this model.
        lists[model] = answer.films if answer.model == model else ()
    in_lists = Counter(film.movie_key for films in lists.values() for film in films)
    return SampleUser(
        name=_name(user.user_key, user.name),
        ratings=user.n_ratings,
        favourites=_favourites(connection, user.user_id),
        lists=lists,
        agreed={film: count for film, count in in_lists.items() if count > 1},
    )


def _favourites(connection: Connection, user_id: int) -> tuple[tuple[str, float], ...]:
    """Title and stars of the films that a user rated highest, the newest of equal ones first."""
    newest = func.coalesce(_ratings.c.rated_at, 0).desc()
    highest = (
        select(_movies.c.title, _ratings.c.rating)
        .join_from(_ratings, _movies, _movies.c.movie_id == _ratings.c.movie_id)
        .where(_ratings.c.user_id == user_id)
        .order_by(_ratings.c.rating.desc(), newest, _movies.c.title)
        .limit(FAVOURITES)
    )
    return tuple((title, stars) for title, stars in connection.execute(highest))


def _name(user_key: str, name: str | None) -> str:
    if name is None:
        return f"User {user_key}"
    return name if name == user_key else f"{name} ({user_key})"
