"""A user -> their best unrated films by genre."""

from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, select, text

from batch.query.find import UnknownUserError
from batch.query.run import run_with_lists
from batch.store import schema

_OF_USER = text("""
    SELECT genre, rank, movie_key, title, score FROM current_shelves
    WHERE user_key = :user_key ORDER BY genre, rank""")


@dataclass(frozen=True)
class ShelfFilm:
    """A film of a shelf. `score` is that of the user's list of `blend`, and orders the shelf."""

    rank: int
    movie_key: str
    title: str
    score: float


@dataclass(frozen=True)
class Shelf:
    """The stored films of a user that have one genre, the best first."""

    genre: str
    films: tuple[ShelfFilm, ...]


def shelves(connection: Connection, user: str) -> tuple[Shelf, ...]:
    """A user's shelves by key, of the published run, in order of genre.

    They are made of the films that the run stored of the user's list of `blend`, less what may not
    be shown now: a film is on the shelf of each of its genres, and most genres have few films or
    none. Raises NoSuchRunError, UnknownUserError.
    """
    run_with_lists(connection, None)
    rows = connection.execute(_OF_USER, {"user_key": user}).all()
    if not rows:
        u = schema.users.c
        by_key = select(u.user_id).where(u.user_key == user)
        if connection.execute(by_key).first() is None:
            raise UnknownUserError(f"no user has the key {user!r}")
    return tuple(
        Shelf(genre, tuple(ShelfFilm(*row[1:]) for row in films))
        for genre, films in groupby(rows, key=lambda row: row.genre)
    )
