"""Runs -> the rows of `recbatch runs`: when each ran, what started it, how it ended."""

from collections.abc import Mapping

from sqlalchemy import Connection

from batch.store.runs import newest_runs

FIELDS = (
    "run_id",
    "logical_date",
    "due_at",
    "kind",
    "base_run_id",
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
    "warnings",
)
"""Attributes of a `Run`, in this order; scripts read them from `recbatch runs --json`."""


def history(
    connection: Connection, limit: int, *, refreshes: bool = False
) -> list[Mapping[str, object]]:
    """The newest runs, newest first, each as a mapping of FIELDS; refreshes too if wanted."""
    runs = newest_runs(connection, limit, refreshes=refreshes)
    return [{field: getattr(run, field) for field in FIELDS} for run in runs]
