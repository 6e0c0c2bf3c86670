"""Films that must not be shown: out of every list made from then on, and hidden at once in those that are published."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sqlalchemy import text

from batch import query
from batch.audit.integrity import audit_integrity
from batch.ranking.mask import Mask
from batch.store import database as databases
from batch.store import filters
from batch.store.database import Database, run_lock
from fixed import command
from reference import random_stars, ratings_of
from tables import rows, shown

AN_HOUR = timedelta(hours=1)


def hide(database: Database, film: str, user: str | None = None, **window: Any) -> int:
    """Add a filter as an operator does."""
    with database.writer.begin() as connection:
        return filters.add(connection, film, user, **window)


def seen_by(database: Database, film: str) -> dict[str, set[str]]:
    """Who is shown the film, as the views have it; what `query` says must be the same."""
    listed = "SELECT DISTINCT user_key FROM current_recommendations WHERE movie_key = :film"
    popular = "SELECT movie_key FROM current_popular WHERE movie_key = :film"
    with database.reader.connect() as connection:
        in_lists = set(connection.execute(text(listed), {"film": film}).scalars())
        found = {
            "lists": in_lists,
            "popular": set(connection.execute(text(popular), {"film": film}).scalars()),
        }
        told = {
            str(answer.user_key)
            for model in query.models(connection)
            for answer in query.lists(connection, model=model)
            for listed_film in answer.films
            if listed_film.movie_key == film
        }
        assert told == found["lists"]
        assert {
            each.movie_key for each in query.popular(connection).films if each.movie_key == film
        } == found["popular"]
    return found


def most_shown(database: Database) -> str:
    """The film that most users have in a list, of those that are popular."""
    counted = """
        SELECT r.movie_key FROM current_recommendations r JOIN current_popular p ON p.movie_key = r.movie_key
        GROUP BY r.movie_key ORDER BY count(*) DESC, r.movie_key LIMIT 1"""
    [(film,)] = rows(database, counted)
    return str(film)


@pytest.mark.promise("D10")
@pytest.mark.usefixtures("nights")
def test_a_film_is_hidden_at_once_and_left_out_from_then_on(database: Database) -> None:
    """A filtered film is gone from views and answers at once, ranks stay, and the next night's lists are full again."""
    film = most_shown(database)
    before = rows(
        database,
        f"SELECT user_key, model, rank FROM current_recommendations WHERE movie_key <> '{film}'",
    )
    assert len(seen_by(database, film)["lists"]) > 2
    hide(database, film)
    assert seen_by(database, film) == {"lists": set(), "popular": set()}
    assert sorted(
        rows(database, "SELECT user_key, model, rank FROM current_recommendations")
    ) == sorted(before)
    assert command("-q", "run") == 0
    shown(database)  # every list has five films, and so has the popular one
    listed = "SELECT count(*) FROM recommendations JOIN movies USING (movie_id) WHERE run_id = 2"
    assert rows(database, f"{listed} AND movie_key = '{film}'") == [(0,)]
    with database.writer.begin() as connection:
        filters.end(connection, 1)
    assert command("-q", "run") == 0
    assert len(seen_by(database, film)["lists"]) > 2


@pytest.mark.promise("D10")
@pytest.mark.usefixtures("nights")
def test_a_film_may_be_kept_from_one_user(database: Database) -> None:
    """A user's own filter changes nobody else's lists, nor what is popular for anyone."""
    film = most_shown(database)
    whole = seen_by(database, film)
    user = min(whole["lists"])
    hide(database, film, user)
    assert seen_by(database, film) == {"lists": whole["lists"] - {user}, "popular": {film}}
    with database.writer.begin() as connection:
        connection.execute(text("INSERT INTO users (user_id, user_key) VALUES (999, 'zoe')"))
    hide(database, film, "zoe")
    with database.reader.connect() as connection:
        newcomer = query.top(connection, "zoe", model="blend")
        assert newcomer.films == tuple(
            each for each in query.popular(connection).films if each.movie_key != film
        )
    assert command("-q", "run") == 0
    shown(database)
    assert seen_by(database, film)["lists"] == whole["lists"] - {user}


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize(
    ("starts", "ends", "holds"),
    [(-2, None, True), (-2, 1, True), (-2, -1, False), (1, None, False), (1, 2, False)],
)
def test_a_filter_holds_within_its_window(
    database: Database, starts: int, ends: int | None, holds: bool
) -> None:
    """A filter hides its film from its start until its end, in hours from now, and no night heeds it otherwise."""
    film, now = most_shown(database), datetime.now(UTC)
    hide(
        database,
        film,
        starts_at=now + starts * AN_HOUR,
        ends_at=None if ends is None else now + ends * AN_HOUR,
    )
    assert (seen_by(database, film)["lists"] == set()) == holds
    assert command("-q", "run") == 0
    listed = f"SELECT count(*) > 0 FROM recommendations JOIN movies USING (movie_id) WHERE movie_key = '{film}'"
    assert [bool(found) for (found,) in rows(database, f"{listed} AND run_id = 2")] == [not holds]


@pytest.mark.usefixtures("nights")
def test_the_settings_may_name_films_and_genres(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Films and genres of the settings are out of all lists from the next run on; an unknown one is warned of."""
    film = most_shown(database)
    monkeypatch.setenv("RECBATCH_FILTERS__FILMS", f"[{film}, nonesuch]")
    monkeypatch.setenv("RECBATCH_FILTERS__GENRES", "[comedy, opera]")
    assert command("run") == 0
    told = capsys.readouterr().err
    for name in ("filters.films: 'nonesuch'", "filters.genres: 'opera'"):
        assert f"{name} is in no table yet" in told
    shown(database)
    assert seen_by(database, film) == {"lists": set(), "popular": set()}
    of_genre = """
        SELECT count(*) FROM recommendations r JOIN movie_genres USING (movie_id) JOIN genres g USING (genre_id)
        WHERE g.name = 'comedy' AND r.run_id = """
    assert rows(database, of_genre + "2") == [(0,)]
    assert rows(database, of_genre + "1") != [(0,)]


@pytest.mark.usefixtures("nights")
def test_an_older_run_knew_nothing_of_a_newer_filter(database: Database) -> None:
    """A run that lists what was filtered since can be rolled back to, and readers do not see the film all the same."""
    film = most_shown(database)
    assert command("-q", "run") == 0
    hide(database, film, starts_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert command("rollback") == 0
    assert rows(database, "SELECT run_id FROM publication") == [(1,)]
    assert seen_by(database, film) == {"lists": set(), "popular": set()}


@pytest.mark.promise("D10")
@pytest.mark.usefixtures("nights")
def test_a_forgotten_filter_leaves_its_number(database: Database) -> None:
    """A number that a run knew is given to no other filter, so that an older run can still be shown again."""
    assert hide(database, "m1", "u3") == 1
    assert command("-q", "run") == command("-q", "run") == 0
    assert command("forget", "u3") == 0
    assert hide(database, most_shown(database), starts_at=datetime.now(UTC) - 24 * AN_HOUR) == 2
    assert command("rollback") == 0


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize("whose", ["everyone", "one user", "settings", "popular"])
def test_a_filtered_film_in_a_list_is_found_out(
    database: Database, tmp_path: Path, whose: str
) -> None:
    """A run with a film that a filter it knew holds back fails its audit, wherever the film is."""
    film = most_shown(database)
    user = rows(
        database,
        f"SELECT user_key, user_id FROM users WHERE user_key = '{min(seen_by(database, film)['lists'])}'",
    )
    [(user_key, user_id)] = user
    [(movie_id,)] = rows(database, f"SELECT movie_id FROM movies WHERE movie_key = '{film}'")
    if whose != "settings":
        hide(database, film, user_key if whose == "one user" else None)
    assert command("-q", "run") == 0
    table = "popular_items" if whose == "popular" else "recommendations"
    mine = "" if whose == "popular" else f" AND user_id = {user_id} AND model = 'neural'"
    with database.writer.begin() as connection:
        damage = f"UPDATE {table} SET movie_id = {movie_id} WHERE run_id = 2 AND rank = 5{mine}"
        assert connection.execute(text(damage)).rowcount == 1
        mask = {int(str(movie_id))} if whose == "settings" else set()
        found = {check.name: check.value for check in audit_integrity(connection, 2, mask)}
    assert found["filtered_films"] == 1


# What ranking makes of it


def test_what_is_taken_is_what_was_rated_and_what_is_barred() -> None:
    """The cells passed over are the union of both, also where a rating is 0 or less."""
    stars = random_stars(3, 6, 9, [-1, 0, 1], 0.4)
    ratings = ratings_of(stars, scale=(-1, 1))
    own = np.zeros((6, 9))
    own[2, 4] = own[5, 0] = 1
    mask = Mask(np.array([1, 7]), sparse.csr_array(own))
    users = np.array([5, 2, 0])
    expected = ~np.isnan(stars[users]) | (own[users] > 0)
    expected[:, [1, 7]] = True
    assert (mask.excluded(ratings, users).toarray() > 0).tolist() == expected.tolist()
    assert Mask.empty(ratings).excluded(ratings, users).nnz == np.count_nonzero(
        ~np.isnan(stars[users])
    )


# The commands


@pytest.mark.usefixtures("nights")
def test_operators_add_list_and_remove(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """`filter add` takes keys and unique titles, `list` shows what holds or will, `remove` ends it and keeps it."""
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE movies SET title = 'Heat' WHERE movie_key = 'm3'"))
    assert command("filter", "add", "Heat", "--why", "no licence") == 0
    assert (
        command(
            "filter", "add", "m4", "--user", "u2", "--from", "2026-01-01", "--until", "2099-01-01"
        )
        == 0
    )
    said = ["filter 1 keeps Heat (m3) from everyone", "filter 2 keeps m4 from u2"]
    assert capsys.readouterr().out.splitlines() == said
    assert command("filter", "list", "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["movie_key"], first["title"], first["user_key"], first["reason"]) == (
        "m3",
        "Heat",
        None,
        "no licence",
    )
    assert (second["user_key"], second["ends_at"]) == ("u2", "2099-01-01T00:00:00+00:00")
    assert command("filter", "remove", "1") == 0
    assert command("filter", "list") == 0
    told = capsys.readouterr().out
    assert "m4" in told
    assert "Heat" not in told
    assert rows(database, "SELECT filter_id FROM item_filters ORDER BY 1") == [(1,), (2,)]


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "nonesuch"], "no film has the key or title 'nonesuch'"),
        (["add", "m1", "--user", "nobody"], "no user has the key or name 'nobody'"),
        (
            ["add", "m1", "--from", "2026-02-01", "--until", "2026-01-01"],
            "from 2026-02-01 00:00 UTC cannot end at",
        ),
        (["add", "m1", "--until", "2026-01-01"], "cannot end at 2026-01-01 00:00 UTC"),
        (["remove", "7"], "there is no filter 7; 'recbatch filter list' lists them"),
    ],
)
def test_a_wrong_filter_is_one_clear_line(
    database: Database, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    """What cannot be filtered is refused with what is wrong, and leaves no row."""
    assert command("filter", *words) == (1 if words[0] == "remove" else 2)
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert rows(database, "SELECT * FROM item_filters") == []


@pytest.mark.usefixtures("nights")
def test_a_filter_can_be_added_while_a_night_is_at_work(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run lock stands in nobody's way, except of a SQLite that two writers could damage, where it is told."""
    with run_lock(database):
        monkeypatch.setattr(databases, "_two_may_write", lambda: True)
        assert command("filter", "add", "m1") == 0
        monkeypatch.setattr(databases, "_two_may_write", lambda: False)
        assert command("filter", "add", "m2") == (75 if database.file else 0)
    assert command("filter", "add", "m2") == 0


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
    ],
)
def test_which_sqlite_bears_two_writers(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], safe: bool
) -> None:
    """Versions with the mend, and the two older lines that got it, are told from the others."""
    monkeypatch.setattr(databases.sqlite3, "sqlite_version_info", version)
    assert databases._two_may_write() is safe
