"""Users whose ratings changed since the current run, and users who are shown a refresh."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select, text, update

from batch.store import schema
from batch.store.publish import CannotPublishError, RunKey, announce, update_run
from batch.store.runs import Run

_runs, _publication = schema.runs, schema.publication
_refreshed, _undone = schema.refreshed_users, schema.undone_users
_batches = schema.ingest_batches


@dataclass(frozen=True)
class _Since:
    """The newest changes that the lists already include."""

    batch_id: int
    started_at: datetime


def changed_users(connection: Connection, base: Run) -> list[int]:
    """The user_id of users whose ratings changed since the current run or its last refresh.

    They have rows of a newer batch in `ratings` or `seen`, or had rows of a batch that has been
    undone since. In order.
    """
    since = _since(connection, base)
    b = _batches.c
    undone_since = select(b.batch_id).where(b.undone_at > since.started_at)
    of_undone = select(_undone.c.user_id).where(_undone.c.batch_id.in_(undone_since))
    user_ids = set(connection.execute(of_undone).scalars())
    newer = select(b.batch_id).where(b.batch_id > since.batch_id, b.status == "merged").limit(1)
    # The tables have no index on batches: they are read only where there is a newer one.
    if connection.execute(newer).first() is not None:
        for table in (schema.ratings, schema.seen):
            of_newer = select(table.c.user_id).where(table.c.batch_id > since.batch_id)
            user_ids.update(connection.execute(of_newer.distinct()).scalars())
    return sorted(user_ids)


def _since(connection: Connection, base: Run) -> _Since:
    """The newest refresh that users are shown, or the run itself.

    After a rollback nobody is shown a refresh, whatever there was before.
    """
    shown = select(_refreshed.c.run_id)
    r = _runs.c
    newest = (
        select(r.last_batch_id, r.started_at)
        .where(r.run_id.in_(shown))
        .order_by(r.run_id.desc())
        .limit(1)
    )
    row = connection.execute(newest).first()
    if row is None:
        return _Since(base.last_batch_id or 0, base.started_at)
    return _Since(row.last_batch_id, row.started_at)


def show_refreshed(
    connection: Connection,
    run: RunKey,
    base_run_id: int,
    user_ids: Iterable[int],
    **columns: Any,
) -> None:
    """Show these users their lists of a running refresh from now on.

    On the connection that has the run lock, in a transaction that does nothing else. Raises
    CannotPublishError if another process ended the refresh, or another run is current.
    """
    now = datetime.now(UTC)
    columns |= {"status": "published", "published_at": now, "finished_at": now}
    update_run(connection, run, **columns)
    record_refresh(connection, base_run_id, now)
    show = text("""
        INSERT INTO refreshed_users (user_id, run_id) VALUES (:user_id, :run_id)
        ON CONFLICT (user_id) DO UPDATE SET run_id = excluded.run_id""")
    shown = [{"user_id": user_id, "run_id": run.run_id} for user_id in user_ids]
    connection.execute(show, shown)
    announce(connection, base_run_id)


def record_refresh(connection: Connection, base_run_id: int, now: datetime) -> None:
    """Record when the current run's lists were last found or made up to date.

    Raises CannotPublishError where another run is current.
    """
    refreshed = update(_publication).where(_publication.c.run_id == base_run_id)
    if connection.execute(refreshed.values(refreshed_at=now)).rowcount != 1:
        raise CannotPublishError(f"run {base_run_id} is not current any more")
