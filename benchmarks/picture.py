"""A week of nights on sample data -> docs/report.png: the upper part of the last night's page.

    python benchmarks/picture.py                    # two minutes; needs chromium
    python benchmarks/picture.py --keep /tmp/week   # leaves the database and the page there

Each night has some more of the sample's ratings, so that trends and changes have something to show.
"""

import argparse
import csv
import subprocess
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from batch.cli.sample_data import write_sample
from batch.config import load_config
from batch.ingest import ingest
from batch.job import nightly
from batch.job.inputs import ingest_settings
from batch.serve.report import report
from batch.store.database import open_database
from batch.store.run_lock import run_lock
from batch.store.versions import prepare

ROOT = Path(__file__).parents[1]
NIGHTS = 7
FIRST_NIGHT = date(2026, 11, 17)
FIRST_SHARE = 0.7
"""Share of the ratings that exist before the first night."""
WIDTH, HEIGHT = 1280, 1640
"""Pixels of the picture: down to the end of the trends."""
CHROMIUM = (
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--window-size={WIDTH},{HEIGHT}",
)


def main() -> None:
    """Make the week, its page and the picture."""
    parser = argparse.ArgumentParser(description="The picture of the report in the README.")
    parser.add_argument("--keep", type=Path, help="an empty folder for the database and the page")
    arguments = parser.parse_args()
    picture = ROOT / "docs" / "report.png"
    with TemporaryDirectory() as folder:
        page = last_page(arguments.keep or Path(folder))
        take_picture(page, picture)
    print(picture)


def last_page(folder: Path) -> Path:
    """Run a week of nights in a folder; the page of the last one."""
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(None, {"RECBATCH_ARTIFACTS__DIR": str(folder / "artifacts")})
    database = open_database(f"sqlite:///{folder / 'recbatch.db'}")
    prepare(database)
    sample = write_sample(folder)
    header, *rows = list(csv.reader(sample.ratings.open(encoding="utf-8")))
    # When each rating arrives, in 0..1, (n_users, n_columns).
    arrival = np.random.default_rng(0).random((len(rows), len(header)))
    for night in range(NIGHTS):
        share = FIRST_SHARE + (1 - FIRST_SHARE) * night / (NIGHTS - 1)
        write_ratings(sample.ratings, header, rows, arrival <= share)
        with run_lock(database):
            ingest(database, [folder], ingest_settings(config), snapshot_at=night)
        order = nightly.Order(FIRST_NIGHT + timedelta(days=night))
        print(nightly.run(database, config, order).status)
    with database.reader.connect() as connection:
        return report(connection, None, folder / "report.html")


def write_ratings(
    file: Path, header: list[str], rows: list[list[str]], arrived: np.ndarray
) -> None:
    """The wide matrix with the ratings that have arrived; its first two columns are names."""
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        for row, row_arrived in zip(rows, arrived, strict=True):
            cells = [
                cell if there else "" for cell, there in zip(row[2:], row_arrived[2:], strict=True)
            ]
            writer.writerow([*row[:2], *cells])


def take_picture(page: Path, picture: Path) -> None:
    """The upper part of a page as PNG."""
    with TemporaryDirectory() as profile:
        command = [
            *CHROMIUM,
            f"--user-data-dir={profile}",
            f"--screenshot={picture}",
            page.resolve().as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603  this file's words


if __name__ == "__main__":
    main()
