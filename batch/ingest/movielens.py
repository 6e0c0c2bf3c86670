"""MovieLens latest, 20M, 25M and 32M: ratings.csv and movies.csv -> rows."""

import re
from collections.abc import Callable, Iterator

from batch.ingest.fast_ratings import PlainLayout
from batch.ingest.file_format import Format, Layout, Sample
from batch.ingest.genres import GenreColumn
from batch.ingest.parsing import (
    MOVIELENS_ID,
    MovieRow,
    RatingRow,
    Reading,
    Reject,
    key,
    movielens_id,
)
from batch.ingest.rows import TableRows, most, parse_rows
from batch.ingest.times import SECONDS, recognise_times

RATINGS_HEADER = ["userId", "movieId", "rating", "timestamp"]
MOVIES_HEADER = ["movieId", "title", "genres"]
UNUSED_HEADERS = [
    ["userId", "movieId", "tag", "timestamp"],
    ["movieId", "imdbId", "tmdbId"],
    ["movieId", "tagId", "relevance"],
    ["tagId", "tag"],
]
UNUSED_NAMES = ("users.dat", "tags.dat")
"""Parts of the MovieLens archives that contain neither ratings nor films."""

MOVIELENS = Format(
    "MovieLens ratings.csv",
    family="movielens",
    kind="ratings",
    usual_name="ratings.csv",
    limits=(0.5, 5.0),
)
MOVIELENS_MOVIES = Format(
    "MovieLens movies.csv", family="movielens", kind="movies", usual_name="movies.csv"
)
STARS = re.compile(r"[0-9]{1,3}(\.[0-9]+)?")
MAX_STARS = 5
MAX_SHARE_ABOVE = 0.25
"""Share of the ratings of a sample above MAX_STARS that are taken for mistakes."""
PLAIN = PlainLayout(b",", header=",".join(RATINGS_HEADER).encode())
GENRES = GenreColumn("|")


def recognise_ratings(sample: Sample) -> Layout | None:
    """The header of MovieLens above numbers: other ids or times are a long file's."""
    if sample.header != RATINGS_HEADER or not _has_ids(sample, 2):
        return None
    if not _in_stars(sample.column(2)):
        return None
    times = sample.column(3)
    if times and recognise_times(times, "timestamp") is not SECONDS:
        return None
    return Layout(MOVIELENS, _why(RATINGS_HEADER), read_ratings, 4, plain=PLAIN)


def recognise_movies(sample: Sample) -> Layout | None:
    if sample.header != MOVIES_HEADER or not _has_ids(sample, 1):
        return None
    return Layout(MOVIELENS_MOVIES, _why(MOVIES_HEADER), read_movies, 3)


def are_ratings(lines: list[str], pattern: re.Pattern[str], separator: str) -> bool:
    """Whether the first and most lines have the form of a rating, and are in stars."""
    if not pattern.match(lines[0]) or not most(map(pattern.match, lines)):
        return False
    rows = [line.split(separator) for line in lines]
    return _in_stars([fields[2] for fields in rows if len(fields) == len(RATINGS_HEADER)])


def _in_stars(texts: list[str]) -> bool:
    """Whether ratings are up to 5, but for a few: on another scale they are a long file's."""
    numbers = [float(text) for text in texts if STARS.fullmatch(text)]
    n_above = sum(number > MAX_STARS for number in numbers)
    return n_above <= MAX_SHARE_ABOVE * len(numbers)


def _why(header: list[str]) -> str:
    return f"its header is {','.join(header)}"


def _has_ids(sample: Sample, n_columns: int) -> bool:
    """Whether most fields of the first columns are numbers."""
    columns = [sample.column(place) for place in range(n_columns)]
    return all(not ids or most(map(MOVIELENS_ID.match, ids)) for ids in columns)


def read_ratings(rows: TableRows, reading: Reading) -> Iterator[RatingRow | Reject]:
    """`1,31,2.5,1260759144`"""
    return parse_rows(rows, 4, rating_parser(reading))


def read_movies(rows: TableRows, _reading: Reading) -> Iterator[MovieRow | Reject]:
    """`11,"American President, The (1995)",Comedy|Drama|Romance`"""
    return parse_rows(rows, 3, parse_movie)


def rating_parser(reading: Reading) -> Callable[[int, list[str]], RatingRow]:
    """A parser of user, movie, rating and time, the fields of every MovieLens ratings file."""

    def parse(line: int, fields: list[str]) -> RatingRow:
        user, movie, rating, time = fields
        user_key = movielens_id(user, "userId")
        movie_key = movielens_id(movie, "movieId")
        return line, user_key, movie_key, reading.rating(rating), reading.time(time)

    return parse


def parse_movie(line: int, fields: list[str]) -> MovieRow:
    """The three fields movie, title, genres -> a film. Raises BadRowError."""
    movie, title, genres = fields
    movie_key = movielens_id(movie, "movieId")
    return MovieRow(line, movie_key, key(title, "title"), GENRES.names(genres))
