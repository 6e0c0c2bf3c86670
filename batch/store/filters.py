"""`item_filters`: films that must not be shown, to anyone or to one user, from one moment to another."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from batch import RecbatchError
from batch.config import FilterSettings
from batch.store import schema
from batch.store.database import next_id
from batch.telemetry import log_warning

_filters, _movies, _users = schema.item_filters, schema.movies, schema.users
_genres, _links = schema.genres, schema.movie_genres

Filtered: TypeAlias = tuple[int, int | None]
"""movie_id, and the user_id it is kept from; None: from everyone."""


class NoSuchFilterError(RecbatchError):
    """No filter has this number, or it has ended already."""


class EmptyWindowError(RecbatchError):
    """A filter that would end before it begins."""


@dataclass(frozen=True)
class Filter:
    """One rule: `user_key` None keeps the film from everyone, `ends_at` None for good."""

    filter_id: int
    movie_key: str
    title: str
    user_key: str | None
    starts_at: datetime
    ends_at: datetime | None
    reason: str | None


def add(
    connection: Connection,
    movie_key: str,
    user_key: str | None = None,
    *,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    reason: str | None = None,
) -> int:
    """Keep a film from a user, or from everyone, from now on or from a moment on; returns the number of the filter.

    Both keys are known. Raises EmptyWindowError.
    """
    starts = starts_at or datetime.now(UTC).replace(
        microsecond=0
    )  # so that it holds at once for whoever asks next
    if ends_at is not None and ends_at <= starts:
        raise EmptyWindowError(
            f"a filter from {starts:%Y-%m-%d %H:%M} UTC cannot end at {ends_at:%Y-%m-%d %H:%M} UTC"
        )
    if (
        connection.dialect.name == "postgresql"
    ):  # where two may add at once: each must see the other's number
        connection.exec_driver_sql(f"LOCK TABLE {_filters.name} IN EXCLUSIVE MODE")
    known = connection.execute(
        select(func.coalesce(func.max(schema.runs.c.last_filter_id), 0))
    ).scalar_one()
    filter_id = max(
        next_id(connection, _filters.c.filter_id), known + 1
    )  # one that a run knew may be forgotten
    movie_id = select(_movies.c.movie_id).where(_movies.c.movie_key == movie_key).scalar_subquery()
    user_id = select(_users.c.user_id).where(_users.c.user_key == user_key).scalar_subquery()
    row = {"filter_id": filter_id, "starts_at": starts, "ends_at": ends_at, "reason": reason}
    whom = None if user_key is None else user_id
    connection.execute(insert(_filters).values(movie_id=movie_id, user_id=whom, **row))
    return filter_id


def end(connection: Connection, filter_id: int) -> None:
    """End a filter now; its row stays, by which runs that honoured it are audited. Raises NoSuchFilterError."""
    now = datetime.now(UTC).replace(microsecond=0)
    row = connection.execute(select(_filters).where(_filters.c.filter_id == filter_id)).first()
    if row is None or (row.ends_at is not None and row.ends_at <= now):
        ended = "there is no filter" if row is None else "already ended: filter"
        raise NoSuchFilterError(f"{ended} {filter_id}; 'recbatch filter list' lists them")
    connection.execute(
        update(_filters)
        .where(_filters.c.filter_id == filter_id)
        .values(ends_at=max(now, row.starts_at))
    )


def current_filters(connection: Connection) -> list[Filter]:
    """The filters that have not ended, in order of number."""
    f, now = _filters.c, now_on(connection)
    to_come = or_(
        f.ends_at.is_(None), and_(f.ends_at > now, f.ends_at > f.starts_at)
    )  # or ended before it began
    return _read(connection, to_come)


def filters_of_pair(connection: Connection, movie_key: str, user_key: str) -> list[Filter]:
    """The filters that keep a film from a user now."""
    whom = or_(_filters.c.user_id.is_(None), _users.c.user_key == user_key)
    return _read(
        connection, and_(_movies.c.movie_key == movie_key, whom, active(now_on(connection)))
    )


def _read(connection: Connection, which: ColumnElement[bool]) -> list[Filter]:
    f, m, u = _filters.c, _movies.c, _users.c
    columns = f.filter_id, m.movie_key, m.title, u.user_key, f.starts_at, f.ends_at, f.reason
    joined = (
        select(*columns)
        .join(_movies, m.movie_id == f.movie_id)
        .outerjoin(_users, u.user_id == f.user_id)
    )
    return [Filter(*row) for row in connection.execute(joined.where(which).order_by(f.filter_id))]


def active(at: Any) -> ColumnElement[bool]:
    """Whether a filter holds at a moment: from its start on, until just before its end."""
    f = _filters.c
    return and_(f.starts_at <= at, or_(f.ends_at.is_(None), f.ends_at > at))


def is_filtered(
    at: Any, movie_id: Any, user_id: Any = None, *among: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Whether a film is kept from everyone at a moment, or from a user where one is given; by some of the filters."""
    f = _filters.c
    whom = (
        f.user_id.is_(None) if user_id is None else or_(f.user_id.is_(None), f.user_id == user_id)
    )
    return exists(select(f.filter_id).where(f.movie_id == movie_id, whom, active(at), *among))


def now_on(connection: Connection) -> ColumnElement[datetime]:
    """The database's own clock, as the views ask it."""
    return literal_column(schema.NOW[connection.dialect.name], schema.Moment())


def at_moment(moment: datetime) -> ColumnElement[datetime]:
    """A moment as the database compares it."""
    return literal(moment, schema.Moment())


def in_force(
    connection: Connection, rules: FilterSettings, run_id: int | None = None
) -> tuple[list[Filtered], int]:
    """Every film that is filtered as a run begins, or now where none is named, and the newest filter's number.

    A film or genre of the settings that is in no table is warned of, not refused: a catalogue may bring it later.
    """
    moment = now_on(connection)
    if run_id is not None:
        started = select(schema.runs.c.started_at).where(schema.runs.c.run_id == run_id)
        moment = at_moment(connection.execute(started).scalar_one())
    newest = connection.execute(
        select(func.coalesce(func.max(_filters.c.filter_id), 0))
    ).scalar_one()
    rows = connection.execute(select(_filters.c.movie_id, _filters.c.user_id).where(active(moment)))
    pairs: list[Filtered] = [(movie_id, user_id) for movie_id, user_id in rows]
    pairs += [(movie_id, None) for movie_id in _of_settings(connection, rules)]
    return pairs, int(newest)


def _of_settings(connection: Connection, rules: FilterSettings) -> set[int]:
    """Ids of the films of `filters.films`, and of those that have a genre of `filters.genres`."""
    films = select(_movies.c.movie_key, _movies.c.movie_id).where(
        _movies.c.movie_key.in_(rules.films)
    )
    by_key = dict(connection.execute(films).all()) if rules.films else {}
    named = select(_genres.c.name).where(_genres.c.name.in_(rules.genres))
    genres = set(connection.execute(named).scalars()) if rules.genres else set()
    for what, unknown in (
        ("films", set(rules.films) - set(by_key)),
        ("genres", set(rules.genres) - genres),
    ):
        for name in sorted(unknown):
            log_warning(
                f"filters.{what}: {name!r} is in no table yet, and keeps nothing out; mend it, or ingest first"
            )
    of_genres = select(_links.c.movie_id).join(_genres, _genres.c.genre_id == _links.c.genre_id)
    of_genres = of_genres.where(_genres.c.name.in_(genres))
    return {*by_key.values(), *(connection.execute(of_genres).scalars() if genres else ())}
