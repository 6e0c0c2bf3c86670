"""A database as it was -> copies of it: made once for all tests, or restored after each change."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from sqlalchemy import URL

from batch.store import schema
from batch.store.database import Database, open_database
from tables import Select

Make = Callable[[Database, Path], None]
"""Fills an empty database, and a folder beside it."""
PER_RUN = (
    "recommendations",
    "popular_items",
    "similar_items",
    "run_metrics",
    "run_checks",
    "run_outcomes",
)


class Templates:
    """Databases of one test process, by name and kind, each with its folder of files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, str], Path] = {}  # (name, kind) -> folder

    def copy(self, name: str, make: Make, database: Database, folder: Path) -> Path:
        """Replace a database by a copy of a template, and add the template's files to a folder.

        The first call makes the template. Returns the template's own folder.
        """
        kind = database.url.get_backend_name()
        source = self._folder / f"{name}-{kind}"
        if (name, kind) not in self._made:
            source.mkdir()
            make(self._template(name, database.url, source), source)
            self._made[name, kind] = source
        if database.file is not None:
            shutil.copyfile(source / "template.db", database.file)
        else:
            create(database.url, f"template_{name}")
        ignored = shutil.ignore_patterns("template.db*")
        shutil.copytree(source, folder, ignore=ignored, dirs_exist_ok=True)
        return source

    def _template(self, name: str, url: URL, folder: Path) -> Database:
        """The empty database that becomes a template."""
        if url.get_backend_name() == "sqlite":
            return open_database(f"sqlite:///{folder / 'template.db'}")
        template = url.set(database=f"template_{name}")
        create(template)
        return open_database(template.render_as_string(hide_password=False))


@contextmanager
def snapshot(database: Database, folder: Path) -> Iterator[Callable[[], None]]:
    """Remember a database and a folder of files, and yield what restores both, any number of times.

    Nothing may be connected to the database. A folder inside it is not remembered.
    """
    name = f"snapshot_{uuid4().hex}"
    saved = folder.with_name(name)
    shutil.copytree(folder, saved)
    if database.file is None:
        create(database.url.set(database=name), str(database.url.database))
    else:
        _copy_sqlite(database.file, saved.with_suffix(".db"))

    def restore() -> None:
        shutil.rmtree(folder)
        shutil.copytree(saved, folder)
        if database.file is None:
            create(database.url, name)
            return
        for suffix in ("", "-wal", "-shm"):  # unlinked, as a connection left open may hold them
            database.file.with_name(database.file.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(saved.with_suffix(".db"), database.file)

    yield restore
    if database.file is None:
        drop(database.url.set(database=name))


def contents(select: Select, folder: Path) -> str:
    """What the next command may depend on: runs, batches, the pointer, rows, files of weights.

    Rows are counted: each transaction of a command writes the same rows every time.
    """
    tables = [table.name for table in schema.metadata.sorted_tables]
    counted = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    parts: list[Any] = [
        select(f"SELECT {counted}"),
        select("SELECT batch_id, status FROM ingest_batches ORDER BY batch_id"),
        select("SELECT run_id, previous_run_id FROM publication"),
    ]
    runs = """
        SELECT run_id, status, finished_at IS NULL, published_at IS NULL, purged_at IS NULL,
               error IS NULL, n_users, n_movies, n_ratings, rows_written, data_sha256,
               last_batch_id, artifact, artifact_sha256
        FROM runs ORDER BY run_id"""
    parts.append(select(runs))
    for table in PER_RUN:
        counts = f"SELECT run_id, count(*) FROM {table} GROUP BY run_id ORDER BY run_id"
        parts.append(select(counts))
    parts.append(sorted(file.name for file in folder.iterdir()))
    return repr(parts)


def _copy_sqlite(source: Path, target: Path) -> None:
    """With what is only in the log as yet."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def create(url: URL, template: str = "template1") -> None:
    """Create a Postgres database, in place of one of that name."""
    copied = f"CREATE DATABASE {url.database} TEMPLATE {template} STRATEGY FILE_COPY"
    drop(url)
    _at_server(url, copied)


def drop(url: URL) -> None:
    """Drop a Postgres database, if there is one, even while others are connected to it."""
    _at_server(url, f"DROP DATABASE IF EXISTS {url.database} WITH (FORCE)")


def _at_server(url: URL, statement: str) -> None:
    """Execute a statement in the server's own database, outside a transaction.

    One connection is used for all of them: a new one would cost as much as a copied database.
    """
    server = url.set(drivername="postgresql", database="postgres")
    address = server.render_as_string(hide_password=False)
    if address not in _connections:
        _connections[address] = psycopg.connect(address, autocommit=True)
    _connections[address].execute(statement.encode())


_connections: dict[str, psycopg.Connection[Any]] = {}
"""One for each server that this process has used, by its address."""


def disconnect() -> None:
    """Close the connections to servers, which are about to end."""
    while _connections:
        _connections.popitem()[1].close()
