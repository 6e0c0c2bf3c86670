"""Filtered films: in no list made from then on, and gone at once from those published."""

import json
import time
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, islice
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sqlalchemy import insert, text, update

from batch import query
from batch.audit.integrity import audit_integrity
from batch.config import FilterSettings
from batch.ranking.mask import Mask
from batch.store import filters, publish, schema
from batch.store import run_lock as locks
from batch.store.bulk_insert import bulk_insert
from batch.store.database import Database
from batch.store.run_lock import run_lock
from fixed import command
from reference import random_stars, ratings_of
from tables import rows, shown

HOUR = timedelta(hours=1)
NO_RULES = FilterSettings()
RUN_COLUMNS = {"forced": 0, "top_n": 5, "seed": 1, "config_sha256": "", "versions": "{}"}


def add_filter(database: Database, film: str, user: str | None = None, **window: Any) -> int:
    """Add a filter as an operator does."""
    with database.writer.begin() as connection:
        return filters.add(connection, film, user, **window)


def users_shown(database: Database, film: str) -> dict[str, set[str]]:
    """Whose lists have the film, and which popular list, by the views; `query` must agree."""
    listed = text("SELECT DISTINCT user_key FROM current_recommendations WHERE movie_key = :film")
    popular = text("SELECT movie_key FROM current_popular WHERE movie_key = :film")
    with database.reader.connect() as connection:
        by_view = {
            "lists": set(connection.execute(listed, {"film": film}).scalars()),
            "popular": set(connection.execute(popular, {"film": film}).scalars()),
        }
        in_lists = set()
        for model in query.models(connection):
            for answer in query.lists(connection, model=model):
                if film in {each.movie_key for each in answer.films}:
                    in_lists.add(answer.user_key)
        in_popular = {each.movie_key for each in query.popular(connection).films} & {film}
    assert {"lists": in_lists, "popular": in_popular} == by_view
    return by_view


def most_listed(database: Database) -> str:
    """The film that is in most lists, of those that are popular."""
    counted = """
        SELECT r.movie_key FROM current_recommendations r
        JOIN current_popular p ON p.movie_key = r.movie_key
        GROUP BY r.movie_key ORDER BY count(*) DESC, r.movie_key LIMIT 1"""
    [(film,)] = rows(database, counted)
    return str(film)


def rows_of_film(database: Database, film: str, run_id: int) -> int:
    """Rows of a run's lists with the film."""
    listed = "SELECT count(*) FROM recommendations JOIN movies USING (movie_id)"
    [(count,)] = rows(database, f"{listed} WHERE run_id = {run_id} AND movie_key = '{film}'")
    return int(count)


@pytest.mark.promise("D10")
@pytest.mark.usefixtures("nights")
def test_a_film_is_filtered_at_once_and_left_out_from_then_on(database: Database) -> None:
    """A filtered film is gone from views and answers, the next one moves up, also afterwards."""
    film = most_listed(database)
    stored = rows(
        database,
        "SELECT user_key, model, movie_key FROM recommendations r"
        " JOIN users USING (user_id) JOIN movies USING (movie_id)"
        f" WHERE r.run_id = 1 AND movie_key <> '{film}' ORDER BY user_key, model, rank",
    )
    assert len(users_shown(database, film)["lists"]) > 2
    add_filter(database, film)
    assert users_shown(database, film) == {"lists": set(), "popular": set()}
    shown_now = rows(
        database, "SELECT user_key, model, rank, movie_key FROM current_recommendations"
    )
    expected = []
    for (user, model), of_list in groupby(stored, key=lambda row: row[:2]):
        for rank, (*_, key) in enumerate(islice(of_list, 5), 1):
            expected.append((user, model, rank, key))
    assert sorted(shown_now) == expected
    assert command("-q", "run") == 0
    shown(database)  # every list has five films, and so has the popular one
    assert rows_of_film(database, film, run_id=2) == 0
    with database.writer.begin() as connection:
        filters.end(connection, 1)
    assert command("-q", "run") == 0
    assert len(users_shown(database, film)["lists"]) > 2


@pytest.mark.promise("D10")
@pytest.mark.usefixtures("nights")
def test_a_film_may_be_filtered_for_one_user(database: Database) -> None:
    """A user's own filter changes no other user's lists, and not what is popular for everyone."""
    film = most_listed(database)
    before = users_shown(database, film)
    user = min(before["lists"])
    add_filter(database, film, user)
    assert users_shown(database, film) == {"lists": before["lists"] - {user}, "popular": {film}}
    with database.writer.begin() as connection:
        connection.execute(insert(schema.users), {"user_id": 999, "user_key": "zoe"})
    add_filter(database, film, "zoe")
    with database.reader.connect() as connection:
        newcomer = query.top(connection, "zoe", model="blend")
        popular = query.popular(connection)
    keys = [each.movie_key for each in popular.films if each.movie_key != film]
    assert [each.movie_key for each in newcomer.films][: len(keys)] == keys
    assert [each.rank for each in newcomer.films] == [1, 2, 3, 4, 5]
    assert command("-q", "run") == 0
    shown(database)
    assert users_shown(database, film)["lists"] == before["lists"] - {user}


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize(
    ("starts", "ends", "active"),
    [(-2, None, True), (-2, 1, True), (-2, -1, False), (1, None, False), (1, 2, False)],
)
def test_a_filter_is_active_within_its_window(
    database: Database, starts: int, ends: int | None, active: bool
) -> None:
    """A filter acts from its start until its end, in hours from now, on views and on nights."""
    film = most_listed(database)
    now = datetime.now(UTC)
    ends_at = None if ends is None else now + ends * HOUR
    add_filter(database, film, starts_at=now + starts * HOUR, ends_at=ends_at)
    assert (users_shown(database, film)["lists"] == set()) == active
    assert command("-q", "run") == 0
    assert (rows_of_film(database, film, run_id=2) == 0) == active


@pytest.mark.usefixtures("nights")
def test_the_settings_may_name_films_and_genres(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next run lists no film or genre of the settings, and warns of unknown ones."""
    film = most_listed(database)
    monkeypatch.setenv("RECBATCH_FILTERS__FILMS", f"[{film}, nonesuch]")
    monkeypatch.setenv("RECBATCH_FILTERS__GENRES", "[comedy, opera]")
    assert command("run") == 0
    log = capsys.readouterr().err
    for name in ("filters.films: 'nonesuch'", "filters.genres: 'opera'"):
        assert f"{name} is in no table yet" in log
    shown(database)
    assert users_shown(database, film) == {"lists": set(), "popular": set()}
    of_genre = """
        SELECT count(*) FROM recommendations r
        JOIN movie_genres USING (movie_id) JOIN genres g USING (genre_id)
        WHERE g.name = 'comedy' AND r.run_id = """
    assert rows(database, of_genre + "2") == [(0,)]
    assert rows(database, of_genre + "1") != [(0,)]


@pytest.mark.usefixtures("nights")
def test_an_older_run_is_not_audited_by_a_newer_filter(database: Database) -> None:
    """A rollback to a run that lists a film filtered since succeeds, and does not show the film."""
    film = most_listed(database)
    assert command("-q", "run") == 0
    add_filter(database, film, starts_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert command("rollback") == 0
    assert rows(database, "SELECT run_id FROM publication") == [(1,)]
    assert users_shown(database, film) == {"lists": set(), "popular": set()}


@pytest.mark.promise("D10")
@pytest.mark.usefixtures("nights")
def test_a_forgotten_filter_leaves_its_number(database: Database) -> None:
    """A number that a run recorded is not reused, so that an older run can be published again."""
    assert add_filter(database, "m1", "u3") == 1
    assert command("-q", "run") == command("-q", "run") == 0
    assert command("forget", "u3") == 0
    yesterday = datetime.now(UTC) - 24 * HOUR
    assert add_filter(database, most_listed(database), starts_at=yesterday) == 2
    assert command("rollback") == 0


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize("where", ["everyone", "one user", "settings", "popular", "similar"])
def test_a_filtered_film_in_a_list_fails_the_audit(
    database: Database, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with a film that was filtered when it began fails its audit, whatever list it is in."""
    film = most_listed(database)
    user_key = min(users_shown(database, film)["lists"])
    [(user_id,)] = rows(database, f"SELECT user_id FROM users WHERE user_key = '{user_key}'")
    [(movie_id,)] = rows(database, f"SELECT movie_id FROM movies WHERE movie_key = '{film}'")
    if where == "settings":
        monkeypatch.setenv("RECBATCH_FILTERS__FILMS", f'["{film}"]')
    else:
        add_filter(database, film, user_key if where == "one user" else None)
    assert command("-q", "run") == 0
    table = "recommendations"
    condition = f"run_id = 2 AND rank = 5 AND user_id = {user_id} AND model = 'neural'"
    if where == "popular":
        table = "popular_items"
        condition = "run_id = 2 AND rank = 5"
    column = "movie_id"
    if where == "similar":
        table, column = "similar_items", "other_id"
        condition = f"run_id = 2 AND rank = 5 AND movie_id = {movie_id % 40 + 1}"
    with database.writer.begin() as connection:
        damage = f"UPDATE {table} SET {column} = {movie_id} WHERE {condition}"
        assert connection.execute(text(damage)).rowcount == 1
        checks = {each.name: each.value for each in audit_integrity(connection, 2, NO_RULES)}
    assert checks["filtered_films"] == 1


# Rows of the settings


GENRES = {"comedy": (1, 2, 3), "drama": (3, 4), "war": ()}
"""Films of each genre by id; film 5 has none."""


def films(database: Database) -> Database:
    """Five films of three genres."""
    with database.writer.begin() as connection:
        for number in range(1, 6):
            film = {"movie_id": number, "movie_key": f"m{number}", "title": f"t{number}"}
            connection.execute(insert(schema.movies), film)
        for genre_id, (name, movie_ids) in enumerate(GENRES.items(), 1):
            connection.execute(insert(schema.genres), {"genre_id": genre_id, "name": name})
            for movie_id in movie_ids:
                link = {"movie_id": movie_id, "genre_id": genre_id}
                connection.execute(insert(schema.movie_genres), link)
    return database


def rules(films: tuple[str, ...] = (), genres: tuple[str, ...] = ()) -> FilterSettings:
    """The section `filters` of the settings."""
    return FilterSettings(films=films, genres=genres)


def synchronise(database: Database, settings: FilterSettings, run_id: int | None = None) -> None:
    with database.writer.begin() as connection:
        filters.synchronise(connection, settings, run_id)


def active(database: Database, run_id: int | None = None) -> list[int]:
    """Ids of the films filtered for everyone, a film twice where two filters are active."""
    with database.reader.connect() as connection:
        pairs, _ = filters.active_filters(connection, run_id)
    return sorted(movie_id for movie_id, user_id in pairs if user_id is None)


def all_rows(database: Database) -> list[tuple[Any, ...]]:
    columns = "filter_id, movie_id, setting, ends_at IS NOT NULL"
    return rows(database, f"SELECT {columns} FROM item_filters ORDER BY filter_id")


def open_run(database: Database) -> publish.RunKey:
    with database.writer.begin() as connection:
        return publish.open_run(connection, date(2026, 1, 1), "manual", **RUN_COLUMNS)


def test_settings_become_rows(database: Database) -> None:
    """Each film that the settings name has one row a setting, marked, for everyone and open."""
    films(database)
    synchronise(database, rules(("m5", "m1"), ("comedy", "drama", "war")))
    stored = rows(
        database,
        "SELECT filter_id, movie_id, user_id, ends_at, setting FROM item_filters ORDER BY 1",
    )
    assert stored == [
        (1, 1, None, None, "films"),
        (2, 5, None, None, "films"),
        (3, 1, None, None, "genres"),
        (4, 2, None, None, "genres"),
        (5, 3, None, None, "genres"),
        (6, 4, None, None, "genres"),
    ]
    assert active(database) == [1, 1, 2, 3, 4, 5]


def test_the_same_settings_change_nothing(database: Database) -> None:
    """Synchronising again with the same settings neither adds nor changes a row."""
    films(database)
    settings = rules(("m5",), ("comedy",))
    synchronise(database, settings)
    before = rows(database, "SELECT * FROM item_filters ORDER BY filter_id")
    synchronise(database, settings)
    assert rows(database, "SELECT * FROM item_filters ORDER BY filter_id") == before


def test_rows_end_with_their_setting(database: Database) -> None:
    """The row of a film that the settings no longer name ends, stays, and is not opened again."""
    films(database)
    synchronise(database, rules(("m5", "m1"), ("comedy", "drama")))
    synchronise(database, rules(("m5",), ("drama",)))
    assert active(database) == [3, 4, 5]
    assert [row[0] for row in all_rows(database) if row[3]] == [1, 3, 4]
    synchronise(database, rules(("m5", "m1"), ("drama",)))
    assert active(database) == [1, 3, 4, 5]
    assert all_rows(database)[-1] == (7, 1, "films", False)
    synchronise(database, rules())
    assert active(database) == []
    assert len(all_rows(database)) == 7


def test_a_newer_catalogue_is_followed(database: Database) -> None:
    """Films that get or lose a genre of the settings, and films that are new, are followed."""
    films(database)
    settings = rules(("m6",), ("comedy",))
    synchronise(database, settings)
    assert active(database) == [1, 2, 3]
    links = schema.movie_genres
    with database.writer.begin() as connection:
        film = {"movie_id": 6, "movie_key": "m6", "title": "t6"}
        connection.execute(insert(schema.movies), film)
        connection.execute(links.delete().where(links.c.movie_id == 1))
        connection.execute(insert(links), {"movie_id": 4, "genre_id": 1})
    synchronise(database, settings)
    assert active(database) == [2, 3, 4, 6]


def test_filters_of_a_person_are_not_touched(database: Database) -> None:
    """A person's filter on a film of the settings is a row of its own, and outlives the setting."""
    films(database)
    with database.writer.begin() as connection:
        connection.execute(insert(schema.users), {"user_id": 1, "user_key": "u1"})
    assert add_filter(database, "m1") == 1
    assert add_filter(database, "m2", "u1") == 2
    synchronise(database, rules(("m1", "m2")))
    assert active(database) == [1, 1, 2]
    assert add_filter(database, "m5") == 5
    synchronise(database, rules())
    assert active(database) == [1, 5]
    with database.reader.connect() as connection:
        assert filters.active_filters(connection) == ([(1, None), (2, 1), (5, None)], 5)


def test_unknown_names_of_the_settings_are_warned_of(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A film or genre that is in no table is a warning, and no row."""
    films(database)
    synchronise(database, rules(("nonesuch",), ("opera",)))
    messages = [record.getMessage() for record in caplog.records]
    remedy = "is in no table yet, and keeps nothing out; mend it, or ingest first"
    assert messages == [
        f"filters.films: 'nonesuch' {remedy}",
        f"filters.genres: 'opera' {remedy}",
    ]
    assert all_rows(database) == []


def test_an_operator_cannot_end_a_filter_of_the_settings(database: Database) -> None:
    """`end` refuses a row of the settings and names the setting; the lists of filters mark it."""
    films(database)
    synchronise(database, rules((), ("drama",)))
    message = r"filter 1 comes from the setting filters\.genres; change that setting"
    with database.writer.begin() as connection:
        with pytest.raises(filters.SettingFilterError, match=message):
            filters.end(connection, 1)
        settings = [each.setting for each in filters.current_filters(connection)]
        assert settings == ["genres", "genres"]
        notes = [each.reason for each in filters.current_filters(connection)]
        assert notes == ["the setting filters.genres"] * 2
    assert active(database) == [3, 4]
    synchronise(database, rules())
    ended = r"already ended: filter 1"
    with (
        database.writer.begin() as connection,
        pytest.raises(filters.NoSuchFilterError, match=ended),
    ):
        filters.end(connection, 1)


def test_changes_hold_from_the_start_of_the_run(database: Database) -> None:
    """Settings changed since the last night act in a run that was opened before they are read."""
    films(database)
    synchronise(database, rules(("m1",)))
    with database.writer.begin() as connection:
        connection.execute(
            update(schema.item_filters).values(starts_at=datetime(2026, 1, 1, tzinfo=UTC))
        )
    run = open_run(database)
    time.sleep(1.1)  # rows have whole seconds
    synchronise(database, rules(("m2",)), run.run_id)
    assert active(database, run.run_id) == [2]
    assert active(database) == [2]


def test_an_audit_sees_the_filters_that_the_run_applied(database: Database) -> None:
    """Rows made or ended after a run do not change its audit; those that it applied count."""
    films(database)
    first = open_run(database)
    synchronise(database, rules(("m1",)), first.run_id)
    with database.writer.begin() as connection:
        _, last_filter_id = filters.active_filters(connection, first.run_id)
        publish.update_run(connection, first, last_filter_id=last_filter_id)
        listed = {"run_id": first.run_id, "score": 1.0}
        for rank, movie_id in enumerate((1, 2, 3), 1):
            row = {**listed, "rank": rank, "movie_id": movie_id}
            connection.execute(insert(schema.popular_items), row)
        publish.finish(connection, first, "ready")

    def filtered_films() -> float:
        with database.reader.connect() as connection:
            checks = {each.name: each.value for each in audit_integrity(connection, 1, NO_RULES)}
        return checks["filtered_films"]

    assert filtered_films() == 1
    synchronise(database, rules(("m1", "m2")))
    assert filtered_films() == 1
    time.sleep(1.1)  # rows have whole seconds
    synchronise(database, rules(("m3",)))
    assert filtered_films() == 1


@pytest.mark.usefixtures("nights")
def test_a_rollback_is_not_refused_for_the_settings(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run from before a setting can be published again; the views leave its films out."""
    film = most_listed(database)
    assert command("-q", "run") == 0
    monkeypatch.setenv("RECBATCH_FILTERS__FILMS", f"[{film}]")
    monkeypatch.setenv("RECBATCH_FILTERS__GENRES", "[comedy]")
    of_genre = """
        SELECT count(*) FROM current_recommendations JOIN movies USING (movie_key)
        JOIN movie_genres USING (movie_id) JOIN genres USING (genre_id) WHERE name = 'comedy'"""
    for words in (["rollback"], ["publish", "2"], ["publish", "1"]):
        assert command(*words) == 0
        assert users_shown(database, film) == {"lists": set(), "popular": set()}
        assert rows(database, of_genre) == [(0,)]
    assert rows(database, "SELECT run_id FROM publication") == [(1,)]


@pytest.mark.usefixtures("nights")
def test_settings_hold_from_the_beginning_of_their_transaction(database: Database) -> None:
    """A second that begins between two statements of a transaction leaves no film unfiltered."""
    film = most_listed(database)
    rules = FilterSettings(films=(film,))
    with database.writer.begin() as connection:
        connection.execute(text("SELECT 1"))
        time.sleep(1.01 - time.time() % 1)
        filters.synchronise(connection, rules)
        checks = {each.name: each.value for each in audit_integrity(connection, 1, rules)}
    assert checks["films_of_settings"] == 0


def test_a_genre_of_many_films_is_one_statement(database: Database) -> None:
    """A genre of 20,000 films is synchronised within seconds, and again without new rows."""
    n_films = 20_000
    numbers = range(1, n_films + 1)
    with database.writer.begin() as connection:
        connection.execute(insert(schema.genres), {"genre_id": 1, "name": "drama"})
        columns = ["movie_id", "movie_key", "title"]
        bulk_insert(connection, schema.movies, columns, ((n, f"m{n}", "t") for n in numbers))
        links = ((n, 1) for n in numbers)
        bulk_insert(connection, schema.movie_genres, ["movie_id", "genre_id"], links)
    began = time.monotonic()
    for _ in range(2):
        synchronise(database, rules((), ("drama",)))
    synchronise(database, rules())
    assert time.monotonic() - began < 20
    assert rows(database, "SELECT count(*), max(filter_id) FROM item_filters") == [(n_films,) * 2]
    assert active(database) == []


# What ranking excludes


def test_rated_and_filtered_films_are_excluded() -> None:
    """The excluded cells are the union of both, also where a rating is 0 or less."""
    stars = random_stars(3, 6, 9, [-1, 0, 1], 0.4)
    ratings = ratings_of(stars, scale=(-1, 1))
    own = np.zeros((6, 9))
    own[2, 4] = 1
    own[5, 0] = 1
    mask = Mask(np.array([1, 7]), sparse.csr_array(own))
    users = np.array([5, 2, 0])
    rated = ~np.isnan(stars[users])
    expected = rated | (own[users] > 0)
    expected[:, [1, 7]] = True
    assert (mask.excluded(ratings, users).toarray() > 0).tolist() == expected.tolist()
    assert Mask.empty(ratings).excluded(ratings, users).nnz == np.count_nonzero(rated)


# The commands


@pytest.mark.usefixtures("nights")
def test_operators_add_list_and_remove(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """`filter add` takes keys and unique titles, `list` shows open filters, `remove` ends one."""
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE movies SET title = 'Heat' WHERE movie_key = 'm3'"))
    assert command("filter", "add", "Heat", "--why", "no licence") == 0
    window = ("--from", "2026-01-01", "--until", "2099-01-01")
    assert command("filter", "add", "m4", "--user", "u2", *window) == 0
    expected = ["filter 1 keeps Heat (m3) from everyone", "filter 2 keeps m4 from u2"]
    assert capsys.readouterr().out.splitlines() == expected
    assert command("filter", "list", "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["movie_key"], first["title"]) == ("m3", "Heat")
    assert (first["user_key"], first["reason"]) == (None, "no licence")
    assert (second["user_key"], second["ends_at"]) == ("u2", "2099-01-01T00:00:00+00:00")
    assert command("filter", "remove", "1") == 0
    assert command("filter", "list") == 0
    output = capsys.readouterr().out
    assert "m4" in output
    assert "Heat" not in output
    assert rows(database, "SELECT filter_id FROM item_filters ORDER BY 1") == [(1,), (2,)]


WRONG = [
    (["add", "nonesuch"], "no film has the key or title 'nonesuch'"),
    (["add", "m1", "--user", "nobody"], "no user has the key or name 'nobody'"),
    (
        ["add", "m1", "--from", "2026-02-01", "--until", "2026-01-01"],
        "from 2026-02-01 00:00 UTC cannot end at",
    ),
    (["add", "m1", "--until", "2026-01-01"], "cannot end at 2026-01-01 00:00 UTC"),
    (["remove", "7"], "there is no filter 7; 'recbatch filter list' lists them"),
]


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("words", "message"), WRONG)
def test_a_wrong_filter_is_one_clear_line(
    database: Database, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    """What cannot be filtered is refused with what is wrong, and leaves no row."""
    assert command("filter", *words) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert rows(database, "SELECT * FROM item_filters") == []


@pytest.mark.usefixtures("nights")
def test_a_filter_can_be_added_while_a_night_runs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter needs the run lock only on a SQLite that two writers could damage."""
    with run_lock(database):
        monkeypatch.setattr(locks, "_two_may_write", lambda: True)
        assert command("filter", "add", "m1") == 0
        monkeypatch.setattr(locks, "_two_may_write", lambda: False)
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
def test_which_sqlite_allows_two_writers(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], safe: bool
) -> None:
    """Versions with the fix, and the two older release lines that got it, are recognised."""
    monkeypatch.setattr(locks.sqlite3, "sqlite_version_info", version)
    assert locks._two_may_write() is safe
