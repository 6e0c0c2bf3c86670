"""The wide pair: a user x film matrix of ratings and a one-hot film x genre matrix -> rows."""

import re
from collections.abc import Iterable, Iterator

from batch.ingest.csv_rows import csv_rows, parsed
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

NOT_RATED = {"", "0", "0.0"}  # as they are mostly written; _is_zero knows the rest
ZERO = re.compile(r"\s*(-?0+(\.0*)?)?\s*\Z")
FLAGS = {"0": False, "0.0": False, "1": True, "1.0": True}
PREFIX = "genre_"
MOST_COLUMNS = 200_000
"""Twice the films of the largest public data sets; more are a file that was turned on its side, or made to do harm."""


def recognise_indexed_ratings(header: list[str]) -> str | None:
    indexed = len(header) > 2 and header[0] == "" and header[1].casefold() == "user"
    return (
        f"its header is an unnamed index, User and {len(header) - 2:,} films" if indexed else None
    )


def recognise_ratings(header: list[str]) -> str | None:
    plain = len(header) > 1 and header[0].casefold() == "user"
    return f"its header is User and {len(header) - 1:,} films" if plain else None


def recognise_movies(header: list[str]) -> str | None:
    names = header[1:] if header[0] == "" else header
    genres = (
        len(names) > 1
        and names[0] == "movie_title"
        and all(name.startswith(PREFIX) for name in names[1:])
    )
    return f"its header is movie_title and {len(names) - 1} columns {PREFIX}..." if genres else None


def read_ratings(lines: Iterable[str], reading: Reading) -> Iterator[RatingRow | Reject]:
    """`0,Ann,0.0,4.0,...`: a row for each cell that is not 0, 0.0 or empty.

    Users are keyed by their text and films by their title; a repeat in the file becomes `text #2`. A line that cannot
    be read as a whole, such as one without a user, is rejected cell by cell.
    """
    rows = csv_rows(lines)
    _, header = next(rows)
    if len(header) > MOST_COLUMNS:
        message = f"{len(header):,} columns, more than {MOST_COLUMNS:,}; write a long CSV instead"
        raise RefusedError("TOO_MANY_COLUMNS", message, 1)
    first = 2 if header[0].strip() == "" else 1
    try:
        titles = [key(title, f"film {number}") for number, title in enumerate(header[first:], 1)]
    except BadRowError as error:
        raise RefusedError("BAD_HEADER", str(error), 1) from None
    taken: dict[str, int] = {}
    films = [unique_key(title, "film", taken, reading) for title in titles]
    reading.titles.update(zip(films, titles, strict=True))
    people: dict[str, int] = {}
    for line, fields in rows:
        cells = fields[first:]
        try:
            if len(fields) != len(header):
                message = f"{len(fields)} fields where the header has {len(header)}; fix the line"
                raise BadRowError(None, "FIELD_COUNT", message)
            name = key(fields[first - 1], "User")
            user = unique_key(name, "user", people, reading)
        except BadRowError as error:
            lost = [cell for cell in cells if not _is_zero(cell)]
            yield from (rejected(line, error, cell) for cell in lost or [""])
            continue
        for film, cell in zip(films, cells, strict=True):
            if cell in NOT_RATED or _is_zero(cell):
                continue
            try:
                yield line, user, film, reading.rating(cell, film), None
                reading.names[user] = name
            except BadRowError as error:
                yield rejected(line, error, cell)


def read_movies(lines: Iterable[str], reading: Reading) -> Iterator[MovieRow | Reject]:
    """`0,The Net,1,0,...`: a film a row, a repeated title becoming `title #2`."""
    rows = csv_rows(lines)
    _, header = next(rows)
    first = 1 if header[0].strip() == "" else 0
    try:
        names = [key(name.strip().removeprefix(PREFIX), "genre") for name in header[first + 1 :]]
    except BadRowError as error:
        raise RefusedError("BAD_HEADER", str(error), 1) from None
    if len(set(names)) < len(names):
        raise RefusedError("HEADER_DUPLICATE", "two columns have the same genre; remove one", 1)
    taken: dict[str, int] = {}

    def parse(line: int, fields: list[str]) -> MovieRow:
        title = key(fields[first], "movie_title")
        film = unique_key(
            title, "film", taken, reading
        )  # before its flags: a rejected row keeps its place
        has = []
        for name, flag in zip(names, fields[first + 1 :], strict=True):
            if flag.strip() not in FLAGS:
                raise BadRowError(
                    PREFIX + name,
                    "BAD_FLAG",
                    f"{PREFIX}{name} is {flag!r}, not 0 or 1; fix the row",
                )
            if FLAGS[flag.strip()]:
                has.append(name)
        return MovieRow(line, film, title, tuple(sorted(has)))

    return parsed(rows, len(header), ",", parse)


def _is_zero(cell: str) -> bool:
    """Whether a cell says "not rated", however many zeros or spaces it takes to say so."""
    return ZERO.match(cell) is not None
