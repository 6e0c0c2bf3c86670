"""`ingest_batches` -> a list of the files that were read."""

from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, select

from batch import RecbatchError
from batch.store import schema

_batches = schema.ingest_batches


class NoSuchBatchError(RecbatchError):
    """No batch has this number."""


@dataclass(frozen=True)
class ListedBatch:
    """One row of `ingest_batches`, as it is listed."""

    batch_id: int
    ingested_at: datetime
    status: str
    undone_at: datetime | None
    rows_read: int
    rows_accepted: int
    rows_rejected: int
    rows_duplicate: int
    rows_superseded: int | None  # None: not stored, or a catalogue
    format: str | None
    file: str
    error: str | None


def newest_batches(connection: Connection, n: int) -> list[ListedBatch]:
    """The batches, newest first; at most `n` of them."""
    columns = [_batches.c[field.name] for field in fields(ListedBatch)]
    newest = select(*columns).order_by(_batches.c.batch_id.desc()).limit(n)
    return [ListedBatch(*row) for row in connection.execute(newest)]
