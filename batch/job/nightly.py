"""One nightly run, from ingest to publication and notifications."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from importlib.metadata import version
from json import dumps
from platform import python_version
from typing import Literal

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from batch.config import Config
from batch.ingest import Report
from batch.job import executors, steps
from batch.job.inputs import end_of_day
from batch.job.judge_runs import judge_earlier_runs
from batch.job.notify import notify
from batch.job.save_models import require_writable, save_models
from batch.job.steps import Job
from batch.job.summary import (
    COMPLETE_MESSAGES,
    ENDED,
    Ended,
    RunSummary,
    message_of,
    status_after,
)
from batch.ranking.metric_names import Cut, RunMetrics
from batch.ranking.metrics import Metrics
from batch.store import publish
from batch.store.checks import Check
from batch.store.database import Database
from batch.store.publish import CannotPublishError, RunKey
from batch.store.run_lock import LockedError, run_lock
from batch.store.runs import RunWarning
from batch.store.versions import prepare
from batch.telemetry import log_info, log_warning, run_id

RECORDED = ("recbatch", "numpy", "numba", "scipy", "scikit-learn", "torch")
"""Packages whose versions a run records, because its rows depend on them."""
MAX_ERROR = 2000
"""Characters of an error that `runs` keeps."""


@dataclass(frozen=True)
class Order:
    """Which night a run is for, and whether it may be published."""

    logical_date: date
    triggered_by: Literal["manual", "schedule", "catchup"] = "manual"
    as_of: date | None = None  # use only ratings that were known at the end of that day
    publish: bool = True
    force: bool = False  # publish in spite of failed gates, but not of integrity
    due_at: datetime | None = None  # the moment of the schedule that it is for


@dataclass
class Outcome:
    """The result of a run."""

    status: Ended | Literal["already_published"]
    run_id: int
    checks: list[Check] = field(default_factory=list)
    metrics: Mapping[str, Metrics] = field(default_factory=dict)  # by model
    headline: Cut = "own"  # the cut that the run is judged by
    rows: Mapping[str, int] = field(default_factory=dict)  # written, by model
    ingested: list[Report] = field(default_factory=list)
    warnings: Sequence[RunWarning] = ()

    @property
    def measured(self) -> RunMetrics:
        """The metrics, read in the headline."""
        return RunMetrics.of(self.metrics, self.headline)

    @property
    def failed_checks(self) -> list[Check]:
        """The checks that the run did not pass."""
        return [check for check in self.checks if not check.passed]


def run(database: Database, config: Config, order: Order) -> Outcome:
    """Run one night under the run lock, and send notifications.

    The lists that readers see change in the last step or not at all. Raises
    LockedError if another job is working. Any other exception leaves the run
    `failed`, or `abandoned` if it was a signal.
    """
    summary = RunSummary(order.logical_date, order.triggered_by, datetime.now(UTC))
    try:
        prepare(database)
        with run_lock(database) as lock:
            published_id = _published_before(lock, order)
            if published_id is not None:
                return Outcome("already_published", published_id)
            outcome = _run_locked(database, config, order, lock, summary)
    except LockedError:  # nothing was run
        raise
    except BaseException as error:
        summary.end_with(error)
        notify(summary, config)
        raise
    notify(summary, config)
    return outcome


def _published_before(lock: Connection, order: Order) -> int | None:
    """The run already published for this night, which makes a scheduled run unnecessary."""
    if order.triggered_by == "manual" or order.due_at is None:
        return None
    with lock.begin():
        return publish.published_for(lock, order.due_at, order.logical_date)


def _run_locked(
    database: Database, config: Config, order: Order, lock: Connection, summary: RunSummary
) -> Outcome:
    """Open a run, so that it has a row in `runs` even if it fails, and carry it out."""
    key = _open_run(database, config, order)
    summary.run_id = key.run_id
    job = Job(database, config, key, summary)
    token = run_id.set(key.run_id)
    try:
        try:
            outcome = _recompute(job, order, lock)
        except BaseException as error:
            record_failure(job, error)
            raise
        _tidy_up(job, outcome)
    finally:
        run_id.reset(token)
    return outcome


def _open_run(database: Database, config: Config, order: Order) -> RunKey:
    columns = {
        "due_at": order.due_at,
        "forced": 0,
        "top_n": config.publish.top_n,
        "spare": config.publish.spare,
        "preset": config.preset,
        "seed": config.evaluation.seed,
        "config_sha256": config.sha256(),
        "versions": versions_text(),
    }
    with database.writer.begin() as connection:
        return publish.open_run(connection, order.logical_date, order.triggered_by, **columns)


@cache
def versions() -> dict[str, str]:
    """Installed versions of Python and of the packages that rows depend on."""
    packages = {name: version(name) for name in RECORDED}
    return {"python": python_version(), **packages}


def versions_text() -> str:
    """The same as JSON, as `runs` keeps it."""
    return dumps(versions())


def _recompute(job: Job, order: Order, lock: Connection) -> Outcome:
    """Every step from the input files to the lists that readers see."""
    executors.check_executor(job.config)
    require_writable(job.config.artifacts.dir)
    reports = steps.ingest_files(job)
    steps.filter_by_settings(job)
    ratings, mask = steps.load_inputs(job, end_of_day(order.as_of, job.config))
    evaluation = steps.evaluate_models(job, ratings)
    models = steps.fit_models(job, ratings, evaluation.epochs)
    ensemble = steps.fit_blend(job, models, evaluation, ratings, mask)
    least_ratings = steps.choose_fallback(job, evaluation, ensemble)
    written = steps.write_lists(job, ensemble, mask, least_ratings)
    steps.find_similar(job, ratings, mask)
    save_models(job, ensemble)
    judge_earlier_runs(job)
    checks = steps.audit_lists(job, evaluation, written)
    status = _decide(checks, order)
    _end(job, order, status, sum(written.total.values()), lock)
    return Outcome(
        status,
        job.key.run_id,
        checks,
        evaluation.metrics,
        evaluation.headline,
        written.total,
        reports,
        job.summary.warnings,
    )


def _decide(checks: list[Check], order: Order) -> Ended:
    """The status of a run whose lists were audited.

    Failed gates reject a run only if it is to be published, and not forced.
    """
    severities = ["integrity"]
    if order.publish and not order.force:
        severities.append("gate")
    if any(check.severity in severities and not check.passed for check in checks):
        return "rejected"
    return "published" if order.publish else "ready"


def _end(job: Job, order: Order, status: Ended, n_rows: int, lock: Connection) -> None:
    """End the run in one transaction; if it is published, readers see it from then on.

    It is done on the connection that holds the lock: a job that lost the lock
    cannot publish.
    """
    columns = {"rows_written": n_rows, "forced": int(order.force)}
    has_ended = publish.has_ended_as(job.key, status)
    with publish.commit_or_verify(job.database, lock, has_ended):
        if status == "published":
            publish.publish(lock, job.key, **columns)
        else:
            publish.finish(lock, job.key, status, **columns)
    job.summary.status = status


def _tidy_up(job: Job, outcome: Outcome) -> None:
    """Log the end and purge old runs."""
    log_info("finished", status=outcome.status, rows=sum(outcome.rows.values()))
    purge_old_runs(job)


def purge_old_runs(job: Job) -> None:
    """Purge old runs; a failure here is only a warning: the next run purges what is left over."""
    try:
        publish.purge(job.database, job.config.publish.keep_runs)
    except COMPLETE_MESSAGES as error:
        log_warning("purge failed", error=message_of(error))
    except Exception as error:
        log_warning("purge failed", because=error)


def record_failure(job: Job, error: BaseException) -> None:
    """Record the error in `runs`, unless the run ended before it.

    Where even that cannot be written, the next run marks this one as abandoned.
    """
    if job.summary.status is None:
        job.summary.status = _status_reached(job)
    if job.summary.status is not None:
        return
    status = status_after(error)
    message = message_of(error)
    log_warning(status, error=message)
    with suppress(SQLAlchemyError, CannotPublishError), job.database.writer.begin() as connection:
        publish.finish(connection, job.key, status, error=message[:MAX_ERROR])


def _status_reached(job: Job) -> Ended | None:
    """How the run ended in the database: a signal may come after the commit."""
    with suppress(SQLAlchemyError), job.database.reader.connect() as connection:
        for status in ENDED:
            ended = connection.execute(publish.has_ended_as(job.key, status))
            if ended.first() is not None:
                return status
    return None
