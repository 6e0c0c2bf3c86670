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
    columns = (
        r.run_id, r.logical_date, r.triggered_by, r.status, r.started_at, r.finished_at, r.published_at, r.rows_written,
        r.purged_at, r.forced, r.error,
    )  # fmt: skip
    found = []
    for row in connection.execute(select(*columns).order_by(r.run_id.desc()).limit(limit)):
        told = row._asdict()
        marks = {"current": told["run_id"] == current, "purged": told.pop("purged_at") is not None}
        found.append(Run(**told | marks | {"forced": bool(told["forced"])}))
    return found
