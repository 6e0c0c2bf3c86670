"""What became of each file -> `ingest_batches` and `ingest_rejects`."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, or_, select, update

from batch.ingest.formats import Format
from batch.ingest.merge import Counts, Limits
from batch.ingest.parsing import Reject
from batch.ingest.sources import Source
from batch.store import schema
from batch.store.bulk_insert import bulk_insert
from batch.store.database import next_id

_batches = schema.ingest_batches


@dataclass(frozen=True)
class Settings:
    """What ingest needs to know besides the files."""

    scale: tuple[float, float] | None
    columns: dict[str, str | None]
    limits: Limits

    @property
    def sha256(self) -> str:
        """A file read by other settings is another file: a wider scale lets rejected rows in."""
        told = json.dumps(
            [self.scale, self.columns, self.limits.max_rejects, self.limits.max_reject_share]
        )
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True)
class Report:
    """What became of one file."""

    file: str
    format: str | None
    why: str  # how it was recognised, or what is wrong with it
    status: str  # merged, unchanged, skipped, refused
    read: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    rejects: tuple[Reject, ...] = ()
    warnings: tuple[str, ...] = ()
    batch_id: int | None = None


@dataclass(frozen=True)
class File:
    """A file of a known format, read to its end once."""

    source: Source
    format: Format
    why: str
    sha256: str
    size: int  # bytes, unpacked
    snapshot_at: int  # seconds since 1970 UTC


def merged_before(connection: Connection, file: File, settings: Settings) -> int | None:
    """The batch that brought the same content by the same settings; of the same age, where age counts."""
    same = select(_batches.c.batch_id).where(
        _batches.c.status == "merged",
        _batches.c.format == file.format.name,
        _batches.c.sha256 == file.sha256,
        _batches.c.settings_sha256 == settings.sha256,
        or_(_batches.c.all_timed == 1, _batches.c.snapshot_at == file.snapshot_at),
    )
    return connection.execute(same.limit(1)).scalar()


def open_batch(connection: Connection, file: File, settings: Settings) -> int:
    """Number a file's batch, so that what is merged can name it."""
    row = {
        "file": file.source.name,
        "format": file.format.name,
        "sha256": file.sha256,
        "snapshot_at": file.snapshot_at,
    }
    return _insert(connection, settings, status="merged", **row)


def close_batch(
    connection: Connection, batch_id: int, file: File, counts: Counts, settings: Settings
) -> None:
    """Fill in what became of the rows."""
    scale: tuple[float | None, float | None] = (None, None)
    if counts.lowest is not None:
        scale = settings.scale or file.format.scale or (counts.lowest, counts.highest)
    values = {
        "rows_read": counts.read,
        "rows_accepted": counts.accepted,
        "rows_rejected": len(counts.rejects),
        "rows_duplicate": counts.duplicate,
        "all_timed": int(counts.all_timed),
        "scale_min": scale[0],
        "scale_max": scale[1],
    }
    connection.execute(update(_batches).where(_batches.c.batch_id == batch_id).values(values))
    _write_rejects(connection, batch_id, file.source.name, counts.rejects)


def record_refusal(
    connection: Connection, report: Report, file: File | None, settings: Settings
) -> None:
    """Keep why a file was refused, with its rejected rows; `file` is None where not even its format is known."""
    row = {
        "file": report.file,
        "format": report.format,
        "sha256": file.sha256 if file else None,
        "snapshot_at": file.snapshot_at if file else int(datetime.now(UTC).timestamp()),
        "rows_read": report.read,
        "rows_rejected": report.rejected,
        "error": report.why,
    }
    batch_id = _insert(connection, settings, status="refused", **row)
    _write_rejects(connection, batch_id, report.file, report.rejects)


def _insert(connection: Connection, settings: Settings, **columns: object) -> int:
    batch_id = next_id(connection, _batches.c.batch_id)
    empty = dict.fromkeys(
        ("rows_read", "rows_accepted", "rows_rejected", "rows_duplicate", "all_timed"), 0
    )
    now = {
        "batch_id": batch_id,
        "settings_sha256": settings.sha256,
        "ingested_at": datetime.now(UTC),
    }
    connection.execute(insert(_batches), {**empty, **now, **columns})
    return batch_id


def _write_rejects(
    connection: Connection, batch_id: int, name: str, rejects: Sequence[Reject]
) -> None:
    columns = ["batch_id", "reject_no", "file", "line", "field", "code", "message", "text"]
    rows = ((batch_id, number, name, *reject) for number, reject in enumerate(rejects, 1))
    bulk_insert(connection, schema.ingest_rejects, columns, rows)
