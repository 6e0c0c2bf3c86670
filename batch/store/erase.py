"""Deleted rows of people -> gone from the database's files too, or an error that says what is left.

Deleting hides a row. SQLite overwrites it where it stood, but its log keeps older pages until
nobody reads them. Postgres keeps it until VACUUM, and its bytes until the table is rewritten.
"""

import time
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from batch import RecbatchError
from batch.store import schema
from batch.store.database import Database
from batch.store.engines import LOCK_TIMEOUT_MS, is_lock_timeout

PATIENCE = LOCK_TIMEOUT_MS / 1000
"""Seconds to wait for readers that began before the rows were deleted."""
PAUSE = 0.5
"""Seconds between two tries; also how long a try holds up new readers on Postgres."""

_NAMING = (schema.users, schema.ingest_rejects, schema.item_filters)
"""Tables with keys, names and notes of people: rewritten, for VACUUM may leave their bytes."""
_NUMBERED = (
    schema.ratings,
    schema.superseded_ratings,
    schema.seen,
    schema.superseded_seen,
    schema.recommendations,
    schema.similar_items,
    schema.run_outcomes,
    schema.refreshed_users,
    schema.undone_users,
)
"""Tables with the numbers of people, which identify nobody once the user is deleted, with pairs of
films that one of them alone liked, and with figures of one of them alone."""


class NotErasedError(RecbatchError):
    """Rows are deleted, but still in the database's files; the message says who must do what."""


def erase(database: Database) -> None:
    """Remove what was deleted from the files, waiting for earlier readers; raises NotErasedError.

    The caller has committed the deletion and holds the run lock.
    """
    try:
        if database.file:
            _empty_log(database)
        else:
            _vacuum(database)
            _rewrite(database)
    except (DBAPIError, database.writer.dialect.loaded_dbapi.Error) as error:
        cause = str(getattr(error, "orig", error)).strip()
        raise _not_erased(database, cause, "as soon as that is mended") from None


def _empty_log(database: Database) -> None:
    """Move SQLite's log into the file and truncate it; it waits as long as any statement does."""
    with database.writer.connect() as connection:
        driver: Any = connection.connection.dbapi_connection  # not in a transaction
        busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise _readers_remain(database)


def _vacuum(database: Database) -> None:
    """Make Postgres drop the deleted row versions, as soon as no snapshot can see them."""
    tables = (*_NAMING, *_NUMBERED)
    names = ", ".join(_qualified(database, tables))
    with database.writer.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        driver: Any = connection.connection.dbapi_connection
        warnings: list[str] = []
        driver.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
        began = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        deadline = time.monotonic() + PATIENCE
        while True:
            connection.exec_driver_sql(f"VACUUM {names}")
            if warnings:  # VACUUM skips a table that the role may not vacuum
                raise _not_allowed(database, connection, warnings[0])
            if not _is_dirty(connection, database.schema_name, began):
                return
            if time.monotonic() > deadline:
                raise _readers_remain(database)
            time.sleep(PAUSE)


def _is_dirty(connection: Connection, schema_name: str, began: Any) -> bool:
    """Whether the last VACUUM left row versions that a snapshot may still see."""
    names = [table.name for table in (*_NAMING, *_NUMBERED)]
    dirty = text(
        "SELECT 1 FROM pg_stat_all_tables WHERE schemaname = :schema AND relname = ANY(:names)"
        " AND (n_dead_tup > 0 OR last_vacuum IS NULL OR last_vacuum < :began)"
    )
    values = {"schema": schema_name, "names": names, "began": began}
    return connection.execute(dirty, values).first() is not None


def _rewrite(database: Database) -> None:
    """Copy the live rows of small tables into new files.

    By CLUSTER, which can be part of a transaction, so that the timeout ends with it. It waits for
    readers of the table, and new readers wait for it, no longer than PAUSE each time.
    """
    deadline = time.monotonic() + PATIENCE
    for table in _NAMING:
        while not _clustered(database, table):
            if time.monotonic() > deadline:
                raise _readers_remain(database)
            time.sleep(PAUSE)


def _clustered(database: Database, table: Any) -> bool:
    """Rewrite a table; False where somebody reads it."""
    [name] = _qualified(database, (table,))
    try:
        with database.writer.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(PAUSE * 1000)}")
            connection.exec_driver_sql(f"CLUSTER {name} USING {table.primary_key.name}")
    except DBAPIError as error:
        if is_lock_timeout(error):
            return False
        raise
    return True


def _qualified(database: Database, tables: tuple[Any, ...]) -> list[str]:
    in_schema = schema.quoted(database.schema_name)
    return [f"{in_schema}.{schema.quoted(table.name)}" for table in tables]


def _readers_remain(database: Database) -> NotErasedError:
    cause = "a reader that began before is still at work"
    return _not_erased(database, cause, "when it has ended")


def _not_allowed(database: Database, connection: Connection, warning: str) -> NotErasedError:
    owners = text("SELECT tableowner FROM pg_tables WHERE schemaname = :schema")
    owner = connection.execute(owners, {"schema": database.schema_name}).scalars().first()
    return _not_erased(database, warning, f"as {owner}, who owns the tables")


def _not_erased(database: Database, cause: str, condition: str) -> NotErasedError:
    if database.file:
        remedy = f"sqlite3 {database.file} 'PRAGMA wal_checkpoint(TRUNCATE)'"
    else:
        rewritten = ", ".join(_qualified(database, _NAMING))
        vacuumed = ", ".join(_qualified(database, _NUMBERED))
        remedy = f"VACUUM FULL {rewritten}; VACUUM {vacuumed};"
    return NotErasedError(
        f"the rows are deleted, but still in the database's files: {cause}; {condition}, run:"
        f" {remedy}"
    )
