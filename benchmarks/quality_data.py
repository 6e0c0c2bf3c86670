"""Folders -> ratings; ratings -> what models are fitted on, and what they are measured on."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from batch.cli.sample_data import write_sample
from batch.config import Config
from batch.ingest import ingest
from batch.job.inputs import ingest_settings
from batch.ranking.hold_out import hold_out_next, hold_out_own
from batch.ratings import NEWEST, Ratings
from batch.store.database import open_database
from batch.store.load import load
from batch.store.run_lock import run_lock
from batch.store.versions import prepare

FOLDS = 5
"""Parts of the random split."""
DROPPED = (0.0, 0.15, 0.3)
"""Shares of the newest ratings that are dropped before `next` cuts: one cut alone has few users."""
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MOVIELENS = SHARED / "ml-latest-small"
MOVIETWEETINGS = SHARED / "movietweetings"
SPLITS = ("random", "own", "next")


def read(source: str) -> Ratings:
    """A folder, or the generated sample -> ratings, through a temporary database."""
    with TemporaryDirectory() as folder:
        files = Path(source)
        if source == "sample":
            files = Path(folder) / "sample"
            write_sample(files)
        database = open_database(f"sqlite:///{folder}/recbatch.db")
        prepare(database)
        with run_lock(database):
            reports = ingest(database, [files], ingest_settings(Config()))
        for report in reports:
            if report.status == "refused":
                sys.exit(f"{report.file}: {report.why}")
        with database.reader.connect() as connection:
            return load(connection).ratings


def folds(
    ratings: Ratings, split: str, seed: int, number: int = FOLDS
) -> Iterator[tuple[Ratings, Ratings]]:
    """Training and held-out ratings: the first `number` of five at random, or one or more by time.

    At random, times are removed: a model that could order the past by them would have an
    advantage over its peers.
    """
    if split == "next":
        yield from _next_cuts(ratings, seed)
        return
    if split == "own":
        held = hold_out_own(ratings, ratings.n_users, seed).removed
        yield ratings.keep(~held), ratings.keep(held)
        return
    timeless = replace(ratings, rated_at=None)
    fold = np.random.default_rng(seed).permutation(ratings.n_ratings) % FOLDS  # (n_ratings,)
    for held_fold in range(number):
        yield timeless.keep(fold != held_fold), timeless.keep(fold == held_fold)


def _next_cuts(ratings: Ratings, seed: int) -> Iterator[tuple[Ratings, Ratings]]:
    """The newest ratings are held out, of users who have rated before."""
    if ratings.rated_at is None:
        raise ValueError("these ratings have no times")
    for dropped in DROPPED:
        known = ratings.keep(~ratings.newest(dropped)) if dropped else ratings
        cut = hold_out_next(known, known.n_users, seed)
        yield known.keep(~cut.removed), known.keep(cut.judged)


def describe(split: str, ratings: Ratings, number: int) -> str:
    """What the split holds out, in words; `number` is of folds."""
    if split == "random":
        return f"{number} of {FOLDS} random folds"
    if split == "next":
        before = " and ".join(f"{share:.0%}" for share in DROPPED[1:])
        return (
            f"what comes next: the newest {NEWEST:.0%} by time, "
            f"and the same without the newest {before}"
        )
    if ratings.rated_at is None:
        return "a random 20 % of each user's"
    return "each user's last 20 %"
