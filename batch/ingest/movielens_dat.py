"""MovieLens 1M and 10M: ratings.dat and movies.dat, separated by `::` -> rows."""

import re
from collections.abc import Iterable, Iterator

from batch.ingest.csv_rows import most, parsed, split_rows
from batch.ingest.movielens import parse_movie, rating_parser
from batch.ingest.parsing import MovieRow, RatingRow, Reading, Reject

RATING = re.compile(r"[0-9]+::[0-9]+::[0-9](\.[0-9])?::[0-9]+$")
MOVIE = re.compile(r"[0-9]+::[^:].*::[^:]*$")
SEPARATOR = "::"


def recognise_ratings(lines: list[str]) -> str | None:
    return "its lines are user::movie::rating::time" if most(map(RATING.match, lines)) else None


def recognise_movies(lines: list[str]) -> str | None:
    films = most(MOVIE.match(line) and line.count(SEPARATOR) == 2 for line in lines)
    return "its lines are movie::title::genres" if films else None


def read_ratings(lines: Iterable[str], reading: Reading) -> Iterator[RatingRow | Reject]:
    """`1::1193::5::978300760`"""
    return parsed(split_rows(lines, SEPARATOR), 4, SEPARATOR, rating_parser(reading))


def read_movies(lines: Iterable[str], reading: Reading) -> Iterator[MovieRow | Reject]:  # noqa: ARG001  one call for all
    """`260::Star Wars: Episode IV - A New Hope (1977)::Action|Adventure`: a single colon is part of the title."""
    return parsed(split_rows(lines, SEPARATOR), 3, SEPARATOR, parse_movie)
