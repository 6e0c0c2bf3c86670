"""Old runs -> no spare rows, older ones no lists and no weights; metrics and checks remain.

Values that files overwrote before an old run go with it.
"""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from batch.store import digests, schema
from batch.store.database import Database
from batch.store.leftovers import delete_leftovers
from batch.store.runs import IS_NIGHT, SPARE_ROWS
from batch.telemetry import log_warning

_runs, _publication = schema.runs, schema.publication
_lists, _refreshed = schema.recommendations, schema.refreshed_users
_batches, _superseded = schema.ingest_batches, schema.superseded_ratings


def purge(database: Database, keep_runs: int) -> list[int]:
    """Delete the lists of all but the newest `keep_runs` runs.

    Returns the runs purged. The current run and the one before it are
    always kept. Rows that failed and abandoned runs left are deleted too.
    Files that a purged run used can no longer be undone if they overwrote
    ratings: the earlier values are deleted. So are users and films of undone
    files that only purged lists named. Of the runs kept, those older than the
    current one lose their spare rows, but for the one before it. One
    transaction for each run; the caller holds the run lock.
    """
    with database.writer.begin() as connection:
        runs = _purgeable(connection, keep_runs)
        trimmable = _trimmable(connection)
        _delete_undone_users(connection)
    for run_id, artifact in runs:
        if artifact:
            # Before the rows: nothing looks for the file of a run that is
            # marked as purged.
            _delete_file(Path(artifact))
        with database.writer.begin() as connection:
            _delete_lists(connection, run_id)
            _delete_superseded(connection, run_id)
            delete_leftovers(connection)
    purged = [run_id for run_id, _ in runs]
    for run_id, top_n in trimmable:
        if run_id not in purged:
            with database.writer.begin() as connection:
                _delete_spare(connection, run_id, top_n)
    return purged


def _purgeable(connection: Connection, keep_runs: int) -> list[tuple[int, str | None]]:
    """run_id and weights file of each run to purge."""
    with_lists = and_(_runs.c.status.in_(schema.WITH_LISTS), IS_NIGHT)
    r, p = _runs.c, _publication.c
    newest = select(r.run_id).where(with_lists).order_by(r.run_id.desc())
    kept = set(connection.execute(newest.limit(keep_runs)).scalars())
    pointers = connection.execute(select(p.run_id, p.previous_run_id)).first()
    if pointers is not None:
        kept.update(pointers)
    kept.update(connection.execute(select(_refreshed.c.run_id).distinct()).scalars())
    ended = and_(_runs.c.status != "running", _runs.c.purged_at.is_(None))
    rows = connection.execute(select(r.run_id, r.artifact).where(ended))
    return [(run_id, artifact) for run_id, artifact in rows if run_id not in kept]


def _trimmable(connection: Connection) -> list[tuple[int, int]]:
    """run_id and top_n of each run with spare rows that is older than the current one.

    The one before it keeps them: a rollback shows it. So do newer ones, which are yet to be
    published.
    """
    r, p = _runs.c, _publication.c
    is_older = and_(r.run_id < p.run_id, r.run_id != func.coalesce(p.previous_run_id, 0))
    with_spare = and_(r.spare > 0, r.purged_at.is_(None), r.status.in_(schema.WITH_LISTS))
    runs = select(r.run_id, r.top_n).join_from(_runs, _publication, is_older).where(with_spare)
    return [(run_id, top_n) for run_id, top_n in connection.execute(runs)]


def _delete_spare(connection: Connection, run_id: int, top_n: int) -> None:
    """Delete the spare rows of a run."""
    is_spare = _lists.c.rank > top_n
    digests.subtract(connection, run_id, is_spare)
    connection.execute(delete(_lists).where(_lists.c.run_id == run_id, is_spare))
    metrics = schema.run_metrics
    is_count = and_(metrics.c.run_id == run_id, metrics.c.metric == SPARE_ROWS)
    connection.execute(update(metrics).where(is_count).values(value=0))
    connection.execute(update(_runs).where(_runs.c.run_id == run_id).values(spare=0))


def _delete_lists(connection: Connection, run_id: int) -> None:
    for table in (schema.recommendations, schema.popular_items, schema.similar_items):
        unused = ~_is_published(run_id)
        connection.execute(delete(table).where(table.c.run_id == run_id, unused))
    digests.remove(connection, run_id)
    _delete_refreshes(connection, run_id)
    purged = update(_runs).where(_runs.c.run_id == run_id)
    connection.execute(purged.values(purged_at=datetime.now(UTC)))


def _delete_refreshes(connection: Connection, run_id: int) -> None:
    """Delete all that is recorded of a purged run's refreshes: there may be hundreds a day.

    But for the newest run of all, whose number must not become another's.
    """
    newest = connection.execute(select(func.max(_runs.c.run_id))).scalar_one()
    of_run = and_(_runs.c.base_run_id == run_id, _runs.c.run_id < newest)
    refreshes = connection.execute(select(_runs.c.run_id).where(of_run)).scalars().all()
    for table in (schema.run_metrics, schema.run_checks, schema.run_digests, _lists, _runs):
        connection.execute(delete(table).where(table.c.run_id.in_(refreshes)))


def _delete_superseded(connection: Connection, run_id: int) -> None:
    """Delete the values that files overwrote before this run: else they would pile up.

    A file that is read again every night, without times, overwrites all its ratings each time.
    Values overwritten after a kept run stay: they show which films were rated before that run.
    Times of films seen stay: each of them is overwritten by an earlier one only.
    """
    b = _batches.c
    had_lists = and_(_runs.c.status.in_(schema.WITH_LISTS), IS_NIGHT)
    last_batch = select(_runs.c.last_batch_id).where(_runs.c.run_id == run_id, had_lists)
    oldest = select(func.min(_runs.c.last_batch_id)).where(had_lists, _runs.c.purged_at.is_(None))
    before = and_(
        b.batch_id <= last_batch.scalar_subquery(),
        b.batch_id <= func.coalesce(oldest.scalar_subquery(), b.batch_id),
        b.rows_superseded > 0,
    )
    has_rows = exists().where(_superseded.c.batch_id == b.batch_id)
    batch_ids = select(b.batch_id).where(before, has_rows)
    for batch_id in connection.execute(batch_ids).scalars().all():
        connection.execute(delete(_superseded).where(_superseded.c.batch_id == batch_id))
        without = update(_batches).where(b.batch_id == batch_id).values(rows_superseded=None)
        connection.execute(without)


def _delete_undone_users(connection: Connection) -> None:
    """Delete what no refresh can need: of files undone before the oldest night with lists began."""
    with_lists = and_(_runs.c.status.in_(schema.WITH_LISTS), IS_NIGHT, _runs.c.purged_at.is_(None))
    oldest = select(func.min(_runs.c.started_at)).where(with_lists).scalar_subquery()
    undone_before = select(_batches.c.batch_id).where(_batches.c.undone_at < oldest)
    undone = schema.undone_users
    connection.execute(delete(undone).where(undone.c.batch_id.in_(undone_before)))


def _is_published(run_id: int) -> ColumnElement[bool]:
    """Whether the run is current or the one before, or a refresh that somebody is shown.

    It is looked up by the statement it is part of.
    """
    p = _publication.c
    pointed_at = or_(p.run_id == run_id, p.previous_run_id == run_id)
    is_shown = exists(select(_refreshed.c.user_id).where(_refreshed.c.run_id == run_id))
    return or_(exists(select(p.slot).where(pointed_at)), is_shown)


def _delete_file(artifact: Path) -> None:
    try:
        artifact.unlink(missing_ok=True)
    except OSError as error:
        # A file left behind does no harm; a night that fails because of it
        # would.
        log_warning("artifact not removed", file=str(artifact), error=error.strerror)
