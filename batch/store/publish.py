"""Lists -> rows under an unpublished run, then one pointer flipped, forwards or back."""

import os
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from batch import RecbatchError
from batch.params import LARGEST, SCORE_DECIMALS
from batch.ranking.fallback import Lists
from batch.ratings import NOBODY, Floats, Ints, Ratings
from batch.store import schema
from batch.store.bulk_insert import bulk_insert, insert_columns
from batch.store.checks import failed
from batch.store.database import Database, abandon, next_id
from batch.store.purge import purge as purge
from batch.store.run_lock import holds_lock
from batch.store.runs import UnknownRunError, is_for
from batch.store.sqlite_file import require_same_file
from batch.telemetry import log_warning

_runs, _publication = schema.runs, schema.publication
_refreshed = schema.refreshed_users

CHANNEL = "recbatch_published"
"""Postgres: the channel that is notified of each run that becomes current."""


class CannotPublishError(RecbatchError):
    """The run cannot become current; the message says why."""


@dataclass(frozen=True)
class RunKey:
    """A run, and the token of the process that may publish it."""

    run_id: int
    owner: str


# The row of a run


def open_run(
    connection: Connection, logical_date: date, triggered_by: str, **columns: Any
) -> RunKey:
    """Record a new run as running.

    The caller holds the run lock, so that the process of any other running
    run is dead: those are marked as abandoned.
    """
    now = datetime.now(UTC)
    running = update(_runs).where(_runs.c.status == "running")
    message = "its process ended without giving a reason"
    ended = running.values(status="abandoned", finished_at=now, error=message)
    connection.execute(ended)
    run_id = next_id(connection, _runs.c.run_id)
    owner = f"{secrets.token_hex(16)}@{socket.gethostname()}:{os.getpid()}"
    row = {
        "run_id": run_id,
        "owner": owner,
        "logical_date": logical_date,
        "triggered_by": triggered_by,
        "status": "running",
        "started_at": now,
    }
    connection.execute(insert(_runs), {**row, **columns})
    return RunKey(run_id, owner)


def update_run(connection: Connection, run: RunKey, **columns: Any) -> None:
    """Set columns of a running run.

    Raises CannotPublishError if another process ended it.
    """
    changed = update(_runs).where(_is_running(run)).values(**columns)
    if connection.execute(changed).rowcount != 1:
        raise _taken_over(run)


def require_ownership(connection: Connection, run: RunKey) -> None:
    """Make sure that the run is this process's until the transaction ends.

    A process that lost the lock must not write rows that another has purged
    already. Raises CannotPublishError.
    """
    running = select(_runs.c.run_id).where(_is_running(run))
    if connection.execute(running.with_for_update(read=True)).first() is None:
        raise _taken_over(run)


def _is_running(run: RunKey) -> ColumnElement[bool]:
    same = and_(_runs.c.run_id == run.run_id, _runs.c.owner == run.owner)
    return and_(same, _runs.c.status == "running")


def _taken_over(run: RunKey) -> CannotPublishError:
    return CannotPublishError(f"run {run.run_id} was taken over by another process")


def finish(
    connection: Connection,
    run: RunKey,
    status: str,
    **columns: Any,
) -> None:
    """End a running run as `ready`, `rejected` or `failed`."""
    now = datetime.now(UTC)
    update_run(connection, run, status=status, finished_at=now, **columns)


# Its lists and metrics


def write_lists(
    connection: Connection,
    run: RunKey,
    model: str,
    ratings: Ratings,
    users: Ints,
    lists: Lists,
) -> int:
    """Write a model's lists (b, n) for the users (b,); returns the rows written."""
    # (n_cells,) each: row by row, in order of rank
    rows, ranks = (lists.listed != NOBODY).nonzero()
    columns = {
        "user_id": ratings.user_ids[users[rows]],
        "rank": ranks + 1,
        "movie_id": ratings.movie_ids[lists.listed[rows, ranks]],
        "score": _stored(lists.score[rows, ranks], LARGEST),
        "predicted_rating": _stored(lists.rating[rows, ranks], LARGEST),
        "support": _stored(lists.support[rows, ranks], schema.MAX_SUPPORT),
        "reason": lists.reasons[rows, ranks],
    }
    constants: dict[str, int | str] = {"run_id": run.run_id, "model": model}
    return insert_columns(connection, schema.recommendations, constants, columns)


def _stored(values: Floats, largest: float) -> Floats:
    """Values as they are stored, rounded as ties are decided, without noise.

    Values outside the column's range are clipped to it: the audit then
    refuses the run, and its lists remain as evidence.
    """
    return values.astype(np.float64).round(SCORE_DECIMALS).clip(-largest, largest)


def write_popular(
    connection: Connection,
    run: RunKey,
    movie_ids: Sequence[int],
    counts: Sequence[float],
) -> None:
    """Write the list for everyone, best first: films and their rating counts."""
    films = zip(movie_ids, counts, strict=True)
    rows = ((run.run_id, rank, *film) for rank, film in enumerate(films, 1))
    columns = ["run_id", "rank", "movie_id", "score"]
    bulk_insert(connection, schema.popular_items, columns, rows)


def write_metrics(
    connection: Connection, run: RunKey, metrics: Mapping[str, Mapping[str, float]]
) -> None:
    """Store metrics of a run: model -> metric -> value."""
    rows = []
    for model, values in metrics.items():
        for metric, value in values.items():
            rows.append((run.run_id, model, metric, value))
    columns = ["run_id", "model", "metric", "value"]
    bulk_insert(connection, schema.run_metrics, columns, rows)


# The pointer


def publish(connection: Connection, run: RunKey, **columns: Any) -> None:
    """Make a running run current, on the connection that has the run lock.

    The caller's transaction does this and nothing else. Raises
    CannotPublishError, and leaves the current run, if another process ended
    the run or if a newer one is current: a night never replaces a newer
    run.
    """
    now = datetime.now(UTC)
    columns |= {"status": "published", "published_at": now, "finished_at": now}
    update_run(connection, run, **columns)
    if _flip(connection, run.run_id, now, forwards_only=True) != 1:
        raise CannotPublishError(f"run {run.run_id} is older than the published one")


_FLIP = """
    INSERT INTO publication (slot, run_id, previous_run_id, published_at)
    VALUES ('current', :run_id, NULL, :now)
    ON CONFLICT (slot) DO UPDATE
    SET previous_run_id = publication.run_id,
        run_id = excluded.run_id,
        published_at = excluded.published_at,
        refreshed_at = NULL"""
_FLIP_FORWARDS = _FLIP + " WHERE excluded.run_id > publication.run_id"
_FLIP_ANYWHERE = _FLIP + " WHERE excluded.run_id <> publication.run_id"


def _flip(
    connection: Connection,
    run_id: int,
    now: datetime,
    *,
    forwards_only: bool,
) -> int:
    """Point `publication` to a run, without refreshes; returns 1, or 0 where nothing changed."""
    flip = text(_FLIP_FORWARDS if forwards_only else _FLIP_ANYWHERE).bindparams(
        bindparam("run_id", run_id),
        bindparam("now", now, type_=schema.Moment()),
    )
    changed = connection.execute(flip).rowcount
    if changed:
        connection.execute(delete(_refreshed))
        announce(connection, run_id)
    return changed


def announce(connection: Connection, run_id: int) -> None:
    """Tell those who listen on Postgres that readers see other lists of this run."""
    if connection.dialect.name == "postgresql":
        # Delivered at the commit, and only if there is one.
        connection.execute(select(func.pg_notify(CHANNEL, str(run_id))))


def require_lists(connection: Connection, run_id: int) -> str:
    """The status of a run with complete lists.

    Raises UnknownRunError, and CannotPublishError for a run without lists.
    """
    columns = select(_runs.c.status, _runs.c.purged_at, _runs.c.kind, _runs.c.base_run_id)
    row = connection.execute(columns.where(_runs.c.run_id == run_id)).first()
    if row is None:
        raise UnknownRunError(run_id)
    if row.kind == "refresh":
        raise CannotPublishError(
            f"run {run_id} is a refresh: its lists are part of those of run {row.base_run_id}"
        )
    if row.purged_at is not None:
        raise CannotPublishError(
            f"the lists of run {run_id} were purged; rerun that night with 'recbatch run --as-of'"
        )
    if row.status not in schema.WITH_LISTS:
        raise CannotPublishError(f"run {run_id} is {row.status}: it has no complete lists")
    return str(row.status)


def republish(connection: Connection, run_id: int) -> None:
    """Make a finished run current, also an older one; the caller has audited it.

    It is recorded as forced if it failed a gate. Raises CannotPublishError.
    """
    status = require_lists(connection, run_id)
    now = datetime.now(UTC)
    if status != "published":
        values: dict[str, Any] = {"status": "published", "published_at": now}
        # Manual, because a person publishes it: of one night there is at
        # most one scheduled run that is published, and there may be one
        # since.
        values["triggered_by"] = "manual"
        if failed(connection, run_id, "gate"):
            values["forced"] = 1
        changed = update(_runs).where(_runs.c.run_id == run_id)
        connection.execute(changed.values(values))
    _flip(connection, run_id, now, forwards_only=False)


def previous(connection: Connection) -> int:
    """The run that was current before the current one.

    Raises CannotPublishError if there was none.
    """
    run_id = connection.execute(select(_publication.c.previous_run_id)).scalar()
    if run_id is None:
        raise CannotPublishError("no run was published before the current one")
    return int(run_id)


def published_for(connection: Connection, due_at: datetime, logical_date: date) -> int | None:
    """The newest run that was published for a due moment, if any."""
    r = _runs.c
    published = and_(is_for(due_at, logical_date), r.status == "published")
    newest = select(func.max(r.run_id)).where(published)
    return connection.execute(newest).scalar()


# Certainty about a commit


@contextmanager
def commit_or_verify(
    database: Database, connection: Connection, is_committed: Select[Any]
) -> Iterator[None]:
    """One transaction under the lock that the connection holds.

    If its commit fails, a second connection looks whether it took effect: if the
    query `is_committed` returns a row there, it did, and nothing is raised. Raises
    CannotPublishError without the lock, FileReplacedError.
    """
    try:
        with connection.begin():
            if not holds_lock(database, connection):
                raise CannotPublishError(
                    "this job has lost its lock, and another may be at work; start it again"
                )
            yield
            if database.file:
                require_same_file(database.file, connection)
    except DBAPIError:
        abandon(connection)
        # The first connection may be gone.
        with database.reader.connect() as second:
            if second.execute(is_committed).first() is None:
                raise
        log_warning("the database did not answer, but had done it")


def has_ended_as(run: RunKey, status: str) -> Select[Any]:
    """A query with a row if this process has ended its run with that status."""
    same = and_(_runs.c.run_id == run.run_id, _runs.c.owner == run.owner)
    return select(_runs.c.run_id).where(same, _runs.c.status == status)


def is_current(run_id: int) -> Select[Any]:
    """A query with a row if readers see this run."""
    return select(_publication.c.run_id).where(_publication.c.run_id == run_id)
