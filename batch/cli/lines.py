"""Outcomes, reports, findings -> lines of text for a terminal."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from batch.cli.metric_tables import metrics_table
from batch.cli.terminal import TextTable, print_lines, show_table

if TYPE_CHECKING:  # printing must not wait for the imports that make what is printed
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from batch.ingest import Report
    from batch.ingest.first_rows import StoredRow
    from batch.ingest.undo import Undone
    from batch.job.nightly import Outcome
    from batch.job.nights import Night
    from batch.serve.health import Finding
    from batch.store.checks import Check

SHOWN_FILES = 10
"""Files that are named in one line."""
SHOWN_REJECTS = 5
"""Rejected rows that are printed; all of them are stored in ingest_rejects."""


def outcome_lines(
    outcome: Outcome, overridden: Sequence[str] = (), as_of: date | None = None
) -> None:
    """How a run ended; `overridden` are the gates that the published run itself failed.

    With `as_of` the run used only ratings that were known by the end of that day.
    """
    ingest_lines(outcome.ingested)
    if outcome.status == "already_published":
        print_lines(f"nothing to do: run {outcome.run_id} is published for that night")
        return
    if outcome.metrics:
        metrics_table(outcome.measured)
    for check in outcome.failed_checks:
        print_lines(_check_line(check))
    counts = [f"{count:,} {model}" for model, count in outcome.rows.items()]
    print_lines(f"run {outcome.run_id} is {outcome.status}: {', '.join(counts) or 'no rows'}")
    for warning in outcome.warnings:
        print_lines(f"warning: {warning['message']}")
    if outcome.status == "rejected":
        _rejected_lines(outcome, overridden, as_of)


def _check_line(check: Check) -> str:
    about = f" ({check.about})" if check.about else ""
    return (
        f"{check.severity} {check.name}: {check.value:.3g},"
        f" {check.wanted} {check.threshold:g} wanted{about}"
    )


def _rejected_lines(outcome: Outcome, overridden: Sequence[str], as_of: date | None) -> None:
    """Print the remedies for a rejected run on stderr."""
    failed_names = {check.name for check in outcome.failed_checks}
    gates_only = all(check.severity == "gate" for check in outcome.failed_checks)
    publish = f"'recbatch publish {outcome.run_id}'"
    if gates_only:
        remedy = f"{publish} publishes this run all the same; thresholds are settings under gate"
    elif "ratings" in failed_names:
        known = f" known by {as_of}; name a later day, or" if as_of else ":"
        remedy = f"there were no ratings{known} {_bring_ratings(outcome)}"
    elif "no_rows" in failed_names:
        remedy = (
            "no user has a film left that could be listed: bring in more films or ratings with"
            " 'recbatch ingest FILES', or end filters that 'recbatch filter list' shows,"
            " then run 'recbatch run'"
        )
    else:
        remedy = "a run that fails an integrity check is never published; run again"
    print_lines(f"nothing was published, and readers get what they got before; {remedy}", err=True)
    if gates_only and overridden:
        print_lines(
            f"what readers get was published over its gates ({', '.join(overridden)}),"
            " and this run was compared with it:"
            f" if this one is the good one, {publish}",
            err=True,
        )


def _bring_ratings(outcome: Outcome) -> str:
    """What to do about a run without ratings."""
    from batch.store.first_steps import BRING_RATINGS

    remedy = f"{BRING_RATINGS}, then run 'recbatch run'"
    if any(warning["kind"] == "source" for warning in outcome.warnings):
        return f"correct the sources that the warnings name, or {remedy}"
    return remedy


def plan_lines(plan: Mapping[str, Any]) -> None:
    """What a run would work on."""
    for name, value in plan.items():
        if name == "queries":
            for query, counts in value.items():
                print_lines(_query_line(query, counts))
        else:
            print_lines(f"{name.replace('_', ' ')}: {_plan_value(value)}")


def _query_line(query: str, counts: Mapping[str, Any]) -> str:
    """What a query would bring, or why it brings nothing."""
    status = counts["status"]
    if status == "refused":
        return f"refused: {counts['why']}"
    if status != "would be merged":
        return f"{query}: {counts['why']}, {status}"
    return (
        f"{query}: {status}: {counts['read']:,} rows = {counts['accepted']:,} accepted"
        f" + {counts['rejected']:,} rejected + {counts['duplicate']:,} duplicate"
    )


def _plan_value(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return text or "nothing"


def ingest_lines(reports: Iterable[Report]) -> None:
    """The format of each file, and what became of its rows."""
    for report in reports:
        if report.status == "refused":
            print_lines(f"refused: {report.why}", err=True)
        elif report.status in ("skipped", "unchanged", "passed over"):
            print_lines(f"{report.file}: {report.why}, {report.status}")
        else:
            counts = (
                f"{report.accepted:,} accepted + {report.rejected:,} rejected"
                f" + {report.duplicate:,} duplicate"
            )
            print_lines(f"{report.file}: {report.format}, because {report.why}")
            print_lines(f"  {report.status}: {report.read:,} rows = {counts}")
        if report.first_rows:
            _first_rows_table(report.first_rows)
        for reject in report.rejects[:SHOWN_REJECTS]:
            print_lines(f"  {report.file}:{reject.line}: {reject.message}", err=True)
        n_more = len(report.rejects) - SHOWN_REJECTS
        if n_more > 0:
            print_lines(f"  and {n_more:,} more, in ingest_rejects", err=True)
        for warning in report.warnings[:SHOWN_REJECTS]:
            print_lines(f"  {report.file}: {warning}", err=True)


def _first_rows_table(rows: Sequence[StoredRow]) -> None:
    """Print rows as they would be stored, below the names of their columns."""
    names = [field.name for field in fields(rows[0])]
    right = [names.index("rating")] if "rating" in names else []
    table = TextTable(names, right)
    for row in rows:
        table.add_row(*[_cell(getattr(row, name)) for name in names])
    show_table(table, None)


def _cell(value: Any) -> str:
    """A key, stars, a time in UTC or genres as a table shows them."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, tuple):
        return "|".join(value)
    if isinstance(value, float):
        return f"{value:g}"
    return value or ""


def undone_lines(undone: Undone) -> None:
    """What an undone batch left, and the files that may have to be read again."""
    what = "films seen" if undone.of_seen else "ratings"
    print_lines(
        f"batch {undone.batch_id} is undone ({undone.file}): {undone.deleted:,} {what} deleted,"
        f" {undone.restored:,} as they were before, {undone.users:,} users and"
        f" {undone.films:,} films deleted"
    )
    if undone.to_ingest_again:
        files = undone.to_ingest_again[:SHOWN_FILES]
        n_more = len(undone.to_ingest_again) - len(files)
        more = f" and {n_more:,} more" if n_more else ""
        again, setting = "again", "ingest.paths"
        if undone.of_seen:
            again, setting = "again with --seen", "ingest.seen_paths"
        print_lines(
            f"later files may have had {what} that counted less than its own: ingest"
            f" {', '.join(files)}{more} {again}; the next run does so with those of {setting}",
            err=True,
        )


def finding_lines(findings: Iterable[Finding]) -> None:
    """One line for each finding of a check."""
    for finding in findings:
        print_lines(f"{finding.level} {finding.name}: {finding.about}")


def night_lines(nights: Iterable[Night]) -> None:
    """The next times the job is due, in UTC, with the night each is for."""
    for night in nights:
        print_lines(f"{night.due:%Y-%m-%d %H:%M} UTC, for {night.logical_date}")
