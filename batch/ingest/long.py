"""A plain long CSV, one rating or one film a row, with a column map -> rows."""

from collections.abc import Iterable, Iterator, Mapping

from batch.ingest.csv_rows import csv_rows, parsed
from batch.ingest.movielens import listed_genres
from batch.ingest.parsing import MovieRow, RatingRow, Reading, RefusedError, Reject, key

USUAL = {
    "user": ("user_key", "user_id", "userid", "user"),
    "movie": (
        "movie_key",
        "movie_id",
        "movieid",
        "movie",
        "item_id",
        "itemid",
        "item",
        "film_id",
        "film",
    ),
    "rating": ("rating", "stars", "score"),
    "time": ("rated_at", "timestamp", "time", "date"),
}
"""Names that are found without a column map, compared without case, first come first."""
USUAL_OF_FILMS = {
    "movie": USUAL["movie"],
    "title": ("title", "name"),
    "genres": ("genres", "genre"),
}


def recognise(header: list[str], columns: dict[str, str | None]) -> str | None:
    found = _places(header, columns)
    if None in (found["user"], found["movie"], found["rating"]):
        return None
    told = (f"{what} = {header[place]}" for what, place in found.items() if place is not None)
    return f"its header names {', '.join(told)}"


def read_ratings(lines: Iterable[str], reading: Reading) -> Iterator[RatingRow | Reject]:
    """`ann,Heat,4.5,2026-11-23T02:30:00Z`, under a header"""
    rows = csv_rows(lines)
    header = _header(rows)
    found = _places(header, reading.columns)
    user, movie, rating, time = (found[what] for what in ("user", "movie", "rating", "time"))
    if user is None or movie is None or rating is None:
        raise RefusedError(
            "HEADER_MISSING", "no column for user, movie or rating; name them in ingest.columns", 1
        )

    def parse(line: int, fields: list[str]) -> RatingRow:
        return (
            line,
            key(fields[user], header[user]),
            key(fields[movie], header[movie]),
            reading.rating(fields[rating], header[rating]),
            None if time is None else reading.time(fields[time], header[time]),
        )

    return parsed(rows, len(header), ",", parse)


def read_movies(lines: Iterable[str], reading: Reading) -> Iterator[MovieRow | Reject]:
    """`heat,Heat (1995),Crime|Drama`, under a header"""
    rows = csv_rows(lines)
    header = _header(rows)
    found = _places(header, {"movie": reading.columns.get("movie")}, USUAL_OF_FILMS)
    movie, title, genres = (found[what] for what in ("movie", "title", "genres"))
    if movie is None or title is None:
        raise RefusedError(
            "HEADER_MISSING",
            f"no column for movie or title among {', '.join(header)}; name them so",
            1,
        )

    def parse(line: int, fields: list[str]) -> MovieRow:
        named = () if genres is None else listed_genres(fields[genres])
        return MovieRow(
            line, key(fields[movie], header[movie]), key(fields[title], header[title]), named
        )

    return parsed(rows, len(header), ",", parse)


def _header(rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    _, header = next(rows)
    header = [name.strip() for name in header]
    if len(set(header)) < len(header):
        raise RefusedError("HEADER_DUPLICATE", "two columns have the same name; rename one", 1)
    return header


def _places(
    header: list[str], columns: dict[str, str | None], names: Mapping[str, tuple[str, ...]] = USUAL
) -> dict[str, int | None]:
    """Which column holds what: the one that the map names, else the first usual name."""
    folded = [name.casefold() for name in header]
    found: dict[str, int | None] = {}
    for what, usual in names.items():
        named = columns.get(what)
        wanted, among = ((named,), header) if named else (usual, folded)
        found[what] = next((among.index(name) for name in wanted if name in among), None)
    return found
