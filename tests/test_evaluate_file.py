"""A ratings file against models fitted on the whole database: metrics and predictions."""

import csv
import math
from pathlib import Path

import pytest

from batch.ingest import UnreadableError
from batch.job.evaluate_file import NothingToMeasureError, evaluate_file
from batch.models import PUBLISHED
from batch.store.database import Database, open_database
from batch.store.versions import prepare
from data import fill, long_csv, random_rows, settings


@pytest.fixture
def filled(sqlite_url: str, tmp_path: Path) -> Database:
    """A database with random ratings of 25 users and 40 films."""
    database = open_database(sqlite_url)
    prepare(database)
    fill(database, tmp_path / "in")
    return database


def new_rows() -> list[tuple[object, ...]]:
    """Ratings of pairs that are not in the database."""
    ingested = {row[:2] for row in random_rows(0)}
    return [row for row in random_rows(7) if row[:2] not in ingested]


def test_predictions_are_written_for_every_pair(filled: Database, tmp_path: Path) -> None:
    """A row per pair whose user and film exist, clipped; errors add up to the metrics."""
    rows = new_rows()
    unknown = [("nobody", "m1", 4, 1), ("u1", "no film", 4, 1)]
    test, out = tmp_path / "test.csv", tmp_path / "predictions.csv"
    test.write_text(long_csv([*rows, *unknown]))
    metrics = evaluate_file(filled, settings(tmp_path), test, out)
    with out.open(newline="") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == ["user_key", "movie_key", "rating", *PUBLISHED, "bias"]
    pairs = [(row["user_key"], row["movie_key"], float(row["rating"])) for row in written]
    expected = [(str(user), str(movie), float(str(stars))) for user, movie, stars, _ in rows]
    assert sorted(pairs) == sorted(expected)
    for name in (*PUBLISHED, "bias"):
        predictions = [(float(row[name]), float(row["rating"])) for row in written if row[name]]
        assert all(0.5 <= predicted <= 5 for predicted, _ in predictions)
        share = 1 - len(predictions) / len(written)
        assert metrics[name]["fallback_share"] == pytest.approx(share)
        if share == 0:
            rmse = math.sqrt(sum((a - b) ** 2 for a, b in predictions) / len(predictions))
            assert metrics[name]["rmse"] == pytest.approx(rmse, abs=1e-5)
    assert all(row["bias"] for row in written)


def test_any_format_and_the_later_rating_counts(filled: Database, tmp_path: Path) -> None:
    """The file may have any supported format; of two ratings of a pair the later counts."""
    user, movie, _, _ = new_rows()[0]
    long = tmp_path / "long.csv"
    long.write_text(long_csv([(user, movie, 1, 200), (user, movie, 5, 100)]))
    wide = tmp_path / "wide.csv"
    wide.write_text(f",User,{movie}\n0,{user},1.0\n")
    of_long = evaluate_file(filled, settings(tmp_path), long, None)
    of_wide = evaluate_file(filled, settings(tmp_path), wide, None)
    assert of_long == of_wide


def test_the_database_is_left_alone(filled: Database, tmp_path: Path) -> None:
    """Measuring on a file writes nothing to the database."""
    test = tmp_path / "test.csv"
    test.write_text(long_csv(new_rows()))
    assert filled.file is not None
    before = filled.file.read_bytes()
    evaluate_file(filled, settings(tmp_path), test, None)
    assert filled.file.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("user,movie,rating\nu1,m1,x\n", UnreadableError, "test.csv:2: rating 'x' is not a number"),
        ("what,is,this\n", UnreadableError, "test.csv:1: not a format that is known"),
        ("user,movie,rating\nnobody,m1,4\n", NothingToMeasureError, "none of its 1 ratings"),
    ],
)
def test_a_file_that_cannot_be_measured_on(
    filled: Database, tmp_path: Path, content: str, error: type[Exception], message: str
) -> None:
    """A broken or foreign file is refused with its place, not measured in part."""
    test = tmp_path / "test.csv"
    test.write_text(content)
    with pytest.raises(error) as raised:
        evaluate_file(filled, settings(tmp_path), test, None)
    assert message in str(raised.value)
