"""A week of nights on sample data -> docs/report.png: the upper part of the page about the last of them.

    python benchmarks/picture.py                    # two minutes; needs chromium
    python benchmarks/picture.py --keep /tmp/week   # leaves the database and the page there

Each night knows some more of the sample's ratings, so that there is something to see in trends and changes.
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
from batch.store.database import open_database, prepare, run_lock

ROOT = Path(__file__).parents[1]
NIGHTS, FIRST = 7, date(2026, 11, 17)
KNOWN_FIRST = 0.7
"""Share of the ratings that there are before the first night."""
WIDTH, HEIGHT = 1280, 1640
"""Pixels of the picture: down to the end of the trends."""
SHOT = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    f"--window-size={WIDTH},{HEIGHT}",
)  # fmt: skip


def main() -> None:
    """Make the week, its page and the picture."""
    parser = argparse.ArgumentParser(description="The picture of the report in the README.")
    parser.add_argument("--keep", type=Path, help="an empty folder for the database and the page")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        picture(asked.keep or Path(folder), ROOT / "docs" / "report.png")


def picture(folder: Path, file: Path) -> None:
    """Seven nights in a folder, and the page of the last as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(None, {"RECBATCH_ARTIFACTS__DIR": str(folder / "artifacts")})
    database = open_database(f"sqlite:///{folder / 'recbatch.db'}")
    prepare(database)
    sample = write_sample(folder)
    rows = list(csv.reader(sample.ratings.open(encoding="utf-8")))
    known = np.random.default_rng(0).random(
        (len(rows), len(rows[0]))
    )  # in 0..1: how late a rating comes
    for night in range(NIGHTS):
        share = KNOWN_FIRST + (1 - KNOWN_FIRST) * night / (NIGHTS - 1)
        kept = [[cell if place < 2 or known[row, place] <= share else "" for place, cell in enumerate(cells)]
                for row, cells in enumerate(rows[1:])]  # fmt: skip
        with sample.ratings.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out, lineterminator="\n").writerows([rows[0], *kept])
        with run_lock(database):
            ingest(database, [folder], ingest_settings(config), snapshot_at=night)
        print(nightly.run(database, config, nightly.Order(FIRST + timedelta(days=night))).status)
    with database.reader.connect() as connection:
        page = report(connection, None, folder / "report.html")
    with TemporaryDirectory() as profile:
        shot = [
            *SHOT,
            f"--user-data-dir={profile}",
            f"--screenshot={file}",
            page.resolve().as_uri(),
        ]
        subprocess.run(shot, check=True, capture_output=True)  # noqa: S603  words of ours
    print(file)


if __name__ == "__main__":
    main()
