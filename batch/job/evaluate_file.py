"""A ratings file -> how every model does on it, fitted on the whole database, and each of their predictions."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from batch import RecbatchError
from batch.config import Config
from batch.ingest import read_pairs
from batch.job.inputs import evaluation_inputs, ingest_settings
from batch.models import PUBLISHED
from batch.ranking.evaluate import figures, fit_and_judge
from batch.ranking.metrics import Judged, Metrics
from batch.ratings import Ratings
from batch.store.database import Database
from batch.store.load import Loaded, load, place


class NothingToMeasureError(RecbatchError):
    """No rating of the file is of a user and a film that the database knows."""


def evaluate_file(
    database: Database, config: Config, test: Path, predictions: Path | None
) -> dict[str, Metrics]:
    """Measure on the ratings in `test`, a file of any supported format; write predictions where a path is given.

    Raises UnreadableError, NothingToMeasureError.
    """
    pairs = read_pairs(test, ingest_settings(config))
    with database.reader.connect() as connection:
        loaded = load(connection, scale=config.ingest.scale)
    held = place(loaded, pairs)
    if not held.n_ratings:
        raise NothingToMeasureError(
            f"{test}: none of its {len(pairs):,} ratings is of a user and a film in the database"
        )
    judged, weights = fit_and_judge(
        loaded.ratings, held, config.models, **evaluation_inputs(loaded.ratings, config)
    )
    if predictions:
        _write(predictions, loaded, held, judged)
    return figures(judged, loaded.ratings, weights, config.evaluation.seed)


def _write(file: Path, loaded: Loaded, held: Ratings, judged: Mapping[str, Judged]) -> None:
    """user_key,movie_key,rating and a column a model, in stars, clipped; blank where a model cannot say.

    `blend` and `bias` are never blank: of a user without ratings the blend says what the baseline does.
    """
    names = [*PUBLISHED, "bias"]
    columns = [  # (n_pairs,) each
        np.where(judged[name].is_fallback & (name != "blend"), np.nan, judged[name].predicted)
        for name in names
    ]
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["user_key", "movie_key", "rating", *names])
        for pair, (user, item) in enumerate(
            zip(held.user_of_rating(), held.matrix.indices, strict=True)
        ):
            said = ["" if np.isnan(column[pair]) else f"{column[pair]:.6f}" for column in columns]
            truth = f"{held.matrix.data[pair]:g}"
            writer.writerow([loaded.user_keys[user], loaded.movie_keys[item], truth, *said])
