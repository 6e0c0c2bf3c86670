"""A URL -> engines, transactions, and the lock that admits one job at a time to a database."""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import URL, Connection, Engine, func, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from batch import RecbatchError
from batch.store import schema
from batch.store.addresses import expected
from batch.store.engines import postgres_engine, sqlite_engine
from batch.store.postgres_upgrade import require_rights, with_all_tables
from batch.store.sessions import require_fit

LOCK_CLASS = 1297237315
"""First key of the advisory lock, "MREC" as a number.

The second is a hash of the schema's name.
"""


MAINTAIN_SINCE = (17,)
"""The Postgres from which on others than the owner can be let vacuum a table, as `forget` does."""


class DatabaseUrlError(RecbatchError):
    """The URL cannot be used; the message says why, without its password."""


class NotReadyError(RecbatchError):
    """No tables, or tables of another version; the message says what to run."""


class LockedError(RecbatchError):
    """Another job holds the run lock of this database."""


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
    url: str, schema_name: str = "recbatch", setting: str = "database.url"
) -> Database:
    """Engines for a `sqlite:///FILE`, `postgres://` or `postgresql://` URL.

    `setting` is the setting that has the URL, for messages. Nothing is connected
    yet. Raises DatabaseUrlError.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(f"{setting} is not a URL; {expected(url)}") from None
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


# Versions of the tables


def require_tables(database: Database) -> None:
    """Raise NotReadyError unless the tables are there and have this program's version."""
    upgrade_command = "run 'recbatch db upgrade'"
    if database.file and not database.file.exists():
        raise NotReadyError(
            f"no database at {database.file}; run 'recbatch ingest FILES' or 'recbatch db upgrade'"
        )
    with database.reader.connect() as connection:
        version = revision(connection)
    if version is None:
        raise NotReadyError(f"{database.label} has no tables of recbatch yet; {upgrade_command}")
    if version != schema.HEAD:
        _refuse_newer(database, version)
        versions = f"schema version {version}, this program needs {schema.HEAD}"
        raise NotReadyError(f"{database.label} is at {versions}; {upgrade_command}")


def _refuse_newer(database: Database, version: str | None) -> None:
    """Versions are numbers of four digits; only the newer program can go back."""
    if version is not None and version > schema.HEAD:
        raise NotReadyError(
            f"{database.label} is at schema version {version}, of a newer recbatch than this "
            f"one, which needs {schema.HEAD}; install that version, or name another database"
        )


def revision(connection: Connection) -> str | None:
    """The schema version of the database; None where it has no tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def prepare(database: Database) -> None:
    """As `require_tables`, but a SQLite file is created on first use.

    On Postgres only `db upgrade` creates tables: the job's role need not be
    allowed to.
    """
    if database.file and (not database.file.exists() or _is_empty(database)):
        upgrade(database)
    require_tables(database)


def has_tables(database: Database) -> bool:
    """Whether this program's tables are there, of any version."""
    if database.file and not database.file.exists():
        return False
    with database.reader.connect() as connection:
        return revision(connection) is not None


@contextmanager
def temporary_database() -> Iterator[Database]:
    """A SQLite database with empty tables, which is removed in the end."""
    with TemporaryDirectory(prefix="recbatch-") as folder:
        file = Path(folder, "recbatch.db")
        database = _open_sqlite(URL.create("sqlite", database=str(file)), "recbatch")
        upgrade(database)
        yield database


def _is_empty(database: Database) -> bool:
    """Whether a file has no tables, as after a kill while they were created."""
    with database.reader.connect() as connection:
        return not inspect(connection).get_table_names()


def upgrade(database: Database) -> None:
    """Create or migrate the tables, under the run lock.

    Raises NotReadyError for a newer version, LockedError while a job runs; on
    Postgres UnfitServerError where the role may not, TablesInUseError while
    others read for long.
    """
    # Here, because it takes a third of a second.
    from alembic import command
    from alembic.config import Config

    if database.file:
        database.file.parent.mkdir(parents=True, exist_ok=True)
    with run_lock(database):
        with database.reader.connect() as connection:
            version = revision(connection)
        _refuse_newer(database, version)
        if version == schema.HEAD:
            return
        config = Config()
        scripts = str(migrations()).replace("%", "%%")
        config.set_main_option("script_location", scripts)
        with _changing_tables(database) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


@contextmanager
def _changing_tables(database: Database) -> Iterator[Connection]:
    """The one transaction of all migrations."""
    if database.file:
        with database.writer.begin() as connection:
            yield connection
        return
    name = database.schema_name
    with database.writer.connect() as connection:
        with connection.begin():
            require_rights(connection, name)
            _create_schema(connection, name)
        with with_all_tables(connection, name):
            yield connection


def migrations() -> Path:
    """The folder of migrations: inside the installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]  # batch
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _create_schema(connection: Connection, name: str) -> None:
    # Looked up first: IF NOT EXISTS needs the right to create in any case.
    by_name = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
    if connection.execute(by_name, {"name": name}).first() is None:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema.quoted(name)}")


# Rights of Postgres roles


def grant(database: Database, role: str, *, job: bool = False) -> None:
    """Let a Postgres role read the views, and nothing else.

    With `job` it may read and write the rows of all tables instead. Raises
    DatabaseUrlError on SQLite.
    """
    if database.file:
        readers = "whoever can read the file can read the views"
        raise DatabaseUrlError(f"SQLite has no roles: {readers}")
    with database.writer.begin() as connection:
        statements = reading_grants(database.schema_name, role)
        if job:
            version = connection.dialect.server_version_info or ()
            statements = _job_grants(database.schema_name, role, version)
        for statement in statements:
            connection.exec_driver_sql(statement)


def reading_grants(schema_name: str, role: str) -> list[str]:
    """The statements that let a role read the views."""
    in_schema = schema.quoted(schema_name)
    to_role = schema.quoted(role)
    views = [f"{in_schema}.{schema.quoted(view)}" for view in schema.VIEWS]
    return [
        f"GRANT USAGE ON SCHEMA {in_schema} TO {to_role}",
        *(f"GRANT SELECT ON {view} TO {to_role}" for view in views),
    ]


def _job_grants(schema_name: str, role: str, version: tuple[Any, ...]) -> list[str]:
    in_schema = schema.quoted(schema_name)
    to_role = schema.quoted(role)
    rights = "SELECT, INSERT, UPDATE, DELETE"
    if version >= MAINTAIN_SINCE:
        rights += ", MAINTAIN"
    return [
        f"GRANT USAGE ON SCHEMA {in_schema} TO {to_role}",
        f"GRANT {rights} ON ALL TABLES IN SCHEMA {in_schema} TO {to_role}",
    ]


# The run lock


@contextmanager
def run_lock(database: Database) -> Iterator[Connection]:
    """Hold the database's run lock, and yield the connection to publish on.

    The lock ends with the process: it is `flock` on a file beside the
    SQLite file, and on Postgres a session advisory lock, where a job that
    lost the lock has lost the connection to publish on too. Raises
    LockedError at once if another process has it, and UnfitServerError where
    a lock on Postgres would not be kept.
    """
    if database.file:
        lock_file = database.file.with_name(database.file.name + ".lock")
        with _file_lock(lock_file), database.writer.connect() as connection:
            yield connection
        return
    with database.writer.connect() as connection:
        require_fit(connection, database.writer, database.setting)
        keys = _lock_keys(database)
        lock = text("SELECT pg_try_advisory_lock(:class, hashtext(:name))")
        acquired = connection.execute(lock, keys).scalar()
        if acquired:
            _set_idle_timeout(connection, "'0'")
        # The lock belongs to the session; an open transaction would hold
        # back vacuum all night.
        connection.commit()
        if not acquired:
            raise LockedError(
                f"another job is at work on {database.label}; try again when it is done"
            )
        try:
            yield connection
        finally:
            with suppress(DBAPIError):  # the connection is gone, and the lock with it
                _unlock(connection, keys)


def require_lockable(database: Database) -> None:
    """Raise UnfitServerError where the run lock could never be held."""
    if database.file is None:
        with database.writer.connect() as connection:
            require_fit(connection, database.writer, database.setting)


def _unlock(connection: Connection, keys: dict[str, Any]) -> None:
    # Explicitly: a server may end a closed session later, and until then
    # the next job would be refused.
    if connection.invalidated or connection.closed:
        return
    connection.rollback()
    abandon(connection)
    unlock = text("SELECT pg_advisory_unlock(:class, hashtext(:name))")
    connection.execute(unlock, keys)
    _set_idle_timeout(connection, "reset_val")
    connection.commit()


def _lock_keys(database: Database) -> dict[str, Any]:
    return {"class": LOCK_CLASS, "name": database.schema_name}


def _set_idle_timeout(connection: Connection, value: str) -> None:
    """Set the time after which the server ends an idle session, once this transaction commits.

    The session that holds the lock is idle for most of a night. Postgres before
    version 14 has no such setting.
    """
    setting = "pg_settings WHERE name = 'idle_session_timeout'"
    change = f"SELECT set_config(name, {value}, false) FROM {setting}"  # noqa: S608  constants
    connection.exec_driver_sql(change)


def holds_lock(database: Database, connection: Connection) -> bool:
    """Whether the session of a connection of `run_lock` still has the lock.

    A session can lose it and live: a pooler's reset takes all locks away.
    """
    if database.file:
        return True
    held = text(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        " AND classid = :class AND objsubid = 2"
        " AND objid = CAST(CAST(hashtext(:name) AS bigint) & 4294967295 AS oid)"
    )
    return connection.execute(held, _lock_keys(database)).first() is not None


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
def _file_lock(path: Path) -> Iterator[None]:
    """flock on a file that is never deleted, so that all processes lock the same file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another job holds {path}; try again when it is done"
            raise LockedError(message) from None
        yield
    finally:
        os.close(descriptor)


# Transactions of a few rows


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


@contextmanager
def small_write(database: Database) -> Iterator[Connection]:
    """A transaction of a few rows, also while a night runs.

    SQLite up to 3.51.2 could damage a file while one connection wrote and
    another checkpointed the log at the same instant. With such a version
    the run lock is taken: raises LockedError while a job runs.
    """
    needs_lock = database.file is not None and not _two_may_write()
    lock = run_lock(database) if needs_lock else nullcontext()
    with lock, database.writer.begin() as connection:
        yield connection


def _two_may_write() -> bool:
    """Whether this SQLite has the fix, which two older release lines have too."""
    version = sqlite3.sqlite_version_info
    if version >= (3, 51, 3):
        return True
    return (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def next_id(connection: Connection, column: Any) -> int:
    """The next number of a primary key that this program numbers.

    The transaction must be the only one that adds rows to the table.
    """
    newest = select(func.coalesce(func.max(column), 0))
    return int(connection.execute(newest).scalar_one()) + 1
