"""Netflix Prize: blocks of a film's ratings, and movie_titles.csv -> rows."""

import re
from collections.abc import Iterator

from batch.ingest.errors import BadRowError
from batch.ingest.file_format import Format, Layout
from batch.ingest.parsing import MovieRow, RatingRow, Reading, Reject, key, movielens_id, rejected
from batch.ingest.rows import TableRows, most, parse_rows
from batch.ingest.separated import Dialect
from batch.ingest.times import ISO

NETFLIX = Format("Netflix Prize ratings", family="netflix", kind="ratings", limits=(1.0, 5.0))
NETFLIX_MOVIES = Format(
    "Netflix Prize titles", family="netflix", kind="movies", usual_name="movie_titles.csv"
)
DIALECT = Dialect(",", quoted=False)
MOVIE = re.compile(r"[0-9]+:\Z")
RATING = re.compile(r"[0-9]+,[1-5],[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
TITLES_NAMES = ("movie_titles.csv", "movie_titles.txt")
FIELDS = 3
"""Fields of a rating: customer, stars and day."""


def recognise_ratings(lines: list[str]) -> Layout | None:
    if not MOVIE.match(lines[0]) or not most(RATING.match(line) for line in lines[1:]):
        return None
    why = "its lines are a movie and a colon, then customer,rating,day"
    return Layout(NETFLIX, why, read_ratings, FIELDS, has_header=False, times=ISO)


def titles() -> Layout:
    """The layout of movie_titles.csv, which only its name tells from other tables."""
    # Titles contain commas without quotes: rows have any width.
    why = "its name is that of the titles of the Netflix Prize"
    return Layout(NETFLIX_MOVIES, why, read_movies, FIELDS, has_header=False)


def read_ratings(rows: TableRows, reading: Reading) -> Iterator[RatingRow | Reject]:
    """`1:` and then `1488844,3,2005-09-06` for each rating of movie 1"""
    movie_key: str | None = None
    for block in rows:
        if isinstance(block, Reject):
            yield block
            continue
        for line, fields in zip(block.lines, block.fields, strict=True):
            if len(fields) == 1 and MOVIE.match(fields[0].strip()):
                movie_key = fields[0].strip().removesuffix(":")
                continue
            try:
                yield _rating(line, movie_key, fields, reading)
            except BadRowError as error:
                yield rejected(line, error, block.separator.join(fields))


def _rating(line: int, movie_key: str | None, fields: list[str], reading: Reading) -> RatingRow:
    """Raises BadRowError."""
    if movie_key is None or len(fields) != FIELDS:
        message = "not customer,rating,day under the line of a movie; fix the line"
        raise BadRowError(None, "FIELD_COUNT", message)
    user, rating, day = fields
    user_key = movielens_id(user, "customer")
    return line, user_key, movie_key, reading.rating(rating), reading.time(day, "day")


def read_movies(rows: TableRows, _reading: Reading) -> Iterator[MovieRow | Reject]:
    """`17,2005,7 Seconds`"""

    def joined() -> TableRows:
        for block in rows:
            if isinstance(block, Reject):
                yield block
            else:
                split = [[*fields[:2], ",".join(fields[2:])] for fields in block.fields]
                yield block._replace(fields=split)

    def parse(line: int, fields: list[str]) -> MovieRow:
        movie, _, title = fields
        return MovieRow(line, movielens_id(movie, "movie"), key(title, "title"), ())

    return parse_rows(joined(), FIELDS, parse)
