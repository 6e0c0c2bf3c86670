"""Rows of a long table whose columns are known -> ratings, by blocks where all rows are good."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from batch.ingest.errors import BadRowError
from batch.ingest.fast_ratings import Block, Column
from batch.ingest.parsing import RatingRow, Reading, Reject, key
from batch.ingest.rows import Rows, TableRows, parse_block_rows

TITLE_CONFLICTS = 0.1
"""Share of films with several titles above which a column of titles is not one of films."""


@dataclass
class _Titles:
    """The titles of films in a column of a ratings file."""

    of_films: dict[str, str] = field(default_factory=dict)
    conflicting: set[str] = field(default_factory=set)  # films with several titles

    def add(self, movie_key: str, title: str) -> None:
        """Of several titles of a film the first by text stays, in any order of rows."""
        known = self.of_films.setdefault(movie_key, title)
        if known != title:
            self.conflicting.add(movie_key)
            self.of_films[movie_key] = min(known, title)


@dataclass(frozen=True)
class LongTable:
    """Where the values of a rating are in the rows of a table."""

    names: tuple[str, ...]  # of the columns, as messages show them
    user: int | None  # None: all ratings are of `one_user`
    movie: int
    rating: int | None  # None: films that were seen
    time: int | None
    title: int | None
    one_user: str | None

    def parse(self, rows: TableRows, reading: Reading) -> Iterator[Block | RatingRow | Reject]:
        """Ratings in the order of the rows."""
        titles = _Titles()
        for rows_of_block in rows:
            if isinstance(rows_of_block, Reject):
                yield rows_of_block
                continue
            block = self._block(rows_of_block, reading, titles)
            if block is None:
                yield from self._one_by_one(rows_of_block, reading, titles)
            else:
                yield block
        if len(titles.conflicting) <= TITLE_CONFLICTS * len(titles.of_films):
            reading.titles.update(titles.of_films)
        elif self.title is not None:
            column = self.names[self.title]
            reading.warn(f"the column {column} has several texts for one film: no titles")

    def _one_by_one(
        self, rows: Rows, reading: Reading, titles: _Titles
    ) -> Iterator[RatingRow | Reject]:
        def parse(line: int, fields: list[str]) -> RatingRow:
            user_key = self._user_key if self.user is None else self._key(fields, self.user)
            movie_key = self._key(fields, self.movie)
            stars = math.nan
            if self.rating is not None:
                stars = reading.rating(fields[self.rating], self.names[self.rating])
            rated_at = None
            if self.time is not None:
                rated_at = reading.time(fields[self.time], self.names[self.time])
            if self.title is not None and fields[self.title].strip():
                titles.add(movie_key, self._key(fields, self.title))
            return line, user_key, movie_key, stars, rated_at

        return parse_block_rows(rows, len(self.names), parse)

    def _block(self, rows: Rows, reading: Reading, titles: _Titles) -> Block | None:
        """All rows at once, or None where one of them would be rejected."""
        width = len(self.names)
        if any(len(fields) != width for fields in rows.fields):
            return None
        columns = list(zip(*rows.fields, strict=True))
        if not columns:
            return None
        try:
            movies = self._keys(columns[self.movie], self.movie)
            if self.user is None:
                users = Column([self._user_key], np.zeros(len(rows.fields), dtype=np.int64))
            else:
                users = self._keys(columns[self.user], self.user)
            stars = self._stars(columns, reading)
            times = self._times(columns, reading)
            if self.title is not None:
                self._add_titles(columns, titles)
        except BadRowError:
            return None
        return Block(users, movies, stars, times)

    def _stars(self, columns: Sequence[Sequence[str]], reading: Reading) -> "np.ndarray":
        if self.rating is None:
            return np.full(len(columns[self.movie]), np.nan)
        name = self.names[self.rating]
        texts, places = _distinct(columns[self.rating])
        return np.array([reading.rating(text, name) for text in texts])[places]

    def _times(self, columns: Sequence[Sequence[str]], reading: Reading) -> "np.ndarray":
        if self.time is None:
            return np.full(len(columns[self.movie]), np.nan)
        name = self.names[self.time]
        texts, places = _distinct(columns[self.time])
        seconds = [reading.time(text, name) for text in texts]
        return np.array(seconds, dtype=np.float64)[places]  # None becomes nan

    def _add_titles(self, columns: Sequence[Sequence[str]], titles: _Titles) -> None:
        if self.title is None:
            return
        name = self.names[self.title]
        pairs = set(zip(columns[self.movie], columns[self.title], strict=True))
        for movie, title in pairs:
            if title.strip():
                titles.add(key(movie, name), key(title, name))

    def _keys(self, texts: Sequence[str], place: int) -> Column:
        name = self.names[place]
        distinct, places = _distinct(texts)
        return Column([key(text, name) for text in distinct], places)

    def _key(self, fields: list[str], place: int) -> str:
        return key(fields[place], self.names[place])

    @property
    def _user_key(self) -> str:
        return key(self.one_user or "", "ingest.user")


def _distinct(texts: Sequence[str]) -> tuple[list[str], "np.ndarray"]:
    """The different texts in order of appearance, and the place of each text among them, (k,)."""
    places: dict[str, int] = {}
    of_texts = [places.setdefault(text, len(places)) for text in texts]
    return list(places), np.array(of_texts, dtype=np.int64)
