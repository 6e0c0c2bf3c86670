"""An unknown name -> the names in the database that it may stand for."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from sqlalchemy import Column, Connection, func, or_, select

from batch import query
from batch.store import schema

CANDIDATES = 300
"""Names of the database that are compared, so that a typo costs milliseconds however many there
are."""
SUGGESTIONS = 3
"""Maximum names in a message."""
YEAR = re.compile(r" \(\d{4}\)$")
"""The end of a title in MovieLens, which people leave out."""
WORD = re.compile(r"[^\W\d]{2,}")


def find_user(connection: Connection, user: str) -> str:
    """`query.find_user`, whose error also suggests similar names."""
    try:
        return query.find_user(connection, user)
    except query.UnknownUserError as error:
        similar = _similar(connection, user, schema.users.c.name, schema.users.c.user_key)
        raise query.UnknownUserError(f"{error}{similar}") from None


def find_film(connection: Connection, film: str) -> tuple[str, str]:
    """`query.find_film`, whose error also suggests similar titles."""
    try:
        return query.find_film(connection, film)
    except query.UnknownFilmError as error:
        similar = _similar(connection, film, schema.movies.c.title)
        raise query.UnknownFilmError(f"{error}{similar}") from None


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """`; did you mean 'Heat (1995)'?`, or nothing.

    Names that contain the text come first; only if there are none, names that are spelt alike.
    """
    by_spelling = {name.lower(): name for name in names}
    if not YEAR.search(text):
        without_year = {YEAR.sub("", spelling): name for spelling, name in by_spelling.items()}
        by_spelling |= without_year
    text = text.lower()
    similar = [name for spelling, name in by_spelling.items() if text in spelling]
    if not similar:
        spellings = get_close_matches(text, by_spelling, n=SUGGESTIONS)
        similar = [by_spelling[spelling] for spelling in spellings]
    if not similar:
        return ""
    different = list(dict.fromkeys(similar))[:SUGGESTIONS]
    return f"; did you mean {' or '.join(map(repr, different))}?"


def _similar(connection: Connection, text: str, *columns: Column[str]) -> str:
    """Suggestions from some columns: names that begin like the text, or contain its longest word.

    There are none for a number, which resembles other numbers by chance only.
    """
    words = WORD.findall(text)
    if not words:
        return ""
    longest = max(words, key=len)
    names: list[str] = []
    for column in columns:
        alike = or_(
            column.istartswith(text[:2], autoescape=True),
            column.icontains(longest, autoescape=True),
        )
        difference = func.abs(func.length(column) - len(text))
        candidates = select(column).where(alike).order_by(difference, column).limit(CANDIDATES)
        names += connection.execute(candidates).scalars()
    return did_you_mean(text, names)
