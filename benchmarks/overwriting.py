"""Ratings that overwrite stored ones -> how long their merge takes, and what they keep.

    python benchmarks/overwriting.py [MILLIONS] [POSTGRES_URL]

Ingests the same made-up ratings twice, the second time with later times, into an empty SQLite
database, or an empty database of Postgres. Prints the seconds of both, their ratio, and the bytes
of a row of `superseded_ratings`.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import text

from batch.ingest import Settings, ingest
from batch.ingest.file_format import Choices
from batch.ingest.merge import Limits
from batch.store.database import Database, open_database
from batch.store.run_lock import run_lock
from batch.store.versions import upgrade
from formats import rows

SECONDS_LATER = 1_000_000
SETTINGS = Settings(None, Choices(), Limits(10_000, 0.01))


def main() -> None:
    """Measure."""
    n_ratings = int(float(sys.argv[1] if len(sys.argv) > 1 else 2) * 1_000_000)
    with TemporaryDirectory() as folder:
        url = sys.argv[2] if len(sys.argv) > 2 else f"sqlite:///{folder}/recbatch.db"
        database = open_database(url)
        upgrade(database)
        first = merge(database, write(Path(folder, "first.csv"), n_ratings, 0))
        second = merge(database, write(Path(folder, "second.csv"), n_ratings, SECONDS_LATER))
        n_bytes = superseded_bytes(database)
    print(f"{n_ratings:,} ratings: first {first:.1f} s, overwriting {second:.1f} s")
    print(f"{second / first:.2f} times as long; {n_bytes / n_ratings:.0f} bytes a row kept")


def write(file: Path, n_ratings: int, later: int) -> Path:
    """The ratings as MovieLens writes them, their times so many seconds later."""
    with file.open("w") as output:
        output.write("userId,movieId,rating,timestamp\n")
        for row in rows(n_ratings):
            output.write(f"{row.user},{row.movie},{row.stars},{row.time + later}\n")
    return file


def merge(database: Database, file: Path) -> float:
    """The seconds that one ingest takes."""
    start = time.perf_counter()
    with run_lock(database):
        [report] = ingest(database, [file], SETTINGS)
    seconds = time.perf_counter() - start
    if report.accepted != report.read:
        raise SystemExit(f"only {report.accepted:,} of {report.read:,} were merged: {report.why}")
    return seconds


def superseded_bytes(database: Database) -> int:
    """The size of the table of overwritten ratings, with its index."""
    size = "SELECT pg_total_relation_size('superseded_ratings')"
    if database.file:
        size = "SELECT sum(pgsize) FROM dbstat WHERE name = 'superseded_ratings'"
    with database.reader.connect() as connection:
        return int(connection.execute(text(size)).scalar_one())


if __name__ == "__main__":
    main()
