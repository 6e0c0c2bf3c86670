"""MovieLens latest, 20M, 25M, 32M: ratings.csv and movies.csv -> rows."""

from collections.abc import Callable, Iterable, Iterator

from batch.ingest.csv_rows import csv_rows, parsed
from batch.ingest.parsing import MovieRow, RatingRow, Reading, Reject, key, movielens_id

RATINGS, MOVIES = ["userId", "movieId", "rating", "timestamp"], ["movieId", "title", "genres"]
NO_GENRES = "(no genres listed)"


def recognise_ratings(header: list[str]) -> str | None:
    return "its header is userId,movieId,rating,timestamp" if header == RATINGS else None


def recognise_movies(header: list[str]) -> str | None:
    return "its header is movieId,title,genres" if header == MOVIES else None


def read_ratings(lines: Iterable[str], reading: Reading) -> Iterator[RatingRow | Reject]:
    """`1,31,2.5,1260759144`"""
    rows = csv_rows(lines)
    next(rows)
    return parsed(rows, len(RATINGS), ",", rating_parser(reading))


def read_movies(lines: Iterable[str], reading: Reading) -> Iterator[MovieRow | Reject]:  # noqa: ARG001  one call for all
    """`11,"American President, The (1995)",Comedy|Drama|Romance`"""
    rows = csv_rows(lines)
    next(rows)
    return parsed(rows, len(MOVIES), ",", parse_movie)


def rating_parser(reading: Reading) -> Callable[[int, list[str]], RatingRow]:
    """Reads the four fields that every MovieLens file of ratings has: user, movie, rating, time."""

    def parse(line: int, fields: list[str]) -> RatingRow:
        user, movie, rating, time = fields
        return (
            line,
            movielens_id(user, "userId"),
            movielens_id(movie, "movieId"),
            reading.rating(rating),
            reading.time(time),
        )

    return parse


def parse_movie(line: int, fields: list[str]) -> MovieRow:
    """Reads the three fields movie, title, genres."""
    movie, title, genres = fields
    return MovieRow(
        line, movielens_id(movie, "movieId"), key(title, "title"), listed_genres(genres)
    )


def listed_genres(text: str) -> tuple[str, ...]:
    """`Comedy|Drama` -> names, sorted; none for MovieLens' own way of saying so."""
    names = {
        key(name, "genre") for name in text.split("|") if name.strip() and name.strip() != NO_GENRES
    }
    return tuple(sorted(names))
