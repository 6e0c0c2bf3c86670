"""The scale of all ratings: what files say, without a few values far outside all others."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from sqlalchemy import insert

from batch.ranking.evaluate import Evaluation
from batch.ratings import Ratings
from batch.store import scale as scales
from batch.store import schema
from batch.store.database import Database
from batch.store.load import load
from batch.store.scale import Outliers, find_scale
from data import fill, random_rows
from fixed import command
from tables import rows, with_tables

SCALES = {
    "half-star": np.arange(0.5, 5.5, 0.5),
    "1 to 5": np.arange(1.0, 6.0),
    "1 to 10": np.arange(1.0, 11.0),
    "0 to 100": np.arange(0.0, 101.0),
    "-10 to 10": np.arange(-10.0, 11.0),
}
"""Scales that people use: their values."""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A SQLite database whose batches each example of a property replaces."""
    return with_tables(f"sqlite:///{tmp_path_factory.mktemp('scale') / 'recbatch.db'}")


def scale_of(
    database: Database,
    stars: np.ndarray,
    *batches: tuple[float, float],
    fixed: tuple[float, float] | None = None,
) -> tuple[tuple[float, float], list[Outliers]]:
    """The scale of these ratings, and of merged files with these scales.

    `fixed` is the scale of one more file, whose format fixes it.
    """
    scales = [(ends, "long file") for ends in batches]
    if fixed is not None:
        scales.append((fixed, "MovieLens ratings.csv"))
    columns = ("rows_read", "rows_accepted", "rows_rejected", "rows_duplicate", "all_timed")
    with database.writer.begin() as connection:
        connection.execute(schema.ingest_batches.delete())
        for number, ((low, high), format_) in enumerate(scales, 1):
            row = {
                "batch_id": number,
                "file": "x",
                "format": format_,
                "settings_sha256": "",
                "snapshot_at": 0,
                "ingested_at": datetime.now(UTC),
                "status": "merged",
                "scale_min": low,
                "scale_max": high,
            }
            connection.execute(insert(schema.ingest_batches), row | dict.fromkeys(columns, 0))
        return find_scale(connection, stars)


def of_all(stars: np.ndarray) -> tuple[float, float]:
    return float(stars.min()), float(stars.max())


def test_a_fixed_scale_is_kept_by_few_ratings(empty: Database) -> None:
    """The ends of a format's scale stay, even if all ratings are near one of them."""
    lowest = np.full(20, 0.5)
    assert scale_of(empty, lowest, fixed=(0.5, 5.0)) == ((0.5, 5.0), [])


@settings(max_examples=200, deadline=None)
@given(data=strategies.data())
def test_no_real_scale_is_mistaken(empty: Database, data: strategies.DataObject) -> None:
    """However ratings crowd on a scale that is in use, its ends are kept, and nothing is warned."""
    values = SCALES[data.draw(strategies.sampled_from(sorted(SCALES)))]
    n = data.draw(strategies.integers(1, 6000))
    # A scale is in use if more than a few ratings reach 2/5 of its top: see FAR.
    middle = data.draw(strategies.floats(float(values.max()) / 2, float(values.max())))
    spread = data.draw(strategies.floats(0.1, 2)) * values.max()
    random = np.random.default_rng(data.draw(strategies.integers(0, 10**6)))
    drawn = random.normal(middle, spread, n)
    stars = values[np.abs(values[:, None] - drawn).argmin(axis=0)]
    for value in data.draw(strategies.lists(strategies.sampled_from(values.tolist()), max_size=5)):
        stars[random.integers(n)] = value  # single ratings anywhere on the scale
    ends = of_all(stars)
    assert scale_of(empty, stars, ends) == (ends, [])
    whole = of_all(values)
    assert scale_of(empty, stars, ends, fixed=whole) == (whole, [])


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("end", ["top", "bottom"])
@pytest.mark.parametrize("n_typos", [1, 3])
def test_a_typo_is_no_end_of_the_scale(empty: Database, name: str, end: str, n_typos: int) -> None:
    """Up to three values ten times the scale's top, or as far below, are left out and counted."""
    values = SCALES[name]
    stars = np.random.default_rng(0).choice(values, 800)
    typo = values.max() * (10 if end == "top" else -10)
    with_typos = np.append(stars, np.full(n_typos, typo))
    expected = (of_all(values), [Outliers(typo, n_typos)])
    assert scale_of(empty, with_typos, of_all(with_typos), of_all(stars)) == expected
    assert scale_of(empty, with_typos, of_all(with_typos)) == expected  # all in one file


def test_the_threshold_is_where_the_page_says(empty: Database) -> None:
    """Of 1 to 5, 12.5 is the last value that may be meant; four of 800 ratings are no typo."""
    stars = np.random.default_rng(0).choice(SCALES["1 to 5"], 800)
    for value, outliers in ((12.5, []), (12.51, [Outliers(12.51, 1)])):
        with_value = np.append(stars, value)
        assert scale_of(empty, with_value, of_all(with_value))[1] == outliers
    for value, outliers in ((-7.5, []), (-7.51, [Outliers(-7.51, 1)])):
        with_value = np.append(stars, value)
        assert scale_of(empty, with_value, of_all(with_value))[1] == outliers
    for count, outliers in ((3, [Outliers(40.0, 3)]), (4, [])):
        with_typos = np.append(stars, np.full(count, 40.0))
        assert scale_of(empty, with_typos, of_all(with_typos))[1] == outliers
    many = np.random.default_rng(0).choice(SCALES["1 to 5"], 10_000)
    for count, outliers in ((10, [Outliers(40.0, 10)]), (11, [])):
        with_typos = np.append(many, np.full(count, 40.0))
        assert scale_of(empty, with_typos, of_all(with_typos))[1] == outliers
    for n in (18, 19):  # a twentieth of twenty is the first typo
        with_typo = np.append(stars[:n], 40.0)
        assert len(scale_of(empty, with_typo, of_all(with_typo))[1]) == (n == 19)


def test_both_ends_and_several_values(empty: Database) -> None:
    """Typos on both sides are counted apart, with the outermost of each."""
    stars = np.random.default_rng(0).choice(SCALES["1 to 5"], 800)
    with_typos = np.append(stars, [40.0, 44.0, -50.0])
    scale, outliers = scale_of(empty, with_typos, of_all(with_typos))
    assert scale == (1.0, 5.0)
    assert outliers == [Outliers(-50.0, 1), Outliers(44.0, 2)]


def test_a_typo_that_was_corrected_leaves_no_trace(empty: Database) -> None:
    """The scale of the file that brought it counts no more, and nothing is warned."""
    stars = np.random.default_rng(0).choice(SCALES["1 to 5"], 800)
    assert scale_of(empty, stars, (1.0, 40.0)) == ((1.0, 5.0), [])
    assert scale_of(empty, stars, (1.0, 40.0), (0.5, 5.0)) == ((0.5, 5.0), [])


def test_little_data_has_no_typos(empty: Database) -> None:
    """Without files, with few ratings or with zeros only, the scale is what files say."""
    assert scale_of(empty, np.empty(0)) == ((1.0, 5.0), [])
    assert scale_of(empty, np.empty(0), (0.5, 5.0)) == ((0.5, 5.0), [])
    assert scale_of(empty, np.array([1.0, 2.0, 100.0]), (1.0, 100.0)) == ((1.0, 100.0), [])
    zeros = np.append(np.zeros(800), 1.0)
    assert scale_of(empty, zeros, (0.0, 1.0)) == ((0.0, 1.0), [])


def test_usual_ratings_are_not_sorted(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no end can be far, which nearly all data is, no copy of the ratings is made."""
    monkeypatch.setattr(scales, "_near", None)
    for values in SCALES.values():
        stars = np.random.default_rng(0).choice(values, 800)
        assert scale_of(empty, stars, of_all(values)) == (of_all(values), [])


@pytest.mark.usefixtures("nights")
def test_a_night_with_a_typo(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Threshold and clipping follow the scale without it; output, `runs` and report name it."""
    from batch.job import steps

    measured: list[Ratings] = []
    figures = steps.measure

    def watched(ratings: Ratings, config: object) -> Evaluation:
        measured.append(ratings)
        return figures(ratings, config)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "measure", watched)
    fill(database, tmp_path / "rest", random_rows(0))
    fill(database, tmp_path / "typo", [("u0", "m0", 40, 1_700_000_000)])
    capsys.readouterr()
    assert command("-q", "run", "--force") == 0
    message = (
        "1 rating of 40 is far outside all others, and left out of the scale, 0.5 to 5;"
        " set ingest.scale: [0.5, 5] to reject such rows, [0.5, 40] if they are meant"
    )
    output = capsys.readouterr()
    assert f"\nwarning: {message}\n" in output.out
    assert message in output.err  # the log
    scale = "SELECT rating_min, rating_max FROM runs ORDER BY run_id DESC LIMIT 1"
    assert rows(database, scale) == [(0.5, 5.0)]
    assert measured[0].scale == (0.5, 5.0)
    assert measured[0].matrix.data.max() == 40  # the rating itself is not changed
    assert command("report", "-o", "page.html") == 0
    assert message in (tmp_path / "page.html").read_text()
    assert command("check") == 0
    monkeypatch.setenv("RECBATCH_INGEST__SCALE", "[0.5, 40]")
    capsys.readouterr()
    assert command("-q", "run", "--force") == 0
    assert "warning" not in capsys.readouterr().out
    assert rows(database, scale) == [(0.5, 40.0)]


@pytest.mark.usefixtures("nights")
def test_a_night_without_a_typo_warns_of_nothing(database: Database) -> None:
    """The scale of the usual night is what its files say, and nothing is recorded."""
    assert command("-q", "run") == 0
    with database.reader.connect() as connection:
        loaded = load(connection)
    assert (loaded.ratings.scale, loaded.outliers) == ((0.5, 5.0), [])
    [(warnings,)] = rows(database, "SELECT warnings FROM runs WHERE run_id = 2")
    assert warnings in ("[]", [])
