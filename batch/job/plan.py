"""Settings and tables -> what a run would work on, and how long it may take."""

from batch.config import Config
from batch.job.estimate import estimate
from batch.job.inputs import block_size, end_of_day, queries
from batch.job.nightly import Order
from batch.models import PUBLISHED
from batch.store.database import Database
from batch.store.load import load


def plan_run(database: Database, config: Config, order: Order) -> dict[str, object]:
    """What a run would work on, before it ingests anything; writes nothing."""
    known_until = end_of_day(order.as_of, config)
    with database.reader.connect() as connection:
        loaded = load(connection, scale=config.ingest.scale, known_until=known_until)
        ratings = loaded.ratings
        block = block_size(ratings, config.resources.memory_mb)
        expected = estimate(connection, ratings, config.models, block)
    paths = [str(path) for path in config.ingest.paths]
    query_names = [name for name, *_ in queries(config).statements]
    n_active = int((ratings.user_counts() > 0).sum())
    return {
        "database": database.label,
        "night": order.logical_date,
        "ends": "published" if order.publish else "ready",
        "ingest_first": paths + query_names,
        "users": n_active,
        "films": ratings.n_items,
        "ratings": ratings.n_ratings,
        "models": list(PUBLISHED),
        "rows_at_most": n_active * len(PUBLISHED) * config.publish.top_n,
        "users_a_block": block,
        "seconds_expected": round(expected.seconds),
        "expected_because": expected.evidence,
    }
