"""A million films seen, and as many ratings -> seconds that their ingest takes.

    python benchmarks/seen.py [--rows 1000000] [--url URL ...]

Files of distinct pairs, by user as exports are: ratings with times (MovieLens' own columns), films
seen with times, and films seen without. Each is merged into an empty database, and then once more
beside a tenth of new rows. A URL is of an empty database on Postgres, whose tables are emptied
between the files; without one, a SQLite file.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sqlalchemy import text

from batch.config import Config
from batch.ingest import ingest
from batch.job.inputs import ingest_settings
from batch.store import schema
from batch.store.database import Database, open_database
from batch.store.run_lock import run_lock
from batch.store.versions import upgrade

USERS, FILMS = 20_000, 20_000
KINDS = ("ratings", "seen, with times", "seen")


def lines_of(kind: str, pairs: np.ndarray) -> str:
    """A file of these pairs, (n, 2)."""
    header = {"ratings": "userId,movieId,rating,timestamp", "seen": "userId,movieId"}
    lines = [header.get(kind, "userId,movieId,timestamp")]
    for user, film in pairs.tolist():
        time_of = 1_600_000_000 + user + film
        if kind == "ratings":
            lines.append(f"{user},{film},{1 + (user + film) % 5}.0,{time_of}")
        elif kind == "seen":
            lines.append(f"{user},{film}")
        else:
            lines.append(f"{user},{film},{time_of}")
    return "\n".join(lines) + "\n"


def seconds(database: Database, file: Path, kind: str) -> float:
    """How long it takes to merge a file."""
    settings = ingest_settings(Config())
    start = time.perf_counter()
    with run_lock(database):
        if kind == "ratings":
            [report] = ingest(database, [file], settings)
        else:
            [report] = ingest(database, [], settings, seen_paths=[file])
    if report.status != "merged":
        raise SystemExit(report.why)
    return time.perf_counter() - start


def empty(database: Database) -> None:
    """Delete every row."""
    with database.writer.begin() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(text(f"TRUNCATE {table.name} CASCADE"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--url", action="append")
    options = parser.parse_args()
    random = np.random.default_rng(1)
    cells = np.unique(random.integers(0, USERS * FILMS, 2 * options.rows))
    cells = np.sort(random.permutation(cells)[: options.rows + options.rows // 10])
    pairs = np.stack([1 + cells // FILMS, 1 + cells % FILMS], axis=1)  # (n, 2)
    is_new = np.arange(len(pairs)) % 11 == 0
    with TemporaryDirectory() as name:
        folder = Path(name)
        for place, url in enumerate(options.url or ["sqlite"]):
            for number, kind in enumerate(KINDS):
                if url == "sqlite":
                    url_of_kind = f"sqlite:///{folder / f'{place}-{number}.db'}"
                else:
                    url_of_kind = url
                database = open_database(url_of_kind)
                upgrade(database)
                if url != "sqlite":
                    empty(database)
                first, again = folder / "first.csv", folder / "again.csv"
                first.write_text(lines_of(kind, pairs[~is_new]))
                again.write_text(lines_of(kind, pairs))
                took = [seconds(database, file, kind) for file in (first, again)]
                rate = options.rows / took[0] / 1e6
                print(
                    f"{database.label[:10]:<10} {kind:<16} {took[0]:6.2f} s ({rate:.2f} M rows/s),"
                    f" again with a tenth of new rows {took[1]:6.2f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
