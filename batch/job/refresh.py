"""Ratings newer than the current run -> new lists of their users, shown as that run's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection

from batch import RecbatchError
from batch.audit.integrity import audit_integrity
from batch.config import Config
from batch.ingest import Report, ingest
from batch.job import nightly, steps
from batch.job.inputs import ingest_settings, queries
from batch.job.restored import Kept, kept_of, restored_ensemble, run_to_restore
from batch.job.score_users import WrittenRows, popular_films
from batch.job.steps import Job
from batch.job.summary import RunSummary
from batch.store import digests, publish
from batch.store.checks import record
from batch.store.database import Database
from batch.store.refreshed import changed_users, record_refresh, show_refreshed
from batch.store.run_lock import run_lock
from batch.store.runs import Run
from batch.store.versions import prepare
from batch.telemetry import log_info, step
from batch.telemetry import run_id as logged_run_id


class CannotRefreshError(RecbatchError):
    """The new lists fail their audit; the message says by what."""


@dataclass
class Refreshed:
    """What a refresh did."""

    base_run_id: int  # the run whose lists were brought up to date
    run_id: int | None  # the refresh itself; None: there was nothing to do
    users: int = 0  # who got new lists
    rows: dict[str, int] = field(default_factory=dict)  # written, by model
    ingested: Sequence[Report] = ()


def refresh(database: Database, config: Config, triggered_by: str = "manual") -> Refreshed:
    """Ingest what is new, and make new lists for those whose ratings changed.

    They are made with what the current run learnt, from all ratings there are, and shown in one
    transaction; nothing that is stored is changed. Raises LockedError if another job is working,
    CannotRestoreError, CannotRefreshError.
    """
    prepare(database)
    with run_lock(database) as lock:
        with database.reader.connect() as connection:
            base = run_to_restore(connection)
        reports = ingest(
            database,
            config.ingest.paths,
            ingest_settings(config),
            queries=queries(config),
            pass_over_undone=True,
            seen_paths=config.ingest.seen_paths,
        )
        steps.log_reports(reports)
        with database.reader.connect() as connection:
            user_ids = changed_users(connection, base)
            # Before a run is opened: what cannot be restored now cannot be in five minutes either.
            kept = kept_of(connection, base) if user_ids else None
        if kept is not None:
            changed = Changed(base, kept, user_ids)
            refreshed = _refresh(database, config, changed, triggered_by, lock)
        else:
            refreshed = Refreshed(base.run_id, None)
            with database.writer.begin() as connection:
                record_refresh(connection, base.run_id, datetime.now(UTC))
        refreshed.ingested = reports
    return refreshed


class Changed(NamedTuple):
    """The users who get new lists, and what their lists are made with."""

    base: Run  # the current run
    kept: Kept  # what it learnt
    user_ids: Sequence[int]


def _refresh(
    database: Database, config: Config, changed: Changed, triggered_by: str, lock: Connection
) -> Refreshed:
    """Open a run for the new lists, and carry it out."""
    base = changed.base
    columns = {
        "kind": "refresh",
        "base_run_id": base.run_id,
        "forced": 0,
        "top_n": base.top_n,
        "spare": base.spare,
        "preset": base.preset,
        "seed": base.seed,
        "config_sha256": base.config_sha256,
        "versions": nightly.versions_text(),
    }
    with database.writer.begin() as connection:
        key = publish.open_run(connection, base.logical_date, triggered_by, **columns)
    summary = RunSummary(base.logical_date, triggered_by, datetime.now(UTC), run_id=key.run_id)
    job = Job(database, _as_published(config, base), key, summary)
    token = logged_run_id.set(key.run_id)
    try:
        try:
            written = _new_lists(job, changed)
            _show(job, changed, written, lock)
        except BaseException as error:
            nightly.record_failure(job, error)
            raise
        nightly.purge_old_runs(job)
    finally:
        logged_run_id.reset(token)
    return Refreshed(base.run_id, key.run_id, len(changed.user_ids), written.total)


def _as_published(config: Config, base: Run) -> Config:
    """The settings, with lists as of the current run; a cluster is not worth starting."""
    lengths = {"top_n": base.top_n, "spare": base.spare or 0}
    publish_settings = config.publish.model_copy(update=lengths)
    changed = {"publish": publish_settings, "preset": base.preset, "engine": "local"}
    return config.model_copy(update=changed)


def _new_lists(job: Job, changed: Changed) -> WrittenRows:
    """Write the lists of these users, and audit them. Raises CannotRefreshError."""
    base = changed.base
    steps.filter_by_settings(job)
    ratings, mask = steps.load_inputs(job, None, scale=base.scale)
    # Users whose only ratings were undone have no row, and no lists.
    users = np.flatnonzero(np.isin(ratings.user_ids, np.array(changed.user_ids, dtype=np.int64)))
    with step("fit", into=job.summary.seconds):
        diversity = job.config.publish.diversity
        ensemble = restored_ensemble(base, changed.kept, ratings, users, mask, diversity)
    popular = popular_films(ensemble, mask, base.least_ratings or 1)
    written = steps.write_lists_of(job, ensemble, popular, users)
    run_id = job.key.run_id
    with job.database.writer.begin() as connection:
        publish.require_ownership(connection, job.key)
        publish.write_metrics(connection, job.key, written.counts())
        checks = audit_integrity(connection, run_id, job.config.filters)
        record(connection, run_id, checks)
        digests.record(connection, run_id)
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise CannotRefreshError(
            f"the new lists fail their integrity checks, and are not shown: {', '.join(failed)}"
        )
    return written


def _show(job: Job, changed: Changed, written: WrittenRows, lock: Connection) -> None:
    """End the refresh in one transaction, from which on readers see it."""
    n_rows = sum(written.total.values())
    has_ended = publish.has_ended_as(job.key, "published")
    with publish.commit_or_verify(job.database, lock, has_ended):
        show_refreshed(lock, job.key, changed.base.run_id, changed.user_ids, rows_written=n_rows)
    job.summary.status = "published"
    log_info("refreshed", users=len(changed.user_ids), rows=n_rows, base=changed.base.run_id)
