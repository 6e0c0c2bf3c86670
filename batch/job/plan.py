"""Settings and tables -> what a run would work on, and how long it may take."""

from batch.config import Config
from batch.ingest import Report, ingest
from batch.job.estimate import estimate
from batch.job.inputs import block_size, end_of_day, ingest_settings, queries
from batch.job.nightly import Order
from batch.models import PUBLISHED
from batch.store.database import Database
from batch.store.load import load
from batch.store.run_lock import run_lock


def plan_run(database: Database, config: Config, order: Order) -> dict[str, object]:
    """What a run would work on, before it ingests anything; writes nothing.

    The queries of the settings are asked, and their rows counted as a merge would count them.
    Raises LockedError where there are queries and another job is working.
    """
    known_until = end_of_day(order.as_of, config)
    with database.reader.connect() as connection:
        loaded = load(connection, scale=config.ingest.scale, known_until=known_until)
        ratings = loaded.ratings
        block = block_size(ratings, config.resources.memory_mb)
        expected = estimate(connection, ratings, config.models, block)
    paths = [str(path) for path in (*config.ingest.paths, *config.ingest.seen_paths)]
    query_names = [name for name, *_ in queries(config).statements]
    n_active = int((ratings.user_counts() > 0).sum())
    return {
        "database": database.label,
        "night": order.logical_date,
        "ends": "published" if order.publish else "ready",
        "ingest_first": paths + query_names,
        "queries": {report.file: _counts(report) for report in _asked(database, config)},
        "users": n_active,
        "films": ratings.n_items,
        "ratings": ratings.n_ratings,
        "models": list(PUBLISHED),
        "rows_at_most": n_active * len(PUBLISHED) * config.publish.top_n,
        "users_a_block": block,
        "seconds_expected": round(expected.seconds),
        "expected_because": expected.evidence,
    }


def _asked(database: Database, config: Config) -> list[Report]:
    """What the queries would bring; their transaction is rolled back."""
    asked = queries(config)
    if not asked.statements:
        return []
    with run_lock(database):
        return ingest(
            database,
            [],
            ingest_settings(config),
            queries=asked,
            pass_over_undone=True,
            dry_run=True,
        )


def _counts(report: Report) -> dict[str, object]:
    """The outcome of a query, and the counts of its rows."""
    return {
        "status": report.status,
        "why": report.why,
        "read": report.read,
        "accepted": report.accepted,
        "rejected": report.rejected,
        "duplicate": report.duplicate,
    }
