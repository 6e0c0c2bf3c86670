"""What a database says after files were ingested, by keys, and the settings to ingest them by."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text

from batch.ingest import Settings
from batch.ingest.merge import Limits
from batch.store.database import Database, open_database, upgrade

Write = Callable[..., Path]
Films = dict[str, tuple[str, list[str]]]


def by(
    scale: tuple[float, float] | None = None,
    rejects: int = 10_000,
    share: float = 0.01,
    **columns: Any,
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


def shown(database: Database) -> int | None:
    """The run that readers see, by the views, in one snapshot: it must be one whole published run, or none."""
    with database.reader.connect() as connection:

        def ask(sql: str) -> list[Any]:
            return list(connection.execute(text(sql)).all())

        pointer = ask("SELECT run_id FROM publication")
        lists = ask("SELECT run_id, count(*) FROM current_recommendations GROUP BY run_id")
        popular = ask("SELECT run_id, count(*) FROM current_popular GROUP BY run_id")
        if not pointer:
            assert lists == popular == []
            return None
        current: int = pointer[0].run_id
        [(status, written)] = ask(f"SELECT status, rows_written FROM runs WHERE run_id = {current}")
        assert status == "published"
        assert lists == [(current, written)]
        assert popular == [(current, 5)]
        each = "SELECT user_key FROM current_recommendations GROUP BY user_key, model"
        assert ask(f"{each} HAVING count(*) <> 5 OR max(rank) <> 5") == []
        return current


def leftovers(database: Database) -> list[tuple[Any, ...]]:
    """Rows and files of runs that have none, and runs that seem to be at work: nothing once a later run has ended.

    Files are looked for where RECBATCH_ARTIFACTS__DIR says.
    """
    orphans = """
        SELECT 'rows', l.run_id FROM (SELECT run_id FROM recommendations UNION SELECT run_id FROM popular_items) l
        LEFT JOIN runs r ON r.run_id = l.run_id
        WHERE r.run_id IS NULL OR r.status IN ('failed', 'abandoned', 'running') OR r.purged_at IS NOT NULL
        UNION ALL SELECT 'running', run_id FROM runs WHERE status = 'running'"""
    known = {
        file for (file,) in rows(database, "SELECT artifact FROM runs WHERE purged_at IS NULL")
    }
    files = [str(file) for file in Path(os.environ["RECBATCH_ARTIFACTS__DIR"]).iterdir()]
    return [*rows(database, orphans), *(("file", file) for file in files if file not in known)]
