"""A URL -> engines, transactions, and the lock that lets one job at a time work on a database."""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from batch import RecbatchError
from batch.store import schema

LOCK_CLASS = 1297237315
"""First key of the advisory lock, "MREC" as a number; the second is the hash of the schema's name."""


class DatabaseUrlError(RecbatchError):
    """The database URL cannot be used; the message says why, without its password."""


class NotReadyError(RecbatchError):
    """The database has no tables yet, or tables of another version; the message says what to run."""


class LockedError(RecbatchError):
    """Another job is at work on this database."""


@dataclass(frozen=True)
class Database:
    """Two engines on one database: `writer` takes the write lock at BEGIN, `reader` sees one snapshot and writes not.

    `file` is the SQLite file; None on Postgres, where everything lies in `schema_name`.
    """

    writer: Engine
    reader: Engine
    url: URL
    schema_name: str
    file: Path | None

    @property
    def fingerprint(self) -> str:
        """A short name that tells this database from others, for files beside it."""
        return hashlib.sha256(f"{self.label} {self.schema_name}".encode()).hexdigest()[:8]

    @property
    def label(self) -> str:
        """The database as people may see it: no password, no parameters."""
        shown = self.url.set(drivername="postgresql", query={})
        return str(self.file) if self.file else shown.render_as_string(hide_password=True)


def open_database(url: str, schema_name: str = "recbatch") -> Database:
    """Engines for a `sqlite:///FILE`, `postgres://` or `postgresql://` URL. Nothing is connected to yet."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(
            "database.url is not a URL; expected sqlite:///FILE or postgresql://..."
        ) from None
    if "@" in (parsed.host or ""):
        raise DatabaseUrlError(
            "database.url: more than one @; write an @ that belongs to the password as %40"
        )
    kind = parsed.get_backend_name()
    if parsed.drivername == "sqlite":
        if (
            not parsed.database
            or parsed.database == ":memory:"
            or parsed.database.startswith("file:")
        ):
            raise DatabaseUrlError("database.url must name a file, such as sqlite:///recbatch.db")
        file = Path(parsed.database).resolve()  # one lock, however the file is reached
        return Database(
            _sqlite(parsed, reader=False), _sqlite(parsed, reader=True), parsed, schema_name, file
        )
    if kind in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
        try:
            writer, reader = (
                _postgres(parsed, schema_name, reader=False),
                _postgres(parsed, schema_name, reader=True),
            )
        except (ImportError, NoSuchModuleError):
            raise DatabaseUrlError(
                "Postgres needs the driver: pip install 'recbatch[postgres]'"
            ) from None
        return Database(writer, reader, parsed, schema_name, None)
    raise DatabaseUrlError(
        f"database.url: {kind} is not supported; use sqlite:///FILE or postgresql://..."
    )


def _sqlite(url: URL, *, reader: bool) -> Engine:
    """The documented recipe for real transactions: the driver's own are switched off, BEGIN is ours."""
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def settings(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        pragmas = ["busy_timeout = 30000", "foreign_keys = ON", "trusted_schema = OFF"]
        # FULL: a published flip must survive a power cut. The journal limit gives disk back after a large night.
        pragmas += ["query_only = ON"] if reader else [
            "journal_mode = WAL", "synchronous = FULL", "journal_size_limit = 67108864",
            "cache_size = -32768",  # 32 MiB hold the films that each new rating is checked against; SQLite's 2 do not
        ]  # fmt: skip
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that turns to writing fails at once if another wrote; IMMEDIATE waits its turn.
        connection.exec_driver_sql("BEGIN" if reader else "BEGIN IMMEDIATE")

    return engine


def _postgres(url: URL, schema_name: str, *, reader: bool) -> Engine:
    """Every session looks into our schema only; a reader works on one snapshot and cannot write."""
    engine = create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        isolation_level="REPEATABLE READ" if reader else "READ COMMITTED",
        # A holder that vanished must not keep its lock for the two hours that TCP would wait.
        connect_args={
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "connect_timeout": 10,
        },
    )

    @event.listens_for(engine, "connect")
    def settings(connection: Any, _record: Any) -> None:
        was, connection.autocommit = connection.autocommit, True
        quoted = engine.dialect.identifier_preparer.quote(schema_name)
        connection.execute(f"SET search_path TO {quoted}")
        connection.execute("SET lock_timeout TO '30s'")
        if reader:
            connection.execute("SET default_transaction_read_only TO on")
        connection.autocommit = was

    return engine


def require_tables(database: Database) -> None:
    """Raise NotReadyError unless the tables are there and of this program's version."""
    if database.file and not database.file.exists():
        raise NotReadyError(
            f"no database at {database.file}; run 'recbatch ingest FILES' or 'recbatch db upgrade'"
        )
    with database.reader.connect() as connection:
        found = revision(connection)
    if found is None:
        raise NotReadyError(
            f"{database.label} has no tables of recbatch yet; run 'recbatch db upgrade'"
        )
    if found != schema.HEAD:
        _refuse_newer(database, found)
        versions = f"schema version {found}, this program needs {schema.HEAD}"
        raise NotReadyError(f"{database.label} is at {versions}; run 'recbatch db upgrade'")


def _refuse_newer(database: Database, found: str | None) -> None:
    """Versions are numbers of four digits: a later one was made by a later program, which alone knows the way back."""
    if found is not None and found > schema.HEAD:
        raise NotReadyError(
            f"{database.label} is at schema version {found}, of a newer recbatch than this one, which knows "
            f"{schema.HEAD}; install that version, or name another database"
        )


def revision(connection: Connection) -> str | None:
    """The schema version of the database, None where it has no tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def prepare(database: Database) -> None:
    """A SQLite file is made on first use; otherwise the same as `require_tables`.

    On Postgres the tables are made by `db upgrade` alone: the job's role need not be allowed to.
    """
    if database.file and (not database.file.exists() or _is_empty(database)):
        upgrade(database)
    require_tables(database)


def _is_empty(database: Database) -> bool:
    """Whether a file has no tables at all, as one that was killed while it was being made."""
    with database.reader.connect() as connection:
        return not inspect(connection).get_table_names()


def upgrade(database: Database) -> None:
    """Make the tables, or bring them to this program's version, under the run lock."""
    from alembic import command  # a third of a second that only a migration should cost
    from alembic.config import Config

    if database.file:
        database.file.parent.mkdir(parents=True, exist_ok=True)
    with run_lock(database):
        if database.file is None:
            _make_schema(database)
        with database.reader.connect() as connection:
            _refuse_newer(database, revision(connection))
        config = Config()
        config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
        with database.writer.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def migrations() -> Path:
    """The folder of migrations: inside the package once installed, beside it in a checkout."""
    package = Path(__file__).parents[1]  # batch
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def _make_schema(database: Database) -> None:
    with database.writer.begin() as connection:
        known = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
        if connection.execute(known, {"name": database.schema_name}).first() is None:
            quoted = connection.dialect.identifier_preparer.quote(database.schema_name)
            connection.exec_driver_sql(f"CREATE SCHEMA {quoted}")


def grant(database: Database, role: str, *, job: bool = False) -> None:
    """Let an existing Postgres role read the views, and nothing else; or do the job: read and write rows, no more."""
    if database.file:
        raise DatabaseUrlError("SQLite has no roles: whoever can read the file can read the views")
    inside, to = schema.quoted(database.schema_name), schema.quoted(role)
    job_grants = [
        f"GRANT USAGE ON SCHEMA {inside} TO {to}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {inside} TO {to}",
    ]
    with database.writer.begin() as connection:
        for statement in job_grants if job else reading_grants(database.schema_name, role):
            connection.exec_driver_sql(statement)


def reading_grants(schema_name: str, role: str) -> list[str]:
    """The statements by which a role may read the views."""
    inside, to = schema.quoted(schema_name), schema.quoted(role)
    views = [f"GRANT SELECT ON {inside}.{schema.quoted(view)} TO {to}" for view in schema.VIEWS]
    return [f"GRANT USAGE ON SCHEMA {inside} TO {to}", *views]


@contextmanager
def run_lock(database: Database) -> Iterator[Connection]:
    """Hold the database's one run lock, and yield the connection to publish on; raises LockedError at once if taken.

    The lock lives as long as the process: `flock` on a file beside the SQLite file, a session advisory lock on
    Postgres, where losing the lock means that its connection, and so the publication, is dead too.
    """
    if database.file:
        with (
            _file_lock(database.file.with_name(database.file.name + ".lock")),
            database.writer.connect() as connection,
        ):
            yield connection
        return
    with database.writer.connect() as connection:
        names = {"class": LOCK_CLASS, "name": database.schema_name}
        taken = connection.execute(
            text("SELECT pg_try_advisory_lock(:class, hashtext(:name))"), names
        ).scalar()
        connection.commit()  # the lock belongs to the session; an open transaction would hold back vacuum all night
        if not taken:
            raise LockedError(
                f"another job is at work on {database.label}; try again when it is done"
            )
        try:
            yield connection
        finally:
            with suppress(DBAPIError):  # the connection is gone, and the lock with it
                _unlock(connection, names)


def _unlock(connection: Connection, names: dict[str, Any]) -> None:
    """At once: a server may take its time over a connection that was closed, and the next job would meet the lock."""
    if not connection.invalidated and not connection.closed:
        connection.rollback()
        abandon(connection)
        connection.execute(text("SELECT pg_advisory_unlock(:class, hashtext(:name))"), names)
        connection.rollback()  # the lock is no part of a transaction


def abandon(connection: Connection) -> None:
    """Undo what a failed commit leaves open: to SQLAlchemy that transaction is over, to the database it is not.

    On SQLite it would hold the write lock; on Postgres the next commit would commit it.
    """
    if not connection.invalidated:
        with suppress(connection.dialect.loaded_dbapi.Error):
            connection.connection.rollback()


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """flock on a file that is never deleted, so that two processes can never hold two files of one name."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"another job holds {path}; try again when it is done") from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def small_write(database: Database) -> Iterator[Connection]:
    """A transaction of a few rows that a night need not end for, where the database bears it.

    SQLite up to 3.51.2 could damage a file while one connection wrote and another tidied the log, at the same instant.
    With such a version the run lock is taken: raises LockedError while a job is at work.
    """
    with (
        run_lock(database) if database.file and not _two_may_write() else nullcontext(),
        database.writer.begin() as made,
    ):
        yield made


def _two_may_write() -> bool:
    """Whether this SQLite has the mend, which later versions of two older lines have too."""
    found = sqlite3.sqlite_version_info
    return found >= (3, 51, 3) or (3, 50, 7) <= found < (3, 51) or (3, 44, 6) <= found < (3, 45)


def next_id(connection: Connection, column: Any) -> int:
    """The next number for a primary key that this program hands out; the transaction must be the only writer's."""
    return int(connection.execute(select(func.coalesce(func.max(column), 0) + 1)).scalar_one())
