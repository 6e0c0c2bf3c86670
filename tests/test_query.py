"""The query module and the views: what applications read."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from batch import query
from batch.job import nightly
from batch.job.nightly import Order
from batch.models import PUBLISHED
from batch.store.database import Database, NotReadyError
from data import fill, settings
from tables import rows

DAY = date(2026, 11, 23)


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def as_data(reason: Any) -> Any:
    """JSON, which SQLite returns as text and Postgres as data."""
    return json.loads(reason) if isinstance(reason, str) else reason


@pytest.fixture
def published(database: Database, tmp_path: Path) -> Database:
    """A database with one published night."""
    fill(database, tmp_path)
    nightly.run(database, settings(tmp_path), Order(DAY))
    return database


def test_a_users_list_names_its_run(published: Database) -> None:
    """A list has ranks 1..5 with titles, its run and when that was published, as in the view."""
    listed = text("""
        SELECT rank, movie_key, title, score, predicted_rating, reason
        FROM current_recommendations
        WHERE user_key = 'u7' AND model = 'item_item' ORDER BY rank""")
    with query.snapshot(url_of(published)) as connection:
        answer = query.top(connection, "u7", model="item_item")
        view = [(*row[:5], as_data(row.reason)) for row in connection.execute(listed)]
        current = query.published(connection)
    films = []
    for film in answer.films:
        names = (film.rank, film.movie_key, film.title)
        films.append((*names, film.score, film.predicted_rating, film.reason))
    assert view == films
    assert [film.rank for film in answer.films] == [1, 2, 3, 4, 5]
    assert current is not None
    assert (answer.run_id, answer.published_at) == (current.run_id, current.published_at)
    assert answer.scale == (0.5, 5.0)


def test_fewer_films_on_request(published: Database) -> None:
    """`n` cuts a list at its end."""
    with query.snapshot(url_of(published)) as connection:
        films = query.top(connection, "u7", model="neural").films
        assert query.top(connection, "u7", model="neural", n=2).films == films[:2]


def test_all_lists_of_a_model(published: Database) -> None:
    """`lists` gives every user's list once, the same as `top` one by one."""
    with query.snapshot(url_of(published)) as connection:
        answers = list(query.lists(connection, model="user_user"))
        assert len(answers) == 25
        for answer in answers:
            assert answer.user_key is not None
            assert answer == query.top(connection, answer.user_key, model="user_user")


@pytest.mark.promise("A12")
def test_a_pinned_run_stays_readable(published: Database, tmp_path: Path) -> None:
    """A run by its id has the same lists after another was published."""
    with query.snapshot(url_of(published)) as connection:
        before = query.top(connection, "u7", model="item_item")
    nightly.run(published, settings(tmp_path, RECBATCH_PUBLISH__TOP_N="3"), Order(DAY))
    with query.snapshot(url_of(published)) as connection:
        assert query.top(connection, "u7", model="item_item", run_id=1) == before
        assert len(query.top(connection, "u7", model="item_item").films) == 3


def test_unknown_users_and_names(published: Database) -> None:
    """A key wins over a name, a name must be one user's, and an unknown one is an error."""
    with published.writer.begin() as connection:
        connection.execute(text("UPDATE users SET name = 'Ann' WHERE user_key IN ('u1', 'u2')"))
        connection.execute(text("UPDATE users SET name = 'Bob' WHERE user_key = 'u3'"))
    with query.snapshot(url_of(published)) as connection:
        assert query.find_user(connection, "u1") == "u1"
        assert query.find_user(connection, "Bob") == "u3"
        with pytest.raises(query.AmbiguousUserError, match="u1, u2"):
            query.find_user(connection, "Ann")
        with pytest.raises(query.UnknownUserError, match="'nobody'"):
            query.find_user(connection, "nobody")
        with pytest.raises(query.UnknownUserError, match="'nobody'"):
            query.top(connection, "nobody", model="item_item")


MODELS = "run 1 has no lists of a model '{}'; it has blend, item_item, neural, user_user"


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("itemitem", "; did you mean 'item_item'?"),
        ("Neural", "; did you mean 'neural'?"),
        ("x", ""),
    ],
)
def test_a_model_without_lists_is_an_error(published: Database, model: str, hint: str) -> None:
    """An unknown model is an error with those there are, for each user and for all lists."""
    message = MODELS.format(model) + hint
    with query.snapshot(url_of(published)) as connection:
        for run_id in (None, 1):
            with pytest.raises(query.NoSuchModelError) as caught:
                query.top(connection, "u7", model=model, run_id=run_id)
            assert str(caught.value) == message
            with pytest.raises(query.NoSuchModelError) as caught:
                query.lists(connection, model=model, run_id=run_id)  # before a row is read
            assert str(caught.value) == message


def test_a_model_whose_lists_are_empty(published: Database) -> None:
    """It is still a model of the run, without any list; its users get the popular one."""
    with published.writer.begin() as connection:
        connection.execute(text("DELETE FROM recommendations WHERE model = 'neural'"))
    with query.snapshot(url_of(published)) as connection:
        assert query.models(connection) == tuple(sorted(PUBLISHED))
        assert query.top(connection, "u1", model="neural").model == "popular"
        assert list(query.lists(connection, model="neural")) == []
        with pytest.raises(query.NoSuchModelError, match="it has blend, item_item"):
            query.top(connection, "u1", model="itemitem")


def test_the_popular_list(published: Database) -> None:
    """The list for everyone is the most rated films, as in current_popular."""
    counted = "SELECT count(*) AS n FROM ratings GROUP BY movie_id"
    listed = text("SELECT rank, title, score FROM current_popular ORDER BY rank")
    with query.snapshot(url_of(published)) as connection:
        answer = query.popular(connection)
        view = [tuple(row) for row in connection.execute(listed)]
        largest = connection.execute(text(f"SELECT max(n) FROM ({counted}) c")).scalar()
    assert view == [(film.rank, film.title, film.score) for film in answer.films]
    assert (answer.user_key, answer.model) == (None, "popular")
    assert answer.films[0].score == largest


def test_a_user_without_ratings_gets_what_is_popular(published: Database) -> None:
    """A user without a list gets the popular one for any model, labelled, under their own name."""
    with published.writer.begin() as connection:
        row = "VALUES (999, 'newcomer', 'New')"
        connection.execute(text(f"INSERT INTO users (user_id, user_key, name) {row}"))
    with query.snapshot(url_of(published)) as connection:
        everyone = query.popular(connection)
        for model in query.models(connection):
            answer = query.top(connection, "newcomer", model=model)
            assert answer == replace(everyone, user_key="newcomer", user_name="New")
        assert (answer.model, len(answer.films)) == ("popular", 5)
        assert query.top(connection, "newcomer", model="blend", n=2).films == everyone.films[:2]
        users = {each.user_key for each in query.lists(connection, model="blend")}
    assert "newcomer" not in users


def test_films_rated_since_are_left_out(published: Database) -> None:
    """A film rated after the run is in no list of that user, and the next move up; else nothing."""
    with query.snapshot(url_of(published)) as connection:
        before = query.top(connection, "u7", model="item_item")
        neighbour = query.top(connection, "u8", model="item_item")
        everyone = query.popular(connection)
    rated = {before.films[1].movie_key, everyone.films[0].movie_key}
    rate = text("""
        INSERT INTO ratings SELECT user_id, movie_id, 4, NULL, 1 FROM users, movies
        WHERE user_key = :user AND movie_key = :film ON CONFLICT DO NOTHING""")
    with published.writer.begin() as connection:
        connection.execute(text("INSERT INTO users (user_id, user_key) VALUES (999, 'newcomer')"))
        connection.execute(rate, [{"user": "u7", "film": film} for film in rated])
        connection.execute(rate, {"user": "newcomer", "film": everyone.films[0].movie_key})
    stored = rows(
        published,
        "SELECT movie_key FROM recommendations JOIN users USING (user_id)"
        " JOIN movies USING (movie_id)"
        " WHERE user_key = 'u7' AND model = 'item_item' ORDER BY rank",
    )
    remaining = [key for (key,) in stored if key not in rated]
    assert [film.movie_key for film in before.films] == [key for (key,) in stored[:5]]
    assert remaining[:5] != [key for (key,) in stored[:5]]
    with query.snapshot(url_of(published)) as connection:
        after = query.top(connection, "u7", model="item_item")
        assert [film.movie_key for film in after.films] == remaining[:5]
        assert [film.rank for film in after.films] == [1, 2, 3, 4, 5]
        first = query.top(connection, "u7", model="item_item", n=1)
        assert first.films == after.films[:1]
        assert after in list(query.lists(connection, model="item_item"))
        assert query.top(connection, "u8", model="item_item") == neighbour
        of_newcomer = query.top(connection, "newcomer", model="neural")
        assert of_newcomer.model == "popular"
        keys = [film.movie_key for film in of_newcomer.films]
        assert keys[:4] == [film.movie_key for film in everyone.films[1:]]
        assert [film.rank for film in of_newcomer.films] == [1, 2, 3, 4, 5]
        assert query.popular(connection) == everyone


def test_nothing_published_yet(database: Database) -> None:
    """Before the first night there is no run, and every question is an error that says so."""
    with query.snapshot(url_of(database)) as connection:
        assert query.published(connection) is None
        with pytest.raises(query.NoSuchRunError, match="nothing is published"):
            query.top(connection, "u1", model="item_item")
        with pytest.raises(query.NoSuchRunError, match="nothing is published"):
            query.lists(connection, model="item_item")
        with pytest.raises(query.NoSuchRunError, match="no run 9"):
            query.top(connection, "u1", model="item_item", run_id=9)


def test_a_database_without_tables(url: str) -> None:
    """A database that was never prepared is an error with the command that prepares it."""
    with pytest.raises(NotReadyError, match="db upgrade"), query.snapshot(url):
        pass


def test_a_snapshot_cannot_write(published: Database) -> None:
    """A reader's connection refuses to change anything."""
    with (
        query.snapshot(url_of(published)) as connection,
        pytest.raises(DBAPIError, match=r"read-?only"),
    ):
        connection.execute(text("DELETE FROM recommendations"))


def test_reading_needs_no_numerics() -> None:
    """Importing the query module, in a process of its own, imports no numerical library."""
    program = [sys.executable, "-X", "importtime", "-c", "import batch.query"]
    process = subprocess.run(program, check=True, capture_output=True, text=True)
    # Lines such as "import time:       123 |        456 |   sqlalchemy.sql"
    imported = [line.rpartition("|")[2].strip() for line in process.stderr.splitlines()]
    assert "batch.query" in imported
    assert "sqlalchemy" in imported
    packages = {module.partition(".")[0] for module in imported}
    assert packages & {"numpy", "scipy", "pandas", "numba", "torch", "sklearn"} == set()
