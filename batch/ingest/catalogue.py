"""Catalogues of any kind, one film a row under a header -> films."""

from collections.abc import Iterator
from dataclasses import dataclass

from batch.ingest.columns import (
    MOVIES_COLUMNS,
    RATINGS_COLUMNS,
    Places,
    find_column,
    find_columns,
    shown,
)
from batch.ingest.errors import RefusedError
from batch.ingest.file_format import Format, Layout, Sample
from batch.ingest.genres import GenreColumn, genre_column
from batch.ingest.parsing import MovieRow, Reading, Reject, key
from batch.ingest.rows import TableRows, parse_rows

CATALOGUE = Format("catalogue of films", family="long", kind="movies")
QUERY_MOVIES = Format("films of a query", family="query", kind="movies")
YOUR_RATING = "your rating"
"""The column of IMDb's export of one person, which has genres too."""
MIN_ROWS = 5
MIN_DISTINCT = 0.8
"""Share of the rows of a catalogue that describe a film of their own."""


@dataclass(frozen=True)
class CatalogueTable:
    """Where the values of a film are in the rows of a table."""

    header: tuple[str, ...]
    movie: int
    title: int
    genres: int | None
    genre_column: GenreColumn

    def parse(self, rows: TableRows, _reading: Reading) -> Iterator[MovieRow | Reject]:
        """`heat,Heat (1995),Crime|Drama`"""
        return parse_rows(rows, len(self.header), self._parse_row)

    def _parse_row(self, line: int, fields: list[str]) -> MovieRow:
        movie_key = key(fields[self.movie], self.header[self.movie])
        title = key(fields[self.title], self.header[self.title])
        names = () if self.genres is None else self.genre_column.names(fields[self.genres])
        return MovieRow(line, movie_key, title, names)


def recognise(sample: Sample) -> Layout | None:
    """A layout by the names in the header: a key, a title and maybe genres, and no user.

    Films without a key are keyed by their title. Raises RefusedError where two columns fit.
    """
    header = sample.header
    if find_column(header, "user", RATINGS_COLUMNS["user"]) is not None:
        return None
    places = _places(sample)
    title = places["title"]
    genres = places["genres"]
    movie = places["movie"]
    if title is None or (movie is None and genres is None):
        return None
    rating = find_column(header, "rating", RATINGS_COLUMNS["rating"])
    if rating is not None and (genres is None or header[rating].casefold() == YOUR_RATING):
        return None  # ratings without a column for the user
    keys = sample.column(title if movie is None else movie)
    if len(keys) >= MIN_ROWS and len(set(keys)) < MIN_DISTINCT * len(keys):
        return None
    return _layout(sample, CATALOGUE, title if movie is None else movie, title, genres)


def read_of_query(sample: Sample) -> Layout:
    """The layout of the films of a query, which may repeat them. Raises RefusedError."""
    places = _places(sample)
    movie = places["movie"]
    title = places["title"]
    if movie is None or title is None:
        message = f"no column for movie or title among {shown(sample.header)}; name them so"
        raise RefusedError("HEADER_MISSING", message, 1)
    return _layout(sample, QUERY_MOVIES, movie, title, places["genres"])


def _places(sample: Sample) -> Places:
    """The places of the key, the title and the genres. Raises RefusedError where two fit."""
    movie_name = sample.choices.columns.get("movie")
    named = {"movie": movie_name} if movie_name in sample.header else {}
    return find_columns(sample.header, MOVIES_COLUMNS, named)


def _layout(sample: Sample, format_: Format, movie: int, title: int, genres: int | None) -> Layout:
    header = sample.header
    chosen = {"movie": movie, "title": title, "genres": genres}
    texts = [] if genres is None else sample.column(genres)
    table = CatalogueTable(tuple(header), movie, title, genres, genre_column(texts))
    names = [f"{what} = {header[place]}" for what, place in chosen.items() if place is not None]
    return Layout(format_, f"its header names {', '.join(names)}", table.parse, len(header))
