"""`seen` -> the films that users have seen and not rated: in no list, and not learnt from."""

from sqlalchemy import Connection, or_, select

from batch.ratings import Ints
from batch.store import schema
from batch.store.load import number_pairs

_seen = schema.seen


def seen_pairs(connection: Connection, known_until: int | None = None) -> Ints:
    """user_id and movie_id of each film that a user has seen, (n, 2).

    `known_until`, seconds since 1970 UTC, leaves out films seen from then on, and keeps those
    without a time.
    """
    s = _seen.c
    pairs = select(s.user_id, s.movie_id)
    if known_until is not None:
        pairs = pairs.where(or_(s.seen_at.is_(None), s.seen_at < known_until))
    return number_pairs(connection, pairs)
