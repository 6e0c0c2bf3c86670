"""`runs` -> what operators ask: which runs there were, and what became of them."""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, select

from batch import schema


@dataclass(frozen=True)
class Run:
    """One row of the history."""

    run_id: int
    logical_date: date
    triggered_by: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    published_at: datetime | None
    rows_written: int | None
    current: bool  # whether readers see it
    purged: bool  # whether its lists are gone
    forced: bool
    error: str | None


def history(connection: Connection, limit: int) -> list[Run]:
    """The newest runs, newest first."""
    r = schema.runs.c
    current = connection.execute(select(schema.publication.c.run_id)).scalar()
    rows = connection.execute(
        select(
            r.run_id, r.logical_date, r.triggered_by, r.status, r.started_at, r.finished_at, r.published_at,
            r.rows_written, r.purged_at, r.forced, r.error,
        )
        .order_by(r.run_id.desc())
        .limit(limit)
    ).all()  # fmt: skip
    return [
        Run(
            row.run_id,
            row.logical_date,
            row.triggered_by,
            row.status,
            row.started_at,
            row.finished_at,
            row.published_at,
            row.rows_written,
            row.run_id == current,
            row.purged_at is not None,
            bool(row.forced),
            row.error,
        )
        for row in rows
    ]
