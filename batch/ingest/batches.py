"""The outcome for each file -> rows of `ingest_batches` and `ingest_rejects`."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, or_, select, update

from batch.ingest.file_format import Choices, Format
from batch.ingest.first_rows import StoredRow
from batch.ingest.merge import Counts, Limits
from batch.ingest.parsing import Reading, Reject
from batch.ingest.sources import Source
from batch.ingest.tables import ReadFile
from batch.store import schema
from batch.store.bulk_insert import bulk_insert
from batch.store.database import next_id

_batches = schema.ingest_batches


@dataclass(frozen=True)
class Settings:
    """The settings of ingest that decide which rows are accepted."""

    scale: tuple[float, float] | None  # stars
    choices: Choices
    limits: Limits

    @property
    def sha256(self) -> str:
        """A hash that tells whether a file would be read as before: a wider scale accepts more."""
        max_rejects = self.limits.max_rejects
        max_share = self.limits.max_reject_share
        values: list[object] = [self.scale, dict(self.choices.columns), max_rejects, max_share]
        more = [self.choices.format, self.choices.user, self.choices.unrated]
        if any(value is not None for value in more):
            values += more
        text = json.dumps(values)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Report:
    """The outcome for one file."""

    file: str
    format: str | None
    why: str  # how it was recognised, or what is wrong with it
    status: str  # merged, would be merged, unchanged, skipped, passed over, refused
    read: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    rejects: tuple[Reject, ...] = ()
    warnings: tuple[str, ...] = ()
    batch_id: int | None = None
    code: str | None = None  # of a refused file: what is wrong with it
    first_rows: tuple[StoredRow, ...] = ()  # of a dry run: accepted rows, as they would be stored


@dataclass(frozen=True)
class File:
    """A file of a known format, read to its end once."""

    source: Source
    format: Format
    why: str  # how it was recognised
    read: ReadFile
    sha256: str  # of the unpacked content
    size: int  # bytes, unpacked
    snapshot_at: int  # seconds since 1970 UTC

    @property
    def name(self) -> str:
        """The path as it is shown in messages and stored in tables."""
        return self.source.name

    def reading(self, settings: Settings) -> Reading:
        """A new context in which this file is read."""
        limits = self.format.limits if settings.scale is None else settings.scale
        now = int(datetime.now(UTC).timestamp())
        unrated = frozenset(settings.choices.unrated or ())
        return Reading(limits, now, unrated, settings.choices.unrated is not None)


def merged_before(connection: Connection, file: File, settings: Settings) -> int | None:
    """The batch that merged the same content by the same settings, or None.

    If some rating has no time of its own, `snapshot_at` must be the same too. A batch does not
    count if some of its rows may have lost against a batch that has been undone since.
    """
    same = select(_batches.c.batch_id).where(
        _batches.c.status == "merged",
        _batches.c.lost_to_batch_id.is_(None),
        _batches.c.format == file.format.name,
        _batches.c.sha256 == file.sha256,
        _batches.c.settings_sha256 == settings.sha256,
        or_(_batches.c.all_timed == 1, _batches.c.snapshot_at == file.snapshot_at),
    )
    return connection.execute(same.limit(1)).scalar()


def undone_before(connection: Connection, file: File) -> int | None:
    """The batch that merged the same content last, if it has been undone; else None."""
    b = _batches.c
    same = select(b.batch_id, b.status).where(
        b.sha256 == file.sha256, b.status.in_(("merged", "undone"))
    )
    last = connection.execute(same.order_by(b.batch_id.desc()).limit(1)).first()
    return last.batch_id if last is not None and last.status == "undone" else None


def open_batch(connection: Connection, file: File, settings: Settings) -> int:
    """Write a file's row before its ratings, which refer to the id that is returned."""
    row: dict[str, object] = {
        "status": "merged",
        "file": file.name,
        "format": file.format.name,
        "sha256": file.sha256,
        "snapshot_at": file.snapshot_at,
    }
    return insert_batch(connection, settings, row)


def close_batch(
    connection: Connection, batch_id: int, file: File, counts: Counts, settings: Settings
) -> None:
    """Write the counts of a file's rows, its scale and its rejects."""
    low, high = _scale(file, counts, settings)
    # No time is assumed for films that were seen.
    all_timed = counts.seen.all_timed or file.format.kind == "seen"
    values = {
        "rows_read": counts.read,
        "rows_accepted": counts.accepted,
        "rows_rejected": len(counts.rejects),
        "rows_duplicate": counts.duplicate,
        "rows_superseded": counts.superseded,
        "all_timed": int(all_timed),
        "scale_min": low,
        "scale_max": high,
    }
    this_batch = _batches.c.batch_id == batch_id
    connection.execute(update(_batches).where(this_batch).values(values))
    _write_rejects(connection, batch_id, file.name, counts.rejects)


def record_refusal(
    connection: Connection, report: Report, file: File | None, settings: Settings
) -> None:
    """Write why a file was refused, and its rejects; `file` is None if it was not recognised."""
    if file is None:
        sha256 = None
        snapshot_at = int(datetime.now(UTC).timestamp())
    else:
        sha256 = file.sha256
        snapshot_at = file.snapshot_at
    row: dict[str, object] = {
        "status": "refused",
        "file": report.file,
        "format": report.format,
        "sha256": sha256,
        "snapshot_at": snapshot_at,
        "rows_read": report.read,
        "rows_rejected": report.rejected,
        "error": report.why,
    }
    batch_id = insert_batch(connection, settings, row)
    _write_rejects(connection, batch_id, report.file, report.rejects)


def _scale(file: File, counts: Counts, settings: Settings) -> tuple[float | None, float | None]:
    """The scale of a file's ratings: from the settings, else its format, else the ratings seen."""
    seen = counts.seen
    if not seen.n_ratings:
        return None, None
    return settings.scale or file.format.scale or (seen.lowest, seen.highest)


def insert_batch(connection: Connection, settings: Settings, row: dict[str, object]) -> int:
    """Write a row of `ingest_batches`, counts of 0 where it has none; returns its number."""
    batch_id = next_id(connection, _batches.c.batch_id)
    values: dict[str, object] = {
        "batch_id": batch_id,
        "settings_sha256": settings.sha256,
        "ingested_at": datetime.now(UTC),
        "rows_read": 0,
        "rows_accepted": 0,
        "rows_rejected": 0,
        "rows_duplicate": 0,
        "all_timed": 0,
    }
    values.update(row)
    connection.execute(insert(_batches), values)
    return batch_id


def _write_rejects(
    connection: Connection, batch_id: int, file: str, rejects: Sequence[Reject]
) -> None:
    columns = ["batch_id", "reject_no", "file", "line", "field", "code", "message", "text"]
    rows = ((batch_id, number, file, *reject) for number, reject in enumerate(rejects, 1))
    bulk_insert(connection, schema.ingest_rejects, columns, rows)
