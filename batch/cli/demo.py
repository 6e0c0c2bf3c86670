"""An empty folder -> sample data, a database and one published run, its results printed."""

import shlex
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from batch import query
from batch.cli.arguments import open_at
from batch.cli.lines import ingest_lines, outcome_lines
from batch.cli.metric_tables import metrics_table
from batch.cli.sample_data import write_sample
from batch.cli.tables import side_by_side
from batch.cli.terminal import print_lines
from batch.config import ArtifactSettings, Config, load_config, shipped_text
from batch.files import writing
from batch.ingest import ingest
from batch.job import nightly
from batch.job.inputs import ingest_settings
from batch.serve.contract import ForeignFileError
from batch.store.database import Database
from batch.store.run_lock import run_lock
from batch.store.versions import prepare

USERS = 5
"""How many users' lists are printed."""
SAMPLE = ("user_reviews.csv", "movie_genres.csv")
"""The files that `write_sample` writes."""


def demonstrate(folder: Path) -> nightly.Outcome:
    """Fill the folder, run one night on it and print the result.

    A second call works on the files that the first one wrote. Raises ForeignFileError.
    """
    _write_files(folder)
    config = _load(folder)
    database = open_at(f"sqlite:///{folder / 'recbatch.db'}")
    prepare(database)
    with run_lock(database):
        ingest_lines(ingest(database, config.ingest.paths, ingest_settings(config)))
    outcome = nightly.run(database, config, nightly.Order(datetime.now(UTC).date()))
    if outcome.status == "rejected":  # only by thresholds changed in the folder's config.yaml
        outcome_lines(outcome)
        return outcome
    n_rows = sum(outcome.rows.values())
    print_lines(f"run {outcome.run_id} is {outcome.status}: {n_rows:,} rows", "")
    user = _print_lists(database)
    metrics_table(outcome.measured)
    print_lines(f"Every command works there: cd {folder} && recbatch top {shlex.quote(user)}")
    return outcome


def _write_files(folder: Path) -> None:
    """Write sample data and settings, unless an earlier demo has written them."""
    settings = folder / "config.yaml"
    files = [settings, *(folder / name for name in SAMPLE)]
    present = [file.name for file in files if file.exists()]
    if len(present) == len(files):
        return
    if present:
        raise ForeignFileError(
            f"{folder} already contains {', '.join(present)}, which are not the demo's;"
            " name a new folder"
        )
    write_sample(folder)
    text = shipped_text().replace(" paths: []", f" paths: [{', '.join(SAMPLE)}]")
    with writing(settings):
        settings.write_text(text, encoding="utf-8")


def _load(folder: Path) -> Config:
    """The folder's settings, with its paths as seen from here.

    They are relative to the folder, where the next command will be typed.
    """
    config = load_config(folder / "config.yaml", {})
    paths = tuple(folder / name for name in SAMPLE)
    return config.model_copy(
        update={
            "ingest": config.ingest.model_copy(update={"paths": paths}),
            "artifacts": ArtifactSettings(dir=folder / "artifacts"),
        }
    )


def _print_lists(database: Database) -> str:
    """Print the lists of a few users, the models side by side; returns the first user's key."""
    with database.reader.connect() as connection:
        models = query.models(connection)
        answers = islice(query.lists(connection, model=models[0]), USERS)
        users = [answer.user_key or "" for answer in answers]
        for user in users:
            side_by_side([query.top(connection, user, model=model) for model in models])
    return users[0]
