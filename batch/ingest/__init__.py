"""Files and queries -> `users`, `movies`, `ratings`, in one transaction per group of files."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from batch.ingest.batches import File, Report, Settings, record_refusal
from batch.ingest.groups import merge_group, refuse_group, refused_families, split_into_groups
from batch.ingest.pairs import UnreadableError, read_pairs
from batch.ingest.queries import NO_QUERIES, Queries, run_queries
from batch.ingest.survey import survey
from batch.store.database import Database

__all__ = ["Queries", "Report", "Settings", "UnreadableError", "ingest", "read_pairs"]


def ingest(
    database: Database,
    paths: Iterable[Path],
    settings: Settings,
    *,
    snapshot_at: int | None = None,
    dry_run: bool = False,
    queries: Queries = NO_QUERIES,
    pass_over_undone: bool = False,
) -> list[Report]:
    """Merge the files that the paths name, and the rows of the queries; one report per file.

    The caller holds the run lock. Files that belong together (a wide pair; MovieLens files in
    one folder) are merged whole or not at all. A file that cannot be read or has too many bad
    rows is refused: its group is not merged, all others are, the reason is in
    `ingest_batches` and the rejected rows are in `ingest_rejects`. `snapshot_at`, seconds since
    1970 UTC, replaces the files' modification times. A dry run writes nothing. With
    `pass_over_undone` a file is not merged if its content was, and has been undone.
    """
    reports, files = survey(paths, settings, snapshot_at)
    if not queries.statements:
        return _merge_all(database, reports, files, settings, dry_run, pass_over_undone)
    with TemporaryDirectory(prefix="recbatch-") as folder:
        failed, results = run_queries(database, queries, Path(folder), settings)
        reports += failed
        files += results
        return _merge_all(database, reports, files, settings, dry_run, pass_over_undone)


def _merge_all(
    database: Database,
    surveyed: list[Report],
    files: list[File],
    settings: Settings,
    dry_run: bool,
    pass_over_undone: bool,
) -> list[Report]:
    """Merge the groups and record what is refused; the reports follow those of the survey."""
    reports = list(surveyed)
    culprits = refused_families(surveyed)
    for group in split_into_groups(files):
        culprit = culprits.get((group[0].format.family, group[0].source.folder))
        if culprit is not None:
            reports += refuse_group(group, culprit)
        else:
            reports += merge_group(
                database, group, settings, dry_run=dry_run, pass_over_undone=pass_over_undone
            )
    refused = [report for report in reports if report.status == "refused"]
    if refused and not dry_run:
        file_by_name = {file.name: file for file in files}
        with database.writer.begin() as connection:
            for report in refused:
                record_refusal(connection, report, file_by_name.get(report.file), settings)
    return reports
