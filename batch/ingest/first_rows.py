"""Accepted rows of a file -> the first few, as they would be stored, for a dry run."""

import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TypeAlias

from batch.ingest.fast_ratings import Block
from batch.ingest.file_format import FileRow
from batch.ingest.parsing import MovieRow, RatingRow, Reject

N_FIRST = 5
"""Rows that are kept: enough to see a wrong column, and they fit a terminal."""


@dataclass(frozen=True)
class StoredRating:
    """A row of `ratings`, by keys."""

    user: str
    film: str
    rating: float  # stars
    time: datetime | None  # UTC; None: the file has no time for it


@dataclass(frozen=True)
class StoredMark:
    """A row of `seen`, by keys."""

    user: str
    film: str
    time: datetime | None  # UTC; None: the file has no time for it


@dataclass(frozen=True)
class StoredFilm:
    """A row of `movies`, with its genres."""

    film: str
    title: str
    genres: tuple[str, ...]


StoredRow: TypeAlias = StoredRating | StoredMark | StoredFilm


def keeping_first(
    rows: Iterable[FileRow | Reject], first: list[StoredRow]
) -> Generator[FileRow | Reject, None, None]:
    """The same rows; the first N_FIRST that are not rejected are added to `first`."""
    for row in rows:
        n_wanted = N_FIRST - len(first)
        if n_wanted and not isinstance(row, Reject):
            first += islice(_stored(row), n_wanted)
        yield row


def _stored(row: FileRow) -> Iterator[StoredRow]:
    """A block of ratings, a rating or a film as rows of tables."""
    if isinstance(row, MovieRow):
        yield StoredFilm(row.movie_key, row.title, row.genres)
    elif isinstance(row, Block):
        yield from map(_rating, row.ratings())
    else:
        yield _rating(row)


def _rating(row: RatingRow) -> StoredRating | StoredMark:
    _, user, film, stars, seconds = row
    time = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    if math.isnan(stars):
        return StoredMark(user, film, time)
    return StoredRating(user, film, stars, time)
