"""The same ratings in several formats -> rows a second that `ingest` reads, beside MovieLens'.

    python benchmarks/formats.py [MILLIONS [FORMAT...]]

Each format (or MovieLens' and those named) is ingested into an empty SQLite database in a process
of its own, in turn, twice; the better of both counts. Prints rows a second, the time beside that of
MovieLens' ratings.csv, and the memory at its peak.
"""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

N_ITEMS = 20_000
PER_USER = 150
ROUNDS = 2
SEED = 20261123
INGEST = """
import resource, sys, time
from pathlib import Path
from batch.ingest import Settings, ingest
from batch.ingest.file_format import Choices
from batch.ingest.merge import Limits
from batch.store.database import open_database
from batch.store.versions import upgrade
database = open_database("sqlite:///" + sys.argv[1])
upgrade(database)
start = time.perf_counter()
settings = Settings(None, Choices(), Limits(10_000, 0.01))
[report] = ingest(database, [Path(sys.argv[2])], settings)
seconds = time.perf_counter() - start
assert report.status == "merged", report.why
print(seconds, report.accepted, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


class Row(NamedTuple):
    """A rating."""

    user: int
    movie: int
    stars: float
    time: int  # seconds since 1970


def rows(n_ratings: int) -> Iterator[Row]:
    """Made-up ratings, by user and movie as MovieLens orders them."""
    draw = random.Random(SEED)  # noqa: S311  not a secret
    for user in range(1, n_ratings // PER_USER + 1):
        for number, movie in enumerate(sorted(draw.sample(range(1, N_ITEMS), PER_USER))):
            yield Row(user, movie, draw.randint(1, 10) / 2, 1_200_000_000 + 1000 * user + number)


def comma(stars: float) -> str:
    return str(stars).replace(".", ",")


MOVIELENS = "MovieLens ratings.csv"
FORMATS: dict[str, tuple[str, Callable[[Row], str]]] = {
    MOVIELENS: (
        "userId,movieId,rating,timestamp\n",
        lambda r: f"{r.user},{r.movie},{r.stars},{r.time}\n",
    ),
    "long, commas": (
        "user_id,movie_id,rating,timestamp\n",
        lambda r: f"{r.user},{r.movie},{r.stars},{r.time}\n",
    ),
    "long, text ids": (
        "userId,movieId,rating,timestamp\n",
        lambda r: f"6f1c-{r.user:06x},tt{r.movie:07},{r.stars},{r.time}\n",
    ),
    "long, quoted": (
        '"User-ID","ISBN","Book-Rating","ts"\n',
        lambda r: f'"{r.user}","{r.movie}X","{r.stars}","{r.time}"\n',
    ),
    "long, semicolons, decimal commas, dates": (
        "user;movie;rating;date\n",
        lambda r: f"{r.user};{r.movie};{comma(r.stars)};2023-11-{1 + r.user % 28:02}\n",
    ),
    "no header, tabs": ("", lambda r: f"A{r.user}\tB{r.movie}\t{r.stars}\t{r.time}\n"),
    "JSON lines": (
        "",
        lambda r: (
            f'{{"user": "{r.user}", "item": "{r.movie}", "rating": {r.stars}, '
            f'"timestamp": {r.time}}}\n'
        ),
    ),
}


def measure(file: Path) -> tuple[float, int, float]:
    """Seconds, ratings and MB of one ingest into an empty database."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-c", INGEST, f"{folder}/x.db", str(file)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    seconds, ratings, peak = output.split()
    return float(seconds), int(ratings), float(peak)


def main() -> None:
    """Write the files, measure them, and print a table."""
    n_ratings = int(float(sys.argv[1] if len(sys.argv) > 1 else 2) * 1_000_000)
    named = sys.argv[2:] and [MOVIELENS, *sys.argv[2:]]
    with TemporaryDirectory() as folder:
        files = {}
        for number, name in enumerate(named or FORMATS):
            header, line = FORMATS[name]
            files[name] = Path(folder, f"{number}.txt")
            with files[name].open("w") as file:
                file.write(header)
                file.writelines(map(line, rows(n_ratings)))
        best: dict[str, tuple[float, int, float]] = {}
        for _ in range(ROUNDS):
            for name, path in files.items():
                measured = measure(path)
                best[name] = min(measured, best.get(name, measured))
    base = best[MOVIELENS][0]
    print("| format | rows a second | time | peak MB |\n|---|---|---|---|")
    for name, (seconds, ratings, peak) in best.items():
        print(f"| {name} | {ratings / seconds:,.0f} | {seconds / base:.2f}x | {peak:.0f} |")


if __name__ == "__main__":
    main()
