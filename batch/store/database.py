"""A URL -> the engines of a database, and what its transactions have in common."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, func, make_url, select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from batch import RecbatchError
from batch.store.addresses import expected
from batch.store.engines import postgres_engine, sqlite_engine


class DatabaseUrlError(RecbatchError):
    """The URL cannot be used; the message says why, without its password."""


class NotReadyError(RecbatchError):
    """No tables, or tables of another version; the message says what to run."""


@dataclass(frozen=True)
class Database:
    """Two engines on one database.

    A transaction of `writer` takes the write lock when it begins; one of
    `reader` sees one snapshot and cannot write. `file` is the SQLite file,
    None on Postgres, where all tables are in the schema `schema_name`.
    `setting` is the setting that named the URL.
    """

    writer: Engine
    reader: Engine
    url: URL
    schema_name: str
    file: Path | None
    setting: str = "database.url"

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that tell databases apart, for names of files."""
        name = f"{self.label} {self.schema_name}"
        return hashlib.sha256(name.encode()).hexdigest()[:8]

    @property
    def label(self) -> str:
        """The database as it may be printed: without password and parameters."""
        if self.file:
            return str(self.file)
        plain = self.url.set(drivername="postgresql", query={})
        return plain.render_as_string(hide_password=True)


def open_database(
    url: str | URL, schema_name: str = "recbatch", setting: str = "database.url"
) -> Database:
    """Engines for a `sqlite:///FILE`, `postgres://` or `postgresql://` URL.

    `setting` is the setting that has the URL, for messages. Nothing is connected
    yet. Raises DatabaseUrlError.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(f"{setting} is not a URL; {expected(str(url))}") from None
    if "@" in (parsed.host or ""):
        raise DatabaseUrlError(
            f"{setting}: more than one @; write an @ that belongs to the password as %40"
        )
    if parsed.drivername == "sqlite":
        return _open_sqlite(parsed, schema_name)
    kind = parsed.get_backend_name()
    if kind in ("postgresql", "postgres"):
        return _open_postgres(parsed, schema_name, setting)
    raise DatabaseUrlError(
        f"{setting}: {kind} is not supported; use sqlite:///FILE or postgresql://..."
    )


def _open_sqlite(url: URL, schema_name: str) -> Database:
    name = url.database
    if not name or name == ":memory:" or name.startswith("file:"):
        raise DatabaseUrlError("database.url must name a file, such as sqlite:///recbatch.db")
    if url.query:  # such as uri=true, with which vfs=unix-none would switch locking off
        parameters = "&".join(url.query)
        raise DatabaseUrlError(
            f"database.url: sqlite:///FILE takes no parameters; remove ? and {parameters} after it"
        )
    writer = sqlite_engine(url, reader=False)
    reader = sqlite_engine(url, reader=True)
    # Resolved, so that all links to the file share one lock.
    return Database(writer, reader, url, schema_name, Path(name).resolve())


def _open_postgres(url: URL, schema_name: str, setting: str) -> Database:
    url = url.set(drivername="postgresql+psycopg")
    try:
        writer = postgres_engine(url, schema_name, reader=False)
        reader = postgres_engine(url, schema_name, reader=True)
    except (ImportError, NoSuchModuleError):
        remedy = "pip install 'recbatch[postgres]'"
        raise DatabaseUrlError(f"Postgres needs the driver: {remedy}") from None
    return Database(writer, reader, url, schema_name, None, setting)


def abandon(connection: Connection) -> None:
    """Roll back what a failed commit leaves open.

    SQLAlchemy has ended that transaction, the database has not. On SQLite
    it would hold the write lock; on Postgres the next commit would commit
    it.
    """
    if not connection.invalidated:
        with suppress(connection.dialect.loaded_dbapi.Error):
            connection.connection.rollback()


@contextmanager
def without_nested_loops(connection: Connection) -> Iterator[None]:
    """Let Postgres join by hashing or sorting in this block of a transaction.

    It has no statistics of rows that were just written, takes them for few, and
    would compare every row of one run with every row of the other.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    connection.exec_driver_sql("SET LOCAL enable_nestloop = off")
    yield
    connection.exec_driver_sql("SET LOCAL enable_nestloop = on")


def next_id(connection: Connection, column: Any) -> int:
    """The next number of a primary key that this program numbers.

    The transaction must be the only one that adds rows to the table.
    """
    newest = select(func.coalesce(func.max(column), 0))
    return int(connection.execute(newest).scalar_one()) + 1
