"""MovieLens latest, 20M, 25M and 32M: ratings.csv and movies.csv -> rows."""

from collections.abc import Callable, Iterable, Iterator

from batch.ingest.csv_rows import csv_rows, parse_rows
from batch.ingest.fast_ratings import PlainLayout
from batch.ingest.file_format import Format, Sample
from batch.ingest.parsing import MovieRow, RatingRow, Reading, Reject, key, movielens_id

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
NO_GENRES = "(no genres listed)"


def recognise_ratings(sample: Sample) -> str | None:
    return _recognise_header(sample, RATINGS_HEADER)


def recognise_movies(sample: Sample) -> str | None:
    return _recognise_header(sample, MOVIES_HEADER)


def _recognise_header(sample: Sample, header: list[str]) -> str | None:
    return f"its header is {','.join(header)}" if sample.header == header else None


def read_ratings(lines: Iterable[str], reading: Reading) -> Iterator[RatingRow | Reject]:
    """`1,31,2.5,1260759144`"""
    rows = csv_rows(lines)
    next(rows)  # the header
    return parse_rows(rows, len(RATINGS_HEADER), ",", rating_parser(reading))


def read_movies(lines: Iterable[str], _reading: Reading) -> Iterator[MovieRow | Reject]:
    """`11,"American President, The (1995)",Comedy|Drama|Romance`"""
    rows = csv_rows(lines)
    next(rows)  # the header
    return parse_rows(rows, len(MOVIES_HEADER), ",", parse_movie)


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
    return MovieRow(line, movie_key, key(title, "title"), listed_genres(genres))


def listed_genres(text: str) -> tuple[str, ...]:
    """`Comedy|Drama` -> names, sorted; none for "(no genres listed)". Raises BadRowError."""
    names = [name.strip() for name in text.split("|")]
    genres = {key(name, "genre") for name in names if name and name != NO_GENRES}
    return tuple(sorted(genres))


MOVIELENS = Format(
    "MovieLens ratings.csv",
    family="movielens",
    kind="ratings",
    read=read_ratings,
    usual_name="ratings.csv",
    limits=(0.5, 5.0),
    scale=(0.5, 5.0),
    plain=PlainLayout(b",", header=",".join(RATINGS_HEADER).encode()),
)
MOVIELENS_MOVIES = Format(
    "MovieLens movies.csv",
    family="movielens",
    kind="movies",
    read=read_movies,
    usual_name="movies.csv",
)
