"""The first lines of a file -> its format, and why: the only list of formats."""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NoReturn

from batch.ingest import long, movielens, movielens_100k, movielens_dat, wide
from batch.ingest.fast_ratings import Plain
from batch.ingest.parsing import Reader, RefusedError
from batch.ingest.sources import Source

Scale = tuple[float, float]


@dataclass(frozen=True)
class Format:
    """How one kind of file is told and read."""

    name: str
    family: str  # files of a family that lie together are one group, merged in one transaction
    kind: Literal["ratings", "movies"]
    read: Reader
    limits: Scale | None = None  # what a rating must lie within
    scale: Scale | None = None  # what the format fixes; None: what is seen
    legacy: bool = False  # may be latin-1
    plain: Plain | None = None  # how it looks where it can be read by blocks


WIDE = Format("wide ratings matrix", "wide", "ratings", wide.read_ratings)
WIDE_GENRES = Format("wide genre matrix", "wide", "movies", wide.read_movies)
MOVIELENS = Format(
    "MovieLens ratings.csv", "movielens", "ratings", movielens.read_ratings, (0.5, 5.0), (0.5, 5.0),
    plain=Plain(b",", ",".join(movielens.RATINGS).encode()),
)  # fmt: skip
MOVIELENS_MOVIES = Format("MovieLens movies.csv", "movielens", "movies", movielens.read_movies)
DAT = Format(
    "MovieLens ratings.dat",
    "movielens-dat",
    "ratings",
    movielens_dat.read_ratings,
    (0.5, 5.0),
    plain=Plain(b"::"),
)
DAT_MOVIES = Format(
    "MovieLens movies.dat", "movielens-dat", "movies", movielens_dat.read_movies, legacy=True
)
U_DATA = Format(
    "MovieLens u.data", "movielens-100k", "ratings", movielens_100k.read_ratings, (1.0, 5.0), (1.0, 5.0),
    plain=Plain(b"\t"),
)  # fmt: skip
U_ITEM = Format(
    "MovieLens u.item", "movielens-100k", "movies", movielens_100k.read_movies, legacy=True
)
LONG = Format("long CSV", "long", "ratings", long.read_ratings)
QUERY = Format("rows of a query", "query", "ratings", long.read_ratings)
QUERY_MOVIES = Format("films of a query", "query", "movies", long.read_movies)

LINE_END = re.compile(r"\r\n|\r|\n")
"""What ends a line of a file; Python's splitlines knows signs besides that occur within titles."""

SIDE_HEADERS = {
    ("userId", "movieId", "tag", "timestamp"),
    ("movieId", "imdbId", "tmdbId"),
    ("movieId", "tagId", "relevance"),
    ("tagId", "tag"),
}
SIDE_NAMES = ("users.dat", "tags.dat")
"""Parts of the MovieLens archives that hold neither ratings nor films."""


FAMILIES = {
    "user_reviews.csv": "wide", "movie_genres.csv": "wide",
    "ratings.csv": "movielens", "movies.csv": "movielens",
    "ratings.dat": "movielens-dat", "movies.dat": "movielens-dat",
    "u.data": "movielens-100k", "u.item": "movielens-100k",
}  # fmt: skip
"""Where a file that cannot be read would have belonged, by its usual name: the others are not merged without it."""


@dataclass(frozen=True)
class Recognised:
    """A file's format and what gave it away; `format` is None for a file that is known and not needed."""

    format: Format | None
    why: str


def recognise(source: Source, columns: dict[str, str | None]) -> Recognised:
    """Tell a file's format by its content. Raises RefusedError, with what was found instead, if it is none of ours."""
    if source.base_name in SIDE_NAMES:
        return Recognised(None, "a part of MovieLens that is not needed")
    head = source.head()
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RefusedError("BAD_ENCODING_FILE", "the file is UTF-16; save it as UTF-8", 1)
    text = head.decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise RefusedError("EMPTY", "the file is empty")
    lines = [line for line in LINE_END.split(text, 100) if line.strip()][:10]
    for format_, tell in _WITHOUT_HEADER:
        if why := tell(lines):
            return Recognised(format_, why)
    try:
        header = [name.strip() for name in next(csv.reader(lines, strict=True))]
    except csv.Error as error:
        raise RefusedError(
            "CSV_SYNTAX", f"the header is not CSV ({error}); fix its quotes", 1
        ) from None
    return _by_header(header, columns) or _refuse(lines[0], columns)


def _by_header(header: list[str], columns: dict[str, str | None]) -> Recognised | None:
    if tuple(header) in SIDE_HEADERS:
        return Recognised(None, "a part of MovieLens that is not needed")
    for format_, tell in _WITH_HEADER:
        if why := tell(header):
            return Recognised(format_, why)
    if why := long.recognise(header, columns):
        return Recognised(LONG, why)
    why = wide.recognise_ratings(header)
    return Recognised(WIDE, why) if why else None


def _refuse(first: str, columns: dict[str, str | None]) -> NoReturn:
    """Say what would have been expected, and what it may be that is wrong."""
    shown = first if len(first) <= 60 else first[:60] + "..."
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if _by_header([name.strip().strip('"') for name in first.split(separator)], columns):
            raise RefusedError(
                "WRONG_DELIMITER", f"separated by {word} ({shown!r}); save it with commas", 1
            )
    expected = (
        "a wide matrix (',User,Film,...'), a genre matrix (',movie_title,genre_...'), MovieLens files, or a long CSV "
        "with columns for user, movie and rating (name them in ingest.columns)"
    )
    raise RefusedError(
        "UNKNOWN_FORMAT", f"not a format that is known ({shown!r}); expected {expected}", 1
    )


# Looked at in this order. A wide matrix without an index column comes last: its header says little.
_WITHOUT_HEADER: tuple[tuple[Format, Callable[[list[str]], str | None]], ...] = (
    (DAT, movielens_dat.recognise_ratings),
    (DAT_MOVIES, movielens_dat.recognise_movies),
    (U_DATA, movielens_100k.recognise_ratings),
    (U_ITEM, movielens_100k.recognise_movies),
)
_WITH_HEADER: tuple[tuple[Format, Callable[[list[str]], str | None]], ...] = (
    (WIDE, wide.recognise_indexed_ratings),
    (WIDE_GENRES, wide.recognise_movies),
    (MOVIELENS, movielens.recognise_ratings),
    (MOVIELENS_MOVIES, movielens.recognise_movies),
)
