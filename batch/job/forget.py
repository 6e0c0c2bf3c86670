"""A user's key -> nothing: no ratings, no lists of any run, no rejected rows, no weights that were learnt from them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

from sqlalchemy import Connection, and_, delete, func, select, update
from sqlalchemy.exc import DBAPIError

from batch import RecbatchError
from batch.ingest.formats import DAT, LONG, MOVIELENS, QUERY, U_DATA
from batch.store import schema
from batch.store.checks import ROWS
from batch.store.database import Database
from batch.telemetry import log_warning

_users, _runs, _lists, _filters = (
    schema.users,
    schema.runs,
    schema.recommendations,
    schema.item_filters,
)
_metrics, _batches, _rejects = schema.run_metrics, schema.ingest_batches, schema.ingest_rejects

USER_FIRST = {
    format_.name: format_.plain.separator.decode()
    for format_ in (MOVIELENS, DAT, U_DATA)
    if format_.plain
}
"""What stands behind the user in a row of these formats, where every number may be a film's or a rating as well."""


class StillThereError(RecbatchError):
    """The rows are gone, but a file that was learnt from them is not; the message names it."""


@dataclass(frozen=True)
class Forgotten:
    """What there was."""

    ratings: int
    rows: int  # of lists, in all kept runs
    rejects: int
    files: int  # of weights: each has a row for every user
    filters: int  # films kept from them


def forget(database: Database, user_key: str) -> Forgotten:
    """Remove a user everywhere, rows in one transaction, and overwrite where they stood; the caller holds the run lock.

    Counts of runs follow, so that a kept run can still be published. Files go first: nobody would look for them once
    the rows that name them are gone. Raises StillThereError.
    """
    with database.reader.connect() as connection:
        files, left = _remove(connection)
    with database.writer.begin() as connection:
        if database.file:
            connection.exec_driver_sql(
                "PRAGMA secure_delete = ON"
            )  # what is deleted is overwritten
        user = connection.execute(select(_users).where(_users.c.user_key == user_key)).one()
        mine = schema.ratings.c.user_id == user.user_id
        ratings = connection.execute(delete(schema.ratings).where(mine)).rowcount
        rows = _forget_lists(connection, user.user_id)
        rejects = _forget_rejects(connection, {text for text in (user.user_key, user.name) if text})
        filters = connection.execute(
            delete(_filters).where(_filters.c.user_id == user.user_id)
        ).rowcount
        connection.execute(delete(_users).where(_users.c.user_id == user.user_id))
        connection.execute(update(_runs).values(artifact=None, artifact_sha256=None))
    _overwrite(database)
    if left:
        raise StillThereError(
            f"forgotten, but remove these files by hand: {', '.join(map(str, left))}"
        )
    return Forgotten(ratings, rows, rejects, files, filters)


def _forget_lists(connection: Connection, user_id: int) -> int:
    """A user's rows in every run that has any, run by run, as the table is ordered."""
    total = 0
    for run_id in (
        connection.execute(select(_runs.c.run_id).where(_runs.c.purged_at.is_(None)))
        .scalars()
        .all()
    ):
        mine = and_(_lists.c.run_id == run_id, _lists.c.user_id == user_id)
        counted = select(_lists.c.model, func.count()).where(mine).group_by(_lists.c.model)
        for model, count in connection.execute(counted).all():
            written = and_(
                _metrics.c.run_id == run_id, _metrics.c.model == model, _metrics.c.metric == ROWS
            )
            connection.execute(
                update(_metrics).where(written).values(value=_metrics.c.value - count)
            )
        gone = connection.execute(delete(_lists).where(mine)).rowcount
        fewer = update(_runs).where(_runs.c.run_id == run_id, _runs.c.rows_written.is_not(None))
        connection.execute(fewer.values(rows_written=_runs.c.rows_written - gone))
        total += gone
    return total


def _forget_rejects(connection: Connection, texts: set[str]) -> int:
    """Rejected rows that are of whoever has this key or name."""
    c, b = _rejects.c, _batches.c
    kept = select(c.batch_id, c.reject_no, c.text, b.format).join(
        _batches, b.batch_id == c.batch_id
    )
    mine = [row for row in connection.execute(kept) if _names(row.format, row.text, texts)]
    for row in mine:
        connection.execute(
            delete(_rejects).where(c.batch_id == row.batch_id, c.reject_no == row.reject_no)
        )
    return len(mine)


def _names(format_: str, row: str, texts: set[str]) -> bool:
    """Whether a rejected row names one of these; rows of catalogues and cells of a wide matrix name no user."""
    if format_ in USER_FIRST:
        return row.split(USER_FIRST[format_], 1)[0].strip() in texts
    if format_ not in (LONG.name, QUERY.name):
        return False
    fields = f",{normalize('NFC', row)},"  # a key may hold commas itself; in doubt a row goes
    return any(re.search(rf",\s*{re.escape(text)}\s*,", fields) for text in texts)


def _overwrite(database: Database) -> None:
    """Take the old state out of SQLite's log, or out of Postgres' tables, as far as nobody reads it any more.

    Past the point where a failure would change what is true: it costs a warning.
    """
    tables = (_users, schema.ratings, _lists, _rejects, _filters)
    statements = (
        ["PRAGMA wal_checkpoint(TRUNCATE)"]
        if database.file
        else [f"VACUUM {table.name}" for table in tables]
    )
    try:
        with database.writer.connect().execution_options(
            isolation_level="AUTOCOMMIT"
        ) as connection:
            driver: Any = connection.connection.dbapi_connection
            for statement in statements:
                driver.execute(
                    statement
                )  # no transaction; a role that may not is warned by Postgres, not refused
    except (DBAPIError, database.writer.dialect.loaded_dbapi.Error) as error:
        told = str(getattr(error, "orig", error))
        log_warning(
            "forgotten; what stood there is overwritten when the database tidies up", error=told
        )


def _remove(connection: Connection) -> tuple[int, list[Path]]:
    """Delete the weights of all runs: how many files there were, and those that are there still."""
    gone, left = 0, []
    for kept in connection.execute(
        select(_runs.c.artifact).where(_runs.c.artifact.is_not(None))
    ).scalars():
        file = Path(kept)
        try:
            file.unlink()
            gone += 1
        except FileNotFoundError:  # of a purged run
            continue
        except OSError as error:
            left.append(file)
            log_warning("weights not removed", file=str(file), error=error.strerror)
    return gone, left
