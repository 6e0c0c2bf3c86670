"""The wide pair: a user x film matrix of ratings, and a film x genre matrix of flags -> rows."""

import re
from collections.abc import Iterable, Iterator

from batch.ingest.csv_rows import csv_rows, parse_rows
from batch.ingest.file_format import Format, Sample
from batch.ingest.parsing import (
    BadRowError,
    MovieRow,
    RatingRow,
    Reading,
    RefusedError,
    Reject,
    key,
    rejected,
    unique_key,
)

USUAL_ZEROS = {"", "0", "0.0"}  # checked first, because most cells are these
ZERO = re.compile(r"\s*(-?0+(\.0*)?)?\s*\Z")
FLAGS = {"0": False, "0.0": False, "1": True, "1.0": True}
GENRE_PREFIX = "genre_"
MAX_COLUMNS = 200_000
"""Twice the films of the largest public data sets; a file with more is transposed, or hostile."""


def recognise_indexed_ratings(sample: Sample) -> str | None:
    header = sample.header
    if len(header) > 2 and header[0] == "" and header[1].casefold() == "user":
        return f"its header is an unnamed index, User and {len(header) - 2:,} films"
    return None


def recognise_ratings(sample: Sample) -> str | None:
    header = sample.header
    if len(header) > 1 and header[0].casefold() == "user":
        return f"its header is User and {len(header) - 1:,} films"
    return None


def recognise_movies(sample: Sample) -> str | None:
    header = sample.header
    names = header[1:] if header[0] == "" else header
    genres = names[1:]
    if not genres or names[0] != "movie_title":
        return None
    if not all(name.startswith(GENRE_PREFIX) for name in genres):
        return None
    return f"its header is movie_title and {len(genres)} columns {GENRE_PREFIX}..."


def read_ratings(lines: Iterable[str], reading: Reading) -> Iterator[RatingRow | Reject]:
    """`0,Ann,0.0,4.0,...`: a row for each cell that is not 0, 0.0 or empty.

    Users are keyed by their name and films by their title; a repeat becomes `name #2`. A line
    that cannot be read as a whole, such as one without a user, is rejected cell by cell.
    """
    rows = csv_rows(lines)
    _, header = next(rows)
    if len(header) > MAX_COLUMNS:
        message = f"{len(header):,} columns, more than {MAX_COLUMNS:,}; write a long CSV instead"
        raise RefusedError("TOO_MANY_COLUMNS", message, 1)
    first_film = 2 if header[0].strip() == "" else 1
    films = _film_keys(header[first_film:], reading)
    taken_users: dict[str, int] = {}
    for line, fields in rows:
        cells = fields[first_film:]
        try:
            if len(fields) != len(header):
                message = f"{len(fields)} fields where the header has {len(header)}; fix the line"
                raise BadRowError(None, "FIELD_COUNT", message)
            name = key(fields[first_film - 1], "User")
        except BadRowError as error:
            rated = [cell for cell in cells if not _is_zero(cell)]
            for cell in rated or [""]:
                yield rejected(line, error, cell)
            continue
        user = unique_key(name, "user", taken_users, reading)
        for film, cell in zip(films, cells, strict=True):
            if cell in USUAL_ZEROS or _is_zero(cell):
                continue
            try:
                yield line, user, film, reading.rating(cell, film), None
                reading.names[user] = name
            except BadRowError as error:
                yield rejected(line, error, cell)


def _film_keys(names: list[str], reading: Reading) -> list[str]:
    """A key for each column of a film; the titles are kept in `reading`. Raises RefusedError."""
    try:
        titles = [key(name, f"film {number}") for number, name in enumerate(names, 1)]
    except BadRowError as error:
        raise RefusedError("BAD_HEADER", str(error), 1) from None
    taken: dict[str, int] = {}
    films = [unique_key(title, "film", taken, reading) for title in titles]
    reading.titles.update(zip(films, titles, strict=True))
    return films


def read_movies(lines: Iterable[str], reading: Reading) -> Iterator[MovieRow | Reject]:
    """`0,The Net,1,0,...`: one film per row; a repeated title becomes `title #2`."""
    rows = csv_rows(lines)
    _, header = next(rows)
    title_place = 1 if header[0].strip() == "" else 0
    first_flag = title_place + 1
    genres = _genre_names(header[first_flag:])
    taken: dict[str, int] = {}

    def parse(line: int, fields: list[str]) -> MovieRow:
        title = key(fields[title_place], "movie_title")
        # Before the flags are read, so that a rejected row still counts as a repeat.
        film = unique_key(title, "film", taken, reading)
        flags = zip(genres, fields[first_flag:], strict=True)
        has = [genre for genre, flag in flags if _flag(genre, flag)]
        return MovieRow(line, film, title, tuple(sorted(has)))

    return parse_rows(rows, len(header), ",", parse)


def _genre_names(columns: list[str]) -> list[str]:
    """`genre_drama` -> drama, for each column. Raises RefusedError."""
    try:
        names = [key(name.strip().removeprefix(GENRE_PREFIX), "genre") for name in columns]
    except BadRowError as error:
        raise RefusedError("BAD_HEADER", str(error), 1) from None
    if len(set(names)) < len(names):
        message = "two columns have the same genre; remove one"
        raise RefusedError("HEADER_DUPLICATE", message, 1)
    return names


def _flag(genre: str, text: str) -> bool:
    flag = FLAGS.get(text.strip())
    if flag is None:
        column = GENRE_PREFIX + genre
        message = f"{column} is {text!r}, not 0 or 1; fix the row"
        raise BadRowError(column, "BAD_FLAG", message)
    return flag


def _is_zero(cell: str) -> bool:
    """Whether a cell means "not rated", with any number of zeros and spaces."""
    return ZERO.match(cell) is not None


WIDE = Format(
    "wide ratings matrix",
    family="wide",
    kind="ratings",
    read=read_ratings,
    usual_name="user_reviews.csv",
)
WIDE_GENRES = Format(
    "wide genre matrix",
    family="wide",
    kind="movies",
    read=read_movies,
    usual_name="movie_genres.csv",
)
