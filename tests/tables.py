"""Reads the content of a database by keys, after files were ingested or runs were published."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from sqlalchemy import text

from batch.ingest import Settings
from batch.ingest.file_format import Choices
from batch.ingest.merge import Limits
from batch.store.database import Database, open_database
from batch.store.versions import upgrade

Write = Callable[..., Path]
Films = dict[str, tuple[str, list[str]]]
Select = Callable[[str], list[tuple[Any, ...]]]


def by(
    scale: tuple[float, float] | None = None,
    rejects: int = 10_000,
    share: float = 0.01,
    unrated: tuple[float, ...] | None = None,
    one_user: str | None = None,
    layout: Literal["long", "wide"] | None = None,
    **columns: Any,
) -> Settings:
    """Settings to ingest with, the shipped limits; columns are named as in ingest.columns.

    `layout` is ingest.format.
    """
    return Settings(scale, Choices(columns, layout, one_user, unrated), Limits(rejects, share))


def with_tables(url: str) -> Database:
    """The database with its tables created; a SQLite file is a copy of one that is made once."""
    database = open_database(url)
    if database.file is None:
        upgrade(database)
    else:
        database.file.write_bytes(_empty_tables())
    return database


@cache
def _empty_tables() -> bytes:
    """A SQLite file with tables and nothing in them."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "recbatch.db")
        upgrade(open_database(f"sqlite:///{file}"))
        return file.read_bytes()


@contextmanager
def selects(database: Database) -> Iterator[Select]:
    """Answers queries from one snapshot."""
    with database.reader.connect() as connection:
        yield lambda sql: [tuple(row) for row in connection.execute(text(sql))]


def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    """The result of a query."""
    with selects(database) as select:
        return select(sql)


def ratings(database: Database) -> list[tuple[Any, ...]]:
    """(user_key, movie_key, rating, rated_at), in order."""
    joined = "ratings JOIN users USING (user_id) JOIN movies USING (movie_id)"
    return sorted(rows(database, f"SELECT user_key, movie_key, rating, rated_at FROM {joined}"))


def films(database: Database) -> Films:
    """movie_key -> title and genres."""
    joined = "movie_genres JOIN movies USING (movie_id) JOIN genres USING (genre_id)"
    genres: dict[str, list[str]] = {}
    for movie_key, name in sorted(rows(database, f"SELECT movie_key, name FROM {joined}")):
        genres.setdefault(movie_key, []).append(name)
    titles = rows(database, "SELECT movie_key, title FROM movies")
    return {movie_key: (title, genres.get(movie_key, [])) for movie_key, title in titles}


def flags(*on: int) -> str:
    """The 19 genre flags of u.item."""
    return "|".join(str(int(number in on)) for number in range(19))


NEW_IN_REFRESHES = """
    SELECT count(*) FROM refreshed_users f JOIN recommendations r
    ON r.run_id = f.run_id AND r.user_id = f.user_id AND r.rank <= 5
    WHERE NOT EXISTS (
        SELECT p.slot FROM publication p JOIN recommendations b
        ON b.run_id = p.run_id AND b.user_id = f.user_id)"""
"""Rows of users who have no lists in the current run itself."""


def shown(database: Database) -> int | None:
    """The run that readers see, by the views: one whole published run, or None."""
    with selects(database) as select:
        return shown_by(select)


def shown_by(select: Select) -> int | None:
    """The same in a snapshot."""
    pointer = select("SELECT run_id FROM publication")
    lists = select("SELECT run_id, count(*) FROM current_recommendations GROUP BY run_id")
    popular = select("SELECT run_id, count(*) FROM current_popular GROUP BY run_id")
    similar = select("SELECT run_id, count(*) FROM current_similar GROUP BY run_id")
    if not pointer:
        assert lists == popular == similar == []
        return None
    run_id: int = pointer[0][0]
    [(status, rows_written)] = select(
        f"SELECT status, rows_written FROM runs WHERE run_id = {run_id}"
    )
    assert status == "published"
    [(n_new,)] = select(NEW_IN_REFRESHES)
    assert lists == [(run_id, rows_written + n_new)]
    assert popular == [(run_id, 5)]
    assert [run for run, _ in similar] == [run_id]
    by_list = "SELECT user_key FROM current_recommendations GROUP BY user_key, model"
    assert select(f"{by_list} HAVING count(*) <> 5 OR max(rank) <> 5") == []
    return run_id


ORPHANS = """
    SELECT 'rows', l.run_id
    FROM (SELECT run_id FROM recommendations UNION SELECT run_id FROM popular_items
          UNION SELECT run_id FROM similar_items) l
    LEFT JOIN runs r ON r.run_id = l.run_id
    WHERE r.run_id IS NULL OR r.status IN ('failed', 'abandoned', 'running')
    OR r.purged_at IS NOT NULL
    UNION ALL
    SELECT 'running', run_id FROM runs WHERE status = 'running'"""


def leftovers(database: Database) -> list[tuple[Any, ...]]:
    """Rows and files of runs that should have none, and runs that seem to be running.

    There are none once a later run has ended. Files are those in the folder that
    RECBATCH_ARTIFACTS__DIR names.
    """
    with selects(database) as select:
        expected = {file for (file,) in select("SELECT artifact FROM runs WHERE purged_at IS NULL")}
        left = select(ORPHANS)
    files = {str(path) for path in Path(os.environ["RECBATCH_ARTIFACTS__DIR"]).iterdir()}
    return [*left, *(("file", file) for file in sorted(files - expected))]
