"""The query module and the views: what applications read."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from batch import query
from batch.job import nightly
from batch.job.nightly import Order
from batch.store.database import Database, NotReadyError
from data import fill, settings

DAY = date(2026, 11, 23)


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


@pytest.fixture
def published(database: Database, tmp_path: Path) -> Database:
    """A database with one published night."""
    fill(database, tmp_path)
    nightly.run(database, settings(tmp_path), Order(DAY))
    return database


def test_a_users_list_says_where_it_comes_from(published: Database) -> None:
    """A list has ranks 1..5 with titles, its run and when that was published, as the view has them."""
    with query.snapshot(url_of(published)) as connection:
        answer = query.top(connection, "u7", model="item_item")
        view = connection.execute(
            text(
                "SELECT rank, movie_key, title, score, predicted_rating, reason FROM current_recommendations"
                " WHERE user_key = 'u7' AND model = 'item_item' ORDER BY rank"
            )
        ).all()
        current = query.published(connection)
    assert [
        (*row[:5], json.loads(row.reason) if isinstance(row.reason, str) else row.reason)
        for row in view
    ] == [
        (film.rank, film.movie_key, film.title, film.score, film.predicted_rating, film.reason)
        for film in answer.films
    ]
    assert [film.rank for film in answer.films] == [1, 2, 3, 4, 5]
    assert current is not None
    assert (answer.run_id, answer.published_at, answer.scale) == (
        current.run_id,
        current.published_at,
        (0.5, 5.0),
    )


def test_fewer_films_on_request(published: Database) -> None:
    """`n` cuts a list at its end."""
    with query.snapshot(url_of(published)) as connection:
        whole = query.top(connection, "u7", model="neural").films
        assert query.top(connection, "u7", model="neural", n=2).films == whole[:2]


def test_all_lists_of_a_model(published: Database) -> None:
    """`lists` gives every user's list once, the same as asking one by one."""
    with query.snapshot(url_of(published)) as connection:
        found = list(query.lists(connection, model="user_user"))
        assert len(found) == 25
        assert found == [
            query.top(connection, answer.user_key or "", model="user_user") for answer in found
        ]


@pytest.mark.promise("A12")
def test_a_pinned_run_stays_readable(published: Database, tmp_path: Path) -> None:
    """A run asked for by its id gives the same lists after another was published."""
    with query.snapshot(url_of(published)) as connection:
        before = query.top(connection, "u7", model="item_item")
    nightly.run(published, settings(tmp_path, RECBATCH_PUBLISH__TOP_N="3"), Order(DAY))
    with query.snapshot(url_of(published)) as connection:
        assert query.top(connection, "u7", model="item_item", run_id=1) == before
        assert len(query.top(connection, "u7", model="item_item").films) == 3


def test_unknown_users_and_names(published: Database) -> None:
    """A key wins over a name, a name must be one user's, and an unknown one is an error that says so."""
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


def test_the_popular_list(published: Database) -> None:
    """The list for everyone is the most rated films, as current_popular has them."""
    counted = "SELECT movie_id FROM ratings GROUP BY movie_id ORDER BY count(*) DESC"
    with query.snapshot(url_of(published)) as connection:
        answer = query.popular(connection)
        view = connection.execute(
            text("SELECT rank, title, score FROM current_popular ORDER BY rank")
        ).all()
        most = connection.execute(
            text(f"SELECT count(*) FROM ratings WHERE movie_id = ({counted} LIMIT 1)")
        ).scalar()
    assert [tuple(row) for row in view] == [
        (film.rank, film.title, film.score) for film in answer.films
    ]
    assert (answer.user_key, answer.model, answer.films[0].score) == (None, "popular", most)


def test_a_known_user_without_ratings_gets_what_is_popular(published: Database) -> None:
    """Whoever is known and has no list gets the popular one by any model's name, labelled, in their own name."""
    with published.writer.begin() as connection:
        connection.execute(
            text("INSERT INTO users (user_id, user_key, name) VALUES (999, 'newcomer', 'New')")
        )
    with query.snapshot(url_of(published)) as connection:
        everyone = query.popular(connection)
        for model in query.models(connection):
            answer = query.top(connection, "newcomer", model=model)
            assert answer == replace(everyone, user_key="newcomer", user_name="New")
        assert (answer.model, len(answer.films)) == ("popular", 5)
        assert query.top(connection, "newcomer", model="blend", n=2).films == everyone.films[:2]
        assert "newcomer" not in {
            found.user_key for found in query.lists(connection, model="blend")
        }


def test_what_was_rated_since_is_left_out(published: Database) -> None:
    """A film rated after the run is in no list of that user; the others keep their ranks, and nobody else loses it."""
    with query.snapshot(url_of(published)) as connection:
        before = query.top(connection, "u7", model="item_item")
        others = query.top(connection, "u8", model="item_item")
        everyone = query.popular(connection)
    rated = "SELECT user_id, movie_id, 4, NULL, 1 FROM users, movies WHERE user_key = 'u7' AND movie_key = :film"
    seen = {before.films[1].movie_key, everyone.films[0].movie_key}
    with published.writer.begin() as connection:
        connection.execute(text("INSERT INTO users (user_id, user_key) VALUES (999, 'newcomer')"))
        statement = text(f"INSERT INTO ratings {rated} ON CONFLICT DO NOTHING")
        connection.execute(statement, [{"film": film} for film in seen])
        newly = rated.replace("user_key = 'u7'", "user_key = 'newcomer'")
        connection.execute(
            text(f"INSERT INTO ratings {newly}"), {"film": everyone.films[0].movie_key}
        )
    with query.snapshot(url_of(published)) as connection:
        after = query.top(connection, "u7", model="item_item")
        left = [film for film in before.films if film.movie_key not in seen]
        assert list(after.films) == left
        assert 1 <= len(left) < 5
        assert query.top(connection, "u7", model="item_item", n=1).films == tuple(left[:1])
        assert after in list(query.lists(connection, model="item_item"))
        assert query.top(connection, "u8", model="item_item") == others
        assert query.top(connection, "newcomer", model="neural").films == everyone.films[1:]
        assert query.popular(connection) == everyone


def test_nothing_published_yet(database: Database) -> None:
    """Before the first night there is no run, and every question says so."""
    with query.snapshot(url_of(database)) as connection:
        assert query.published(connection) is None
        with pytest.raises(query.NoSuchRunError, match="nothing is published"):
            query.top(connection, "u1", model="item_item")
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
    """The query module loads neither numpy, pandas, torch nor scikit-learn."""
    heavy = "{'numpy', 'scipy', 'pandas', 'torch', 'sklearn', 'numba'}"
    program = f"import sys, batch.query; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == "[]"
