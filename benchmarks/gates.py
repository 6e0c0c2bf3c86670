"""Normal and damaged nights on sample data -> the worst value of each gate: a Markdown table.

    python benchmarks/gates.py
    python benchmarks/gates.py --nights 5

By default twenty normal nights and four damaged ones, which take 4 minutes on two cores.
Each normal night has a seed of its own and is compared with the one before; each of the
others is compared with a normal night.
"""

import argparse
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sqlalchemy import delete, select, update

from batch.cli.sample_data import write_sample
from batch.config import Config, load_config
from batch.ingest import ingest
from batch.job import nightly
from batch.job.inputs import ingest_settings
from batch.models import PUBLISHED
from batch.store import schema
from batch.store.checks import Check
from batch.store.database import Database, open_database
from batch.store.run_lock import run_lock
from batch.store.versions import prepare

SEED = 0
"""Seed of the damaged nights, and of the normal one that each is compared with."""
OTHERS: dict[str, dict[str, str]] = {
    "shuffled ratings": {},
    "half the users": {},
    "learning rate 1000": {"RECBATCH_MODELS__NEURAL__LEARNING_RATE": "1e3"},
    "`plain` preset": {"RECBATCH_MODELS__PRESET": "plain"},
}

Worst = Mapping[str, Check]
"""Kind of gate, such as `rmse_of_bias` -> the check that is closest to its threshold, or furthest
beyond it."""


def main() -> None:
    """Run the nights and print the table."""
    parser = argparse.ArgumentParser(
        description="Values of the gates on normal and damaged nights."
    )
    parser.add_argument("--nights", type=int, default=20, help="normal nights")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        columns = {"normal nights": normal(Path(folder) / "normal", arguments.nights)}
        for name, environ in OTHERS.items():
            columns[name] = damaged(Path(folder) / name.replace("`", ""), name, environ)
    kinds = sorted({kind for _, worst in columns.values() for kind in worst})
    print(_row("", list(columns)))
    print("|---" * (1 + len(columns)) + "|")
    print(_row("ends", [status for status, _ in columns.values()]))
    for kind in kinds:
        values = [_value(worst.get(kind)) for _, worst in columns.values()]
        print(_row(f"`{kind}`", values))


def _row(first: str, cells: list[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |" if first else f"| | {' | '.join(cells)} |"


def normal(folder: Path, nights: int) -> tuple[str, Worst]:
    """Nights of different seeds on the same data -> their statuses, and the worst checks."""
    database = sample(folder)
    checks: list[Check] = []
    statuses = set()
    for seed in range(nights):
        outcome = nightly.run(database, settings(folder, seed), nightly.Order(date(2026, 1, 1)))
        statuses.add(outcome.status)
        checks += outcome.checks
    return ", ".join(sorted(statuses)), worst_of(checks)


def damaged(folder: Path, name: str, environ: dict[str, str]) -> tuple[str, Worst]:
    """A night that should be refused, after a normal one -> its status, and its worst checks."""
    database = sample(folder)
    nightly.run(database, settings(folder, SEED), nightly.Order(date(2026, 1, 1)))
    if name == "shuffled ratings":
        shuffle(database)
    if name == "half the users":
        with database.writer.begin() as connection:
            connection.execute(delete(schema.ratings).where(schema.ratings.c.user_id % 2 == 0))
    config = settings(folder, SEED, **environ)
    outcome = nightly.run(database, config, nightly.Order(date(2026, 1, 2)))
    return outcome.status, worst_of(outcome.checks)


def sample(folder: Path) -> Database:
    """A database with the ingested sample."""
    write_sample(folder / "in")
    database = open_database(f"sqlite:///{folder / 'recbatch.db'}")
    prepare(database)
    with run_lock(database):
        ingest(database, [folder / "in"], ingest_settings(Config()))
    return database


def settings(folder: Path, seed: int, **environ: str) -> Config:
    """The shipped settings with this seed."""
    changed = {
        "RECBATCH_EVALUATION__SEED": str(seed),
        "RECBATCH_ARTIFACTS__DIR": str(folder / "artifacts"),
    }
    return load_config(None, changed | environ)


def shuffle(database: Database) -> None:
    """Permute the stars of all ratings."""
    r = schema.ratings.c
    with database.writer.begin() as connection:
        in_order = select(r.user_id, r.movie_id, r.rating).order_by(r.user_id, r.movie_id)
        pairs = connection.execute(in_order).all()
        stars = np.random.default_rng(SEED).permutation([pair.rating for pair in pairs]).tolist()
        for pair, rating in zip(pairs, stars, strict=True):
            same = (r.user_id == pair.user_id) & (r.movie_id == pair.movie_id)
            connection.execute(update(schema.ratings).where(same).values(rating=rating))


def worst_of(checks: list[Check]) -> Worst:
    """The worst check of each kind of gate."""
    worst: dict[str, Check] = {}
    for check in checks:
        kind = _kind(check.name)
        if kind is None or check.severity != "gate":
            continue
        worse = max if check.wanted == "at most" else min
        worst[kind] = worse(worst.get(kind, check), check, key=lambda check: check.value)
    return worst


def _kind(name: str) -> str | None:
    """The name of a check without its model; None for a check that is not of a model."""
    for model in PUBLISHED:
        if name.endswith(model):
            return name.removesuffix(f"_{model}")
    return None


def _value(check: Check | None) -> str:
    """The value, in bold where it fails."""
    if check is None:
        return "-"
    return f"{check.value:.3g}" if check.passed else f"**{check.value:.3g}**"


if __name__ == "__main__":
    main()
