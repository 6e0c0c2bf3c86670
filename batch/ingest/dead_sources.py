"""Reports by configured source -> the sources that brought nothing, and why."""

from collections.abc import Mapping, Sequence, Set

from sqlalchemy import Connection, select

from batch.ingest.batches import Report
from batch.store import schema

NOT_MERGED = "GROUP_REFUSED"
"""The code of a file that is refused only because another one is."""
READ = ("merged", "unchanged", "passed over")


def dead_sources(
    connection: Connection, by_source: Mapping[str, Sequence[Report]]
) -> dict[str, str]:
    """Source -> why: a file of it was refused, or its files of some format have no usable row.

    Content that was merged before counts with the rows it had then. A folder is not dead while
    one file of each format has rows: a day without ratings is no fault.
    """
    empty = _empty_batches(connection)
    dead = {}
    for source, reports in by_source.items():
        why = _refusal(reports) or _emptiness(source, reports, empty)
        if why:
            dead[source] = why
    return dead


def _empty_batches(connection: Connection) -> set[int]:
    """Merged batches without a row that was new or known."""
    b = schema.ingest_batches.c
    empty = select(b.batch_id).where(
        b.status == "merged", b.rows_accepted == 0, b.rows_duplicate == 0
    )
    return set(connection.execute(empty).scalars())


def _refusal(reports: Sequence[Report]) -> str:
    """Why files were refused: the reason of the one at fault, and how many others there are."""
    refused = [report for report in reports if report.status == "refused"]
    if not refused:
        return ""
    at_fault = min(refused, key=lambda report: report.code == NOT_MERGED)
    n_more = len(refused) - 1
    return f"{at_fault.why} ({n_more:,} more of its files refused)" if n_more else at_fault.why


def _emptiness(source: str, reports: Sequence[Report], empty: Set[int]) -> str:
    """Which file has no rows, if no other of its format has any."""
    read = [report for report in reports if report.status in READ]
    if not read:
        return f"{source}: no ratings or films in it; correct the path, or remove it"
    alive = {report.format for report in read if report.batch_id not in empty}
    for report in read:
        if report.format not in alive:
            return f"{report.file}: no usable row in it; export it again, or remove it"
    return ""
