"""An error of the driver -> one line that names the database, and what would help."""

from sqlalchemy.exc import DBAPIError

from batch.store.database import Database

NEEDS_TO_WRITE = (
    "SQLite must be able to write into its folder, even to read; or read a 'recbatch backup' of it"
)
MAKE_ROOM = "make room on its disk, or set {setting} to a place with room"
SQLITE_REMEDIES = {
    "unable to open database file": NEEDS_TO_WRITE,
    "attempt to write a readonly database": NEEDS_TO_WRITE,
    "file is not a database": "mend {setting}, or move the file away",
    "database or disk is full": MAKE_ROOM,
    "disk I/O error": MAKE_ROOM + ", unless the disk is broken",
}
"""Messages of SQLite that name neither the file nor a remedy.

In remedies `{setting}` is the setting that led to the database.
"""
DISK_FULL = "53100"
"""Postgres' code of a full disk, with a message that names one of its own files."""
CONNECTION_REMEDIES = {
    "authentication failed": "check user and password in {setting}; there %, / and @ of a"
    " password are written %25, %2F and %40",
    "does not exist": "create it, or correct {setting}",
    "no password supplied": "put the password into {setting}",
}
"""Parts of the messages of Postgres for a connection that it refuses."""
UNREACHABLE = "check {setting}, and whether the server runs and admits this machine"


def database_error(error: DBAPIError, database: Database) -> str:
    """What is wrong, with the database and the remedy that drivers leave out."""
    message = " ".join(str(error.orig).split())
    if database.file:
        remedy = SQLITE_REMEDIES.get(message)
    elif getattr(error.orig, "sqlstate", None) == DISK_FULL:
        remedy = MAKE_ROOM
    elif error.statement is None and getattr(error.orig, "sqlstate", None) is None:
        remedy = _connection_remedy(message).format(setting=database.setting)
        return f"no connection to {database.label}: {message}; {remedy}"
    else:
        remedy = None
    if remedy is None:
        return f"the database says: {message}"
    remedy = remedy.format(setting=database.setting)
    return f"the database says: {message}: {database.label}; {remedy}"


def _connection_remedy(message: str) -> str:
    for part, remedy in CONNECTION_REMEDIES.items():
        if part in message:
            return remedy
    return UNREACHABLE
