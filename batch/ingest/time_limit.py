"""A query and a number of seconds -> its rows, or an error where it takes longer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from batch.ingest.errors import RefusedError

STEPS = 100_000
"""Instructions of SQLite between two looks at the clock: under a millisecond."""


@contextmanager
def time_limit(connection: Connection, seconds: int) -> Iterator[Callable[[], None]]:
    """Limit what is executed on this connection, in its transaction, within this block.

    Yields what is to be called between fetches: Postgres limits each statement, and each fetch
    is one. Raises RefusedError where the limit is exceeded.
    """
    deadline = monotonic() + seconds

    def is_over() -> bool:
        return monotonic() >= deadline

    def check() -> None:
        if is_over():
            raise _too_slow(seconds)

    try:
        with _database_limit(connection, seconds, is_over):
            yield check
    except DBAPIError:
        if is_over():
            raise _too_slow(seconds) from None
        raise


@contextmanager
def _database_limit(
    connection: Connection, seconds: int, is_over: Callable[[], bool]
) -> Iterator[None]:
    """Let the database itself end a statement that takes too long, by an error."""
    if connection.dialect.name == "postgresql":
        # LOCAL ends with the transaction: a pooler may hand the session to others.
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {1000 * seconds}")
        yield
        return
    sqlite: Any = connection.connection.driver_connection
    sqlite.set_progress_handler(is_over, STEPS)
    try:
        yield
    finally:
        sqlite.set_progress_handler(None, 0)


def _too_slow(seconds: int) -> RefusedError:
    message = (
        f"the query took longer than {seconds:,} seconds; make it faster, or raise"
        " ingest.query_timeout"
    )
    return RefusedError("QUERY_TIMEOUT", message)
