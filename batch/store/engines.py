"""A URL -> an engine with real transactions, whose readers cannot write."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from batch.store.sqlite_file import FILE_IDENTITY, file_identity, require_one_name

LOCK_TIMEOUT_MS = 30_000
"""How long a statement waits for a lock, on both databases."""
LOCK_NOT_AVAILABLE = "55P03"
"""https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_SETTINGS = (
    f"busy_timeout = {LOCK_TIMEOUT_MS}",
    "foreign_keys = ON",
    "trusted_schema = OFF",
)
_WRITER_SETTINGS = (
    "journal_mode = WAL",
    # Rows of people are deleted and moved by every command, not by `forget` alone: a copy that
    # is left in free space would outlive them.
    "secure_delete = ON",
    # A publication must survive a power cut: NORMAL may lose the last
    # commits in WAL mode.
    "synchronous = FULL",
    # Bytes; gives disk space back after a large night.
    "journal_size_limit = 67108864",
    # 32 MiB hold the films that each new rating is checked against;
    # SQLite's default, 2 MiB, is too small.
    "cache_size = -32768",
)
_READER_SETTINGS = ("query_only = ON",)

_CONNECT_ARGS = {
    # As a start-up parameter, which poolers keep for each of their clients.
    "client_encoding": "UTF8",
    # A prepared statement would outlive its transaction.
    "prepare_threshold": None,
    # A lock whose holder vanished must be freed sooner than after the two
    # hours of TCP.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "connect_timeout": 10,
}


def is_lock_timeout(error: DBAPIError) -> bool:
    """Whether a statement on Postgres ended because it waited too long for a lock."""
    return getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE


def sqlite_engine(url: URL, *, reader: bool) -> Engine:
    """An engine on a SQLite file, in WAL mode; a reader's cannot write.

    The driver's own transactions are switched off and BEGIN is issued here,
    which is SQLAlchemy's documented recipe.
    """
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
    settings = (*_SETTINGS, *(_READER_SETTINGS if reader else _WRITER_SETTINGS))
    pragmas = "".join(f"PRAGMA {setting};" for setting in settings)
    # A deferred transaction that begins to write fails at once if another
    # has written meanwhile; IMMEDIATE waits for its turn.
    begin_statement = "BEGIN" if reader else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def apply_settings(connection: Any, record: Any) -> None:
        file = Path(str(url.database))
        require_one_name(file)
        record.info[FILE_IDENTITY] = file_identity(file)
        connection.isolation_level = None
        connection.executescript(pragmas)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin_statement)

    return engine


def postgres_engine(url: URL, schema_name: str, *, reader: bool) -> Engine:
    """An engine whose transactions see one schema only.

    A reader's transaction has one snapshot and cannot write. All that is set ends
    with the transaction: a pooler may give the next one of the session to another
    application. Raises ImportError without the driver.
    """
    engine = create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        isolation_level="REPEATABLE READ" if reader else "READ COMMITTED",
        use_native_hstore=False,  # no column has it, and looking for it takes a query
        connect_args=_CONNECT_ARGS,
    )
    quoted = engine.dialect.identifier_preparer.quote(schema_name)
    settings = (
        # pg_temp comes last: another's temporary table must not hide one of ours.
        f"search_path TO {quoted}, pg_temp",
        f"lock_timeout TO {LOCK_TIMEOUT_MS}",
        # How the server writes times and numbers, which the driver must be able to read.
        "datestyle TO ISO",
        "extra_float_digits TO 1",
    )
    # Together: each statement is a round trip.
    statements = "".join(f"SET LOCAL {setting};" for setting in settings)

    @event.listens_for(engine, "connect")
    def forbid_writing(connection: Any, _record: Any) -> None:
        if reader:
            connection.read_only = True  # part of each BEGIN

    @event.listens_for(engine, "begin")
    def apply_settings(connection: Connection) -> None:
        connection.exec_driver_sql(statements)

    return engine
