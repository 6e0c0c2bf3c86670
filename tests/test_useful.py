"""On generated data with tastes, published models are better than the baselines."""

from collections.abc import Callable
from pathlib import Path

import pytest

from batch.cli.sample_data import write_sample
from batch.config import Config
from batch.ingest import ingest
from batch.job import steps
from batch.job.inputs import ingest_settings
from batch.store.database import open_database
from batch.store.load import load
from batch.store.run_lock import run_lock
from batch.store.versions import prepare
from data import settings


@pytest.mark.soak
def test_tuned_models_beat_the_baselines(tmp_path: Path, often: Callable[[int, int], int]) -> None:
    """On samples the blend beats `bias` in RMSE and `popular` in lists, beyond intervals.

    On the demo's sample, with --soak on three.
    """
    demo = Config().evaluation.seed
    for seed in range(demo, demo + often(1, 3)):
        require_better(tmp_path / str(seed), seed)


def require_better(folder: Path, seed: int) -> None:
    """Fail unless models beat the baselines on the sample of this seed."""
    write_sample(folder / "in", seed=seed)
    database = open_database(f"sqlite:///{folder / 'recbatch.db'}")
    prepare(database)
    with run_lock(database):
        ingest(database, [folder / "in"], ingest_settings(settings(folder)))
    with database.reader.connect() as connection:
        ratings = load(connection).ratings
    # As the demo's night, whose result it then shares.
    config = Config.model_validate({"evaluation": {"seed": seed}})
    metrics = steps.measure(ratings, config).metrics
    for name in ("blend", "neural"):
        assert metrics[name]["own.rmse_high"] < metrics["bias"]["own.rmse_low"], name
    for name in ("blend", "item_item"):
        assert metrics[name]["own.precision_low@5"] > metrics["popular"]["own.precision_high@5"], (
            name
        )
    assert metrics["user_user"]["own.precision@5"] > metrics["popular"]["own.precision@5"]
    for metric in ("own.precision_gain_low@5", "own.ndcg_gain_low@5", "own.rmse_gain"):
        assert metrics["blend"][metric] > 0, metric
