"""How long a night will take: from what the last one took, or from a block measured now."""

from dataclasses import replace
from pathlib import Path

import pytest
from scipy.sparse import csr_array
from sqlalchemy import text

from batch.job import estimate, nightly
from batch.job.inputs import block_size
from batch.job.nightly import Order
from batch.store.database import Database
from reference import ratings_of
from test_nightly import TODAY, fill, night, rows, settings


def test_steps_are_kept(database: Database, tmp_path: Path) -> None:
    """A run keeps the seconds of its steps, the most memory it held and its newest rating beside its metrics."""
    fill(database, tmp_path)
    night(database, tmp_path)
    found = dict(rows(database, "SELECT metric, value FROM run_metrics WHERE model = 'night'"))
    assert set(found) == {"seconds_load", "seconds_evaluate", "seconds_fit", "seconds_score", "peak_mb",
                          "newest_rating"}  # fmt: skip
    assert all(value > 0 for value in found.values())
    assert 50 < found["peak_mb"] < 10_000


def test_from_the_last_run(database: Database, tmp_path: Path) -> None:
    """The estimate is what the newest measured run took: scoring by users times ratings, the rest by ratings."""
    fill(database, tmp_path)
    for _ in range(2):
        night(database, tmp_path)
    with database.writer.begin() as connection:
        figures = {
            "seconds_load": 10.0,
            "seconds_evaluate": 20.0,
            "seconds_fit": 30.0,
            "seconds_score": 400.0,
        }
        for metric, value in figures.items():
            told = text(
                "UPDATE run_metrics SET value = :value WHERE run_id = 2 AND model = 'night' AND metric = :metric"
            )
            connection.execute(told, {"metric": metric, "value": value})
        connection.execute(
            text(
                "UPDATE runs SET n_users = n_users * 2, n_ratings = n_ratings * 4 WHERE run_id = 2"
            )
        )
    told = nightly.plan(database, settings(tmp_path), Order(TODAY))
    assert told["seconds_expected"] == round((10 + 20 + 30) / 4 + 400 / 8)
    assert str(told["expected_because"]).startswith("run 2 took 460 s for ")


def test_from_a_block(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first run one block of users is scored, and stands for all users with ratings."""
    fill(database, tmp_path)
    clock = iter([100.0, 106.0])
    monkeypatch.setattr(estimate, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(nightly, "block_size", lambda *_: 5)
    told = nightly.plan(database, settings(tmp_path), Order(TODAY))
    assert told["seconds_expected"] == 6 / 5 * 25
    assert (
        told["expected_because"]
        == "user_user alone, from 5 users scored now in 6 s; no run measured yet"
    )


def test_without_ratings(database: Database, tmp_path: Path) -> None:
    """With nothing to score nothing is expected."""
    told = nightly.plan(database, settings(tmp_path), Order(TODAY))
    assert (told["seconds_expected"], told["expected_because"]) == (0, "there are no ratings")


@pytest.mark.parametrize(
    ("memory_mb", "n_items", "expected"),
    [(960, 1000, 128), (960, 10_000, 48), (960, 100_000, 5), (100, 10**7, 1)],
)
def test_memory_decides_the_block(memory_mb: int, n_items: int, expected: int) -> None:
    """A share of the memory holds twelve arrays of doubles of as many users as a block has; one at least.

    Beyond one pass over the ratings it is some whole passes.
    """
    wide = replace(ratings_of([[3.0]]), matrix=csr_array((1, n_items)))
    assert block_size(wide, memory_mb) == expected
