"""Paths -> the files to merge, and reports of those that are skipped or refused."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from batch.ingest.batches import File, Report, Settings
from batch.ingest.formats import recognise
from batch.ingest.parsing import RefusedError
from batch.ingest.sources import Source, find, members, path_text


def survey(
    paths: Iterable[Path], settings: Settings, snapshot_at: int | None
) -> tuple[list[Report], list[File]]:
    """Examine every file that the paths name; each is in one of the two lists.

    `snapshot_at`, seconds since 1970 UTC, replaces the files' modification times.
    """
    reports: list[Report] = []
    files: list[File] = []
    for path in paths:
        try:
            sources = find(path)
        except RefusedError as error:
            reports.append(_refused(path_text(path), error))
            continue
        for source in sources:
            for result in _examine_source(source, settings, snapshot_at):
                if isinstance(result, File):
                    files.append(result)
                else:
                    reports.append(result)
    return reports, files


def _examine_source(
    source: Source, settings: Settings, snapshot_at: int | None
) -> Iterator[File | Report]:
    """The result for a file, or for each data file in a .zip."""
    try:
        sources = members(source)
    except RefusedError as error:
        yield _refused(source.name, error)
        return
    for member in sources:
        try:
            yield _examine_file(member, settings, snapshot_at)
        except RefusedError as error:
            yield _refused(member.name, error)


def _examine_file(source: Source, settings: Settings, snapshot_at: int | None) -> File | Report:
    recognised = recognise(source, settings.columns)
    if recognised.format is None:
        return Report(source.name, None, recognised.why, "skipped")
    sha256, size = source.fingerprint()
    return File(
        source=source,
        format=recognised.format,
        why=recognised.why,
        sha256=sha256,
        size=size,
        snapshot_at=source.modified_at if snapshot_at is None else snapshot_at,
    )


def _refused(name: str, error: RefusedError) -> Report:
    return Report(name, None, error.with_place(name), "refused", code=error.code)
