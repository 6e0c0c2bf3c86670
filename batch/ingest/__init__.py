"""Files -> `users`, `movies`, `ratings`: told apart by content, one transaction per group of files."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from sqlalchemy import Connection

from batch import RecbatchError
from batch.ingest.batches import (
    File,
    Report,
    Settings,
    close_batch,
    merged_before,
    open_batch,
    record_refusal,
)
from batch.ingest.fast_ratings import read_ratings
from batch.ingest.formats import FAMILIES, recognise
from batch.ingest.merge import Batch, merge_movies, merge_ratings
from batch.ingest.parsing import RatingRow, Reading, RefusedError, Reject
from batch.ingest.queries import NO_QUERIES, Queries, ask
from batch.ingest.sources import UTF8, Source, find, members, shown
from batch.store.database import Database
from batch.telemetry import progress

SOME = 1 << 18
"""Characters read between looks at the progress."""

__all__ = ["Queries", "Report", "Settings", "UnreadableError", "ingest", "read_pairs"]


@dataclass
class _Done:
    """A file of a group whose transaction is under way."""

    file: File
    batch: Batch
    warnings: list[str] = field(default_factory=list)


class UnreadableError(RecbatchError):
    """A ratings file that cannot be measured on; the message says where and why."""


class _DryRunError(Exception):
    """Rolls a group back that would have been merged."""


def ingest(
    database: Database,
    paths: Iterable[Path],
    settings: Settings,
    *,
    snapshot_at: int | None = None,
    dry_run: bool = False,
    queries: Queries = NO_QUERIES,
) -> list[Report]:
    """Merge the files that the paths name, and what queries give, group by group; the caller holds the run lock.

    A group (a wide pair; MovieLens files that lie together) is merged whole or not at all; a refused group leaves the
    others merged and its reason in `ingest_batches`, its rejected rows in `ingest_rejects`. `snapshot_at`, seconds
    since 1970 UTC, stands for the files' modification times.
    """
    reports, files = _survey(paths, settings, snapshot_at)
    if not queries.asked:
        return _merge_all(database, reports, files, settings, dry_run)
    with TemporaryDirectory(prefix="recbatch-") as folder:
        failed, answers = ask(database, queries, Path(folder), settings)
        return _merge_all(database, [*reports, *failed], [*files, *answers], settings, dry_run)


def _merge_all(
    database: Database, reports: list[Report], files: list[File], settings: Settings, dry_run: bool
) -> list[Report]:
    """Merge the files, and record what is refused; the reports of both, after those that are there already."""
    refused: list[tuple[Report, File | None]] = [
        (report, None) for report in reports if report.status == "refused"
    ]
    lost = {(FAMILIES.get(name), folder): report.file for report, name, folder in _places(reports)}
    for (family, folder, _), group in groupby(sorted(files, key=_group), key=_group):
        waiting = list(group)
        if (family, folder) in lost:
            found = [_left_out(file, lost[family, folder]) for file in waiting]
        else:
            found = _ingest_group(database, waiting, settings, dry_run)
        reports += found
        by_name = {file.source.name: file for file in waiting}
        refused += [
            (report, by_name[report.file]) for report in found if report.status == "refused"
        ]
    if refused and not dry_run:
        with database.writer.begin() as connection:
            for report, file in refused:
                record_refusal(connection, report, file, settings)
    return reports


def read_pairs(path: Path, settings: Settings) -> dict[tuple[str, str], float]:
    """The ratings of a file or folder of any supported format, (user_key, movie_key) -> stars; nothing is written.

    Of several ratings of a pair the later counts, then the higher. Raises UnreadableError for a file that `ingest`
    would refuse, and for a row that it would reject: a measurement must not lose any.
    """
    reports, files = _survey([path], settings, None)
    refused = [report.why for report in reports if report.status == "refused"]
    if refused:
        raise UnreadableError("; ".join(refused))
    best: dict[tuple[str, str], tuple[int, float]] = {}
    for file in (file for file in files if file.format.kind == "ratings"):
        try:
            with file.source.lines(UTF8) as lines:
                for row in file.format.read(lines, _reading(file, settings)):
                    if isinstance(row, Reject):
                        raise RefusedError(row.code, row.message, row.line)
                    _, user, movie, stars, at = cast(RatingRow, row)
                    rank = (file.snapshot_at if at is None else at, stars)
                    best[user, movie] = max(rank, best.get((user, movie), rank))
        except RefusedError as error:
            raise UnreadableError(error.about(file.source.name)) from None
    return {pair: stars for pair, (_, stars) in best.items()}


def _reading(file: File, settings: Settings) -> Reading:
    limits = file.format.limits if settings.scale is None else settings.scale
    return Reading(limits, settings.columns, int(datetime.now(UTC).timestamp()))


def _survey(
    paths: Iterable[Path], settings: Settings, snapshot_at: int | None
) -> tuple[list[Report], list[File]]:
    """What is not to be merged, with the reason, and what is."""
    reports: list[Report] = []
    files: list[File] = []
    for path in paths:
        try:
            sources = find(path)
        except RefusedError as error:
            name = shown(path)
            reports.append(Report(name, None, error.about(name), "refused"))
            continue
        for source in sources:
            for known in _examine(source, settings, snapshot_at):
                if isinstance(known, File):
                    files.append(known)
                else:
                    reports.append(known)
    return reports, files


def _examine(
    source: Source, settings: Settings, snapshot_at: int | None
) -> Iterator[File | Report]:
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
            yield File(member, known.format, known.why, *member.candidate_features(), at)
        except RefusedError as error:
            yield Report(member.name, None, error.about(member.name), "refused")


def _places(reports: Iterable[Report]) -> Iterator[tuple[Report, str, str]]:
    """Each refused file, its own name, and the folder or archive it lies in."""
    for report in reports:
        if report.status == "refused":
            path = Path(report.file)
            yield report, path.name.lower().removesuffix(".gz"), str(path.parent)


def _group(file: File) -> tuple[str, str, str]:
    """Files of one family that lie together; a long CSV stands alone."""
    alone = file.source.name if file.format.family == "long" else ""
    return file.format.family, file.source.folder, alone


def _ingest_group(
    database: Database, files: list[File], settings: Settings, dry_run: bool
) -> list[Report]:
    """One transaction for the group: films before ratings, then in order of name."""
    files.sort(key=lambda file: (file.format.kind != "movies", file.source.name))
    unchanged: list[Report] = []
    done: list[_Done] = []
    try:
        with database.writer.begin() as connection:
            for file in files:
                if (before := merged_before(connection, file, settings)) is not None:
                    why = f"already ingested as batch {before}"
                    unchanged.append(
                        Report(
                            file.source.name, file.format.name, why, "unchanged", batch_id=before
                        )
                    )
                    continue
                done.append(
                    _Done(file, Batch(open_batch(connection, file, settings), file.snapshot_at))
                )
                _merge(connection, done[-1], settings)
                close_batch(
                    connection, done[-1].batch.batch_id, file, done[-1].batch.counts, settings
                )
            if dry_run:
                raise _DryRunError
    except RefusedError as error:
        opened = {
            each.batch.batch_id for each in done
        }  # rolled back; a copy of one of them is not ingested either
        kept = [report for report in unchanged if report.batch_id not in opened]
        spared = {report.file for report in kept}
        return kept + [
            _refused(file, done[-1], error) for file in files if file.source.name not in spared
        ]
    except _DryRunError:
        pass
    return unchanged + [_merged(each, dry_run) for each in done]


def _merge(connection: Connection, done: _Done, settings: Settings) -> None:
    file = done.file
    reading = _reading(file, settings)
    bar = progress(f"reading {file.source.base_name}", file.size)
    with bar as advance, _rows(file, reading, advance) as rows:
        if file.format.kind == "movies":
            merge_movies(connection, rows, done.batch, settings.limits)
        else:
            merge_ratings(connection, rows, reading, done.batch, settings.limits)
    done.warnings = reading.warnings


@contextmanager
def _rows(file: File, reading: Reading, advance: Callable[[int], None]) -> Iterator[Iterator[Any]]:
    """What a file says, by blocks as far as that goes."""

    def careful(lines: Iterable[str]) -> Iterator[Any]:
        return file.format.read(_counted(lines, advance), reading)

    if file.format.plain is not None:
        with file.source.open() as binary:
            yield read_ratings(binary, file.format.plain, careful, reading, advance)
        return
    encoding = file.source.legacy_encoding() if file.format.legacy else UTF8
    with file.source.lines(encoding) as lines:
        yield careful(lines)


def _counted(lines: Iterable[str], advance: Callable[[int], None]) -> Iterator[str]:
    """The same lines, telling now and then how much has been read."""
    read = 0
    for line in lines:
        yield line
        read += len(line)
        if read >= SOME:
            advance(read)
            read = 0


def _refused(file: File, culprit: _Done, error: RefusedError) -> Report:
    """All rows of the file at fault count as rejected; the ones that cannot be read are kept."""
    if file is not culprit.file:
        return _left_out(file, culprit.file.source.name)
    counts, name = culprit.batch.counts, file.source.name
    told = {"read": counts.read, "rejected": counts.read, "rejects": tuple(counts.rejects)}
    return Report(name, file.format.name, error.about(name), "refused", **told)  # type: ignore[arg-type]


def _left_out(file: File, culprit: str) -> Report:
    why = f"{file.source.name}: not merged, because it belongs with {culprit}"
    return Report(file.source.name, file.format.name, why, "refused")


def _merged(done: _Done, dry_run: bool) -> Report:
    counts = done.batch.counts
    return Report(
        file=done.file.source.name,
        format=done.file.format.name,
        why=done.file.why,
        status="would be merged" if dry_run else "merged",
        read=counts.read,
        accepted=counts.accepted,
        rejected=len(counts.rejects),
        duplicate=counts.duplicate,
        rejects=tuple(counts.rejects),
        warnings=tuple(done.warnings),
        batch_id=None if dry_run else done.batch.batch_id,
    )
