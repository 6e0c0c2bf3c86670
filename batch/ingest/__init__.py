"""Files -> `users`, `movies`, `ratings`: told apart by content, one transaction per group of files."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from sqlalchemy import Connection, insert, or_, select, update

from batch import schema
from batch.database import Database, bulk_insert, next_id
from batch.ingest.formats import FAMILIES, Format, recognise
from batch.ingest.merge import Batch, Limits, merge_movies, merge_ratings
from batch.ingest.rows import Reading, RefusedError, Reject
from batch.ingest.sources import UTF8, Source, find, members

Scale = tuple[float, float]


@dataclass(frozen=True)
class Settings:
    """What ingest needs to know besides the files."""

    scale: Scale | None
    columns: dict[str, str | None]
    limits: Limits

    @property
    def sha256(self) -> str:
        """A file read by other settings is another file: a wider scale lets rejected rows in."""
        told = json.dumps([self.scale, self.columns, self.limits.max_rejects, self.limits.max_reject_share])
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
class _File:
    """A file of a known format, read to its end once."""

    source: Source
    format: Format
    why: str
    sha256: str
    snapshot_at: int


@dataclass
class _Done:
    """A file of a group whose transaction is under way."""

    file: _File
    batch: Batch
    warnings: list[str] = field(default_factory=list)


class _DryRunError(Exception):
    """Rolls a group back that would have been merged."""


def ingest(
    database: Database,
    paths: Iterable[Path],
    settings: Settings,
    *,
    snapshot_at: int | None = None,
    dry_run: bool = False,
) -> list[Report]:
    """Merge the files that the paths name, group by group; the caller holds the run lock.

    A group (a wide pair; MovieLens files that lie together) is merged whole or not at all; a refused group leaves the
    others merged and its reason in `ingest_batches`, its rejected rows in `ingest_rejects`. `snapshot_at`, seconds
    since 1970 UTC, stands for the files' modification times.
    """
    reports: list[Report] = []
    files: list[_File] = []
    missing: dict[tuple[str, str], str] = {}  # family and folder -> the file of it that cannot be read
    for path in paths:
        try:
            sources = find(path)
        except RefusedError as error:
            reports.append(Report(str(path), None, error.about(path), "refused"))
            continue
        for source in sources:
            for known in _examine(source, settings, snapshot_at):
                if isinstance(known, _File):
                    files.append(known)
                    continue
                reports.append(known)
                if known.status == "refused" and source.base_name in FAMILIES:
                    missing[FAMILIES[source.base_name], str(source.folder)] = known.file
    for key, group in groupby(sorted(files, key=_group), key=_group):
        if key[:2] in missing:
            reports += _refuse(database, list(group), None, missing[key[:2]], settings, dry_run)
        else:
            reports += _ingest_group(database, list(group), settings, dry_run)
    return reports


def _examine(source: Source, settings: Settings, snapshot_at: int | None) -> Iterator[_File | Report]:
    """What a file is, or each file in a .zip."""
    try:
        inside = members(source)
    except RefusedError as error:
        yield Report(source.name, None, error.about(source.name), "refused")
        return
    for member in inside:
        try:
            known = recognise(member, settings.columns)
            if known.format is None:
                yield Report(member.name, None, known.why, "skipped")
                continue
            at = member.modified_at if snapshot_at is None else snapshot_at
            yield _File(member, known.format, known.why, member.sha256(), at)
        except RefusedError as error:
            yield Report(member.name, None, error.about(member.name), "refused")


def _group(file: _File) -> tuple[str, str, str]:
    """Files of one family that lie together; a long CSV stands alone."""
    alone = file.source.name if file.format.family == "long" else ""
    return file.format.family, str(file.source.folder), alone


def _ingest_group(database: Database, files: list[_File], settings: Settings, dry_run: bool) -> list[Report]:
    """One transaction for the group: films before ratings, then in order of name."""
    files.sort(key=lambda file: (file.format.kind != "movies", file.source.name))
    unchanged: list[Report] = []
    done: list[_Done] = []
    try:
        with database.writer.begin() as connection:
            for file in files:
                if (before := _merged_before(connection, file, settings)) is not None:
                    why = f"already ingested as batch {before}"
                    unchanged.append(Report(file.source.name, file.format.name, why, "unchanged", batch_id=before))
                    continue
                done.append(_open_batch(connection, file, settings))
                _merge(connection, done[-1], settings)
                _close_batch(connection, done[-1], settings)
            if dry_run:
                raise _DryRunError
    except RefusedError as error:
        opened = {each.batch.batch_id for each in done}  # rolled back; a copy of one of them is not ingested either
        unchanged = [report for report in unchanged if report.batch_id not in opened]
        waiting = [file for file in files if file.source.name not in {report.file for report in unchanged}]
        culprit = done[-1].file.source.name
        return unchanged + _refuse(database, waiting, (done[-1], error), culprit, settings, dry_run)
    except _DryRunError:
        pass
    return unchanged + [_merged_report(each, dry_run) for each in done]


def _merged_before(connection: Connection, file: _File, settings: Settings) -> int | None:
    """The batch that brought the same content by the same settings; of the same age, where age counts."""
    b = schema.ingest_batches
    same = select(b.c.batch_id).where(
        b.c.status == "merged",
        b.c.format == file.format.name,
        b.c.sha256 == file.sha256,
        b.c.settings_sha256 == settings.sha256,
    )
    same = same.where(or_(b.c.all_timed == 1, b.c.snapshot_at == file.snapshot_at))
    return connection.execute(same.limit(1)).scalar()


def _merge(connection: Connection, done: _Done, settings: Settings) -> None:
    file = done.file
    limits = file.format.limits if settings.scale is None else settings.scale
    reading = Reading(limits, settings.columns, int(datetime.now(UTC).timestamp()))
    encoding = file.source.legacy_encoding() if file.format.legacy else UTF8
    with file.source.lines(encoding) as lines:
        rows = file.format.read(lines, reading)
        if file.format.kind == "movies":
            merge_movies(connection, rows, done.batch, settings.limits)
        else:
            merge_ratings(connection, rows, reading, done.batch, settings.limits)
    done.warnings = reading.warnings


def _open_batch(connection: Connection, file: _File, settings: Settings) -> _Done:
    batch_id = next_id(connection, schema.ingest_batches.c.batch_id)
    connection.execute(insert(schema.ingest_batches), _batch_row(batch_id, file, settings, "merged"))
    return _Done(file, Batch(batch_id, file.snapshot_at))


def _batch_row(batch_id: int, file: _File, settings: Settings, status: str) -> dict[str, object]:
    return {
        "batch_id": batch_id,
        "file": file.source.name,
        "format": file.format.name,
        "sha256": file.sha256,
        "settings_sha256": settings.sha256,
        "snapshot_at": file.snapshot_at,
        "ingested_at": datetime.now(UTC),
        "status": status,
        "rows_read": 0,
        "rows_accepted": 0,
        "rows_rejected": 0,
        "rows_duplicate": 0,
        "all_timed": 0,
    }


def _close_batch(connection: Connection, done: _Done, settings: Settings) -> None:
    counts, b = done.batch.counts, schema.ingest_batches
    scale: tuple[float | None, float | None] = (None, None)
    if counts.lowest is not None:
        scale = settings.scale or done.file.format.scale or (counts.lowest, counts.highest)
    values = {
        "rows_read": counts.read,
        "rows_accepted": counts.accepted,
        "rows_rejected": len(counts.rejects),
        "rows_duplicate": counts.duplicate,
        "all_timed": int(counts.all_timed),
        "scale_min": scale[0],
        "scale_max": scale[1],
    }
    connection.execute(update(b).where(b.c.batch_id == done.batch.batch_id).values(values))
    _write_rejects(connection, done.batch.batch_id, done.file, counts.rejects)


def _write_rejects(connection: Connection, batch_id: int, file: _File, rejects: Sequence[Reject]) -> None:
    columns = ["batch_id", "reject_no", "file", "line", "field", "code", "message", "text"]
    rows = ((batch_id, number, file.source.name, *reject) for number, reject in enumerate(rejects, 1))
    bulk_insert(connection, schema.ingest_rejects, columns, rows)


def _refuse(
    database: Database,
    files: list[_File],
    fault: tuple[_Done, RefusedError] | None,
    culprit: str,
    settings: Settings,
    dry_run: bool,
) -> list[Report]:
    """Record why nothing of the group was merged, with the rejected rows of the file that was at fault.

    All rows of a refused file count as rejected; the ones that cannot be read are kept.
    """
    reports = []
    for file in files:
        name = file.source.name
        if fault and file is fault[0].file:
            counts, why = fault[0].batch.counts, fault[1].about(name)
            read, rejects = counts.read, tuple(counts.rejects)
            report = Report(name, file.format.name, why, "refused", read=read, rejected=read, rejects=rejects)
        else:
            why = f"{name}: not merged, because it belongs with {culprit}"
            report = Report(name, file.format.name, why, "refused")
        reports.append(report)
        if not dry_run:
            with database.writer.begin() as connection:
                batch_id = next_id(connection, schema.ingest_batches.c.batch_id)
                told = {"rows_read": report.read, "rows_rejected": report.rejected, "error": why}
                row = _batch_row(batch_id, file, settings, "refused") | told
                connection.execute(insert(schema.ingest_batches), row)
                _write_rejects(connection, batch_id, file, report.rejects)
    return reports


def _merged_report(done: _Done, dry_run: bool) -> Report:
    counts = done.batch.counts
    return Report(
        done.file.source.name,
        done.file.format.name,
        done.file.why,
        "would be merged" if dry_run else "merged",
        counts.read,
        counts.accepted,
        len(counts.rejects),
        counts.duplicate,
        tuple(counts.rejects),
        tuple(done.warnings),
        None if dry_run else done.batch.batch_id,
    )
