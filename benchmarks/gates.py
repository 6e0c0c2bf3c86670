"""Normal and poisoned nights on sample data -> what each gate measured at its worst: a Markdown table.

    python benchmarks/gates.py                # twenty normal nights and four others: 4 minutes on two cores
    python benchmarks/gates.py --nights 5

Each normal night has a seed of its own and is held against the one before; each of the others against a normal one.
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
from batch.store.database import Database, open_database, prepare, run_lock

SEED = 0
"""Of the night that poisoned ones are held against."""
OTHERS: dict[str, dict[str, str]] = {
    "shuffled ratings": {},
    "half the users": {},
    "learning rate 1000": {"RECBATCH_MODELS__NEURAL__LEARNING_RATE": "1e3"},
    "`plain` preset": {"RECBATCH_MODELS__PRESET": "plain"},
}

Worst = Mapping[str, Check]
"""By kind of gate, such as `rmse_of_bias`: the check that came closest to its threshold, or went furthest over."""


def main() -> None:
    """Run the nights and print the table."""
    parser = argparse.ArgumentParser(
        description="What gates measure on normal and poisoned nights."
    )
    parser.add_argument("--nights", type=int, default=20, help="normal nights")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        columns = {"normal nights": normal(Path(folder) / "normal", asked.nights)}
        for name, environ in OTHERS.items():
            columns[name] = poisoned(Path(folder) / name.replace("`", ""), name, environ)
    kinds = sorted({kind for _, worst in columns.values() for kind in worst})
    print(f"| | {' | '.join(columns)} |")
    print("|---" * (1 + len(columns)) + "|")
    print(f"| ends | {' | '.join(status for status, _ in columns.values())} |")
    for kind in kinds:
        print(
            f"| `{kind}` | {' | '.join(_figure(worst.get(kind)) for _, worst in columns.values())} |"
        )


def normal(folder: Path, nights: int) -> tuple[str, Worst]:
    """How nights of different seeds on the same data end, each held against the one before, and what they measured."""
    database = sample(folder)
    checks, ends = [], set()
    for seed in range(nights):
        outcome = nightly.run(database, settings(folder, seed), nightly.Order(date(2026, 1, 1)))
        ends.add(outcome.status)
        checks += outcome.checks
    return ", ".join(sorted(ends)), worst_of(checks)


def poisoned(folder: Path, name: str, environ: dict[str, str]) -> tuple[str, Worst]:
    """After a normal night: how one that should be refused ends, and what it measured."""
    database = sample(folder)
    nightly.run(database, settings(folder, SEED), nightly.Order(date(2026, 1, 1)))
    if name == "shuffled ratings":
        shuffle(database)
    if name == "half the users":
        with database.writer.begin() as connection:
            connection.execute(delete(schema.ratings).where(schema.ratings.c.user_id % 2 == 0))
    outcome = nightly.run(
        database, settings(folder, SEED, **environ), nightly.Order(date(2026, 1, 2))
    )
    return outcome.status, worst_of(outcome.checks)


def sample(folder: Path) -> Database:
    """A database with the sample in it."""
    write_sample(folder / "in")
    database = open_database(f"sqlite:///{folder / 'recbatch.db'}")
    prepare(database)
    with run_lock(database):
        ingest(database, [folder / "in"], ingest_settings(Config()))
    return database


def settings(folder: Path, seed: int, **environ: str) -> Config:
    """The shipped settings with this seed."""
    mine = {
        "RECBATCH_EVALUATION__SEED": str(seed),
        "RECBATCH_ARTIFACTS__DIR": str(folder / "artifacts"),
    }
    return load_config(None, mine | environ)


def shuffle(database: Database) -> None:
    """Give every rating the stars of another."""
    r = schema.ratings.c
    with database.writer.begin() as connection:
        pairs = connection.execute(
            select(r.user_id, r.movie_id, r.rating).order_by(r.user_id, r.movie_id)
        ).all()
        stars = np.random.default_rng(SEED).permutation([pair.rating for pair in pairs]).tolist()
        for pair, rating in zip(pairs, stars, strict=True):
            same = (r.user_id == pair.user_id) & (r.movie_id == pair.movie_id)
            connection.execute(update(schema.ratings).where(same).values(rating=rating))


def worst_of(checks: list[Check]) -> Worst:
    """The worst check of each kind."""
    found: dict[str, Check] = {}
    for check in checks:
        kind = next(
            (
                check.name.removesuffix(f"_{model}")
                for model in PUBLISHED
                if check.name.endswith(model)
            ),
            None,
        )
        if kind is None or check.severity != "gate":
            continue
        worse = max if check.wanted == "at most" else min
        found[kind] = worse(found.get(kind, check), check, key=lambda each: each.value)
    return found


def _figure(check: Check | None) -> str:
    """The value, in bold where it fails."""
    if check is None:
        return "-"
    return f"{check.value:.3g}" if check.passed else f"**{check.value:.3g}**"


if __name__ == "__main__":
    main()
