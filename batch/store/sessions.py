"""A connection to Postgres -> refused where the job could not keep its lock, or not write."""

from typing import Any

from sqlalchemy import Connection, Engine, text

from batch import RecbatchError

ROUNDS = 32
"""Further connections that are compared with the job's own, if there is a pooler.

One is enough for an idle PgBouncer. Others may use its sessions meanwhile, and where several
processes share its port, a few connections may all lead to other processes than the job's own.
"""


class UnfitServerError(RecbatchError):
    """The job cannot work on this server, or in this way; the message says what to change."""


def require_fit(connection: Connection, engine: Engine, setting: str) -> None:
    """Raise UnfitServerError unless the connection keeps its session, in a primary of UTF-8.

    `engine` opens further connections to compare it with; `setting` is the one that names the
    address. The connection has no transaction, and nothing is left on its session.
    """
    driver: Any = connection.connection.driver_connection
    encoding = driver.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UnfitServerError(
            f"database {driver.info.dbname} has the encoding {encoding}, which cannot hold every "
            f"title; make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, and "
            f"name it in {setting}"
        )
    if _is_standby(connection):
        raise UnfitServerError(
            f"{setting} leads to a standby, which only reads; set database.job_url to the address "
            "of its primary"
        )
    if _shares_its_session(connection, engine, driver.info.backend_pid):
        raise UnfitServerError(
            f"{setting} leads to a connection pooler that changes sessions between transactions, "
            "where a job cannot hold its lock; set database.job_url to the address of the server "
            "itself, or of a pool in session mode"
        )


def _is_standby(connection: Connection) -> bool:
    with connection.begin():
        return bool(connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one())


def _shares_its_session(connection: Connection, engine: Engine, announced: int) -> bool:
    """Whether a pooler gives each transaction any of its sessions.

    A server announces the process of a session when it begins; PgBouncer announces a random
    number, because it has no session yet, or may have another later. Then sessions are compared:
    the same connection on two of them, or two connections on one, are a pool that changes them.
    """
    own = {_process(connection)}
    if own == {announced}:
        return False
    for _ in range(ROUNDS):
        own |= {_process(connection), _process(connection)}
        with engine.connect() as other:
            others = {_process(other)}
        if len(own) > 1 or own & others:
            return True
    return False


def _process(connection: Connection) -> int:
    """The number of the server's process in which a transaction runs."""
    with connection.begin():
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
