"""Stored names of metrics: taken apart and put together again, and looked up by their parts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batch.params import PRESETS
from batch.ranking.evaluate import evaluate
from batch.ranking.metric_names import MetricName, RunMetrics
from reference import random_stars, ratings_of

TUNED = PRESETS["tuned"]
QUICK = TUNED.model_copy(update={"neural": TUNED.neural.model_copy(update={"epochs": 5})})


def test_every_stored_name_round_trips() -> None:
    """Every name that an evaluation stores is put together again from its parts."""
    stars = random_stars(0, 60, 80, [1, 2, 3, 4, 5], 0.5)
    genres = (np.random.default_rng(0).random((80, 4)) < 0.4).astype(np.float64)
    times = np.arange(stars.size, dtype=np.float64).reshape(stars.shape)
    metrics = evaluate(
        ratings_of(stars, genres=genres, times=times),
        QUICK,
        seed=0,
        n=7,
        relevant_from=4.0,
        block=100,
        users=1000,
        diversity=0.5,
    ).metrics
    names = {name for values in metrics.values() for name in values}
    assert {"rmse", "rmse_low", "precision_gain_high@7", "stars_weight_neural_sure"} <= names
    assert "diversity@7" in names
    for name in names:
        parts = MetricName.parse(name)
        assert str(parts) == name
        assert parts.n == (7 if "@" in name else None)
        assert (parts.bound != "") == name.split("@")[0].endswith(("_low", "_high"))
    run = RunMetrics.of(metrics)
    assert run.n == 7
    for model, values in metrics.items():
        for name, value in values.items():
            parts = MetricName.parse(name)
            assert run.get(model, parts.metric, parts.bound) == value


def test_parts_of_a_name() -> None:
    """Metric, bound and length of lists are told apart, wherever one of them is missing."""
    assert MetricName.parse("rmse") == ("rmse", "", None)
    assert MetricName.parse("rmse_high") == ("rmse", "high", None)
    assert MetricName.parse("precision@5") == ("precision", "", 5)
    assert MetricName.parse("precision_gain_low@10") == ("precision_gain", "low", 10)
    assert str(MetricName("ndcg", "low", 3)) == "ndcg_low@3"
    assert str(MetricName("users")) == "users"


WORDS = st.from_regex(r"[a-z]+(_[a-z]+)*", fullmatch=True).filter(
    lambda word: not word.endswith(("_low", "_high"))
)
NAMES = st.builds(
    MetricName,
    WORDS,
    st.sampled_from(["", "low", "high"]),
    st.none() | st.integers(1, 1000),
)


@given(NAMES)
def test_any_name_round_trips(name: MetricName) -> None:
    """Parsing a stored name gives the parts that it was made of."""
    assert MetricName.parse(str(name)) == name


STORED = {
    "blend": {
        "rmse": 0.9,
        "rmse_low": 0.8,
        "rmse_high": 1.0,
        "precision@5": 0.3,
        "precision_low@5": 0.2,
        "precision_high@5": 0.4,
        "ndcg@5": 0.0,
        "ndcg_low@5": 0.0,
    },
    "bias": {"rmse": 1.0},
}


def test_get() -> None:
    """A value is found by model, metric and bound; None is what was not measured."""
    run = RunMetrics.of(STORED)
    assert run.get("blend", "rmse") == 0.9
    assert run.get("blend", "rmse", "low") == 0.8
    assert run.get("blend", "precision") == 0.3
    assert run.get("blend", "precision", "high") == 0.4
    assert run.get("blend", "ndcg") == 0.0
    assert run.get("bias", "rmse") == 1.0
    assert run.get("bias", "rmse", "low") is None
    assert run.get("bias", "precision") is None
    assert run.get("neural", "rmse") is None


def test_interval() -> None:
    """An interval is both bounds; None where either was not measured."""
    run = RunMetrics.of(STORED)
    assert run.interval("blend", "rmse") == (0.8, 1.0)
    assert run.interval("blend", "precision") == (0.2, 0.4)
    assert run.interval("blend", "ndcg") is None
    assert run.interval("bias", "rmse") is None


def test_metrics_without_lists() -> None:
    """Where no lists were measured there is no length, and metrics of lists are None."""
    run = RunMetrics.of({"bias": {"rmse": 1.0}})
    assert run.n is None
    assert run.get("bias", "rmse") == 1.0
    assert run.get("bias", "precision") is None
    assert RunMetrics.of({}).n is None
    assert RunMetrics.of({}).get("bias", "rmse") is None
