"""Files and queries -> `users`, `movies`, `ratings`, `seen`, in one transaction per group."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from batch.ingest.batches import File, Report, Settings, record_refusal
from batch.ingest.dead_sources import dead_sources
from batch.ingest.groups import merge_group, refuse_group, refused_families, split_into_groups
from batch.ingest.pairs import UnreadableError, read_pairs
from batch.ingest.queries import NO_QUERIES, Queries, run_queries
from batch.ingest.sources import Source
from batch.ingest.survey import shown_as, survey
from batch.store.database import Database

__all__ = [
    "Ingested",
    "Queries",
    "Report",
    "Settings",
    "UnreadableError",
    "dead_sources",
    "ingest",
    "ingest_sources",
    "read_pairs",
]


class Ingested(NamedTuple):
    """The outcome for every file, and again by the source that named it."""

    reports: list[Report]  # one per file
    by_source: dict[str, list[Report]]  # path as it is shown, or name of a query -> of its files


def ingest(
    database: Database,
    paths: Iterable[Path | Source],
    settings: Settings,
    *,
    snapshot_at: int | None = None,
    dry_run: bool = False,
    queries: Queries = NO_QUERIES,
    pass_over_undone: bool = False,
    seen_paths: Iterable[Path | Source] = (),
) -> list[Report]:
    """Merge the files that the paths name, and the rows of the queries; one report per file.

    Those of `seen_paths` list films that were seen, without ratings.

    The caller holds the run lock. The ratings of files that belong together (those of one family
    in one folder) are merged whole or not at all. A file that cannot be read or has too many bad
    rows is refused: the ratings of its group are not merged, unless it is a catalogue; all other
    groups are. The reason is in `ingest_batches`, the rejected rows are in `ingest_rejects`.
    `snapshot_at`, seconds since
    1970 UTC, replaces the files' modification times. A dry run writes nothing. With
    `pass_over_undone` a file is not merged if its content was, and has been undone.
    """
    return ingest_sources(
        database,
        paths,
        settings,
        snapshot_at=snapshot_at,
        dry_run=dry_run,
        queries=queries,
        pass_over_undone=pass_over_undone,
        seen_paths=seen_paths,
    ).reports


def ingest_sources(
    database: Database,
    paths: Iterable[Path | Source],
    settings: Settings,
    *,
    snapshot_at: int | None = None,
    dry_run: bool = False,
    queries: Queries = NO_QUERIES,
    pass_over_undone: bool = False,
    seen_paths: Iterable[Path | Source] = (),
) -> Ingested:
    """The same as `ingest`, which also says what came of each path and query."""
    reports: list[Report] = []
    files: list[File] = []
    names: dict[str, set[str]] = {}  # source -> its files
    of_seen = replace(settings, choices=replace(settings.choices, seen=True))
    with_settings = chain(zip(paths, repeat(settings)), zip(seen_paths, repeat(of_seen)))
    for path, settings_of_path in with_settings:
        surveyed, to_merge = survey([path], settings_of_path, snapshot_at)
        reports += surveyed
        files += to_merge
        names_of_path = names.setdefault(shown_as(path), set())
        names_of_path.update(report.file for report in surveyed)
        names_of_path.update(file.name for file in to_merge)
    if not queries.statements:
        reports = _merge_all(database, reports, files, settings, dry_run, pass_over_undone)
        return Ingested(reports, _by_source(names, reports))
    names |= {statement.name: {statement.name} for statement in queries.statements}
    with TemporaryDirectory(prefix="recbatch-") as folder:
        failed, results = run_queries(database, queries, Path(folder), settings)
        reports += failed
        files += results
        reports = _merge_all(database, reports, files, settings, dry_run, pass_over_undone)
    return Ingested(reports, _by_source(names, reports))


def _by_source(names: dict[str, set[str]], reports: list[Report]) -> dict[str, list[Report]]:
    """The reports of the files of each source; `names` are the files' by source."""
    by_file: dict[str, list[Report]] = {}
    for report in reports:
        by_file.setdefault(report.file, []).append(report)
    return {
        source: [report for name in sorted(files) for report in by_file[name]]
        for source, files in names.items()
    }


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
