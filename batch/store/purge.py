"""Old runs -> no lists and no weights; runs, metrics and checks remain."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select, update

from batch.store import schema
from batch.store.database import Database
from batch.telemetry import log_warning

_runs, _publication = schema.runs, schema.publication


def purge(database: Database, keep_runs: int) -> list[int]:
    """Delete the lists of all but the newest `keep_runs` runs.

    Returns the runs purged. The current run and the one before it are
    always kept. Rows that failed and abandoned runs left are deleted too.
    One transaction for each run; the caller holds the run lock.
    """
    with database.writer.begin() as connection:
        runs = _purgeable(connection, keep_runs)
    for run_id, artifact in runs:
        if artifact:
            # Before the rows: nothing looks for the file of a run that is
            # marked as purged.
            _delete_file(Path(artifact))
        with database.writer.begin() as connection:
            _delete_lists(connection, run_id)
    return [run_id for run_id, _ in runs]


def _purgeable(connection: Connection, keep_runs: int) -> list[tuple[int, str | None]]:
    """run_id and weights file of each run to purge."""
    with_lists = _runs.c.status.in_(schema.WITH_LISTS)
    r, p = _runs.c, _publication.c
    newest = select(r.run_id).where(with_lists).order_by(r.run_id.desc())
    kept = set(connection.execute(newest.limit(keep_runs)).scalars())
    pointers = connection.execute(select(p.run_id, p.previous_run_id)).first()
    if pointers is not None:
        kept.update(pointers)
    ended = and_(_runs.c.status != "running", _runs.c.purged_at.is_(None))
    rows = connection.execute(select(r.run_id, r.artifact).where(ended))
    return [(run_id, artifact) for run_id, artifact in rows if run_id not in kept]


def _delete_lists(connection: Connection, run_id: int) -> None:
    for table in (schema.recommendations, schema.popular_items):
        unused = ~_is_published(run_id)
        connection.execute(delete(table).where(table.c.run_id == run_id, unused))
    purged = update(_runs).where(_runs.c.run_id == run_id)
    connection.execute(purged.values(purged_at=datetime.now(UTC)))


def _is_published(run_id: int) -> ColumnElement[bool]:
    """Whether the run is current or the one before, looked up by the statement it is part of."""
    p = _publication.c
    pointed_at = or_(p.run_id == run_id, p.previous_run_id == run_id)
    return exists(select(p.slot).where(pointed_at))


def _delete_file(artifact: Path) -> None:
    try:
        artifact.unlink(missing_ok=True)
    except OSError as error:
        # A file left behind does no harm; a night that fails because of it
        # would.
        log_warning("artifact not removed", file=str(artifact), error=error.strerror)
