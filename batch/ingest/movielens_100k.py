"""MovieLens 100K: u.data and u.item -> rows."""

import re
from collections.abc import Iterator

from batch.ingest.errors import BadRowError
from batch.ingest.fast_ratings import PlainLayout
from batch.ingest.file_format import Format, Layout
from batch.ingest.movielens import are_ratings, rating_parser
from batch.ingest.parsing import MovieRow, RatingRow, Reading, Reject, key, movielens_id
from batch.ingest.rows import TableRows, most, parse_rows
from batch.ingest.separated import Dialect

U_DATA = Format(
    "MovieLens u.data",
    family="movielens-100k",
    kind="ratings",
    usual_name="u.data",
    limits=(1.0, 5.0),
)
U_ITEM = Format("MovieLens u.item", family="movielens-100k", kind="movies", usual_name="u.item")
RATINGS_DIALECT = Dialect("\t", quoted=False)
MOVIES_DIALECT = Dialect("|", quoted=False)
PLAIN = PlainLayout(b"\t")
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


def recognise_ratings(lines: list[str]) -> Layout | None:
    if not are_ratings(lines, RATING, RATINGS_DIALECT.separator):
        return None
    why = "its lines are user, movie, rating and time between tabs"
    return Layout(U_DATA, why, read_ratings, 4, has_header=False, plain=PLAIN)


def recognise_movies(lines: list[str]) -> Layout | None:
    separators = MOVIE_FIELDS - 1
    if not MOVIE.match(lines[0]) or not most(
        MOVIE.match(line) and line.count("|") == separators for line in lines
    ):
        return None
    why = "its lines are movie|title|...|19 genre flags"
    return Layout(U_ITEM, why, read_movies, MOVIE_FIELDS, has_header=False)


def read_ratings(rows: TableRows, reading: Reading) -> Iterator[RatingRow | Reject]:
    """`196<tab>242<tab>3<tab>881250949`"""
    return parse_rows(rows, 4, rating_parser(reading))


def read_movies(rows: TableRows, _reading: Reading) -> Iterator[MovieRow | Reject]:
    """`1|Toy Story (1995)|01-Jan-1995||http://...|0|0|0|1|1|1|0|...`"""
    return parse_rows(rows, MOVIE_FIELDS, _parse_movie)


def _parse_movie(line: int, fields: list[str]) -> MovieRow:
    flags = fields[FIRST_FLAG:]
    if not set(flags) <= {"0", "1"}:
        raise BadRowError("genres", "BAD_FLAG", "a genre flag is neither 0 nor 1; fix the row")
    genres = {name for name, flag in zip(GENRES, flags, strict=True) if flag == "1"}
    movie_key = movielens_id(fields[0], "movie")
    title = key(fields[1], "title")
    return MovieRow(line, movie_key, title, tuple(sorted(genres - {"unknown"})))
