"""Roles of Postgres -> the rights that readers and the job need."""

from typing import Any

from batch.store import schema
from batch.store.database import Database, DatabaseUrlError

MAINTAIN_SINCE = (17,)
"""The Postgres from which on others than the owner can be let vacuum a table, as `forget` does."""


def grant(database: Database, role: str, *, job: bool = False) -> None:
    """Let a Postgres role read the views, and nothing else.

    With `job` it may read and write the rows of all tables instead. Raises
    DatabaseUrlError on SQLite.
    """
    if database.file:
        readers = "anyone who can read the file can read the views"
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
