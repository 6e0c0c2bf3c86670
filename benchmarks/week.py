"""Seven nights and noons, real ratings in order of time -> what readers had of each day's lists.

    python benchmarks/week.py --data FOLDER [--share 0.15]

FOLDER has MovieLens' ratings.csv and movies.csv, or the same as .dat. The newest share of all
ratings is cut into seven days, each into a morning and an afternoon. Every night knows what came
before it; the morning's ratings come in, then a refresh. At noon five kinds of lists of `blend` are
judged by what their users liked in the afternoon: what the night stored to rank 5, the same less
films rated since, the view (where others move up), the view after a refresh, and that of a whole
new night. Precision is over users with an earlier rating and a liked one in the afternoon;
`touched` are those of them who rated in the morning. Processor time is that of the commands,
start-up and all. `promised` is what the night measured; the last lines have beside it what the
world made of that night's lists, by 'recbatch outcome': all that was liked until the next night.
"""

import argparse
import csv
import os
import resource
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import text

from batch.config import Config
from batch.job.outcomes import measured_outcomes
from batch.store.database import open_database

N = 5
LIKED_SHARE = 0.8
"""Of the highest rating there is."""
DAYS = 7
KINDS = ("night", "unrated", "view", "refreshed", "new night")

Row = dict[str, str]
Lists = dict[str, list[str]]
"""User -> films, best first."""


COLUMNS = ("userId", "movieId", "rating", "timestamp")


def ordered(folder: Path) -> list[Row]:
    """The ratings in order of time."""
    file = folder / "ratings.csv"
    if file.exists():
        with file.open(newline="", encoding="utf-8") as source:
            rows = list(csv.DictReader(source))
    else:
        lines = (folder / "ratings.dat").read_text(encoding="utf-8").splitlines()
        rows = [dict(zip(COLUMNS, line.split("::"), strict=True)) for line in lines]
    return sorted(rows, key=lambda row: int(row["timestamp"]))


def write(file: Path, rows: Sequence[Row]) -> None:
    file.parent.mkdir(exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def recbatch(folder: Path, database: Path, *arguments: str) -> float:
    """Run a command; returns the processor seconds it took."""
    environ = {**os.environ, "RECBATCH_DATABASE__URL": f"sqlite:///{database}"}
    command = [sys.executable, "-m", "batch", "-q", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(  # noqa: S603
        command, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def shown(database: Path) -> Lists:
    """The lists of `blend`, as the view has them."""
    lists: Lists = defaultdict(list)
    rows = """
        SELECT user_key, movie_key FROM current_recommendations
        WHERE model = 'blend' ORDER BY rank"""
    with open_database(f"sqlite:///{database}").reader.connect() as connection:
        for user, film in connection.execute(text(rows)):
            lists[user].append(film)
    return lists


def promised(database: Path) -> tuple[int, float]:
    """The current run, and the precision that it measured on what came next."""
    figure = """
        SELECT run_id, value FROM run_metrics JOIN publication USING (run_id)
        WHERE model = 'blend' AND metric = 'next.precision@5'"""
    with open_database(f"sqlite:///{database}").reader.connect() as connection:
        run_id, value = connection.execute(text(figure)).one()
    return run_id, value


def delivered(database: Path) -> dict[int, str]:
    """By run, precision of its lists on what was liked since, of `blend` and of popular films."""
    lines = {}
    with open_database(f"sqlite:///{database}").reader.connect() as connection:
        for window, metrics in measured_outcomes(connection, Config()):
            if not metrics:  # nothing new was rated in its time
                continue
            figures = [metrics[name].get("precision@5") for name in ("blend", "popular")]
            blend, popular = (f"{value or float('nan'):.3f}" for value in figures)
            users = int(metrics["blend"].get("users", 0))
            lines[window.run_id] = f"delivered {blend}, popular {popular}, {users} users"
    return lines


class Day:
    """Who rated in the morning, and what was liked in the afternoon."""

    def __init__(self, known: Sequence[Row], morning: Sequence[Row], afternoon: Sequence[Row]):
        highest = max(float(row["rating"]) for row in known)
        earlier = {row["userId"] for row in (*known, *morning)}
        self.rated = {(row["userId"], row["movieId"]) for row in morning}
        self.morning = morning
        self.touched = {row["userId"] for row in morning}
        self.liked: dict[str, set[str]] = defaultdict(set)
        for row in afternoon:
            if float(row["rating"]) >= LIKED_SHARE * highest and row["userId"] in earlier:
                self.liked[row["userId"]].add(row["movieId"])

    def unrated(self, lists: Lists) -> Lists:
        """The lists less what was rated in the morning."""
        return {
            user: [film for film in films if (user, film) not in self.rated]
            for user, films in lists.items()
        }

    def hits(self, lists: Lists) -> dict[str, float]:
        """Precision of each judged user's list."""
        return {
            user: len(films & set(lists.get(user, [])[:N])) / N
            for user, films in self.liked.items()
        }


def live(folder: Path, rows: Sequence[Row], share: float) -> None:
    """Live through the week, and print its table."""
    database, copy = folder / "recbatch.db", folder / "copy.db"
    start = int((1 - share) * len(rows))
    halves = [start + (len(rows) - start) * half // (2 * DAYS) for half in range(2 * DAYS + 1)]
    recbatch(folder, database, "db", "upgrade")
    write(folder / "first/ratings.csv", rows[:start])
    recbatch(folder, database, "ingest", "first")
    of_all: dict[str, list[float]] = {kind: [] for kind in KINDS}
    of_touched: dict[str, list[float]] = {kind: [] for kind in KINDS}
    seconds: dict[str, list[float]] = {"night": [], "refresh": []}
    promises: dict[int, float] = {}
    print("day  promised  " + "  ".join(f"{kind:>9}" for kind in KINDS) + "  judged  touched")
    for day in range(DAYS):
        first, noon, end = halves[2 * day], halves[2 * day + 1], halves[2 * day + 2]
        today = Day(rows[:first], rows[first:noon], rows[noon:end])
        seconds["night"].append(recbatch(folder, database, "run", "--force"))
        run_id, promise = promised(database)
        promises[run_id] = promise
        stored = shown(database)
        write(folder / "morning.csv", rows[first:noon])
        recbatch(folder, database, "ingest", "morning.csv")
        lists = {"night": stored, "unrated": today.unrated(stored), "view": shown(database)}
        recbatch(folder, database, "backup", str(copy))
        recbatch(folder, copy, "run", "--force")
        lists["new night"] = shown(copy)
        copy.unlink()
        seconds["refresh"].append(recbatch(folder, database, "refresh"))
        lists["refreshed"] = shown(database)
        means = []
        for kind in KINDS:
            hits = today.hits(lists[kind])
            of_all[kind] += hits.values()
            of_touched[kind] += [hits[user] for user in hits if user in today.touched]
            means.append(f"{_mean(list(hits.values())):9.3f}")
        judged = f"{len(today.liked):6}  {len(today.liked.keys() & today.touched):7}"
        print(f"{day + 1:3}  {promise:8.3f}  {'  '.join(means)}  {judged}", flush=True)
        write(folder / "afternoon.csv", rows[noon:end])
        recbatch(folder, database, "ingest", "afternoon.csv")
    for name, hits_by_kind in (("all", of_all), ("touched", of_touched)):
        means = [f"{_mean(hits_by_kind[kind]):9.3f}" for kind in KINDS]
        print(f"{name:13}  {'  '.join(means)}  {len(hits_by_kind['view']):6}")
    outcomes = delivered(database)
    for day, (run_id, promise) in enumerate(promises.items(), 1):
        print(f"{day:3}  promised {promise:.3f}, {outcomes.get(run_id, 'nothing delivered')}")
    print(
        "processor seconds, the median: night {:.1f}, refresh {:.1f}".format(
            *(statistics.median(seconds[name]) for name in ("night", "refresh"))
        )
    )


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.15)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "first").mkdir()
        [films] = options.data.glob("movies.*")
        shutil.copy(films, folder / "first" / films.name)
        live(folder, ordered(options.data), options.share)


if __name__ == "__main__":
    main()
