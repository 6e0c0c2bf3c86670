"""Fallback rows: which users get them, in which order, and how they are marked."""

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


Row = tuple[int, float, str | None]
"""Film, score, and the reason of a fallback row."""


def slow_list(
    films: list[int],
    scores: list[float],
    excluded: set[int],
    count: int,
    popular: list[int],
    least: int,
    n: int,
) -> list[Row]:
    """One list, place by place."""
    rows: list[Row] = []
    if count >= least:
        rows = [(film, score, None) for film, score in zip(films, scores, strict=True)]
    for film in popular:
        if len(rows) == n or not count:
            break
        if film in excluded or film in [listed for listed, _, _ in rows]:
            continue
        above = rows[-1][1] if rows else 0.0
        rows.append((film, above - 1.0, SHORT if count >= least else FEW))
    return rows


@given(st.data())
@tries(max_examples=200, deadline=None)
def test_lists_are_the_slow_ones(data: st.DataObject) -> None:
    """Lists are the model's films, then popular ones, each with a reason and one point less."""
    n = data.draw(st.integers(1, 6))
    b = data.draw(st.integers(0, 4))
    films = st.lists(st.integers(0, N_ITEMS - 1), unique=True)
    popular = data.draw(films)
    least = data.draw(st.integers(1, 4))
    listed = np.full((b, n), NOBODY)
    score = np.full((b, n), np.nan)
    excluded = np.zeros((b, N_ITEMS))
    counts = np.zeros(b, dtype=np.int64)
    expected = []
    for user in range(b):
        out = set(data.draw(films))
        count = data.draw(st.integers(0, 5))
        own = [film for film in data.draw(films) if film not in out][: n if count else 0]
        drawn = data.draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n))
        scores = [float(value) for value in sorted(drawn, reverse=True)[: len(own)]]
        listed[user, : len(own)] = own
        score[user, : len(own)] = scores
        excluded[user, list(out)] = 1
        counts[user] = count
        expected.append(slow_list(own, scores, out, count, popular, least, n))
    lists = Lists(
        listed=listed,
        score=score,
        rating=np.full((b, n), 3.0),
        support=np.ones((b, n)),
        reasons=np.where(listed != NOBODY, "own", ""),
        is_fallback=np.zeros((b, n), dtype=np.bool_),
    )
    before = [array.tobytes() for array in (listed, score)]
    filled = with_fallback(
        lists, sparse.csr_array(excluded), counts, np.array(popular, dtype=np.int64), least
    )
    actual: list[list[Row]] = [[] for _ in range(b)]
    for user, place in np.argwhere(filled.listed != NOBODY).tolist():
        cell = user, place
        reason = str(filled.reasons[cell])
        is_own = reason == "own"
        assert place == len(actual[user])  # no gaps
        film = int(filled.listed[cell])
        actual[user].append((film, float(filled.score[cell]), None if is_own else reason))
        assert np.isnan(filled.rating[cell]) == filled.is_fallback[cell] == (not is_own)
        assert filled.support[cell] == is_own
    assert actual == expected
    assert [array.tobytes() for array in (listed, score)] == before


FEW_ROWS = [*random_rows(0), *(("few", f"m{film}", 4, 1_000_000_000 + film) for film in range(3))]


@pytest.fixture
def published(database: Database, tmp_path: Path) -> Database:
    """A night with a user of three ratings."""
    fill(database, tmp_path, FEW_ROWS)
    five = settings(tmp_path, RECBATCH_PUBLISH__LEAST_RATINGS="5")
    assert nightly.run(database, five, Order(TODAY)).status == "published"
    return database


def test_a_user_with_few_ratings_gets_popular_films(published: Database) -> None:
    """Below the least number of ratings each list is unrated popular films, all marked."""
    unrated = """
        SELECT movie_key FROM ratings JOIN movies USING (movie_id)
        WHERE movie_id NOT IN (
            SELECT movie_id FROM ratings JOIN users USING (user_id) WHERE user_key = 'few'
        )
        GROUP BY movie_key ORDER BY count(*) DESC, movie_key LIMIT 5"""
    popular = [key for (key,) in rows(published, unrated)]
    with published.reader.connect() as connection:
        for model in query.models(connection):
            films = query.top(connection, "few", model=model).films
            assert [film.movie_key for film in films] == popular
            assert [film.score for film in films] == [-1, -2, -3, -4, -5]
            assert {film.predicted_rating for film in films} == {None}
            assert [film.reason for film in films] == [json.loads(FEW)] * 5
            others = query.top(connection, "u7", model=model).films
            assert "fallback" not in str([film.reason for film in others])
    stored = "SELECT model, value FROM run_metrics WHERE metric = 'fallback_rows'"
    shares = dict(rows(published, stored))
    total = dict(rows(published, "SELECT model, count(*) FROM recommendations GROUP BY model"))
    fallback = "SELECT model, count(*) FROM recommendations WHERE support = 0 GROUP BY model"
    assert shares == {model: n / total[model] for model, n in rows(published, fallback)}
    assert shares["blend"] == pytest.approx(5 / 130)
    violations = "SELECT DISTINCT value FROM run_checks WHERE severity = 'integrity'"
    assert rows(published, violations) == [(0,)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_plain_preset_has_no_fallback(database: Database, tmp_path: Path) -> None:
    """With the plain preset lists end where the model has no prediction."""
    fill(database, tmp_path, FEW_ROWS)
    plain = settings(tmp_path, RECBATCH_MODELS__PRESET="plain")
    nightly.run(database, plain, Order(TODAY, force=True))
    fallback = "SELECT * FROM recommendations WHERE support = 0 OR reason LIKE '%fallback%'"
    assert rows(database, fallback) == []
    shares = "SELECT DISTINCT value FROM run_metrics WHERE metric = 'fallback_rows'"
    assert rows(database, shares) == [(0,)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_least_number_of_ratings_is_a_setting(database: Database, tmp_path: Path) -> None:
    """The number of ratings below which a list is all fallback is a setting."""
    fill(database, tmp_path, FEW_ROWS)
    nightly.run(database, settings(tmp_path, RECBATCH_PUBLISH__LEAST_RATINGS="3"), Order(TODAY))
    where = "user_key = 'few' AND predicted_rating IS NOT NULL"
    sql = f"SELECT count(*) FROM current_recommendations WHERE {where}"
    assert rows(database, sql) == [(20,)]
