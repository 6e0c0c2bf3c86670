"""MovieLens 100K: u.data and u.item -> rows."""

import re
from collections.abc import Iterable, Iterator

from batch.ingest.csv_rows import most, parse_rows, split_rows
from batch.ingest.fast_ratings import PlainLayout
from batch.ingest.file_format import Format, Sample
from batch.ingest.movielens import rating_parser
from batch.ingest.parsing import (
    BadRowError,
    MovieRow,
    RatingRow,
    Reading,
    Reject,
    key,
    movielens_id,
)

RATING = re.compile(r"[0-9]+\t[0-9]+\t[0-9]\t[0-9]+$")
MOVIE = re.compile(r"[0-9]+\|.*(\|[01]){19}$")
GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""The 19 flags of u.item in order, from the data set's README; `unknown` means no genre."""
FIRST_FLAG = 5
MOVIE_FIELDS = FIRST_FLAG + len(GENRES)


def recognise_ratings(sample: Sample) -> str | None:
    matches = most(RATING.match(line) for line in sample.lines)
    return "its lines are user, movie, rating and time between tabs" if matches else None


def recognise_movies(sample: Sample) -> str | None:
    separators = MOVIE_FIELDS - 1
    matches = most(MOVIE.match(line) and line.count("|") == separators for line in sample.lines)
    return "its lines are movie|title|...|19 genre flags" if matches else None


def read_ratings(lines: Iterable[str], reading: Reading) -> Iterator[RatingRow | Reject]:
    """`196<tab>242<tab>3<tab>881250949`"""
    return parse_rows(split_rows(lines, "\t"), 4, "\t", rating_parser(reading))


def read_movies(lines: Iterable[str], _reading: Reading) -> Iterator[MovieRow | Reject]:
    """`1|Toy Story (1995)|01-Jan-1995||http://...|0|0|0|1|1|1|0|...`"""
    return parse_rows(split_rows(lines, "|"), MOVIE_FIELDS, "|", _parse_movie)


def _parse_movie(line: int, fields: list[str]) -> MovieRow:
    flags = fields[FIRST_FLAG:]
    if not set(flags) <= {"0", "1"}:
        raise BadRowError("genres", "BAD_FLAG", "a genre flag is neither 0 nor 1; fix the row")
    genres = {name for name, flag in zip(GENRES, flags, strict=True) if flag == "1"}
    movie_key = movielens_id(fields[0], "movie")
    title = key(fields[1], "title")
    return MovieRow(line, movie_key, title, tuple(sorted(genres - {"unknown"})))


U_DATA = Format(
    "MovieLens u.data",
    family="movielens-100k",
    kind="ratings",
    read=read_ratings,
    usual_name="u.data",
    limits=(1.0, 5.0),
    scale=(1.0, 5.0),
    plain=PlainLayout(b"\t"),
)
U_ITEM = Format(
    "MovieLens u.item",
    family="movielens-100k",
    kind="movies",
    read=read_movies,
    usual_name="u.item",
    legacy_encoding=True,
)
