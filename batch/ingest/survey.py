"""Paths -> the files to merge, and reports of those that are skipped or refused."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from batch.ingest.archives import Passed, find, members
from batch.ingest.batches import File, Report, Settings
from batch.ingest.errors import RefusedError
from batch.ingest.file_errors import path_text
from batch.ingest.formats import NotNeeded, recognise
from batch.ingest.sources import Source


def survey(
    paths: Iterable[Path | Source], settings: Settings, snapshot_at: int | None
) -> tuple[list[Report], list[File]]:
    """Examine every file that the paths name; each is in one of the two lists.

    A source is a file that is not shown by its path, such as a copy of standard input.

    `snapshot_at`, seconds since 1970 UTC, replaces the files' modification times.
    """
    reports: list[Report] = []
    files: list[File] = []
    for path in paths:
        try:
            sources, passed = ([path], []) if isinstance(path, Source) else find(path)
        except RefusedError as error:
            reports.append(_refused(shown_as(path), error))
            continue
        reports += map(_passed_over, passed)
        of_path: list[File | Report] = []
        for source in sources:
            of_path += _examine_source(source, settings, snapshot_at)
        if len(sources) > 1 and not any(_is_usable(result) for result in of_path):
            of_path.append(_refused(shown_as(path), _nothing_usable(len(of_path))))
        for result in of_path:
            if isinstance(result, File):
                files.append(result)
            else:
                reports.append(result)
    return reports, files


def shown_as(path: Path | Source) -> str:
    """What messages and tables call a path."""
    return path.name if isinstance(path, Source) else path_text(path)


def _examine_source(
    source: Source, settings: Settings, snapshot_at: int | None
) -> list[File | Report]:
    """The results for a file, or for the members of an archive."""
    try:
        sources, passed = members(source)
    except RefusedError as error:
        return [_refused(source.name, error)]
    if source.label is not None:
        sources = [_shown_below(source.label, member) for member in sources]
    results: list[File | Report] = []
    for name, why in passed:
        shown_name = name.replace(path_text(source.path), source.name, 1)
        results.append(_passed_over(Passed(shown_name, why)))
    for member in sources:
        try:
            results.append(_examine_file(member, settings, snapshot_at))
        except RefusedError as error:
            results.append(_refused(member.name, error))
    if sources != [source] and not any(_is_usable(result) for result in results):
        results.append(_refused(source.name, _nothing_usable(len(results))))
    return results


def _shown_below(label: str, member: Source) -> Source:
    """A member of an archive that has a label instead of its path."""
    return replace(member, label=f"{label}/{member.member}") if member.member else member


def _is_usable(result: File | Report) -> bool:
    """Whether it is a file with ratings or films, or one whose refusal says so already."""
    return isinstance(result, File) or result.status == "refused"


def _nothing_usable(n_files: int) -> RefusedError:
    message = f"none of its {n_files:,} files has ratings or films; name the right one"
    return RefusedError("NOTHING_USABLE", message)


def _examine_file(source: Source, settings: Settings, snapshot_at: int | None) -> File | Report:
    content = source.content()
    recognised = recognise(source, content, settings.choices)
    if isinstance(recognised, NotNeeded):
        return Report(source.name, None, recognised.why, "skipped")
    return File(
        source=source,
        format=recognised.format,
        why=recognised.why,
        read=recognised.read,
        sha256=content.sha256,
        size=content.size,
        snapshot_at=source.modified_at if snapshot_at is None else snapshot_at,
    )


def _passed_over(passed: Passed) -> Report:
    return Report(passed.name, None, passed.why, "skipped")


def _refused(name: str, error: RefusedError) -> Report:
    return Report(name, None, error.with_place(name), "refused", code=error.code)
