"""Lists -> `recommendations` under an unpublished run, then one pointer flipped; rollback and purge undo and tidy."""

import os
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from batch import RecbatchError
from batch.params import LARGEST
from batch.ranking.fallback import Lists
from batch.ratings import NOBODY, SCORE_DECIMALS, Floats, Ints, Ratings
from batch.store import schema
from batch.store.bulk_insert import bulk_insert, insert_columns
from batch.store.checks import failed
from batch.store.database import Database, abandon, next_id
from batch.telemetry import log_warning

_runs, _publication = schema.runs, schema.publication

CHANNEL = "recbatch_published"
"""Postgres: who listens on it hears the number of each run that becomes current."""


class CannotPublishError(RecbatchError):
    """The run is not one that can become current; the message says why."""


@dataclass(frozen=True)
class RunKey:
    """A run and the token of the process that may publish it."""

    run_id: int
    owner: str


def open_run(
    connection: Connection, logical_date: date, triggered_by: str, **columns: Any
) -> RunKey:
    """Record a new run as running; the caller holds the run lock, so that any other running one is dead."""
    now = datetime.now(UTC)
    connection.execute(
        update(_runs)
        .where(_runs.c.status == "running")
        .values(status="abandoned", finished_at=now, error="its process ended without a word")
    )
    key = RunKey(
        next_id(connection, _runs.c.run_id),
        f"{secrets.token_hex(16)}@{socket.gethostname()}:{os.getpid()}",
    )
    row = {
        "logical_date": logical_date,
        "triggered_by": triggered_by,
        "status": "running",
        "started_at": now,
    }
    connection.execute(insert(_runs), {"run_id": key.run_id, "owner": key.owner, **row, **columns})
    return key


def update_run(connection: Connection, run: RunKey, **columns: Any) -> None:
    """Fill in columns of a running run. Raises CannotPublishError if the run is no longer this process's."""
    if connection.execute(update(_runs).where(_at_work(run)).values(**columns)).rowcount != 1:
        raise _taken_over(run)


def require_ownership(connection: Connection, run: RunKey) -> None:
    """Make sure that the run is still this process's, and stays so until the transaction ends.

    Who lost the lock must not write what another process has purged already. Raises CannotPublishError.
    """
    mine = select(_runs.c.run_id).where(_at_work(run)).with_for_update(read=True)
    if connection.execute(mine).first() is None:
        raise _taken_over(run)


def _at_work(run: RunKey) -> ColumnElement[bool]:
    return and_(
        _runs.c.run_id == run.run_id, _runs.c.owner == run.owner, _runs.c.status == "running"
    )


def _taken_over(run: RunKey) -> CannotPublishError:
    return CannotPublishError(f"run {run.run_id} was taken over by another process")


def finish(connection: Connection, run: RunKey, status: str, **columns: Any) -> None:
    """End a running run as `ready`, `rejected` or `failed`."""
    update_run(connection, run, status=status, finished_at=datetime.now(UTC), **columns)


@contextmanager
def commit_or_verify(
    database: Database, connection: Connection, done: Select[Any]
) -> Iterator[None]:
    """One transaction that ends in certainty: where its commit gives no answer, `done` is asked elsewhere.

    A row means that it was done, and nothing is raised.
    """
    try:
        with connection.begin():
            yield
    except DBAPIError:
        abandon(connection)
        with database.reader.connect() as other:  # the connection may be gone
            if other.execute(done).first() is None:
                raise
        log_warning("the database did not answer, but had done it")


def has_ended_as(run: RunKey, status: str) -> Select[Any]:
    """A row if this process has ended its run so."""
    ended = and_(_runs.c.run_id == run.run_id, _runs.c.owner == run.owner, _runs.c.status == status)
    return select(_runs.c.run_id).where(ended)


def is_current(run_id: int) -> Select[Any]:
    """A row if readers see this run."""
    return select(_publication.c.run_id).where(_publication.c.run_id == run_id)


def write_lists(
    connection: Connection, run: RunKey, model: str, ratings: Ratings, users: Ints, lists: Lists
) -> int:
    """Write one block of lists; returns the rows written."""
    rows, ranks = (lists.listed != NOBODY).nonzero()  # (cells,) each, row by row in order of rank
    values = lists.score, lists.rating, lists.support
    stored = (_stored(array[rows, ranks], most) for array, most in zip(values, MOST, strict=True))
    columns = {
        "user_id": ratings.user_ids[users[rows]],
        "rank": ranks + 1,
        "movie_id": ratings.movie_ids[lists.listed[rows, ranks]],
        **dict(zip(("score", "predicted_rating", "support"), stored, strict=True)),
        "reason": lists.reasons[rows, ranks],
    }
    return insert_columns(
        connection, schema.recommendations, {"run_id": run.run_id, "model": model}, columns
    )


MOST = (LARGEST, LARGEST, schema.MOST_SUPPORT)
"""What their columns hold."""


def _stored(values: Floats, most: float) -> Floats:
    """As the database keeps them: rounded where ties are decided, so that noise is never published.

    A model run wild is cut to what the column holds: the audit then refuses the run, whose lists stay as evidence.
    """
    return values.astype(np.float64).round(SCORE_DECIMALS).clip(-most, most)


def write_popular(
    connection: Connection, run: RunKey, movie_ids: Sequence[int], counts: Sequence[float]
) -> None:
    """Write the list for anyone the models do not know, best first."""
    rows = (
        (run.run_id, rank, *film)
        for rank, film in enumerate(zip(movie_ids, counts, strict=True), 1)
    )
    bulk_insert(connection, schema.popular_items, ["run_id", "rank", "movie_id", "score"], rows)


def write_metrics(
    connection: Connection, run: RunKey, metrics: Mapping[str, Mapping[str, float]]
) -> None:
    """Record what `evaluate` measured."""
    rows = (
        (run.run_id, model, name, value)
        for model, named in metrics.items()
        for name, value in named.items()
    )
    bulk_insert(connection, schema.run_metrics, ["run_id", "model", "metric", "value"], rows)


def publish(connection: Connection, run: RunKey, **columns: Any) -> None:
    """Make a running run current, in the caller's one transaction on the connection that holds the run lock.

    Raises CannotPublishError, leaving the current list as it is, if the run is no longer this process's, or if a newer
    one is current: a night never goes backwards by itself.
    """
    now = datetime.now(UTC)
    update_run(connection, run, status="published", published_at=now, finished_at=now, **columns)
    if _flip(connection, run.run_id, now, forwards_only=True) != 1:
        raise CannotPublishError(f"run {run.run_id} is older than the published one")


_FLIP = """
    INSERT INTO publication (slot, run_id, previous_run_id, published_at) VALUES ('current', :run_id, NULL, :now)
    ON CONFLICT (slot) DO UPDATE SET previous_run_id = publication.run_id, run_id = excluded.run_id,
                                     published_at = excluded.published_at"""
_FLIP_FORWARDS = _FLIP + " WHERE excluded.run_id > publication.run_id"
_FLIP_ANYWHERE = _FLIP + " WHERE excluded.run_id <> publication.run_id"


def _flip(connection: Connection, run_id: int, now: datetime, *, forwards_only: bool) -> int:
    statement = text(_FLIP_FORWARDS if forwards_only else _FLIP_ANYWHERE)
    flip = statement.bindparams(
        bindparam("run_id", run_id), bindparam("now", now, type_=schema.Moment())
    )
    flipped = connection.execute(flip).rowcount
    if flipped and connection.dialect.name == "postgresql":  # told at the commit, or never
        connection.execute(select(func.pg_notify(CHANNEL, str(run_id))))
    return flipped


def require_lists(connection: Connection, run_id: int) -> str:
    """The status of a run that has complete lists. Raises CannotPublishError for any other."""
    row = connection.execute(
        select(_runs.c.status, _runs.c.purged_at).where(_runs.c.run_id == run_id)
    ).first()
    if row is None:
        raise CannotPublishError(f"there is no run {run_id}; 'recbatch runs' lists them")
    if row.purged_at is not None:
        raise CannotPublishError(
            f"the lists of run {run_id} were purged; rerun that night with 'recbatch run --as-of'"
        )
    if row.status not in ("ready", "published", "rejected"):
        raise CannotPublishError(f"run {run_id} is {row.status}: it has no complete lists")
    return str(row.status)


def republish(connection: Connection, run_id: int) -> None:
    """Make a finished run current, older ones too; the caller has audited it. Raises CannotPublishError.

    It is recorded as forced where a gate speaks against it.
    """
    status, now = require_lists(connection, run_id), datetime.now(UTC)
    if status != "published":
        forced = {"forced": 1} if failed(connection, run_id, "gate") else {}
        # A person publishes it: that night's scheduled run may have been published since, and there is one of those.
        values = {"status": "published", "published_at": now, "triggered_by": "manual", **forced}
        connection.execute(update(_runs).where(_runs.c.run_id == run_id).values(values))
    _flip(connection, run_id, now, forwards_only=False)


def previous(connection: Connection) -> int:
    """The run that was current before the current one. Raises CannotPublishError if there was none."""
    pointer = connection.execute(select(_publication.c.previous_run_id)).scalar()
    if pointer is None:
        raise CannotPublishError("no run was published before the current one")
    return int(pointer)


def published_on(connection: Connection, logical_date: date) -> int | None:
    """The run that was published for that night, if any."""
    wanted = and_(_runs.c.logical_date == logical_date, _runs.c.status == "published")
    return connection.execute(select(func.max(_runs.c.run_id)).where(wanted)).scalar()


def purge(database: Database, keep_runs: int) -> list[int]:
    """Delete the lists of runs that are neither among the newest `keep_runs` nor current nor the one before.

    Rows that failed and abandoned runs left go too. Runs, metrics and checks stay as history. One transaction a run.
    Returns the runs purged. The caller holds the run lock.
    """
    with database.writer.begin() as connection:
        doomed = _purgeable(connection, keep_runs)
    for run_id, artifact in doomed:
        if artifact:  # first: once the run is told as purged, nobody looks for its file any more
            _remove(Path(artifact))
        with database.writer.begin() as connection:
            for table in (schema.recommendations, schema.popular_items):
                connection.execute(delete(table).where(table.c.run_id == run_id, ~_in_use(run_id)))
            connection.execute(
                update(_runs).where(_runs.c.run_id == run_id).values(purged_at=datetime.now(UTC))
            )
    return [run_id for run_id, _ in doomed]


def _remove(artifact: Path) -> None:
    try:
        artifact.unlink(missing_ok=True)
    except OSError as error:  # a file left behind harms nobody; a night that fails over it would
        log_warning("artifact not removed", file=str(artifact), error=error.strerror)


def _purgeable(connection: Connection, keep_runs: int) -> list[tuple[int, str | None]]:
    whole = _runs.c.status.in_(schema.WITH_LISTS)
    kept = select(_runs.c.run_id).where(whole).order_by(_runs.c.run_id.desc()).limit(keep_runs)
    pointers = (
        connection.execute(select(_publication.c.run_id, _publication.c.previous_run_id)).first()
        or ()
    )
    spared = {number for number in pointers if number is not None} | set(
        connection.execute(kept).scalars()
    )
    done = select(_runs.c.run_id, _runs.c.artifact).where(
        _runs.c.status != "running", _runs.c.purged_at.is_(None)
    )
    return [
        (row.run_id, row.artifact) for row in connection.execute(done) if row.run_id not in spared
    ]


def _in_use(run_id: int) -> Any:
    """Backs the choice of what to purge by the statement itself."""
    p = _publication.c
    return exists(select(p.slot).where(or_(p.run_id == run_id, p.previous_run_id == run_id)))
