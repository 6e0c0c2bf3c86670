"""Runs -> what `recbatch runs` tells of each: when it ran, what asked for it, what became of it."""

from collections.abc import Mapping

from sqlalchemy import Connection

from batch.store.runs import newest_runs

FIELDS = (
    "run_id",
    "logical_date",
    "triggered_by",
    "status",
    "started_at",
    "finished_at",
    "published_at",
    "rows_written",
    "current",
    "purged",
    "forced",
    "error",
)
"""Of a `Run`, in this order; scripts read them from `recbatch runs --json`."""


def history(connection: Connection, limit: int) -> list[Mapping[str, object]]:
    """The newest runs, newest first, by FIELDS."""
    return [{name: getattr(run, name) for name in FIELDS} for run in newest_runs(connection, limit)]
