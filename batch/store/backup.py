"""A SQLite database at work -> a copy of one consistent state in another file."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from batch import RecbatchError
from batch.store.database import Database


class NoBackupError(RecbatchError):
    """No copy can be made; the message says why, and what would do."""


def backup(database: Database, file: Path) -> int:
    """Copy the database by SQLite's own backup, checked and whole or not there; jobs and readers go on. Its bytes.

    Raises NoBackupError.
    """
    if database.file is None:
        own = f"pg_dump --schema {database.schema_name} --file FILE"
        raise NoBackupError(f"this is for SQLite files; Postgres has a tool of its own: {own}")
    if file.exists():
        raise NoBackupError(f"{file} is there already; name another file")
    unfinished = file.with_name(f"{file.name}.part")
    unfinished.unlink(missing_ok=True)
    try:
        with database.reader.connect() as reader, closing(sqlite3.connect(unfinished)) as target:
            source: Any = reader.connection.dbapi_connection
            source.backup(
                target
            )  # in one step: a copy in many would begin anew whenever a job has written
            found = target.execute("PRAGMA quick_check").fetchall()
            if found != [("ok",)]:
                raise NoBackupError(f"the copy is not sound: {found[0][0]}")
    except sqlite3.Error as error:
        unfinished.unlink(missing_ok=True)
        raise NoBackupError(f"{file}: {error}") from None
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.replace(file)
    return file.stat().st_size
