"""`item_filters` -> which films may not be listed now, for everyone or for one user."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
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
"""movie_id, and the user_id that it is filtered for; None: for everyone."""

Setting: TypeAlias = Literal["films", "genres"]
"""The key of the section `filters` of the settings that a row was made from."""

_NOW = {
    "sqlite": "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')",
    "postgresql": "CURRENT_TIMESTAMP",
}
"""The database's clock as a `Moment`; it does not advance in a statement."""


class NoSuchFilterError(RecbatchError):
    """No filter has this number, or it has ended already."""


class SettingFilterError(RecbatchError):
    """The filter was made from the settings, and ends only by a change of them."""


class EmptyWindowError(RecbatchError):
    """The filter would end before it begins."""


@dataclass(frozen=True)
class Filter:
    """One filter. `user_key` None: for everyone; `ends_at` None: it does not end."""

    filter_id: int
    movie_key: str
    title: str
    user_key: str | None
    starts_at: datetime
    ends_at: datetime | None
    reason: str | None
    setting: str | None  # a `Setting`; None: a person added it


# The predicate


def is_active(moment: Any) -> ColumnElement[bool]:
    """Whether a filter is active: from its start until just before its end."""
    f = _filters.c
    return and_(f.starts_at <= moment, or_(f.ends_at.is_(None), f.ends_at > moment))


def is_filtered(
    moment: Any,
    movie_id: Any,
    user_id: Any = None,
    *conditions: ColumnElement[bool],
) -> ColumnElement[bool]:
    """Whether a film is filtered: for everyone or, with `user_id`, for that user.

    `conditions` on `item_filters` restrict which filters count. The views
    are made from this expression too, see `batch.store.views`.
    """
    f = _filters.c
    applies: ColumnElement[bool] = f.user_id.is_(None)
    if user_id is not None:
        applies = or_(applies, f.user_id == user_id)
    matching = select(f.filter_id).where(f.movie_id == movie_id, applies)
    return exists(matching.where(is_active(moment), *conditions))


def is_rated(user_id: Any, movie_id: Any) -> ColumnElement[bool]:
    """Whether the user has rated the film: `ratings` may be newer than a run."""
    r = schema.ratings.c
    rating = select(r.movie_id).where(r.user_id == user_id, r.movie_id == movie_id)
    return exists(rating)


def is_seen(user_id: Any, movie_id: Any) -> ColumnElement[bool]:
    """Whether the film is marked as one that the user has seen."""
    s = schema.seen.c
    return exists(select(s.movie_id).where(s.user_id == user_id, s.movie_id == movie_id))


def is_rated_or_filtered(moment: Any, user_id: Any, movie_id: Any) -> ColumnElement[bool]:
    """Whether a film may not be shown to a user, who may have seen it without rating it.

    A stored list may have it all the same.
    """
    known = or_(is_rated(user_id, movie_id), is_seen(user_id, movie_id))
    return or_(known, is_filtered(moment, movie_id, user_id))


def now_on(dialect: Dialect) -> ColumnElement[datetime]:
    """The database's own clock."""
    return literal_column(_NOW[dialect.name], schema.Moment())


def at_moment(moment: datetime) -> ColumnElement[datetime]:
    """A moment in the form that the database compares."""
    return literal(moment, schema.Moment())


# Filters of a person


def add(
    connection: Connection,
    movie_key: str,
    user_key: str | None = None,
    *,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    reason: str | None = None,
) -> int:
    """Filter a film for a user or for everyone; returns the filter's number.

    It starts now unless `starts_at` says otherwise. Both keys must be in
    the tables. Raises EmptyWindowError.
    """
    starts = starts_at or _this_second()
    if ends_at is not None and ends_at <= starts:
        start = f"a filter from {starts:%Y-%m-%d %H:%M} UTC"
        raise EmptyWindowError(f"{start} cannot end at {ends_at:%Y-%m-%d %H:%M} UTC")
    filter_id = _next_filter_id(connection)
    movie_id = select(_movies.c.movie_id).where(_movies.c.movie_key == movie_key)
    user_id = select(_users.c.user_id).where(_users.c.user_key == user_key)
    row = {
        "filter_id": filter_id,
        "movie_id": movie_id.scalar_subquery(),
        "user_id": None if user_key is None else user_id.scalar_subquery(),
        "starts_at": starts,
        "ends_at": ends_at,
        "reason": reason,
    }
    connection.execute(insert(_filters).values(row))
    return filter_id


def end(connection: Connection, filter_id: int) -> None:
    """End a filter now. Its row stays: runs that applied it are audited by it.

    Raises NoSuchFilterError, and SettingFilterError for one that the
    settings made.
    """
    now = _this_second()
    by_id = select(_filters).where(_filters.c.filter_id == filter_id)
    row = connection.execute(by_id).first()
    remedy = "'recbatch filter list' lists them"
    if row is None:
        raise NoSuchFilterError(f"there is no filter {filter_id}; {remedy}")
    if row.ends_at is not None and row.ends_at <= now:
        raise NoSuchFilterError(f"already ended: filter {filter_id}; {remedy}")
    if row.setting is not None:
        raise SettingFilterError(
            f"filter {filter_id} comes from the setting filters.{row.setting}; change that "
            "setting, and the next run, rollback or publish ends the filter"
        )
    ended = update(_filters).where(_filters.c.filter_id == filter_id)
    connection.execute(ended.values(ends_at=max(now, row.starts_at)))


def current_filters(connection: Connection) -> list[Filter]:
    """The filters that have not ended, in order of number."""
    f = _filters.c
    # A filter that was ended before its start has a window of no length,
    # and never acts.
    now = now_on(connection.dialect)
    ends_later = and_(f.ends_at > now, f.ends_at > f.starts_at)
    return _read(connection, or_(f.ends_at.is_(None), ends_later))


def filters_of_pair(
    connection: Connection,
    movie_key: str,
    user_key: str,
) -> list[Filter]:
    """The filters active now on a film for a user, or for everyone."""
    applies = or_(_filters.c.user_id.is_(None), _users.c.user_key == user_key)
    is_film = _movies.c.movie_key == movie_key
    active = is_active(now_on(connection.dialect))
    return _read(connection, and_(is_film, applies, active))


def _read(connection: Connection, condition: ColumnElement[bool]) -> list[Filter]:
    f, m, u = _filters.c, _movies.c, _users.c
    window = (f.starts_at, f.ends_at)
    columns = (f.filter_id, m.movie_key, m.title, u.user_key, *window, f.reason, f.setting)
    joined = (
        select(*columns)
        .join(_movies, m.movie_id == f.movie_id)
        .outerjoin(_users, u.user_id == f.user_id)
    )
    rows = connection.execute(joined.where(condition).order_by(f.filter_id))
    return [Filter(*row) for row in rows]


def _this_second() -> datetime:
    """Now, rounded down, so that a filter is active for the next statement."""
    return datetime.now(UTC).replace(microsecond=0)


def _next_filter_id(connection: Connection) -> int:
    """A number above every filter and above those that runs recorded.

    A filter that a run applied may be gone with a user who was forgotten;
    its number must not become another filter's.
    """
    if connection.dialect.name == "postgresql":
        # Two transactions may add filters at once: each must see the
        # other's numbers.
        connection.exec_driver_sql(f"LOCK TABLE {_filters.name} IN EXCLUSIVE MODE")
    recorded = select(func.coalesce(func.max(schema.runs.c.last_filter_id), 0))
    last_recorded = int(connection.execute(recorded).scalar_one())
    return max(next_id(connection, _filters.c.filter_id), last_recorded + 1)


# Filters of the settings


def synchronise(
    connection: Connection,
    rules: FilterSettings,
    run_id: int | None = None,
) -> None:
    """Make rows of `item_filters` agree with `filters.films` and `filters.genres`.

    Films that the settings name and that have no active row of that setting
    get one; rows whose film is no longer named end, and stay. Rows that a
    person added are not touched. Changes hold from the start of the run
    `run_id`, or from now. The caller holds the run lock. A name that is in
    no table is warned of, not refused: a catalogue may bring it.
    """
    _warn_of_unknown(connection, rules)
    if run_id is None:
        # By the clock that the views read, which stands still in a transaction on Postgres.
        moment = connection.execute(select(now_on(connection.dialect))).scalar_one()
    else:
        moment = _started_at(connection, run_id)
    # Rounded down: what starts is active at that moment, what ends is not.
    moment = moment.replace(microsecond=0)
    _synchronise(connection, "films", _films_named(rules.films), moment)
    _synchronise(connection, "genres", _films_of_genres(rules.genres), moment)


def _synchronise(
    connection: Connection,
    setting: Setting,
    movie_ids: Select[Any],
    moment: datetime,
) -> None:
    """Two statements, because a genre may have tens of thousands of films.

    NOT IN, not NOT EXISTS: both databases hash such a subquery, and
    Postgres does not join by nested loops where it has no statistics of
    rows that were just written.
    """
    f = _filters.c
    current = and_(f.setting == setting, is_active(at_moment(moment)))
    outdated = and_(current, f.movie_id.not_in(movie_ids))
    connection.execute(update(_filters).where(outdated).values(ends_at=moment))

    films = movie_ids.subquery()
    with_row = select(f.movie_id).where(current)
    position = func.row_number().over(order_by=films.c.movie_id)
    values = {
        "filter_id": _next_filter_id(connection) - 1 + position,
        "movie_id": films.c.movie_id,
        "starts_at": at_moment(moment),
        "reason": literal(f"the setting filters.{setting}"),
        "setting": literal(setting),
    }
    missing = select(*values.values()).where(films.c.movie_id.not_in(with_row))
    connection.execute(insert(_filters).from_select(list(values), missing))


def films_of_settings(rules: FilterSettings) -> Select[Any]:
    """movie_id of the films that the settings name, themselves or by a genre."""
    named = _films_named(rules.films).union(_films_of_genres(rules.genres)).subquery()
    return select(named.c.movie_id)


def _films_named(keys: Iterable[str]) -> Select[Any]:
    """movie_id of the films with these keys."""
    return select(_movies.c.movie_id).where(_movies.c.movie_key.in_(keys))


def _films_of_genres(names: Iterable[str]) -> Select[Any]:
    """movie_id of the films that have any of these genres, each once."""
    g, link = _genres.c, _links.c
    movie_ids = select(link.movie_id).join(_genres, g.genre_id == link.genre_id)
    return movie_ids.where(g.name.in_(names)).distinct()


def _warn_of_unknown(connection: Connection, rules: FilterSettings) -> None:
    keys = select(_movies.c.movie_key).where(_movies.c.movie_key.in_(rules.films))
    names = select(_genres.c.name).where(_genres.c.name.in_(rules.genres))
    unknown_films = set(rules.films) - set(connection.execute(keys).scalars())
    unknown_genres = set(rules.genres) - set(connection.execute(names).scalars())
    for setting, unknown in (("films", unknown_films), ("genres", unknown_genres)):
        for name in sorted(unknown):
            log_warning(
                f"filters.{setting}: {name!r} is in no table yet, and keeps nothing out; "
                "mend it, or ingest first"
            )


# What a run applies


def active_filters(
    connection: Connection,
    run_id: int | None = None,
) -> tuple[list[Filtered], int]:
    """Every filter active at a run's start, or now, and the newest filter's number.

    The number is for `runs.last_filter_id`: an audit of the run asks for
    the filters up to it that were active at the run's start.
    """
    moment = now_on(connection.dialect)
    if run_id is not None:
        moment = at_moment(_started_at(connection, run_id))
    newest = select(func.coalesce(func.max(_filters.c.filter_id), 0))
    last_filter_id = int(connection.execute(newest).scalar_one())
    f = _filters.c
    active = select(f.movie_id, f.user_id).where(is_active(moment))
    rows = connection.execute(active)
    pairs = [(movie_id, user_id) for movie_id, user_id in rows]
    return pairs, last_filter_id


def _started_at(connection: Connection, run_id: int) -> datetime:
    r = schema.runs.c
    started = select(r.started_at).where(r.run_id == run_id)
    moment: datetime = connection.execute(started).scalar_one()
    return moment
