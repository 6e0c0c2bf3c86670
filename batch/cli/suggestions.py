"""A name that nobody has -> the names that it may stand for."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from sqlalchemy import Column, Connection, func, or_, select

from batch import query
from batch.store import schema

CANDIDATES = 300
"""Names of the database that are compared, so that a slip costs milliseconds however many there are."""
SHOWN = 3
YEAR = re.compile(r" \(\d{4}\)$")
"""What ends a title in MovieLens, and what people leave out."""


def find_user(connection: Connection, user: str) -> str:
    """`query.find_user`, whose error also names those who are called almost so."""
    try:
        return query.find_user(connection, user)
    except query.UnknownUserError as error:
        near = _near(connection, user, schema.users.c.name, schema.users.c.user_key)
        raise query.UnknownUserError(f"{error}{near}") from None


def find_film(connection: Connection, film: str) -> tuple[str, str]:
    """`query.find_film`, whose error also names the films that are called almost so."""
    try:
        return query.find_film(connection, film)
    except query.UnknownFilmError as error:
        raise query.UnknownFilmError(
            f"{error}{_near(connection, film, schema.movies.c.title)}"
        ) from None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'Heat (1995)'?`, or nothing: those that hold the word, else those that are spelt alike."""
    spelt = {name.lower(): name for name in known}
    if not YEAR.search(word):
        spelt |= {YEAR.sub("", name): title for name, title in spelt.items()}
    filters_of_pair = [title for name, title in spelt.items() if word.lower() in name]
    near = filters_of_pair or [
        spelt[name] for name in get_close_matches(word.lower(), spelt, n=SHOWN)
    ]
    return (
        f"; did you mean {' or '.join(map(repr, [*dict.fromkeys(near)][:SHOWN]))}?" if near else ""
    )


def _near(connection: Connection, text: str, *columns: Column[str]) -> str:
    """Compared with what begins alike or shares the longest word; numbers have no neighbours that mean anything."""
    words = re.findall(r"[^\W\d]{2,}", text)
    if not words:
        return ""
    names: list[str] = []
    for name in columns:
        alike = or_(
            name.istartswith(text[:2], autoescape=True),
            name.icontains(max(words, key=len), autoescape=True),
        )
        length = func.abs(func.length(name) - len(text))
        found = connection.execute(
            select(name).where(alike).order_by(length, name).limit(CANDIDATES)
        )
        names += found.scalars()
    return did_you_mean(text, names)
