"""Stored names of metrics: taken apart and put together again, and looked up by their parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.models import PERSONAL
from batch.params import PRESETS
from batch.ranking.evaluate import evaluate
from batch.ranking.metric_names import CUTS, OF_CUT, MetricName, RunMetrics, with_cut
from reference import inputs_of, random_stars, ratings_of

TUNED = PRESETS["tuned"]
QUICK = TUNED.model_copy(update={"neural": TUNED.neural.model_copy(update={"epochs": 5})})
Stored = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def evaluated() -> Stored:
    """Everything that an evaluation stores, by model and name."""
    stars = random_stars(0, 60, 80, [1, 2, 3, 4, 5], 0.5)
    genres = (np.random.default_rng(0).random((80, 4)) < 0.4).astype(np.float64)
    times = np.random.default_rng(1).permutation(stars.size).reshape(stars.shape)
    ratings = ratings_of(stars, genres=genres, times=times)
    metrics = evaluate(ratings, QUICK, inputs_of(n=7, diversity=0.5), 1).metrics
    return {model: dict(values) for model, values in metrics.items()}


def names_of(stored: Stored) -> set[str]:
    return {name for values in stored.values() for name in values}


def test_every_stored_name_round_trips(evaluated: Stored) -> None:
    """Every name that an evaluation stores is put together again from its parts."""
    names = names_of(evaluated)
    expected = {"own.rmse", "next.rmse_low", "own.precision_gain_high@7", "next.diversity@7"}
    assert expected | {"stars_weight_neural_sure", "learnt_from_next"} <= names
    for name in names:
        parts = MetricName.parse(name)
        assert str(parts) == name
        assert parts.n == (7 if "@" in name else None)
        assert (parts.bound != "") == name.split("@")[0].endswith(("_low", "_high"))
        assert parts.cut == (name.split(".")[0] if "." in name else None)
    for cut in CUTS:
        run = RunMetrics.of(evaluated, cut)
        assert run.n == 7
        for model, values in evaluated.items():
            for name, value in values.items():
                parts = MetricName.parse(name)
                if parts.cut in (cut, None):
                    assert run.get(model, parts.metric, parts.bound) == value


def test_what_is_measured_in_a_cut(evaluated: Stored) -> None:
    """All that is stored of a cut is known to belong to one, in both cuts, and nothing else is.

    Weights, what they were learnt from, and the network's epochs belong to the run.
    """
    names = [MetricName.parse(name) for name in names_of(evaluated)]
    for cut in CUTS:
        assert {name.metric for name in names if name.cut == cut} == OF_CUT
    of_run = {name.metric for name in names if name.cut is None}
    assert not of_run & OF_CUT
    weights = ("stars_", "list_", "learnt_from_")
    assert {name for name in of_run if not name.startswith(weights)} == {"epochs"}
    assert {name.split("_")[0] for name in of_run} == {"stars", "list", "learnt", "epochs"}
    for model in (*PERSONAL, "bias", "popular", "popular_all"):
        of_model = {name for name in evaluated[model] if not name.startswith(("next.", "own."))}
        assert of_model == ({"epochs"} if model == "neural" else set())


def test_parts_of_a_name() -> None:
    """Cut, metric, bound and length of lists are separated, also where one of them is missing."""
    assert MetricName.parse("next.rmse") == ("rmse", "", None, "next")
    assert MetricName.parse("own.rmse_high") == ("rmse", "high", None, "own")
    assert MetricName.parse("own.precision@5") == ("precision", "", 5, "own")
    expected = ("precision_gain", "low", 10, "next")
    assert MetricName.parse("next.precision_gain_low@10") == expected
    assert MetricName.parse("list_odds") == ("list_odds", "", None, None)
    assert str(MetricName("ndcg", "low", 3, "next")) == "next.ndcg_low@3"
    assert str(MetricName("users", cut="own")) == "own.users"
    assert str(MetricName("list_odds")) == "list_odds"


@pytest.mark.parametrize("metric", sorted(OF_CUT))
def test_names_of_older_runs(metric: str) -> None:
    """A metric without a cut was stored before there were two: it is of `own`."""
    for name in (metric, f"{metric}_low", f"{metric}_high@5"):
        parts = MetricName.parse(name)
        assert parts.cut == "own"
        assert str(parts) == f"own.{name}"
    for name in ("fallback_rows", "stars_weight_users", "learnt_from_ratings", "nextdoor", "own"):
        assert MetricName.parse(name).cut is None
        assert str(MetricName.parse(name)) == name


def test_with_cut() -> None:
    """Metrics get the names under which a cut's are stored, in order."""
    stored = with_cut("next", {"rmse": 1.0, "precision_low@5": 0.2})
    assert list(stored.items()) == [("next.rmse", 1.0), ("next.precision_low@5", 0.2)]
    assert with_cut("own", {}) == {}


WORDS = st.from_regex(r"[a-z]+(_[a-z]+)*", fullmatch=True).filter(
    lambda word: not word.endswith(("_low", "_high"))
)
BOUNDS = st.sampled_from(["", "low", "high"])
LENGTHS = st.none() | st.integers(1, 1000)
NAMES = st.one_of(
    st.builds(MetricName, WORDS, BOUNDS, LENGTHS, st.sampled_from(CUTS)),
    st.builds(MetricName, WORDS.filter(lambda word: word not in OF_CUT), BOUNDS, LENGTHS),
)


@given(NAMES)
def test_any_name_round_trips(name: MetricName) -> None:
    """Parsing a stored name gives the parts that it was made of."""
    assert MetricName.parse(str(name)) == name


STORED = {
    "blend": {
        "own.rmse": 0.9,
        "own.rmse_low": 0.8,
        "own.rmse_high": 1.0,
        "own.precision@5": 0.3,
        "own.precision_low@5": 0.2,
        "own.precision_high@5": 0.4,
        "own.ndcg@5": 0.0,
        "own.ndcg_low@5": 0.0,
        "next.rmse": 1.1,
        "next.precision@5": 0.1,
        "next.ndcg_low@5": 0.01,
        "next.ndcg_high@5": 0.03,
        "list_odds": -2.0,
        "fallback_rows": 0.25,
    },
    "bias": {"own.rmse": 1.0, "own.raters": 40.0, "next.raters": 12.0},
    "popular": {"own.users": 30.0, "next.users": 9.0},
}


def test_get() -> None:
    """A value is found by model, metric and bound; None is what was not measured."""
    run = RunMetrics.of(STORED, "own")
    assert run.get("blend", "rmse") == 0.9
    assert run.get("blend", "rmse", "low") == 0.8
    assert run.get("blend", "precision") == 0.3
    assert run.get("blend", "precision", "high") == 0.4
    assert run.get("blend", "ndcg") == 0.0
    assert run.get("bias", "rmse") == 1.0
    assert run.get("bias", "rmse", "low") is None
    assert run.get("bias", "precision") is None
    assert run.get("neural", "rmse") is None


def test_get_in_the_other_cut() -> None:
    """A cut's metrics are not found in the other; those of the run are found in both."""
    by_own = RunMetrics.of(STORED, "own")
    by_next = by_own.within("next")
    assert (by_own.cut, by_next.cut) == ("own", "next")
    assert by_next == RunMetrics.of(STORED, "next")
    assert by_next.within("own") == by_own
    assert by_next.get("blend", "rmse") == 1.1
    assert by_next.get("blend", "precision") == 0.1
    assert by_next.get("blend", "ndcg") is None
    assert by_next.get("blend", "rmse", "low") is None
    assert by_next.get("bias", "rmse") is None
    for run in (by_own, by_next):
        assert run.get("blend", "list_odds") == -2.0
        assert run.get("blend", "fallback_rows") == 0.25
        assert run.n == 5
    assert (by_own.held_out_users, by_own.judged_users) == (40, 30)
    assert (by_next.held_out_users, by_next.judged_users) == (12, 9)


def test_an_older_run() -> None:
    """What was stored without a cut is read as `own`, and `next` was not measured."""
    old = {"blend": {"rmse": 0.9, "precision@5": 0.3, "precision_low@5": 0.2, "list_odds": -2.0}}
    run = RunMetrics.of(old, "own")
    assert run.cuts == ("own",)
    assert run.get("blend", "rmse") == 0.9
    assert run.get("blend", "precision") == 0.3
    assert run.get("blend", "precision", "low") == 0.2
    by_next = run.within("next")
    assert by_next.get("blend", "rmse") is None
    assert by_next.get("blend", "precision") is None
    assert by_next.get("blend", "list_odds") == -2.0
    assert (by_next.held_out_users, by_next.judged_users) == (0, 0)


def test_cuts() -> None:
    """The cuts that were measured, the one that is read first; a cut without metrics is none."""
    assert RunMetrics.of(STORED, "own").cuts == ("own", "next")
    assert RunMetrics.of(STORED, "next").cuts == ("next", "own")
    of_run = {"blend": {"list_odds": -2.0}}
    for cut in CUTS:
        assert RunMetrics.of({"bias": {"own.rmse": 1.0}}, cut).cuts == ("own",)
        assert RunMetrics.of({"bias": {"next.rmse": 1.0}}, cut).cuts == ("next",)
        assert RunMetrics.of(of_run, cut).cuts == ()
        assert RunMetrics.of({}, cut).cuts == ()


def test_interval() -> None:
    """An interval is both bounds, in the cut that is read; None where either was not measured."""
    run = RunMetrics.of(STORED, "own")
    assert run.interval("blend", "rmse") == (0.8, 1.0)
    assert run.interval("blend", "precision") == (0.2, 0.4)
    assert run.interval("blend", "ndcg") is None
    assert run.interval("bias", "rmse") is None
    assert run.within("next").interval("blend", "ndcg") == (0.01, 0.03)
    assert run.within("next").interval("blend", "rmse") is None


def test_metrics_without_lists() -> None:
    """Where no lists were measured there is no length, and metrics of lists are None."""
    run = RunMetrics.of({"bias": {"own.rmse": 1.0}}, "own")
    assert run.n is None
    assert run.get("bias", "rmse") == 1.0
    assert run.get("bias", "precision") is None
    assert RunMetrics.of({}, "own").n is None
    assert RunMetrics.of({}, "own").get("bias", "rmse") is None
