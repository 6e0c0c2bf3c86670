"""What a database says after files were ingested, by keys, and the settings to ingest them by."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text

from batch.database import Database, open_database, upgrade
from batch.ingest import Settings
from batch.ingest.merge import Limits

Write = Callable[..., Path]
Films = dict[str, tuple[str, list[str]]]


def by(
    scale: tuple[float, float] | None = None, rejects: int = 10_000, share: float = 0.01, **columns: Any
) -> Settings:
    """Settings with the shipped limits; columns are named as in ingest.columns."""
    return Settings(scale, columns, Limits(rejects, share))


def with_tables(url: str) -> Database:
    made = open_database(url)
    upgrade(made)
    return made


def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    with database.reader.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def ratings(database: Database) -> list[tuple[Any, ...]]:
    """(user_key, movie_key, rating, rated_at), in order"""
    joined = "ratings JOIN users USING (user_id) JOIN movies USING (movie_id)"
    return sorted(rows(database, f"SELECT user_key, movie_key, rating, rated_at FROM {joined}"))


def films(database: Database) -> Films:
    """movie_key -> title and genres"""
    joined = "movie_genres JOIN movies USING (movie_id) JOIN genres USING (genre_id)"
    pairs = sorted(rows(database, f"SELECT movie_key, name FROM {joined}"))
    titles = rows(database, "SELECT movie_key, title FROM movies")
    return {key: (title, [name for film, name in pairs if film == key]) for key, title in titles}


def flags(*on: int) -> str:
    """The 19 genre flags of u.item."""
    return "|".join(str(int(number in on)) for number in range(19))
