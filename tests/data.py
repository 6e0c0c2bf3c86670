"""Small data for tests: ratings as text, ingested as any file is."""

import csv
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

import numpy as np

from batch.config import Config, load_config
from batch.ingest import Report, ingest
from batch.job.inputs import ingest_settings
from batch.store.database import Database
from batch.store.run_lock import run_lock

GENRES = ("action", "comedy", "drama")


def long_csv(rows: Iterable[tuple[object, ...]]) -> str:
    """user, movie, rating, seconds -> a long CSV."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [("user", "movie", "rating", "timestamp"), *rows]
    )
    return text.getvalue()


def random_rows(
    seed: int, n_users: int = 25, n_items: int = 40, share: float = 0.3
) -> list[tuple[object, ...]]:
    """Half-star ratings of a random share of all pairs, each at a time of its own."""
    random = np.random.default_rng(seed)
    users, items = np.nonzero(random.random((n_users, n_items)) < share)
    stars = random.integers(1, 11, len(users)) / 2
    seconds = 1_000_000_000 + random.permutation(len(users))
    return [
        (f"u{u}", f"m{i}", r, t) for u, i, r, t in zip(users, items, stars, seconds, strict=True)
    ]


def genre_csv(n_items: int = 40) -> str:
    """A catalogue of m0, m1, ... in the wide format; MovieLens has numbers for keys."""
    lines = [",movie_title," + ",".join(f"genre_{name}" for name in GENRES)]
    flags = [
        ",".join("1" if i % len(GENRES) == g else "0" for g in range(len(GENRES)))
        for i in range(n_items)
    ]
    lines += [f"{i},m{i},{flags[i]}" for i in range(n_items)]
    return "\n".join(lines) + "\n"


def fill(
    database: Database,
    folder: Path,
    rows: Iterable[tuple[object, ...]] | None = None,
    n_items: int = 40,
) -> list[Report]:
    """Ingest these ratings, random ones by default, and a catalogue of so many films."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ratings.csv").write_text(long_csv(random_rows(0) if rows is None else rows))
    (folder / "genres.csv").write_text(genre_csv(n_items))
    with run_lock(database):
        return ingest(database, [folder], ingest_settings(Config()))


def settings(folder: Path, **environ: str) -> Config:
    """The defaults, with artifacts in the test's folder."""
    variables = {"RECBATCH_ARTIFACTS__DIR": str(folder / "artifacts"), **environ}
    return load_config(Path(__file__).with_name("no_settings.yaml"), variables)
