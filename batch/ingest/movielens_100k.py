"""MovieLens 100K: u.data and u.item -> rows."""

import re
from collections.abc import Iterable, Iterator

from batch.ingest.csv_rows import most, parsed, split_rows
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
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""The 19 flags of u.item in their order, from the README of the data set; `unknown` is the absence of a genre."""
WIDTH = 5 + len(GENRES)


def recognise_ratings(lines: list[str]) -> str | None:
    return (
        "its lines are user, movie, rating and time between tabs"
        if most(map(RATING.match, lines))
        else None
    )


def recognise_movies(lines: list[str]) -> str | None:
    films = most(MOVIE.match(line) and line.count("|") == WIDTH - 1 for line in lines)
    return "its lines are movie|title|...|19 genre flags" if films else None


def read_ratings(lines: Iterable[str], reading: Reading) -> Iterator[RatingRow | Reject]:
    """`196<tab>242<tab>3<tab>881250949`"""
    return parsed(split_rows(lines, "\t"), 4, "\t", rating_parser(reading))


def read_movies(lines: Iterable[str], reading: Reading) -> Iterator[MovieRow | Reject]:  # noqa: ARG001  one call for all
    """`1|Toy Story (1995)|01-Jan-1995||http://...|0|0|0|1|1|1|0|...`"""

    def parse(line: int, fields: list[str]) -> MovieRow:
        flags = fields[5:]
        if not set(flags) <= {"0", "1"}:
            raise BadRowError("genres", "BAD_FLAG", "a genre flag is neither 0 nor 1; fix the row")
        names = [
            name
            for name, flag in zip(GENRES, flags, strict=True)
            if flag == "1" and name != "unknown"
        ]
        return MovieRow(
            line, movielens_id(fields[0], "movie"), key(fields[1], "title"), tuple(sorted(names))
        )

    return parsed(split_rows(lines, "|"), WIDTH, "|", parse)
