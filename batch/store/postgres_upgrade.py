"""A role and its readers on Postgres -> whether tables can be changed: rights, and locks on all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, RootTransaction, Row, text
from sqlalchemy.exc import OperationalError

from batch import RecbatchError
from batch.store import schema
from batch.store.engines import LOCK_TIMEOUT_MS, is_lock_timeout
from batch.store.sessions import UnfitServerError

ATTEMPT = 0.5
"""Seconds of one attempt to lock the tables: readers that come meanwhile wait behind it.

Less than the second after which Postgres looks for deadlocks, and might end a reader.
"""
PATIENCE = LOCK_TIMEOUT_MS / 1000
"""Seconds until `db upgrade` gives up, as many as any statement waits for a lock."""

_TABLES = """
    SELECT c.oid, c.relname, quote_ident(c.relname) AS quoted, c.relowner::regrole::text AS owner,
           pg_has_role(c.relowner, 'USAGE') AS is_own
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'v')
    ORDER BY c.relname"""
"""Tables and views of the schema."""
_READERS = f"""
    SELECT DISTINCT a.pid, coalesce(nullif(a.application_name, ''), a.usename) AS name, a.xact_start
    FROM ({_TABLES}) tables
    JOIN pg_locks l ON l.relation = tables.oid AND l.granted
    JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE a.pid <> pg_backend_pid()
    ORDER BY a.xact_start"""  # noqa: S608  constants
"""Sessions that hold one of them."""


class TablesInUseError(RecbatchError):
    """Readers hold the tables; the message names their sessions."""


def require_rights(connection: Connection, schema_name: str) -> None:
    """Raise UnfitServerError unless the role may make the schema, or change all of its tables."""
    rights = text("""
        SELECT current_user AS role, current_database() AS database,
               has_database_privilege(current_database(), 'CREATE') AS may_make_schema,
               (SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = :schema) AS owner,
               (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace
                WHERE nspname = :schema) AS may_make_tables""")
    role_rights = connection.execute(rights, {"schema": schema_name}).one()
    role = schema.quoted(role_rights.role)
    if role_rights.owner is None and not role_rights.may_make_schema:
        database = schema.quoted(role_rights.database)
        raise UnfitServerError(
            f"the role {role} may not make the schema {schema_name}; run 'recbatch db upgrade' as "
            f"the owner of the database, or let it: GRANT CREATE ON DATABASE {database} TO {role}"
        )
    if role_rights.owner is not None and not role_rights.may_make_tables:
        raise UnfitServerError(
            f"the role {role} may not make tables in the schema {schema_name}; run 'recbatch db "
            f"upgrade' as the role {role_rights.owner}, which owns it"
        )
    for table in _tables(connection, schema_name):
        if not table.is_own:
            raise UnfitServerError(
                f"{schema_name}.{table.relname} belongs to the role {table.owner}, and only its "
                "owner may change it; run 'recbatch db upgrade' as that role"
            )


def _tables(connection: Connection, schema_name: str) -> Sequence[Row[Any]]:
    return connection.execute(text(_TABLES), {"schema": schema_name}).all()


@contextmanager
def with_all_tables(connection: Connection, schema_name: str) -> Iterator[None]:
    """A transaction that holds all tables and views of the schema, or raises TablesInUseError.

    A statement that waits for a reader makes every later reader wait behind it. So each attempt
    is short, and between attempts those get their turn.
    """
    deadline = monotonic() + PATIENCE
    while (transaction := _locking(connection, schema_name)) is None:
        if monotonic() > deadline:
            readers = "; ".join(_readers(connection, schema_name))
            raise TablesInUseError(
                f"others read the tables, and nothing is changed: {readers}; try again later, or "
                "end a session by SELECT pg_terminate_backend(PROCESS)"
            )
        sleep(ATTEMPT)
    with transaction:
        yield


def _locking(connection: Connection, schema_name: str) -> RootTransaction | None:
    """A transaction with a lock on each table and view; None where others hold one of them."""
    transaction = connection.begin()
    names = ", ".join(table.quoted for table in _tables(connection, schema_name))
    # It stays for the rest of the transaction: once all tables are locked, nothing waits.
    connection.exec_driver_sql(f"SET LOCAL lock_timeout TO '{round(1000 * ATTEMPT)}ms'")
    try:
        if names:
            connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
    except OperationalError as error:
        transaction.rollback()
        if not is_lock_timeout(error):
            raise
        return None
    return transaction


def _readers(connection: Connection, schema_name: str) -> Iterator[str]:
    """The sessions that hold a table of the schema, as a message lists them."""
    with connection.begin():
        for row in connection.execute(text(_READERS), {"schema": schema_name}):
            session = f"process {row.pid} ({row.name})"
            if row.xact_start is not None:  # NULL for a role that may not see what others do
                session += f" since {row.xact_start.astimezone(UTC):%H:%M:%S} UTC"
            yield session
