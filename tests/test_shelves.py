"""Shelves: each user's best unrated films by genre, on both databases, beside a slow count."""

from collections import defaultdict
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from batch import query
from batch.store import schema
from batch.store.database import Database, open_database
from batch.store.versions import upgrade
from data import long_csv
from faults import Faults
from fixed import command
from tables import rows
from test_database import migrate
from test_spare import at_random, mark_as_seen, out, rate

SHELVES = "SELECT user_key, genre, rank, movie_key, score FROM current_shelves"
STORED = """
    SELECT user_key, movie_key, score FROM recommendations r
    JOIN users USING (user_id) JOIN movies USING (movie_id)
    WHERE model = 'blend' AND run_id = coalesce(
        (SELECT f.run_id FROM refreshed_users f WHERE f.user_id = r.user_id), {run_id})
    ORDER BY user_id, r.rank"""
Shelves = dict[tuple[str, str], list[tuple[int, str, float]]]
"""User and genre -> rank, film and score of each row."""


def expected(database: Database, run_id: int = 1) -> Shelves:
    """The stored films of the blend that may be shown, by genre: slowly, row by row."""
    gone = out(database)
    genres = defaultdict(list)
    links = "movie_genres JOIN movies USING (movie_id) JOIN genres USING (genre_id)"
    for film, genre in rows(database, f"SELECT movie_key, name FROM {links}"):
        genres[film].append(genre)
    shelves: Shelves = {}
    for user, film, score in rows(database, STORED.format(run_id=run_id)):
        if (user, film) not in gone:
            for genre in genres[film]:
                shelf = shelves.setdefault((user, genre), [])
                shelf.append((len(shelf) + 1, film, score))
    return shelves


def by_view(database: Database) -> Shelves:
    """The rows of `current_shelves`."""
    shelves: Shelves = defaultdict(list)
    for user, genre, *film in rows(database, f"{SHELVES} ORDER BY user_key, genre, rank"):
        shelves[user, genre].append(tuple(film))
    return dict(shelves)


@pytest.fixture
def day(database: Database, nights: Faults) -> Database:
    """A published run of films with several genres or none, after a day of ratings and filters."""
    assert nights
    more = """
        INSERT INTO movie_genres SELECT movie_id, genre_id FROM movies, genres
        WHERE movie_id % 5 = genre_id % 5 ON CONFLICT DO NOTHING"""
    with database.writer.begin() as connection:
        connection.execute(text(more))
        connection.execute(text("DELETE FROM movie_genres WHERE movie_id % 7 = 0"))
    pairs = at_random(database, 200)
    rate(database, pairs[:150])
    mark_as_seen(database, pairs[120:])
    [(film,), (for_one,)] = rows(
        database, "SELECT movie_key FROM current_popular ORDER BY rank LIMIT 2"
    )
    assert command("filter", "add", film) == 0
    assert command("filter", "add", for_one, "--user", "u3") == 0
    return database


def test_shelves_are_what_is_stored_and_may_be_shown(day: Database) -> None:
    """Spare films too, each under all its genres, ranked from 1; nothing rated, seen, filtered."""
    shelves = by_view(day)
    assert shelves == expected(day)
    assert max(len(films) for films in shelves.values()) > 5
    assert len(shelves) > 25
    n_rows = rows(day, f"SELECT count(*) FROM ({SHELVES}) AS s")[0][0]
    assert n_rows > len(
        {(user, film) for (user, _), films in shelves.items() for _, film, _ in films}
    )


def test_shelves_go_through_refreshes(day: Database, tmp_path: Path) -> None:
    """Somebody who was refreshed has shelves of the new list, somebody new has some too."""
    before = by_view(day)
    file = tmp_path / "later.csv"
    [(film,)] = rows(day, "SELECT movie_key FROM current_recommendations WHERE user_key = 'u3'"
                          " AND model = 'blend' AND rank = 1")  # fmt: skip
    file.write_text(long_csv([("u3", film, 5.0, 1_700_000_000), ("brand new", "m1", 4.0, 1)]))
    assert command("ingest", str(file)) == 0
    assert command("-q", "refresh") == 0
    after = by_view(day)
    assert after == expected(day)
    assert {user for user, _ in after} - {user for user, _ in before} == {"brand new"}
    assert rows(day, "SELECT DISTINCT run_id FROM current_shelves") == [(1,)]


def test_shelves_follow_the_pointer(
    database: Database, nights: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new night shows its own shelves, a rollback those of the run before.

    Of a run that was trimmed to its shown films, shelves are made of those.
    """
    assert nights
    monkeypatch.setenv("RECBATCH_PUBLISH__KEEP_RUNS", "10")
    for _ in range(3):
        assert command("-q", "run", "--force") == 0
    assert {row[0] for row in rows(database, "SELECT run_id FROM current_shelves")} == {4}
    assert by_view(database) == expected(database, 4)
    assert command("rollback") == 0
    assert by_view(database) == expected(database, 3)
    assert command("publish", "2") == 0
    shelves = by_view(database)
    assert shelves == expected(database, 2)
    assert max(len(films) for films in shelves.values()) <= 5


def test_query_says_what_the_view_says(day: Database) -> None:
    """`query.shelves` gives one user's shelves by genre; none for somebody without a list."""
    shelves = by_view(day)
    with day.reader.connect() as connection:
        for user in ("u3", "u7"):
            by_query = query.shelves(connection, user)
            assert [shelf.genre for shelf in by_query] == sorted(
                genre for owner, genre in shelves if owner == user
            )
            for shelf in by_query:
                films = [(film.rank, film.movie_key, film.score) for film in shelf.films]
                assert films == shelves[user, shelf.genre]
        with pytest.raises(query.UnknownUserError, match="no user has the key 'nobody'"):
            query.shelves(connection, "nobody")
    with day.writer.begin() as connection:
        connection.execute(text("DELETE FROM recommendations WHERE model = 'blend'"))
    with day.reader.connect() as connection:
        assert query.shelves(connection, "u3") == ()


def test_before_the_first_run(database: Database) -> None:
    """Without a published run the view is empty, and `query` says what leads to one."""
    assert by_view(database) == {}
    with (
        database.reader.connect() as connection,
        pytest.raises(query.NoSuchRunError, match="nothing is published yet"),
    ):
        query.shelves(connection, "u1")


def grow(database: Database) -> None:
    """So many users, films and ratings that Postgres would not read them whole but by mistake."""
    with database.writer.begin() as connection:
        for statement in (
            "INSERT INTO users (user_id, user_key)"
            " SELECT n, 'more ' || n FROM generate_series(1000, 20000) n",
            "INSERT INTO movies (movie_id, movie_key, title)"
            " SELECT n, 'more ' || n, 'more' FROM generate_series(1000, 20000) n",
            "ANALYZE users",
            "ANALYZE movies",
            "INSERT INTO ratings (user_id, movie_id, rating, batch_id) SELECT u, m, 4, 1"
            " FROM generate_series(1000, 1999) u, generate_series(1000, 1049) m",
            "ANALYZE ratings",
            "ANALYZE recommendations",
            "INSERT INTO movie_genres SELECT movie_id, genre_id FROM movies, genres"
            " ON CONFLICT DO NOTHING",
        ):
            connection.execute(text(statement))


def plan(database: Database, statement: str) -> str:
    """How the database would read a statement, on one line."""
    explain = "EXPLAIN QUERY PLAN" if database.file else "EXPLAIN"
    with database.writer.connect() as connection:
        lines = connection.execute(text(f"{explain} {statement}"))
        return " ; ".join(str(row[-1]) for row in lines)


def test_one_users_shelves_are_read_by_index(day: Database) -> None:
    """No table of users, films, lists or ratings is read as a whole, also where it is joined."""
    if day.file is None:
        grow(day)
    joined = f"SELECT s.* FROM (SELECT 'u3' AS k) c CROSS JOIN ({SHELVES}) s WHERE c.k = s.user_key"
    for statement in (f"{SHELVES} WHERE user_key = 'u3'", joined):
        found = plan(day, statement)
        for name in ("u", "l", "r", "m", "h", "users", "recommendations", "ratings", "movies"):
            assert f"SCAN {name} " not in f"{found} "
            assert f"Seq Scan on {name} " not in f"{found} "
        assert "uq_users_user_key" in found or "sqlite_autoindex_users" in found, found


def test_upgrade_and_downgrade(url: str) -> None:
    """The version before has no such view; going back to it and forth loses nothing else."""
    database = open_database(url)
    upgrade(database)
    migrate(database, "0014", down=True)
    with database.reader.connect() as connection:
        views = inspect(connection).get_view_names()
    assert sorted(views) == sorted(set(schema.VIEWS) - {"current_shelves"})
    upgrade(database)
    assert by_view(database) == {}
