"""A SQLite database in use -> a copy of one consistent state in another file."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from batch import RecbatchError
from batch.store.database import Database


class NoBackupError(RecbatchError):
    """No copy can be made; the message says why, and what would work."""


class BackupFileError(RecbatchError):
    """The file that was named for the copy cannot be made there."""


def backup(database: Database, file: Path) -> int:
    """Copy a database in use, and return the bytes of the copy.

    The file appears once the copy is complete and checked, or not at all.
    Raises NoBackupError, BackupFileError.
    """
    if database.file is None:
        command = f"pg_dump --schema {database.schema_name} --file FILE"
        raise NoBackupError(f"backup copies SQLite files; on Postgres use {command}")
    if file.exists():
        raise BackupFileError(f"{file} is there already; name another file")
    if not file.parent.is_dir():
        raise BackupFileError(f"{file.parent}: no such folder; make it first, or name another path")
    partial = file.with_name(f"{file.name}.part")
    partial.unlink(missing_ok=True)
    try:
        _copy(database, partial)
    except sqlite3.Error as error:
        partial.unlink(missing_ok=True)
        raise NoBackupError(f"{file}: {error}") from None
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(file)
    return file.stat().st_size


def _copy(database: Database, file: Path) -> None:
    with database.reader.connect() as reader, closing(sqlite3.connect(file)) as target:
        source: Any = reader.connection.dbapi_connection
        # In one step: a copy in several steps starts again whenever a job
        # has written.
        source.backup(target)
        # Readers of a file in WAL mode must be able to write; those of a copy need not.
        target.execute("PRAGMA journal_mode = DELETE")
        result = target.execute("PRAGMA quick_check").fetchall()
    if result != [("ok",)]:
        raise NoBackupError(f"the copy is not sound: {result[0][0]}")
