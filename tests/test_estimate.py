"""How long a run will take: from the times of the last one, or from a block scored now."""

from dataclasses import replace
from pathlib import Path

import pytest
from scipy.sparse import csr_array
from sqlalchemy import text

from batch.job import estimate, plan
from batch.job.inputs import block_size
from batch.job.nightly import Order
from batch.job.plan import plan_run
from batch.store.database import Database
from data import fill, settings
from reference import ratings_of
from tables import rows
from test_nightly import TODAY, night


def test_steps_are_kept(database: Database, tmp_path: Path) -> None:
    """A run records the seconds of its steps, its peak memory and its newest rating."""
    fill(database, tmp_path)
    night(database, tmp_path)
    figures = dict(rows(database, "SELECT metric, value FROM run_metrics WHERE model = 'night'"))
    assert set(figures) == {
        "seconds_load",
        "seconds_evaluate",
        "seconds_fit",
        "seconds_score",
        "seconds_similar",
        "seconds_outcome",
        "peak_mb",
        "newest_rating",
    }
    assert all(value > 0 for value in figures.values())
    assert 50 < figures["peak_mb"] < 10_000


def test_from_the_last_run(database: Database, tmp_path: Path) -> None:
    """The newest measured run is scaled: scoring by users times ratings, the rest by ratings."""
    fill(database, tmp_path)
    for _ in range(2):
        night(database, tmp_path)
    seconds = {"load": 10.0, "evaluate": 20.0, "fit": 30.0, "score": 400.0}
    update = text(
        "UPDATE run_metrics SET value = :value"
        " WHERE run_id = 2 AND model = 'night' AND metric = :metric"
    )
    larger = "UPDATE runs SET n_users = n_users * 2, n_ratings = n_ratings * 4 WHERE run_id = 2"
    with database.writer.begin() as connection:
        for step, value in seconds.items():
            connection.execute(update, {"metric": f"seconds_{step}", "value": value})
        connection.execute(text(larger))
    expected = plan_run(database, settings(tmp_path), Order(TODAY))
    assert expected["seconds_expected"] == round((10 + 20 + 30) / 4 + 400 / 8)
    assert str(expected["expected_because"]).startswith("run 2 took 460 s for ")


def test_from_a_block(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first run one block of users is scored, and scaled to all users with ratings."""
    fill(database, tmp_path)
    clock = iter([100.0, 106.0])
    monkeypatch.setattr(estimate, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(plan, "block_size", lambda *_: 5)
    expected = plan_run(database, settings(tmp_path), Order(TODAY))
    assert expected["seconds_expected"] == 6 / 5 * 25
    evidence = "user_user alone, from 5 users scored now in 6 s; no run measured yet"
    assert expected["expected_because"] == evidence


def test_without_ratings(database: Database, tmp_path: Path) -> None:
    """Without ratings a run is expected to take no time."""
    expected = plan_run(database, settings(tmp_path), Order(TODAY))
    assert expected["seconds_expected"] == 0
    assert expected["expected_because"] == "there are no ratings"


@pytest.mark.parametrize(
    ("memory_mb", "n_items", "expected"),
    [(960, 1000, 128), (960, 10_000, 48), (960, 100_000, 5), (100, 10**7, 1)],
)
def test_memory_decides_the_block(memory_mb: int, n_items: int, expected: int) -> None:
    """A share of the memory holds twelve arrays of doubles of a block of users; one at least.

    Blocks of more users than one pass over the ratings scores are whole passes.
    """
    wide = replace(ratings_of([[3.0]]), matrix=csr_array((1, n_items)))
    assert block_size(wide, memory_mb) == expected
