"""A user's key -> no trace of them in any table or file of weights."""

import re
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from sqlalchemy import Connection, and_, delete, func, select, update

from batch import RecbatchError
from batch.ingest.formats import FORMATS
from batch.ingest.movielens import MOVIELENS
from batch.ingest.movielens_100k import U_DATA
from batch.ingest.movielens_dat import DAT
from batch.ingest.wide import WIDE
from batch.store import schema
from batch.store.checks import ROWS
from batch.store.database import Database
from batch.store.erase import NotErasedError, erase
from batch.telemetry import log_warning

_users = schema.users
_ratings = schema.ratings
_superseded = schema.superseded_ratings
_runs = schema.runs
_lists = schema.recommendations
_metrics = schema.run_metrics
_filters = schema.item_filters
_batches = schema.ingest_batches
_rejects = schema.ingest_rejects

USER_FIRST = {MOVIELENS.name: ",", DAT.name: "::", U_DATA.name: "\t"}
"""Formats whose rows begin with the user, and the separator after it.

In their rows any number further on may be a film's or a rating.
"""
WITHOUT_USERS = {format_.name for format_ in FORMATS if format_.kind == "movies"} | {WIDE.name}
SEPARATOR = r"[\s,;|:\"]"
"""A character between the fields of a rejected row."""


class StillThereError(RecbatchError):
    """Rows are deleted, but a file of weights is not; the message names it."""


@dataclass(frozen=True)
class Forgotten:
    """Counts of what was deleted."""

    ratings: int
    superseded: int  # ratings that later files overwrote
    rows: int  # of lists, in all kept runs
    rejects: int
    files: int  # of weights: each has a row for every user
    filters: int  # films that were hidden from the user


def forget(database: Database, user_key: str) -> Forgotten:
    """Delete a user everywhere, and overwrite the space they took.

    The caller holds the run lock. Rows are deleted in one transaction. Row counts
    of runs are lowered with them, so that a kept run can still be published. Files
    of weights are deleted first: nobody would look for them once the rows that name
    them are gone. Raises StillThereError.
    """
    with database.reader.connect() as connection:
        n_files, remaining_files = _delete_weights(connection)
    with database.writer.begin() as connection:
        user = connection.execute(select(_users).where(_users.c.user_key == user_key)).one()
        texts = {text for text in (user.user_key, user.name) if text}
        is_own_rating = _ratings.c.user_id == user.user_id
        n_ratings = connection.execute(delete(_ratings).where(is_own_rating)).rowcount
        is_superseded = _superseded.c.user_id == user.user_id
        n_superseded = connection.execute(delete(_superseded).where(is_superseded)).rowcount
        n_rows = _delete_lists(connection, user.user_id)
        n_rejects = _delete_rejects(connection, texts)
        is_own_filter = _filters.c.user_id == user.user_id
        n_filters = connection.execute(delete(_filters).where(is_own_filter)).rowcount
        connection.execute(delete(_users).where(_users.c.user_id == user.user_id))
        connection.execute(update(_runs).values(artifact=None, artifact_sha256=None))
    remaining = [f"remove by hand: {file}" for file in remaining_files]
    try:
        erase(database)
    except NotErasedError as error:
        remaining.append(str(error))
    if remaining:
        raise StillThereError("; ".join(remaining))
    return Forgotten(n_ratings, n_superseded, n_rows, n_rejects, n_files, n_filters)


def _delete_lists(connection: Connection, user_id: int) -> int:
    """Delete a user's rows, run by run as the table is ordered; returns how many."""
    kept_runs = select(_runs.c.run_id).where(_runs.c.purged_at.is_(None))
    n_deleted = 0
    for run_id in connection.execute(kept_runs).scalars().all():
        is_own_row = and_(_lists.c.run_id == run_id, _lists.c.user_id == user_id)
        by_model = select(_lists.c.model, func.count()).where(is_own_row).group_by(_lists.c.model)
        for model, count in connection.execute(by_model).all():
            lower_count = update(_metrics).where(
                _metrics.c.run_id == run_id,
                _metrics.c.model == model,
                _metrics.c.metric == ROWS,
            )
            connection.execute(lower_count.values(value=_metrics.c.value - count))
        n_of_run = connection.execute(delete(_lists).where(is_own_row)).rowcount
        lower_total = update(_runs).where(
            _runs.c.run_id == run_id, _runs.c.rows_written.is_not(None)
        )
        connection.execute(lower_total.values(rows_written=_runs.c.rows_written - n_of_run))
        n_deleted += n_of_run
    return n_deleted


def _delete_rejects(connection: Connection, texts: set[str]) -> int:
    """Delete the rejected rows of the user with this key or name; returns how many."""
    rejects = _rejects.c
    rows = select(rejects.batch_id, rejects.reject_no, rejects.text, _batches.c.format).join(
        _batches, _batches.c.batch_id == rejects.batch_id
    )
    n_deleted = 0
    for row in connection.execute(rows).all():
        if _is_of_user(row.format, row.text, texts):
            this_row = and_(rejects.batch_id == row.batch_id, rejects.reject_no == row.reject_no)
            connection.execute(delete(_rejects).where(this_row))
            n_deleted += 1
    return n_deleted


def _is_of_user(format_: str, row: str, texts: set[str]) -> bool:
    """Whether a rejected row is of the user with one of these texts as key or name.

    Rows of catalogues and cells of a wide matrix name no user.
    """
    if format_ in USER_FIRST:
        return row.split(USER_FIRST[format_], 1)[0].strip() in texts
    if format_ in WITHOUT_USERS:
        return False
    # Looked for as whole fields, and not split: a key may contain separators. In
    # doubt a row is deleted.
    fields = f",{normalize('NFC', row)},"
    return any(re.search(rf"{SEPARATOR}{re.escape(text)}{SEPARATOR}", fields) for text in texts)


def _delete_weights(connection: Connection) -> tuple[int, list[Path]]:
    """Delete all files of weights; returns how many, and those that could not be deleted."""
    n_deleted = 0
    remaining = []
    names = select(_runs.c.artifact).where(_runs.c.artifact.is_not(None))
    for name in connection.execute(names).scalars():
        file = Path(name)
        try:
            file.unlink()
            n_deleted += 1
        except FileNotFoundError:  # of a purged run
            continue
        except OSError as error:
            remaining.append(file)
            log_warning("weights not removed", file=str(file), error=error.strerror)
    return n_deleted, remaining
