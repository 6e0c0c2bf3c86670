"""A long CSV, one rating or one film per row, its columns found by name -> rows."""

from collections.abc import Iterable, Iterator, Mapping

from batch.ingest.csv_rows import Fields, csv_rows, parse_rows
from batch.ingest.file_format import Format, Sample
from batch.ingest.movielens import listed_genres
from batch.ingest.parsing import MovieRow, RatingRow, Reading, RefusedError, Reject, key

MOVIE_NAMES = (
    "movie_key",
    "movie_id",
    "movieid",
    "movie",
    "item_id",
    "itemid",
    "item",
    "film_id",
    "film",
)
RATINGS_COLUMNS = {
    "user": ("user_key", "user_id", "userid", "user"),
    "movie": MOVIE_NAMES,
    "rating": ("rating", "stars", "score"),
    "time": ("rated_at", "timestamp", "time", "date"),
}
"""Usual names of columns, in upper or lower case; the first in this order is taken."""
MOVIES_COLUMNS = {
    "movie": MOVIE_NAMES,
    "title": ("title", "name"),
    "genres": ("genres", "genre"),
}


def recognise(sample: Sample) -> str | None:
    header = sample.header
    places = _find_columns(header, RATINGS_COLUMNS, sample.columns)
    if None in (places["user"], places["movie"], places["rating"]):
        return None
    pairs = [f"{what} = {header[place]}" for what, place in places.items() if place is not None]
    return f"its header names {', '.join(pairs)}"


def read_ratings(lines: Iterable[str], reading: Reading) -> Iterator[RatingRow | Reject]:
    """`ann,Heat,4.5,2026-11-23T02:30:00Z`, under a header"""
    rows = csv_rows(lines)
    header = _read_header(rows)
    places = _find_columns(header, RATINGS_COLUMNS, reading.columns)
    user = places["user"]
    movie = places["movie"]
    rating = places["rating"]
    time = places["time"]
    if user is None or movie is None or rating is None:
        message = "no column for user, movie or rating; name them in ingest.columns"
        raise RefusedError("HEADER_MISSING", message, 1)

    def parse(line: int, fields: list[str]) -> RatingRow:
        user_key = key(fields[user], header[user])
        movie_key = key(fields[movie], header[movie])
        stars = reading.rating(fields[rating], header[rating])
        rated_at = None if time is None else reading.time(fields[time], header[time])
        return line, user_key, movie_key, stars, rated_at

    return parse_rows(rows, len(header), ",", parse)


def read_movies(lines: Iterable[str], reading: Reading) -> Iterator[MovieRow | Reject]:
    """`heat,Heat (1995),Crime|Drama`, under a header"""
    rows = csv_rows(lines)
    header = _read_header(rows)
    named = {"movie": reading.columns.get("movie")}
    places = _find_columns(header, MOVIES_COLUMNS, named)
    movie = places["movie"]
    title = places["title"]
    genres = places["genres"]
    if movie is None or title is None:
        message = f"no column for movie or title among {', '.join(header)}; name them so"
        raise RefusedError("HEADER_MISSING", message, 1)

    def parse(line: int, fields: list[str]) -> MovieRow:
        names = () if genres is None else listed_genres(fields[genres])
        movie_key = key(fields[movie], header[movie])
        return MovieRow(line, movie_key, key(fields[title], header[title]), names)

    return parse_rows(rows, len(header), ",", parse)


def _read_header(rows: Fields) -> list[str]:
    _, fields = next(rows)
    header = [name.strip() for name in fields]
    if len(set(header)) < len(header):
        message = "two columns have the same name; rename one"
        raise RefusedError("HEADER_DUPLICATE", message, 1)
    return header


def _find_columns(
    header: list[str],
    usual_names: Mapping[str, tuple[str, ...]],
    named: Mapping[str, str | None],
) -> dict[str, int | None]:
    """The place of each column in the header: the one named in the settings, else a usual name."""
    folded = [name.casefold() for name in header]
    places: dict[str, int | None] = {}
    for what, usual in usual_names.items():
        name = named.get(what)
        if name:
            places[what] = header.index(name) if name in header else None
        else:
            matches = [folded.index(candidate) for candidate in usual if candidate in folded]
            places[what] = matches[0] if matches else None
    return places


LONG = Format("long CSV", family="long", kind="ratings", read=read_ratings)
QUERY = Format("rows of a query", family="query", kind="ratings", read=read_ratings)
QUERY_MOVIES = Format("films of a query", family="query", kind="movies", read=read_movies)
