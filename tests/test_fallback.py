"""What stands in for a model: for whom, in which order, and how it is told apart."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from scipy import sparse

from batch import query
from batch.job import nightly
from batch.job.nightly import Order
from batch.ranking.fallback import FEW, SHORT, Lists, with_fallback
from batch.ratings import NOBODY
from batch.store.database import Database
from data import fill, random_rows, settings
from tables import rows

TODAY = date(2026, 11, 23)
N_ITEMS = 8


def slowly(
    honest: list[int],
    scores: list[float],
    taken: set[int],
    count: int,
    popular: list[int],
    least: int,
    n: int,
) -> list[tuple[int, float, str | None]]:
    """(film, score, reason) of one list, place by place."""
    found: list[tuple[int, float, str | None]] = []
    if count >= least:
        found = [(film, score, None) for film, score in zip(honest, scores, strict=True)]
    for film in popular:
        if (
            len(found) < n
            and count
            and film not in taken
            and film not in [known for known, _, _ in found]
        ):
            above = found[-1][1] if found else 0.0
            found.append((film, above - 1.0, SHORT if count >= least else FEW))
    return found


@given(st.data())
@tries(max_examples=200, deadline=None)
def test_lists_are_the_slow_ones(data: st.DataObject) -> None:
    """Each list is the model's own films, then the most popular not taken, a point less each, with a reason."""
    n, b = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 4))
    films = st.lists(st.integers(0, N_ITEMS - 1), unique=True)
    popular, least = data.draw(films), data.draw(st.integers(1, 4))
    expected, listed, score = [], np.full((b, n), NOBODY), np.full((b, n), np.nan)
    seen, counts = np.zeros((b, N_ITEMS)), np.zeros(b, dtype=np.int64)
    for user in range(b):
        taken, count = set(data.draw(films)), data.draw(st.integers(0, 5))
        honest = [film for film in data.draw(films) if film not in taken][: n if count else 0]
        scores = sorted(
            data.draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n)), reverse=True
        )[: len(honest)]
        listed[user, : len(honest)], score[user, : len(honest)] = honest, scores
        seen[user, list(taken)], counts[user] = 1, count
        expected.append(
            slowly(honest, [float(each) for each in scores], taken, count, popular, least, n)
        )
    there = listed != NOBODY
    nothing, own = np.zeros((b, n), dtype=np.bool_), np.where(there, "own", "")
    said = Lists(listed, score, np.full((b, n), 3.0), np.ones((b, n)), own, nothing)
    before = [array.tobytes() for array in (listed, score)]
    found: list[dict[int, tuple[int, float, str | None]]] = [{} for _ in range(b)]
    told = with_fallback(
        said, sparse.csr_array(seen), counts, np.array(popular, dtype=np.int64), least
    )
    for user, place in np.argwhere(told.listed != NOBODY).tolist():
        own = str(told.reasons[user, place]) == "own"
        reason = None if own else str(told.reasons[user, place])
        found[user][place] = (int(told.listed[user, place]), float(told.score[user, place]), reason)
        assert np.isnan(told.rating[user, place]) == told.is_fallback[user, place] == (not own)
        assert told.support[user, place] == own
    assert [[places[place] for place in sorted(places)] for places in found] == expected
    assert all(sorted(places) == list(range(len(places))) for places in found)
    assert [array.tobytes() for array in (listed, score)] == before


FEW_ROWS = [*random_rows(0), *(("few", f"m{film}", 4, 1_000_000_000 + film) for film in range(3))]


@pytest.fixture
def published(database: Database, tmp_path: Path) -> Database:
    """A night with a user of three ratings."""
    fill(database, tmp_path, FEW_ROWS)
    assert nightly.run(database, settings(tmp_path), Order(TODAY)).status == "published"
    return database


def test_a_user_with_a_few_ratings_gets_what_is_popular_labelled(published: Database) -> None:
    """Below the least number of ratings each model's list is popular films not rated yet, in order, all told apart."""
    counted = """
        SELECT movie_key FROM ratings JOIN movies USING (movie_id)
        WHERE movie_id NOT IN (SELECT movie_id FROM ratings JOIN users USING (user_id) WHERE user_key = 'few')
        GROUP BY movie_key ORDER BY count(*) DESC, movie_key LIMIT 5"""
    popular = [key for (key,) in rows(published, counted)]
    with published.reader.connect() as connection:
        for model in query.models(connection):
            films = query.top(connection, "few", model=model).films
            assert [film.movie_key for film in films] == popular
            assert [film.score for film in films] == [-1, -2, -3, -4, -5]
            assert {film.predicted_rating for film in films} == {None}
            assert [film.reason for film in films] == [json.loads(FEW)] * 5
            others = query.top(connection, "u7", model=model).films
            assert "fallback" not in str([film.reason for film in others])
    shares = dict(
        rows(published, "SELECT model, value FROM run_metrics WHERE metric = 'fallback_rows'")
    )
    total = dict(rows(published, "SELECT model, count(*) FROM recommendations GROUP BY model"))
    current_filters = "SELECT model, count(*) FROM recommendations WHERE support = 0 GROUP BY model"
    assert shares == {
        model: count / total[model] for model, count in rows(published, current_filters)
    }
    assert shares["blend"] == pytest.approx(5 / 130)
    assert rows(
        published, "SELECT DISTINCT value FROM run_checks WHERE severity = 'integrity'"
    ) == [(0,)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_plain_stands_in_for_nobody(database: Database, tmp_path: Path) -> None:
    """With the plain preset lists end where the method has nothing to say, and nothing is put in its place."""
    fill(database, tmp_path, FEW_ROWS)
    nightly.run(
        database, settings(tmp_path, RECBATCH_MODELS__PRESET="plain"), Order(TODAY, force=True)
    )
    assert (
        rows(
            database, "SELECT * FROM recommendations WHERE support = 0 OR reason LIKE '%fallback%'"
        )
        == []
    )
    assert rows(
        database, "SELECT DISTINCT value FROM run_metrics WHERE metric = 'fallback_rows'"
    ) == [(0,)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_more_may_be_asked_of_a_user(database: Database, tmp_path: Path) -> None:
    """The number of ratings below which a model is not believed is a setting."""
    fill(database, tmp_path, FEW_ROWS)
    nightly.run(database, settings(tmp_path, RECBATCH_PUBLISH__LEAST_RATINGS="3"), Order(TODAY))
    mine = "SELECT count(*) FROM current_recommendations WHERE user_key = 'few' AND predicted_rating IS NOT NULL"
    assert rows(database, mine) == [(20,)]
