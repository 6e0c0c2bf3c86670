"""Files that belong together -> one transaction: all of them are merged, or none."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from sqlalchemy import Connection

from batch.ingest.batches import (
    File,
    Report,
    Settings,
    close_batch,
    merged_before,
    open_batch,
    undone_before,
)
from batch.ingest.catalogue_keys import unmatched_warning
from batch.ingest.errors import RefusedError
from batch.ingest.first_rows import StoredRow, keeping_first
from batch.ingest.formats import USUAL_FAMILIES
from batch.ingest.merge import Batch
from batch.ingest.merge_movies import merge_movies
from batch.ingest.merge_ratings import merge_ratings, merge_seen
from batch.ingest.plausible import Seen, require_decided, require_scale, require_times
from batch.store.database import Database
from batch.telemetry import progress

ALONE = ("long", "seen")
"""Families of files that are groups of their own."""
MARKED_FAMILIES = ("long", "query", "wide")
"""Families of files whose ratings may have marks that mean "not rated"."""


@dataclass
class _Merge:
    """A file of a group whose transaction is open."""

    file: File
    batch: Batch
    warnings: list[str] = field(default_factory=list)
    first_rows: list[StoredRow] | None = None  # kept in a dry run only


class _DryRunError(Exception):
    """Rolls back a group that could be merged."""


def split_into_groups(files: Iterable[File]) -> list[list[File]]:
    """The files in groups: those of one family in one folder; a long CSV is alone."""

    def group_key(file: File) -> tuple[str, str, str]:
        name = file.name if file.format.family in ALONE else ""
        return file.format.family, file.source.folder, name

    in_order = sorted(files, key=group_key)
    return [list(group) for _, group in groupby(in_order, key=group_key)]


def refused_families(reports: Iterable[Report]) -> dict[tuple[str, str], str]:
    """(family, folder) of each refused file with a usual name -> that file."""
    files: dict[tuple[str, str], str] = {}
    for report in reports:
        path = Path(report.file)
        family = USUAL_FAMILIES.get(path.name.lower().removesuffix(".gz"))
        if report.status == "refused" and family is not None:
            files[family, str(path.parent)] = report.file
    return files


def refuse_group(files: list[File], culprit: str) -> list[Report]:
    """Reports for files that are not merged because `culprit`, one of their group, is refused."""
    return [_not_merged(file, culprit) for file in files]


def merge_group(
    database: Database,
    files: list[File],
    settings: Settings,
    *,
    dry_run: bool,
    pass_over_undone: bool,
) -> list[Report]:
    """Merge a group in one transaction, films before ratings, then by name.

    Its ratings are merged whole or not at all. A catalogue that is refused keeps none of them out.
    Files whose content has been undone are left out where `pass_over_undone` is set.
    """
    unchanged: list[Report] = []
    merges: list[_Merge] = []
    refused: list[Report] = []
    in_order = sorted(files, key=lambda file: (file.format.kind != "movies", file.name))
    try:
        with database.writer.begin() as connection:
            for file in in_order:
                earlier_batch = merged_before(connection, file, settings)
                if earlier_batch is not None:
                    unchanged.append(_unchanged(file, earlier_batch))
                    continue
                undone_batch = undone_before(connection, file) if pass_over_undone else None
                if undone_batch is not None:
                    unchanged.append(_passed_over(file, undone_batch))
                    continue
                if file.format.kind == "movies":
                    try:
                        with connection.begin_nested():
                            _merge_file(connection, file, settings, merges, dry_run)
                    except RefusedError as error:
                        refused.append(_refused(merges.pop(), error))
                else:
                    _merge_file(connection, file, settings, merges, dry_run)
            unmatched = unmatched_warning(connection) if merges else None
            if unmatched is not None:
                merges[-1].warnings.append(unmatched)
            if dry_run:
                raise _DryRunError
    except RefusedError as error:
        refused_files = {report.file for report in refused}
        others = [file for file in in_order if file.name not in refused_files]
        return refused + _refused_group(others, unchanged, merges, error)
    except _DryRunError:
        pass
    return refused + unchanged + [_merged(merge, dry_run) for merge in merges]


def _merge_file(
    connection: Connection, file: File, settings: Settings, merges: list[_Merge], dry_run: bool
) -> None:
    """Merge one file, and append it to `merges` before its rows. Raises RefusedError."""
    batch = Batch(open_batch(connection, file, settings), file.snapshot_at)
    merge = _Merge(file, batch, first_rows=[] if dry_run else None)
    merges.append(merge)
    reading = file.reading(settings)
    bar = progress(f"reading {file.source.base_name}", file.size)
    with bar as advance, closing(file.read(reading, advance)) as file_rows:
        rows = file_rows
        if merge.first_rows is not None:
            rows = keeping_first(file_rows, merge.first_rows)
        if file.format.kind == "movies":
            merge_movies(connection, rows, reading, batch, settings.limits)
        else:
            check_whole = partial(_require_plausible, file, settings)
            merge_pairs = merge_seen if file.format.kind == "seen" else merge_ratings
            merge_pairs(connection, rows, reading, batch, settings.limits, check_whole)
    if reading.n_unrated:
        reading.warn(f"ingest.unrated leaves out {reading.n_unrated:,} of its rows")
    merge.warnings = reading.warnings
    close_batch(connection, batch.batch_id, file, batch.counts, settings)


def _require_plausible(file: File, settings: Settings, seen: Seen) -> None:
    """Raise RefusedError where the ratings of a file cannot be what they seem."""
    require_times(seen)
    if file.format.scale is None and settings.scale is None:
        require_scale(seen)
    if file.format.family in MARKED_FAMILIES and settings.choices.unrated is None:
        require_decided(seen)


def _refused_group(
    files: list[File], unchanged: list[Report], merges: list[_Merge], error: RefusedError
) -> list[Report]:
    """Reports for a group that was rolled back because its last merge failed."""
    # A copy of a file that was merged in this transaction is not in the database either.
    rolled_back = {merge.batch.batch_id for merge in merges}
    kept = [report for report in unchanged if report.batch_id not in rolled_back]
    kept_files = {report.file for report in kept}
    culprit = merges[-1]
    reports = []
    for file in files:
        if file is culprit.file:
            reports.append(_refused(culprit, error))
        elif file.name not in kept_files:
            reports.append(_not_merged(file, culprit.file.name))
    return kept + reports


def _unchanged(file: File, batch_id: int) -> Report:
    why = f"already ingested as batch {batch_id}"
    return Report(file.name, file.format.name, why, "unchanged", batch_id=batch_id)


def _passed_over(file: File, batch_id: int) -> Report:
    seen = "--seen " if file.format.kind == "seen" else ""
    remedy = f"'recbatch ingest {seen}{file.name}' merges it again"
    if file.format.family == "query":
        remedy = "it is merged again when it has changed"
    why = f"undone as batch {batch_id}; {remedy}"
    return Report(file.name, file.format.name, why, "passed over", batch_id=batch_id)


def _refused(merge: _Merge, error: RefusedError) -> Report:
    """The report of the file at fault: all of its rows count as rejected."""
    counts = merge.batch.counts
    return Report(
        file=merge.file.name,
        format=merge.file.format.name,
        why=error.with_place(merge.file.name),
        status="refused",
        read=counts.read,
        rejected=counts.read,
        rejects=tuple(counts.rejects),
        code=error.code,
    )


def _not_merged(file: File, culprit: str) -> Report:
    why = f"{file.name}: not merged, because it belongs with {culprit}"
    return Report(file.name, file.format.name, why, "refused", code="GROUP_REFUSED")


def _merged(merge: _Merge, dry_run: bool) -> Report:
    counts = merge.batch.counts
    return Report(
        file=merge.file.name,
        format=merge.file.format.name,
        why=merge.file.why,
        status="would be merged" if dry_run else "merged",
        read=counts.read,
        accepted=counts.accepted,
        rejected=len(counts.rejects),
        duplicate=counts.duplicate,
        rejects=tuple(counts.rejects),
        warnings=tuple(merge.warnings),
        batch_id=None if dry_run else merge.batch.batch_id,
        first_rows=tuple(merge.first_rows or ()),
    )
