"""MovieLens 1M and 10M: ratings.dat and movies.dat, separated by `::` -> rows."""

import re
from collections.abc import Iterator

from batch.ingest.fast_ratings import PlainLayout
from batch.ingest.file_format import Format, Layout
from batch.ingest.movielens import are_ratings, parse_movie, rating_parser
from batch.ingest.parsing import MovieRow, RatingRow, Reading, Reject
from batch.ingest.rows import TableRows, most, parse_rows
from batch.ingest.separated import Dialect

SEPARATOR = "::"
DIALECT = Dialect(SEPARATOR, quoted=False)
RATING = re.compile(r"[0-9]+::[0-9]+::[0-9](\.[0-9])?::[0-9]+$")
MOVIE = re.compile(r"[0-9]+::[^:].*::(?![0-9.]+$)[^:]*$")  # a number is no genre

DAT = Format(
    "MovieLens ratings.dat",
    family="movielens-dat",
    kind="ratings",
    usual_name="ratings.dat",
    limits=(0.5, 5.0),
)
DAT_MOVIES = Format(
    "MovieLens movies.dat", family="movielens-dat", kind="movies", usual_name="movies.dat"
)
PLAIN = PlainLayout(SEPARATOR.encode())


def recognise_ratings(lines: list[str]) -> Layout | None:
    if not are_ratings(lines, RATING, SEPARATOR):
        return None
    why = "its lines are user::movie::rating::time"
    return Layout(DAT, why, read_ratings, 4, has_header=False, plain=PLAIN)


def recognise_movies(lines: list[str]) -> Layout | None:
    if not MOVIE.match(lines[0]) or not most(
        MOVIE.match(line) and line.count(SEPARATOR) == 2 for line in lines
    ):
        return None
    why = "its lines are movie::title::genres"
    return Layout(DAT_MOVIES, why, read_movies, 3, has_header=False)


def read_ratings(rows: TableRows, reading: Reading) -> Iterator[RatingRow | Reject]:
    """`1::1193::5::978300760`"""
    return parse_rows(rows, 4, rating_parser(reading))


def read_movies(rows: TableRows, _reading: Reading) -> Iterator[MovieRow | Reject]:
    """`260::Star Wars: Episode IV (1977)::Action`: a single colon belongs to the title."""
    return parse_rows(rows, 3, parse_movie)
