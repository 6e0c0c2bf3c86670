"""Lists of a run -> what they are made of, counted by the database, and a few people's in full."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, case, func, select

from batch import query
from batch.query import Film
from batch.store import schema
from batch.store.checks import is_model_row

FEW = 10
"""Films whose share of all places says how much is shown to everyone alike."""
ASKED, SHOWN = 24, 4
"""Users that are looked at, spread over all, and how many of them are shown, from who rated least to who rated most."""
SHOWN_FILMS = 10
"""Films at most of each of their lists."""
FAVOURITES = 3
"""Films that a sample user rated highest."""

_lists, _movies, _users, _ratings = (
    schema.recommendations,
    schema.movies,
    schema.users,
    schema.ratings,
)


@dataclass(frozen=True)
class ListSummary:
    """What one model's lists amount to, less what stands in for what it could not say."""

    users: int  # who have one
    full: int  # whose list has all n films
    rows: int
    films: int  # different ones
    few_share: float  # of rows, those of the FEW films that are listed most


@dataclass(frozen=True)
class Listed:
    """A film and how many lists it is in."""

    title: str
    lists: int


@dataclass(frozen=True)
class Sample:
    """One user: what they rated, and what each model tells them."""

    name: str
    ratings: int
    favourites: tuple[tuple[str, float], ...]  # title, stars
    lists: Mapping[str, tuple[Film, ...]]  # by model
    agreed: Mapping[
        str, int
    ]  # by movie_key: how many of the lists have the film, where more than one


def lists(connection: Connection, run_id: int, top_n: int) -> dict[str, ListSummary]:
    """Counts by model: one pass over a run's rows for the users, one for the films."""
    firsts, lasts = (func.sum(case((_lists.c.rank == rank, 1), else_=0)) for rank in (1, top_n))
    said = _lists.c.run_id == run_id, is_model_row(_lists.c.support)
    rows = select(_lists.c.model, firsts, lasts, func.count()).where(*said)
    users = {model: counts for model, *counts in connection.execute(rows.group_by(_lists.c.model))}
    by_film = (
        select(_lists.c.model, func.count().label("shown"))
        .where(*said)
        .group_by(_lists.c.model, _lists.c.movie_id)
        .subquery()
    )
    place = func.row_number().over(partition_by=by_film.c.model, order_by=by_film.c.shown.desc())
    ranked = select(by_film.c.model, by_film.c.shown, place.label("place")).subquery()
    of_few = func.sum(case((ranked.c.place <= FEW, ranked.c.shown), else_=0))
    films = connection.execute(
        select(ranked.c.model, func.count(), of_few).group_by(ranked.c.model)
    )
    return {
        model: ListSummary(
            int(users[model][0]),
            int(users[model][1]),
            users[model][2],
            count,
            int(few) / users[model][2],
        )
        for model, count, few in films
    }


def most_listed(connection: Connection, run_id: int, model: str) -> tuple[Listed, ...]:
    """The films that most users are told of; ties by title."""
    counted = (
        select(_lists.c.movie_id, func.count().label("shown"))
        .where(_lists.c.run_id == run_id, _lists.c.model == model, is_model_row(_lists.c.support))
        .group_by(_lists.c.movie_id)
        .subquery()
    )
    rows = select(_movies.c.title, counted.c.shown).where(_movies.c.movie_id == counted.c.movie_id)
    found = connection.execute(rows.order_by(counted.c.shown.desc(), _movies.c.title).limit(FEW))
    return tuple(Listed(title, shown) for title, shown in found)


def samples(connection: Connection, run_id: int, models: Sequence[str]) -> tuple[Sample, ...]:
    """A few users with a list, from who rated least to who rated most; the same ones every time."""
    first = (_lists.c.run_id == run_id) & (_lists.c.model == models[0]) & (_lists.c.rank == 1)
    numbered = select(
        _lists.c.user_id, func.row_number().over(order_by=_lists.c.user_id).label("place")
    ).where(first)
    total = connection.execute(select(func.count()).where(first)).scalar_one()
    places = {1 + total * step // ASKED for step in range(ASKED)}
    asked = numbered.subquery()
    spread = select(asked.c.user_id).where(asked.c.place.in_(sorted(places)))
    counted = select(
        _users.c.user_id,
        _users.c.user_key,
        _users.c.name,
        func.count(_ratings.c.movie_id).label("rated"),
    )
    people = connection.execute(
        counted.join_from(_users, _ratings, _ratings.c.user_id == _users.c.user_id, isouter=True)
        .where(_users.c.user_id.in_(spread))
        .group_by(_users.c.user_id, _users.c.user_key, _users.c.name)
        .order_by(func.count(_ratings.c.movie_id), _users.c.user_id)
    ).all()
    chosen = (
        sorted({(len(people) - 1) * step // max(SHOWN - 1, 1) for step in range(SHOWN)})
        if people
        else []
    )
    return tuple(_sample(connection, run_id, models, *people[place]) for place in chosen)


def _sample(
    connection: Connection,
    run_id: int,
    models: Sequence[str],
    user_id: int,
    key: str,
    name: str | None,
    rated: int,
) -> Sample:
    liked = (
        select(_movies.c.title, _ratings.c.rating)
        .join_from(_ratings, _movies, _movies.c.movie_id == _ratings.c.movie_id)
        .where(_ratings.c.user_id == user_id)
        .order_by(
            _ratings.c.rating.desc(), func.coalesce(_ratings.c.rated_at, 0).desc(), _movies.c.title
        )
        .limit(FAVOURITES)
    )
    answers = (
        query.top(connection, key, model=model, run_id=run_id, n=SHOWN_FILMS) for model in models
    )
    found = {
        model: told.films if told.model == model else ()
        for model, told in zip(models, answers, strict=True)
    }
    films = sorted(film.movie_key for told in found.values() for film in told)
    agreed = {film: count for film, group in groupby(films) if (count := len(list(group))) > 1}
    who = f"User {key}" if name is None else name if name == key else f"{name} ({key})"
    return Sample(
        who,
        rated,
        tuple((title, stars) for title, stars in connection.execute(liked)),
        found,
        agreed,
    )
