"""A published night, then a fifth of all ratings at once -> what readers see of the lists.

    python benchmarks/day.py --data FOLDER [--url URL]

FOLDER has MovieLens' ratings.csv and movies.csv. The night knows the first three fifths of each
user's ratings by time, and the next fifth arrives after it. Counts lists that run short and rows of
films that are rated, and compares precision@5 on the last fifth, of `blend`, with that of lists
stored without spare films. Then times reading one list and all lists from the view, beside a
statement that leaves out filtered films only. At last everyone is refreshed, and a whole new night
is run: their precision and processor time are compared. The URL is of an empty database, by default
a file.
"""

import argparse
import csv
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from batch import query
from batch.store.database import open_database

N = 5
LIKED = 4.0
"""Stars."""
READS = 300
MODELS = ("blend", "user_user", "item_item", "neural")
ONE = "SELECT * FROM current_recommendations WHERE user_key = :user AND model = 'blend'"
ALL = "SELECT count(*), max(title) FROM current_recommendations"
AS_STORED = """
    SELECT u.user_key, u.name, r.model, r.rank, m.movie_key, m.title, r.score, r.predicted_rating,
           r.reason, r.run_id, p.published_at
    FROM publication p
    CROSS JOIN users u
    JOIN recommendations r ON r.run_id = p.run_id AND r.user_id = u.user_id
    JOIN movies m ON m.movie_id = r.movie_id
    WHERE r.rank <= 5 AND NOT EXISTS (
        SELECT f.filter_id FROM item_filters f
        WHERE f.movie_id = r.movie_id AND (f.user_id IS NULL OR f.user_id = r.user_id)
          AND f.starts_at <= p.published_at
          AND (f.ends_at IS NULL OR f.ends_at > p.published_at))"""
ONE_AS_STORED = f"SELECT * FROM ({AS_STORED}) s WHERE user_key = :user AND model = 'blend'"  # noqa: S608
ALL_AS_STORED = f"SELECT count(*), max(title) FROM ({AS_STORED}) s"  # noqa: S608


class Parts(NamedTuple):
    """Ratings as they are in the file, by what is known when."""

    night: list[dict[str, str]]
    day: list[dict[str, str]]
    later: list[dict[str, str]]


def split(file: Path) -> Parts:
    """Three fifths, one and one of each user's ratings, in order of time."""
    by_user: dict[str, list[dict[str, str]]] = defaultdict(list)
    with file.open(newline="", encoding="utf-8") as source:
        for row in csv.DictReader(source):
            by_user[row["userId"]].append(row)
    parts = Parts([], [], [])
    for of_user in by_user.values():
        of_user.sort(key=lambda row: int(row["timestamp"]))
        first, second = int(0.6 * len(of_user)), int(0.8 * len(of_user))
        parts.night.extend(of_user[:first])
        parts.day.extend(of_user[first:second])
        parts.later.extend(of_user[second:])
    return parts


def write(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def recbatch(folder: Path, url: str, *arguments: str) -> float:
    """Run a command; returns the processor seconds that it took."""
    environ = {**os.environ, "RECBATCH_DATABASE__URL": url}
    command = [sys.executable, "-m", "batch", "-q", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(  # noqa: S603
        command, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def shown(connection: Connection) -> dict[tuple[str, str], list[str]]:
    """User and model -> films, as the view has them."""
    lists: dict[tuple[str, str], list[str]] = defaultdict(list)
    rows = "SELECT user_key, model, movie_key FROM current_recommendations ORDER BY rank"
    for user, model, film in connection.execute(text(rows)):
        lists[user, model].append(film)
    return lists


def precision(lists: dict[str, list[str]], later: list[dict[str, str]]) -> float:
    """Mean share of the N places that a film has which the user liked later."""
    liked: dict[str, set[str]] = defaultdict(set)
    for row in later:
        if float(row["rating"]) >= LIKED:
            liked[row["userId"]].add(row["movieId"])
    hits = [len(films & set(lists.get(user, [])[:N])) for user, films in liked.items()]
    return statistics.mean(hits) / N


def milliseconds(connection: Connection, statement: str, **values: Any) -> float:
    start = time.perf_counter()
    connection.execute(text(statement), values).all()
    return 1000 * (time.perf_counter() - start)


def compare(url: str, parts: Parts, folder: Path) -> None:
    """Run the night and the day, and print both tables."""
    database = open_database(url)
    recbatch(folder, url, "db", "upgrade")
    recbatch(folder, url, "ingest", "night")
    recbatch(folder, url, "run", "--force")
    with database.reader.connect() as connection:
        before = shown(connection)
    recbatch(folder, url, "ingest", "day.csv")
    rated = {(row["userId"], row["movieId"]) for row in parts.day}
    with database.reader.connect() as connection:
        now = shown(connection)
        names = ("model", "lists", "short", "in query", "without spare")
        print("{:<10} {:>6} {:>6} {:>9} {:>14}".format(*names))
        for model in MODELS:
            of_model = [key for key in before if key[1] == model]
            answers = [len(answer.films) for answer in query.lists(connection, model=model)]
            n_short = sum(len(now.get(key, ())) < N for key in of_model)
            in_query = len(of_model) - sum(length == N for length in answers)
            without = sum(any((key[0], film) in rated for film in before[key]) for key in of_model)
            print(f"{model:<10} {len(of_model):>6} {n_short:>6} {in_query:>9} {without:>14}")
        n_rated = sum((user, film) in rated for (user, _), films in now.items() for film in films)
        print(f"rows of rated films: {n_rated} of {sum(map(len, now.values()))}")
        blend = {user: films for (user, model), films in now.items() if model == "blend"}
        left = {
            user: [film for film in films if (user, film) not in rated]
            for (user, model), films in before.items()
            if model == "blend"
        }
        without, with_spare = precision(left, parts.later), precision(blend, parts.later)
        print(f"precision@5 of blend: {without:.3f}, with spare films {with_spare:.3f}")
        users = sorted({user for user, _ in before})
        for name, one, every in (("stored", ONE_AS_STORED, ALL_AS_STORED), ("view", ONE, ALL)):
            reads = [
                milliseconds(connection, one, user=users[number % len(users)])
                for number in range(2 * READS)
            ]
            of_one = statistics.median(reads[READS:])
            of_all = min(milliseconds(connection, every) for _ in range(5))
            print(f"{name:<7} one list {of_one:.2f} ms, all {of_all:.0f} ms")
    for name, arguments in (("refresh", ["refresh"]), ("new night", ["run", "--force"])):
        seconds = recbatch(folder, url, *arguments)
        with database.reader.connect() as connection:
            now = shown(connection)
        blend = {user: films for (user, model), films in now.items() if model == "blend"}
        figure = precision(blend, parts.later)
        print(f"after a {name}: precision@5 of blend {figure:.4f}, {seconds:.1f} s of a processor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--url")
    options = parser.parse_args()
    parts = split(options.data / "ratings.csv")
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "night").mkdir()
        write(folder / "night/ratings.csv", parts.night)
        shutil.copy(options.data / "movies.csv", folder / "night/movies.csv")
        write(folder / "day.csv", parts.day)
        compare(options.url or f"sqlite:///{folder / 'recbatch.db'}", parts, folder)


if __name__ == "__main__":
    main()
