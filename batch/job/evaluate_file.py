"""A ratings file -> metrics and predictions of models fitted on the whole database."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from batch import RecbatchError
from batch.config import Config
from batch.files import writing
from batch.ingest import read_pairs
from batch.job.inputs import evaluation_inputs, ingest_settings
from batch.models import PUBLISHED
from batch.ranking.evaluate import figures, fit_and_judge
from batch.ranking.metrics import Judged, Metrics
from batch.ratings import Ratings
from batch.store.database import Database
from batch.store.load import Loaded, load, place


class NothingToMeasureError(RecbatchError):
    """No rating of the file is of a user and a film in the database."""


def evaluate_file(
    database: Database, config: Config, test: Path, predictions: Path | None
) -> dict[str, Metrics]:
    """Measure on the ratings in `test`, a file of any supported format.

    Writes each model's predictions to the file `predictions`, if one is named.
    Returns metrics by model. Raises UnreadableError, NothingToMeasureError.
    """
    pairs = read_pairs(test, ingest_settings(config))
    with database.reader.connect() as connection:
        loaded = load(connection, scale=config.ingest.scale)
    ratings = loaded.ratings
    held_out = place(loaded, pairs)
    if not held_out.n_ratings:
        raise NothingToMeasureError(
            f"{test}: none of its {len(pairs):,} ratings is of a user and a film in the database"
        )
    inputs = evaluation_inputs(ratings, config)
    judged, weights = fit_and_judge(ratings, held_out, config.models, inputs)
    if predictions:
        _write(predictions, loaded, held_out, judged)
    metrics = figures(judged, ratings, inputs["seed"])
    if weights:
        metrics["blend"] = {**metrics["blend"], **weights.figures()}
    return metrics


def _write(file: Path, loaded: Loaded, held_out: Ratings, judged: Mapping[str, Judged]) -> None:
    """user_key,movie_key,rating and a column for each model, in stars, clipped.

    A cell is blank where the model has no prediction. `blend` and `bias` have
    none that are blank: for a user without ratings the blend predicts what the
    baseline does.
    """
    names = [*PUBLISHED, "bias"]
    columns = []  # (n_pairs,) each
    for name in names:
        is_blank = judged[name].is_fallback & (name != "blend")
        columns.append(np.where(is_blank, np.nan, judged[name].predicted))
    users = held_out.user_of_rating()
    items = held_out.matrix.indices
    stars = held_out.matrix.data
    with writing(file), file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["user_key", "movie_key", "rating", *names])
        for pair, (user, item) in enumerate(zip(users, items, strict=True)):
            cells = [_cell(column[pair]) for column in columns]
            user_key = loaded.user_keys[user]
            movie_key = loaded.movie_keys[item]
            writer.writerow([user_key, movie_key, f"{stars[pair]:g}", *cells])


def _cell(stars: float) -> str:
    return "" if np.isnan(stars) else f"{stars:.6f}"
