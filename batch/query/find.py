"""A key or a name -> the user or the film it means."""

from sqlalchemy import Connection, select

from batch import RecbatchError
from batch.store import schema

_users, _movies = schema.users, schema.movies


class UnknownUserError(RecbatchError):
    """No user has this key or name."""


class AmbiguousUserError(RecbatchError):
    """Several users have this name; the message lists their keys."""


class UnknownFilmError(RecbatchError):
    """No film has this key or title."""


class AmbiguousFilmError(RecbatchError):
    """Several films have this title; the message lists their keys."""


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
