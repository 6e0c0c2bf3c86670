"""A reason as a database returns it -> its fields, and the ids of films and genres in them."""

import json
from collections.abc import Mapping
from typing import Any

_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True)
"""json.dumps would make one a call, a third of its time."""


def read(stored: Any) -> dict[str, Any] | None:
    """The fields of a stored reason: JSON on Postgres, text on SQLite; None where there is none."""
    reason = json.loads(stored) if isinstance(stored, str) and stored else stored
    return reason or None


def as_text(reason: Mapping[str, Any] | None) -> str | None:
    """The fields as JSON, the same text whichever database they come from."""
    if reason is None:
        return None
    return _ENCODER.encode(reason)


def films(reason: Mapping[str, Any] | None) -> set[int]:
    """The ids of the films in a reason."""
    if reason is None:
        return set()
    movie_ids = {movie_id for movie_id, *_ in reason.get("films", ())}
    if "listed_for" in reason:
        movie_ids.add(reason["listed_for"])
    return movie_ids


def genres(reason: Mapping[str, Any] | None) -> set[int]:
    """The ids of the genres in a reason."""
    if reason is None:
        return set()
    return {genre_id for genre_id, _ in reason.get("genres", ())}
