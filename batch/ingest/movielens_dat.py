"""MovieLens 1M and 10M: ratings.dat and movies.dat, separated by `::` -> rows."""

import re
from collections.abc import Iterator
from typing import IO

from batch.ingest.delimited import parsed, split_rows
from batch.ingest.movielens import listed_genres
from batch.ingest.rows import MovieRow, RatingRow, Reading, Reject, key, movielens_id

RATING = re.compile(r"[0-9]+::[0-9]+::[0-9](\.[0-9])?::[0-9]+$")
MOVIE = re.compile(r"[0-9]+::[^:].*::[^:]*$")
SEPARATOR = "::"


def recognise_ratings(lines: list[str]) -> str | None:
    return "its lines are user::movie::rating::time" if all(map(RATING.match, lines)) else None


def recognise_movies(lines: list[str]) -> str | None:
    films = all(MOVIE.match(line) and line.count(SEPARATOR) == 2 for line in lines)
    return "its lines are movie::title::genres" if films else None


def read_ratings(lines: IO[str], reading: Reading) -> Iterator[RatingRow | Reject]:
    """`1::1193::5::978300760`"""

    def parse(line: int, fields: list[str]) -> RatingRow:
        user, movie, rating, time = fields
        return (
            line,
            movielens_id(user, "user"),
            movielens_id(movie, "movie"),
            reading.rating(rating),
            reading.time(time),
        )

    return parsed(split_rows(lines, SEPARATOR), 4, SEPARATOR, parse)


def read_movies(lines: IO[str], reading: Reading) -> Iterator[MovieRow | Reject]:  # noqa: ARG001  one call for all
    """`260::Star Wars: Episode IV - A New Hope (1977)::Action|Adventure`: a single colon is part of the title."""

    def parse(line: int, fields: list[str]) -> MovieRow:
        movie, title, genres = fields
        return MovieRow(line, movielens_id(movie, "movie"), key(title, "title"), listed_genres(genres))

    return parsed(split_rows(lines, SEPARATOR), 3, SEPARATOR, parse)
