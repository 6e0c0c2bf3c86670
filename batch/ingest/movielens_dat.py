"""MovieLens 1M and 10M: ratings.dat and movies.dat, separated by `::` -> rows."""

import re
from collections.abc import Iterable, Iterator

from batch.ingest.csv_rows import most, parse_rows, split_rows
from batch.ingest.fast_ratings import PlainLayout
from batch.ingest.file_format import Format, Sample
from batch.ingest.movielens import parse_movie, rating_parser
from batch.ingest.parsing import MovieRow, RatingRow, Reading, Reject

SEPARATOR = "::"
RATING = re.compile(r"[0-9]+::[0-9]+::[0-9](\.[0-9])?::[0-9]+$")
MOVIE = re.compile(r"[0-9]+::[^:].*::[^:]*$")


def recognise_ratings(sample: Sample) -> str | None:
    matches = most(RATING.match(line) for line in sample.lines)
    return "its lines are user::movie::rating::time" if matches else None


def recognise_movies(sample: Sample) -> str | None:
    matches = most(MOVIE.match(line) and line.count(SEPARATOR) == 2 for line in sample.lines)
    return "its lines are movie::title::genres" if matches else None


def read_ratings(lines: Iterable[str], reading: Reading) -> Iterator[RatingRow | Reject]:
    """`1::1193::5::978300760`"""
    rows = split_rows(lines, SEPARATOR)
    return parse_rows(rows, 4, SEPARATOR, rating_parser(reading))


def read_movies(lines: Iterable[str], _reading: Reading) -> Iterator[MovieRow | Reject]:
    """`260::Star Wars: Episode IV (1977)::Action`: a single colon belongs to the title."""
    rows = split_rows(lines, SEPARATOR)
    return parse_rows(rows, 3, SEPARATOR, parse_movie)


DAT = Format(
    "MovieLens ratings.dat",
    family="movielens-dat",
    kind="ratings",
    read=read_ratings,
    usual_name="ratings.dat",
    limits=(0.5, 5.0),
    plain=PlainLayout(SEPARATOR.encode()),
)
DAT_MOVIES = Format(
    "MovieLens movies.dat",
    family="movielens-dat",
    kind="movies",
    read=read_movies,
    usual_name="movies.dat",
    legacy_encoding=True,
)
