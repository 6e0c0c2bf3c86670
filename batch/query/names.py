"""Reasons -> sentences, with the titles of films and the names of genres."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Column, Connection, select

from batch import reasons
from batch.store import schema

_movies, _genres = schema.movies, schema.genres


class Names:
    """Titles of films and names of genres by id, each looked up once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._titles: dict[int, str] = {}
        self._genres: dict[int, str] = {}

    def sentences(self, data: Sequence[dict[str, Any] | None]) -> list[str]:
        """Each reason as a sentence; names of all are looked up together."""
        movie_ids: set[int] = set()
        genre_ids: set[int] = set()
        for reason in data:
            movie_ids.update(reasons.films(reason))
            genre_ids.update(reasons.genres(reason))
        self._look_up(_movies.c.movie_id, _movies.c.title, movie_ids, self._titles)
        self._look_up(_genres.c.genre_id, _genres.c.name, genre_ids, self._genres)
        names = (self._titles, self._genres)
        return [reasons.sentence(reason, *names) for reason in data]

    def _look_up(
        self,
        key: Column[int],
        name: Column[str],
        ids: Iterable[int],
        names: dict[int, str],
    ) -> None:
        """Add the names of the ids that `names` lacks."""
        missing = sorted(set(ids) - names.keys())
        if missing:
            by_id = select(key, name).where(key.in_(missing))
            rows = self._connection.execute(by_id)
            names.update((number, text) for number, text in rows)
