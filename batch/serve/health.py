"""What the tables say, and a moment -> findings for a monitor: how old the list is, and how the last run ended."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select

from batch.query import published
from batch.store import schema
from batch.store.checks import failed
from batch.store.database import Database, NotReadyError, require_tables
from batch.store.runs import NEWEST_RATING, NIGHT

Level = Literal["ok", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "error")
"""From good to bad."""

_runs = schema.runs
_UNHAPPY = ("failed", "rejected", "abandoned")


@dataclass(frozen=True)
class Ages:
    """From which age on a list is to be looked at, and from which it is stale."""

    warn_after: timedelta
    error_after: timedelta


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `hours` is an age, None where it is not about one."""

    name: Literal["schema", "freshness", "last_run", "integrity", "gates", "data"]
    level: Level
    about: str
    hours: float | None = None


def worst(findings: list[Finding]) -> Level:
    """The level of the whole."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")


def examine(database: Database, now: datetime, ages: Ages) -> list[Finding]:
    """Everything a monitor asks, of one moment; where tables are missing, or of another version, there is no more."""
    try:
        require_tables(database)
    except NotReadyError as error:
        return [Finding("schema", "error", str(error))]
    with database.reader.connect() as connection:
        current, last = [*_current(connection, now, ages)], [*_last(connection, now, ages)]
    return [Finding("schema", "ok", f"version {schema.HEAD}"), *current, *last]


def _current(connection: Connection, now: datetime, ages: Ages) -> Iterator[Finding]:
    """The run that readers see. Its age counts from when it was made: after a rollback the list is as old as it is."""
    current = published(connection)
    if current is None:
        yield Finding("freshness", "error", "nothing was ever published; run 'recbatch run'")
        return
    made = _runs.c.finished_at
    run = connection.execute(
        select(made, _runs.c.last_batch_id).where(_runs.c.run_id == current.run_id)
    ).one()
    age = now - run.finished_at
    level: Level = (
        "error" if age >= ages.error_after else "warning" if age >= ages.warn_after else "ok"
    )
    limit = {
        "ok": "",
        "warning": f", {_hours(ages.warn_after)} or less wanted",
        "error": f": stale from {_hours(ages.error_after)} on",
    }
    told = f"run {current.run_id}, published {_minute(current.published_at)}, was made {_hours(age)} ago{limit[level]}"
    yield Finding("freshness", level, told, age / timedelta(hours=1))
    broken = failed(connection, current.run_id, "integrity")
    if broken:
        told = f"run {current.run_id} was audited once more, and fails: {', '.join(broken)}; publish another run"
        yield Finding("integrity", "error", told)
    against = failed(connection, current.run_id, "gate")
    if against:
        yield Finding(
            "gates",
            "warning",
            f"run {current.run_id} was published over its gates: {', '.join(against)}",
        )
    yield from _data(connection, current.run_id, run.last_batch_id, now)


def _data(
    connection: Connection, run_id: int, last_batch: int | None, now: datetime
) -> Iterator[Finding]:
    """What the published run knew: its newest rating, and files that came later."""
    m, b = schema.run_metrics.c, schema.ingest_batches.c
    newest = connection.execute(
        select(m.value).where(m.run_id == run_id, m.model == NIGHT, m.metric == NEWEST_RATING)
    ).scalar()
    later = connection.execute(
        select(func.count()).where(b.status == "merged", b.batch_id > (last_batch or 0))
    ).scalar_one()
    files = f"; {later:,} files were merged since" if later else ""
    if newest is None:
        yield Finding("data", "ok", f"its ratings have no times{files}")
    else:
        moment = datetime.fromtimestamp(newest, UTC)
        yield Finding(
            "data",
            "ok",
            f"its newest rating is of {_minute(moment)}{files}",
            (now - moment) / timedelta(hours=1),
        )


def _last(connection: Connection, now: datetime, ages: Ages) -> Iterator[Finding]:
    """How the newest run ended; while it is at work, how the one before did."""
    newest = select(_runs).order_by(_runs.c.run_id.desc()).limit(2)
    for run in connection.execute(newest).all():
        yield _ended(connection, run) if run.status != "running" else _at_work(run, now, ages)
        if run.status != "running":
            return


def _at_work(run: Row[Any], now: datetime, ages: Ages) -> Finding:
    since = now - run.started_at
    told = f"run {run.run_id} is at work for {_hours(since)}"
    if since < ages.warn_after:
        return Finding("last_run", "ok", told, since / timedelta(hours=1))
    return Finding(
        "last_run",
        "warning",
        f"{told}, or its process is gone, which the next run will tell",
        since / timedelta(hours=1),
    )


def _ended(connection: Connection, run: Row[Any]) -> Finding:
    if run.status not in _UNHAPPY:
        return Finding("last_run", "ok", f"run {run.run_id} is {run.status}")
    why = (run.error or ", ".join(failed(connection, run.run_id)) or "no reason left").splitlines()[
        0
    ]
    # An abandoned run was ended from outside, and is started again: the age tells if that does not help.
    return Finding(
        "last_run",
        "warning" if run.status == "abandoned" else "error",
        f"run {run.run_id} is {run.status}: {why}",
    )


def _hours(age: timedelta) -> str:
    return f"{age / timedelta(hours=1):.1f} h"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
