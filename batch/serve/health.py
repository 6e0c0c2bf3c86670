"""Tables at a moment -> findings for a monitor: how old the list is, how the last run ended."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select

from batch.query import published
from batch.store import schema
from batch.store.checks import failed
from batch.store.database import Database, NotReadyError
from batch.store.digests import changed_models
from batch.store.first_steps import first_steps
from batch.store.runs import IS_NIGHT, NEWEST_RATING, NIGHT, newest_with_sources
from batch.store.versions import require_tables

Level = Literal["ok", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "error")
"""From good to bad."""

_runs = schema.runs
_FAILURES = ("failed", "rejected", "abandoned")
"""Values of `runs.status` that a monitor reports."""


@dataclass(frozen=True)
class Ages:
    """Ages of the published run from which a monitor warns, and from which the list is stale."""

    warn_after: timedelta
    error_after: timedelta


@dataclass(frozen=True)
class Finding:
    """The result of one check. `hours` is an age; None where the check has none."""

    name: Literal[
        "schema", "freshness", "last_run", "integrity", "rows", "gates", "data", "sources"
    ]
    level: Level
    about: str
    hours: float | None = None


def worst(findings: list[Finding]) -> Level:
    """The worst level of all findings."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")


def examine(database: Database, now: datetime, ages: Ages) -> list[Finding]:
    """All findings at one moment; only the first where tables are missing or of another version."""
    try:
        require_tables(database)
    except NotReadyError as error:
        return [Finding("schema", "error", str(error))]
    findings = [Finding("schema", "ok", f"version {schema.HEAD}")]
    with database.reader.connect() as connection:
        findings += _published_run(connection, now, ages)
        findings += _last_run(connection, now, ages)
        findings += _sources(connection)
    return findings


def _published_run(connection: Connection, now: datetime, ages: Ages) -> Iterator[Finding]:
    """Findings about the run that readers see."""
    current = published(connection)
    if current is None:
        about = f"nothing was ever published; {first_steps(connection)}"
        yield Finding("freshness", "error", about)
        return
    columns = select(_runs.c.finished_at, _runs.c.last_batch_id)
    run = connection.execute(columns.where(_runs.c.run_id == current.run_id)).one()
    # Counted from the end of the run: a rollback does not make an old list younger.
    age = now - run.finished_at
    made = (
        f"run {current.run_id}, published {_minute(current.published_at)},"
        f" was made {_hours(age)} ago"
    )
    if current.refreshed_at is not None:
        made += f" and refreshed {_hours(now - current.refreshed_at)} ago"
    yield _freshness(made, age, ages)
    violations = failed(connection, current.run_id, "integrity")
    if violations:
        about = (
            f"run {current.run_id} was audited once more, and fails: {', '.join(violations)};"
            " publish another run"
        )
        yield Finding("integrity", "error", about)
    changed = changed_models(connection, current.run_id)
    if changed:
        about = (
            f"run {current.run_id}: rows of {', '.join(changed)} are not those that were published;"
            " find out who changed them, then 'recbatch run'"
        )
        yield Finding("rows", "error", about)
    gates = failed(connection, current.run_id, "gate")
    if gates:
        about = f"run {current.run_id} was published over its gates: {', '.join(gates)}"
        yield Finding("gates", "warning", about)
    yield _data(connection, current.run_id, run.last_batch_id, now)


def _freshness(made: str, age: timedelta, ages: Ages) -> Finding:
    level: Level = "ok"
    limit = ""
    if age >= ages.error_after:
        level = "error"
        limit = f": stale from {_hours(ages.error_after)} on"
    elif age >= ages.warn_after:
        level = "warning"
        limit = f", {_hours(ages.warn_after)} or less wanted"
    return Finding("freshness", level, f"{made}{limit}", _in_hours(age))


def _data(connection: Connection, run_id: int, last_batch_id: int | None, now: datetime) -> Finding:
    """The newest rating that the run used, and how many files were merged after it."""
    metrics = schema.run_metrics.c
    batches = schema.ingest_batches.c
    newest_rating = select(metrics.value).where(
        metrics.run_id == run_id, metrics.model == NIGHT, metrics.metric == NEWEST_RATING
    )
    merged_later = select(func.count()).where(
        batches.status == "merged", batches.batch_id > (last_batch_id or 0)
    )
    seconds = connection.execute(newest_rating).scalar()
    n_files = connection.execute(merged_later).scalar_one()
    files = f"; {n_files:,} files were merged since" if n_files else ""
    if seconds is None:
        return Finding("data", "ok", f"its ratings have no times{files}")
    newest = datetime.fromtimestamp(seconds, UTC)
    about = f"its newest rating is of {_minute(newest)}{files}"
    return Finding("data", "ok", about, _in_hours(now - newest))


def _last_run(connection: Connection, now: datetime, ages: Ages) -> Iterator[Finding]:
    """How the newest run ended; while it is running, how the one before ended too."""
    newest = select(_runs).where(IS_NIGHT).order_by(_runs.c.run_id.desc()).limit(2)
    for run in connection.execute(newest).all():
        if run.status != "running":
            yield _ended(connection, run)
            return
        yield _running(run, now, ages)


def _running(run: Row[Any], now: datetime, ages: Ages) -> Finding:
    age = now - run.started_at
    level: Level = "ok"
    about = f"run {run.run_id} is at work for {_hours(age)}"
    if age >= ages.warn_after:
        level = "warning"
        about += ", or its process has ended; the next run finds out"
    return Finding("last_run", level, about, _in_hours(age))


def _ended(connection: Connection, run: Row[Any]) -> Finding:
    if run.status not in _FAILURES:
        return Finding("last_run", "ok", f"run {run.run_id} is {run.status}")
    # An abandoned run was ended from outside and is started again: if that does not help, the
    # age of the list becomes an error.
    level: Level = "warning" if run.status == "abandoned" else "error"
    reason = run.error or ", ".join(failed(connection, run.run_id)) or "no reason recorded"
    first_line = reason.splitlines()[0]
    return Finding("last_run", level, f"run {run.run_id} is {run.status}: {first_line}")


def _sources(connection: Connection) -> Iterator[Finding]:
    """The sources without data of the newest run that read its sources."""
    run = newest_with_sources(connection)
    if run is None or run.warnings is None:
        return
    for warning in run.warnings:
        if warning["kind"] == "source":
            about = f"run {run.run_id}, {warning['message']}"
            yield Finding("sources", "error", about)


def _in_hours(age: timedelta) -> float:
    return age / timedelta(hours=1)


def _hours(age: timedelta) -> str:
    return f"{_in_hours(age):.1f} h"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
