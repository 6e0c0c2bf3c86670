"""A database -> the lock that admits one job at a time to it."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from batch import RecbatchError
from batch.store.database import Database, abandon
from batch.store.sessions import require_fit

LOCK_CLASS = 1297237315
"""First key of the advisory lock, "MREC" as a number.

The second is a hash of the schema's name.
"""


class LockedError(RecbatchError):
    """Another job holds the run lock of this database."""


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
