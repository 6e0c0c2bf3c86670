"""An empty folder -> the whole job on sample data, shown: files, database, settings, lists and metrics."""

import shlex
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import typer

from batch import RecbatchError, query
from batch.cli.sample_data import write_sample
from batch.cli.tables import ingest_reports, metrics_table, outcome_lines, side_by_side
from batch.config import ArtifactSettings, load_config, shipped_text
from batch.ingest import ingest
from batch.job import nightly
from batch.job.inputs import ingest_settings
from batch.store.database import open_database, prepare, run_lock

USERS = 5
"""Whose lists are shown."""
SAMPLE = ("user_reviews.csv", "movie_genres.csv")
"""What `write_sample` leaves in a folder."""


class NotOursError(RecbatchError):
    """The folder holds somebody's own files, which a demonstration must not touch."""


def demonstrate(folder: Path) -> nightly.Outcome:
    """Everything a first look needs; a second call works on what the first one left."""
    settings, files = folder / "config.yaml", [folder / name for name in SAMPLE]
    taken = [file.name for file in (settings, *files) if file.exists()]
    if 0 < len(taken) < 1 + len(files):
        raise NotOursError(
            f"{folder} already holds {', '.join(taken)}, which are not the demo's; name a new folder"
        )
    if not taken:
        write_sample(folder)
        settings.write_text(
            shipped_text().replace("paths: []", f"paths: [{', '.join(SAMPLE)}]"), encoding="utf-8"
        )
    # Paths in the settings are relative to the folder, where the next command will be typed; this one stands outside.
    config = load_config(settings, {})
    config = config.model_copy(
        update={
            "ingest": config.ingest.model_copy(update={"paths": tuple(files)}),
            "artifacts": ArtifactSettings(dir=folder / "artifacts"),
        }
    )
    database = open_database(f"sqlite:///{folder / 'recbatch.db'}")
    prepare(database)
    with run_lock(database):
        ingest_reports(ingest(database, config.ingest.paths, ingest_settings(config)))
    outcome = nightly.run(database, config, nightly.Order(datetime.now(UTC).date()))
    if outcome.status == "rejected":  # by thresholds that somebody changed in the folder's settings
        outcome_lines(outcome)
        return outcome
    typer.echo(f"run {outcome.run_id} is {outcome.status}: {sum(outcome.rows.values()):,} rows\n")
    with database.reader.connect() as connection:
        models = query.models(connection)
        people = [
            answer.user_key or ""
            for answer in islice(query.lists(connection, model=models[0]), USERS)
        ]
        for user in people:
            side_by_side([query.top(connection, user, model=model) for model in models])
    metrics_table(outcome.metrics)
    typer.echo(f"Every command works there: cd {folder} && recbatch top {shlex.quote(people[0])}")
    return outcome
