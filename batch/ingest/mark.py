"""A user and a film that they have seen, named by a person -> a batch of one row."""

from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select

from batch.ingest.batches import Settings, insert_batch
from batch.ingest.seen_files import SEEN
from batch.store import schema

FILE = "recbatch seen add"
"""What `ingest_batches` has in place of a file."""


def mark_as_seen(
    connection: Connection, user_key: str, movie_key: str, settings: Settings
) -> int | None:
    """Mark a film as seen now; returns the batch, or None where it is marked already.

    Both keys must be in the tables. The caller holds the run lock.
    """
    u, m, s = schema.users.c, schema.movies.c, schema.seen.c
    user_id = connection.execute(select(u.user_id).where(u.user_key == user_key)).scalar_one()
    movie_id = connection.execute(select(m.movie_id).where(m.movie_key == movie_key)).scalar_one()
    same_pair = select(s.batch_id).where(s.user_id == user_id, s.movie_id == movie_id)
    if connection.execute(same_pair).first() is not None:
        return None
    now = int(datetime.now(UTC).timestamp())
    batch: dict[str, object] = {
        "status": "merged",
        "file": FILE,
        "format": SEEN.name,
        "snapshot_at": now,
        "rows_read": 1,
        "rows_accepted": 1,
        "rows_superseded": 0,
        "all_timed": 1,
    }
    batch_id = insert_batch(connection, settings, batch)
    row = {"user_id": user_id, "movie_id": movie_id, "seen_at": now, "batch_id": batch_id}
    connection.execute(insert(schema.seen), row)
    return batch_id
