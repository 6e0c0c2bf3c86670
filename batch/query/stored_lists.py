"""A run and a model -> the SQL of its stored lists, as they may be shown now."""

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

from batch.store import schema
from batch.store.filters import is_filtered, is_rated_or_filtered, now_on
from batch.store.runs import Run
from batch.store.views import ANY_RUN, AS_OF_RUN, REFRESHED, lists_query

_users, _movies = schema.users, schema.movies
_lists, _popular = schema.recommendations, schema.popular_items
_refreshed = schema.refreshed_users

_SHOWN = """
    SELECT * FROM ({lists}) shown WHERE model = :model {condition} ORDER BY user_id, rank {limit}"""


def owners_of_lists(run: Run, model: str, is_current: bool) -> Select[Any]:
    """The users who have a list of a model, also where nothing of it may be shown now."""
    u, r = _users.c, _lists.c
    return (
        select(u.user_id, u.user_key, u.name)
        .join_from(_users, _refreshed, _refreshed.c.user_id == u.user_id, isouter=True)
        .join(_lists, is_list_of(run, is_current))
        .where(r.model == model, r.rank == 1)
    )


def is_list_of(run: Run, is_current: bool) -> ColumnElement[bool]:
    """Whether a stored row is what a user is shown of a run.

    Of the current run a user may be shown a refresh.
    """
    of_run: ColumnElement[int] = literal(run.run_id)
    if is_current:
        of_run = func.coalesce(_refreshed.c.run_id, run.run_id)
    return and_(_lists.c.run_id == of_run, _lists.c.user_id == _users.c.user_id)


def parameters(run: Run, model: str) -> dict[str, Any]:
    """The parameters of `stored_films`."""
    return {"run_id": run.run_id, "model": model}


def stored_films(
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


def popular_films(connection: Connection, run: Run, user_id: int | None) -> Select[Any]:
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
