"""What is published beats what anyone gets without a model, on generated data whose tastes can be found."""

from pathlib import Path

import pytest

from batch.cli.sample_data import write_sample
from batch.ingest import ingest
from batch.job.inputs import ingest_settings
from batch.params import PRESETS
from batch.ranking.evaluate import evaluate
from batch.store.database import open_database, prepare, run_lock
from batch.store.load import load
from data import settings


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_tuned_models_beat_the_baselines(seed: int, tmp_path: Path) -> None:
    """On three samples the blend beats `bias` in stars and `popular` in lists, with intervals that do not overlap."""
    write_sample(tmp_path / "in", seed=seed)
    database = open_database(f"sqlite:///{tmp_path / 'recbatch.db'}")
    prepare(database)
    with run_lock(database):
        ingest(database, [tmp_path / "in"], ingest_settings(settings(tmp_path)))
    with database.reader.connect() as connection:
        ratings = load(connection).ratings
    found = evaluate(
        ratings, PRESETS["tuned"], seed=seed, n=5, relevant_from=4.0, block=500, users=1000
    ).metrics
    for name in ("blend", "neural"):
        assert found[name]["rmse_high"] < found["bias"]["rmse_low"], name
    for name in ("blend", "item_item"):
        assert found[name]["precision_low@5"] > found["popular"]["precision_high@5"], name
    assert found["user_user"]["precision@5"] > found["popular"]["precision@5"]
    for metric in ("precision_gain_low@5", "ndcg_gain_low@5", "rmse_gain"):
        assert found["blend"][metric] > 0, metric
