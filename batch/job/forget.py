"""A user's key -> no trace of them in any table or file of weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, and_, case, delete, func, select, update

from batch import RecbatchError
from batch.ingest.rows_of_person import PersonTexts
from batch.store import digests, schema
from batch.store.checks import ROWS, SPARE_ROWS
from batch.store.database import Database
from batch.store.erase import NotErasedError, erase
from batch.store.outcomes import delete_of_one_user
from batch.store.similar_items import delete_only_support
from batch.telemetry import log_warning

_users = schema.users
_ratings = schema.ratings
_superseded = schema.superseded_ratings
_seen = schema.seen
_runs = schema.runs
_lists = schema.recommendations
_metrics = schema.run_metrics
_filters = schema.item_filters
_batches = schema.ingest_batches
_rejects = schema.ingest_rejects

_OF_USERS = {
    "ratings": _ratings,
    "superseded": _superseded,
    "filters": _filters,
    "seen": _seen,
    "superseded_seen": schema.superseded_seen,
}
"""Tables whose rows of a user are deleted, by the name of their count in Traces."""


class StillThereError(RecbatchError):
    """Rows are deleted, but not all that was there; the message says what is left to do."""


@dataclass(frozen=True)
class Traces:
    """Counts of what there is of a person, or was before it was deleted."""

    ratings: int
    superseded: int  # ratings that later files overwrote
    rows: int  # of lists, in all kept runs
    rejects: int
    files: int  # of weights: each has a row for every user
    filters: int  # films that are hidden from the user
    seen: int  # films marked as seen
    superseded_seen: int  # times of such marks that later files overwrote


@dataclass(frozen=True)
class _Person:
    user_id: int | None  # None: only rejected rows name them
    texts: set[str]  # key and name


def traces(connection: Connection, user_key: str) -> Traces:
    """Counts of what `forget` would delete. A key that is no user's may be in rejected rows."""
    person = _find(connection, user_key)
    n_rejects = len(_rejects_of(connection, person.texts))
    if person.user_id is None:
        return Traces(0, 0, 0, n_rejects, 0, 0, 0, 0)
    counts = {}
    for name, table in _OF_USERS.items():
        of_user = select(func.count()).where(table.c.user_id == person.user_id)
        counts[name] = connection.execute(of_user).scalar_one()
    n_rows = sum(rows.shown + rows.spare for rows in _lists_of(connection, person.user_id))
    n_files = sum(file.exists() for file in _weights(connection))
    return Traces(rows=n_rows, rejects=n_rejects, files=n_files, **counts)


def forget(database: Database, user_key: str) -> Traces:
    """Delete a user everywhere, and erase them from the files; returns what there was.

    The caller holds the run lock. Rows are deleted in one transaction. Row counts
    of runs are lowered with them, so that a kept run can still be published. Files
    of weights are deleted first: nobody would look for them once the rows that name
    them are gone. Raises StillThereError.
    """
    with database.reader.connect() as connection:
        counts = traces(connection, user_key)
        user_id = _find(connection, user_key).user_id
        files = [] if user_id is None else _delete_weights(connection)
    with database.writer.begin() as connection:
        person = _find(connection, user_key)
        _delete_rejects(connection, person.texts)
        if person.user_id is not None:
            _delete_user(connection, person.user_id)
    remaining = [f"remove by hand: {file}" for file in files]
    try:
        erase(database)
    except NotErasedError as error:
        remaining.append(str(error))
    if remaining:
        raise StillThereError("; ".join(remaining))
    return counts


def _find(connection: Connection, user_key: str) -> _Person:
    user = connection.execute(select(_users).where(_users.c.user_key == user_key)).first()
    if user is None:
        return _Person(None, {user_key})
    return _Person(user.user_id, {text for text in (user.user_key, user.name) if text})


def _delete_user(connection: Connection, user_id: int) -> None:
    """Delete the rows of a user, and the names of the files of weights."""
    _delete_lists(connection, user_id)
    delete_only_support(connection, user_id)
    delete_of_one_user(connection)
    for table in (*_OF_USERS.values(), schema.refreshed_users, schema.undone_users, _users):
        connection.execute(delete(table).where(table.c.user_id == user_id))
    connection.execute(update(_runs).values(artifact=None, artifact_sha256=None))


class _Rows(NamedTuple):
    """How many rows a user has in a run's lists of one model."""

    run_id: int
    model: str
    shown: int
    spare: int


def _lists_of(connection: Connection, user_id: int) -> list[_Rows]:
    """The user's rows in each list, run by run as the table is ordered."""
    kept_runs = select(_runs.c.run_id, _runs.c.top_n).where(_runs.c.purged_at.is_(None))
    counts = []
    for run_id, top_n in connection.execute(kept_runs).all():
        shown = func.sum(case((_lists.c.rank <= top_n, 1), else_=0))
        by_model = (
            select(_lists.c.model, shown, func.count() - shown)
            .where(_lists.c.run_id == run_id, _lists.c.user_id == user_id)
            .group_by(_lists.c.model)
        )
        counts += [_Rows(run_id, *row) for row in connection.execute(by_model)]
    return counts


def _delete_lists(connection: Connection, user_id: int) -> None:
    """Delete a user's rows in all kept runs; the counts and digests of these runs follow."""
    of_user = _lists_of(connection, user_id)
    for run_id in {rows.run_id for rows in of_user}:
        digests.subtract(connection, run_id, _lists.c.user_id == user_id)
    for rows in of_user:
        is_own_row = and_(
            _lists.c.run_id == rows.run_id,
            _lists.c.user_id == user_id,
            _lists.c.model == rows.model,
        )
        connection.execute(delete(_lists).where(is_own_row))
        for name, count in ((ROWS, rows.shown), (SPARE_ROWS, rows.spare)):
            lower_count = update(_metrics).where(
                _metrics.c.run_id == rows.run_id,
                _metrics.c.model == rows.model,
                _metrics.c.metric == name,
            )
            connection.execute(lower_count.values(value=_metrics.c.value - count))
        lower_total = update(_runs).where(
            _runs.c.run_id == rows.run_id, _runs.c.rows_written.is_not(None)
        )
        connection.execute(lower_total.values(rows_written=_runs.c.rows_written - rows.shown))


def _rejects_of(connection: Connection, texts: set[str]) -> list[tuple[int, int]]:
    """batch_id and reject_no of the rejected rows that name a person."""
    person = PersonTexts(texts)
    rejects = _rejects.c
    columns = select(
        rejects.batch_id, rejects.reject_no, _batches.c.format, rejects.field, rejects.text
    )
    rows = columns.join(_batches, _batches.c.batch_id == rejects.batch_id)
    return [
        (batch_id, reject_no)
        for batch_id, reject_no, *row in connection.execute(rows)
        if person.are_in(*row)
    ]


def _delete_rejects(connection: Connection, texts: set[str]) -> None:
    rejects = _rejects.c
    for batch_id, reject_no in _rejects_of(connection, texts):
        this_row = and_(rejects.batch_id == batch_id, rejects.reject_no == reject_no)
        connection.execute(delete(_rejects).where(this_row))


def _weights(connection: Connection) -> list[Path]:
    """The files of weights of all runs; of a purged run there is none."""
    names = select(_runs.c.artifact).where(_runs.c.artifact.is_not(None))
    return [Path(name) for name in connection.execute(names).scalars()]


def _delete_weights(connection: Connection) -> list[Path]:
    """Delete all files of weights; returns those that could not be deleted."""
    remaining = []
    for file in _weights(connection):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            remaining.append(file)
            log_warning("weights not removed", file=str(file), error=error.strerror)
    return remaining
