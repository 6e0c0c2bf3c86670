"""Lists that stay whole between runs: what was rated or filtered since goes, others move up."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, text

from batch import query
from batch.models import PUBLISHED
from batch.store.database import Database
from batch.store.purge import purge
from faults import Faults
from fixed import command
from tables import rows

STORED = """
    SELECT user_key, model, movie_key, score FROM recommendations r
    JOIN users USING (user_id) JOIN movies USING (movie_id)
    WHERE run_id = {run_id} ORDER BY user_id, model, rank"""
POPULAR = """
    SELECT movie_key FROM popular_items JOIN movies USING (movie_id)
    WHERE run_id = {run_id} ORDER BY rank"""
Listed = dict[tuple[str, str], list[tuple[int, str, float]]]
"""User and model -> rank, film and score of each row."""


def rate(database: Database, cells: Sequence[tuple[str, str]]) -> None:
    """Users rate films after the run."""
    statement = text("""
        INSERT INTO ratings SELECT user_id, movie_id, 4, NULL, 99 FROM users, movies
        WHERE user_key = :user AND movie_key = :film ON CONFLICT DO NOTHING""")
    with database.writer.begin() as connection:
        connection.execute(statement, [{"user": user, "film": film} for user, film in cells])


def mark_as_seen(database: Database, cells: Sequence[tuple[str, str]]) -> None:
    """Users have seen films without rating them."""
    statement = text("""
        INSERT INTO seen SELECT user_id, movie_id, NULL, 99 FROM users, movies
        WHERE user_key = :user AND movie_key = :film""")
    with database.writer.begin() as connection:
        connection.execute(statement, [{"user": user, "film": film} for user, film in cells])


def out(database: Database) -> set[tuple[str, str]]:
    """User and film of each pair that is rated, seen or filtered."""
    rated = "SELECT user_key, movie_key FROM ratings JOIN users USING (user_id)"
    seen = "SELECT user_key, movie_key FROM seen JOIN users USING (user_id)"
    filtered = "SELECT u.user_key, movie_key FROM item_filters f JOIN users u ON"
    joined = "JOIN movies USING (movie_id)"
    pairs = rows(database, f"{rated} {joined}")
    return {
        *pairs,
        *rows(database, f"{seen} {joined}"),
        *rows(database, f"{filtered} coalesce(f.user_id, u.user_id) = u.user_id {joined}"),
    }


def shown(database: Database, run_id: int = 1, top_n: int = 5) -> Listed:
    """What is left of the stored lists, numbered from 1: slowly, row by row."""
    gone = out(database)
    lists: Listed = {}
    for user, model, film, score in rows(database, STORED.format(run_id=run_id)):
        left = lists.setdefault((user, model), [])
        if (user, film) not in gone and len(left) < top_n:
            left.append((len(left) + 1, film, score))
    return lists


def filled(database: Database, lists: Listed, run_id: int = 1, top_n: int = 5) -> Listed:
    """The same lists with popular films where they are short."""
    gone = out(database)
    popular = [film for (film,) in rows(database, POPULAR.format(run_id=run_id))]
    whole: Listed = {}
    for (user, model), left in lists.items():
        films = list(left)
        for film in popular:
            if len(films) < top_n and (user, film) not in gone | {(user, f) for _, f, _ in films}:
                above = films[-1][2] if films else 0.0
                films.append((len(films) + 1, film, above - 1))
        whole[user, model] = films
    return {key: films for key, films in whole.items() if films}


def by_view(database: Database) -> Listed:
    """The rows of `current_recommendations`."""
    lists: Listed = defaultdict(list)
    statement = "SELECT user_key, model, rank, movie_key, score FROM current_recommendations"
    for user, model, *film in rows(database, f"{statement} ORDER BY user_key, model, rank"):
        lists[user, model].append(tuple(film))
    return dict(lists)


def by_query(connection: Connection, run_id: int | None = None) -> Listed:
    """All lists of the query module."""
    lists: Listed = {}
    for model in PUBLISHED:
        for answer in query.lists(connection, model=model, run_id=run_id):
            assert answer.user_key is not None
            films = [(film.rank, film.movie_key, film.score) for film in answer.films]
            lists[answer.user_key, model] = films
    return lists


def at_random(database: Database, n: int) -> list[tuple[str, str]]:
    """Pairs of a user and a film of one of their stored lists."""
    pairs = sorted({row[:1] + row[2:3] for row in rows(database, STORED.format(run_id=1))})
    chosen = np.random.default_rng(1).choice(len(pairs), n, replace=False)
    return [pairs[place] for place in chosen.tolist()]


@pytest.fixture
def day(database: Database, nights: Faults) -> Database:
    """A published run, after a day on which many of its films were rated, seen or filtered."""
    assert nights
    pairs = at_random(database, 200)
    rate(database, pairs[:150])
    mark_as_seen(database, pairs[120:])
    of_one = [row[2] for row in rows(database, STORED.format(run_id=1)) if row[0] == "u5"]
    rate(database, [("u5", film) for film in sorted(set(of_one))[3:]])  # their lists run short
    [(film,)] = rows(database, "SELECT movie_key FROM current_popular WHERE rank = 1")
    assert command("filter", "add", film) == 0
    (for_one,) = rows(database, "SELECT movie_key FROM current_popular ORDER BY rank")[1]
    assert command("filter", "add", for_one, "--user", "u3") == 0
    return database


@pytest.mark.promise("D12")
def test_views_leave_out_what_was_rated_or_filtered(day: Database) -> None:
    """The view shows no such film, numbers the others from 1 and ends at top_n."""
    lists = shown(day)
    assert by_view(day) == {key: films for key, films in lists.items() if films}
    n_whole = sum(len(films) == 5 for films in lists.values())
    assert 0 < n_whole < len(lists)
    [(film,)] = rows(
        day,
        "SELECT movie_key FROM movies JOIN item_filters USING (movie_id) WHERE user_id IS NULL",
    )
    popular = rows(day, "SELECT rank, movie_key FROM current_popular ORDER BY rank")
    expected = [key for (key,) in rows(day, POPULAR.format(run_id=1)) if key != film][:5]
    assert popular == list(enumerate(expected, 1))


@pytest.mark.promise("D12")
def test_lists_that_run_short_are_filled_by_queries(day: Database) -> None:
    """`lists` and `top` fill them with popular films, labelled, each scored 1 below the last."""
    expected = filled(day, shown(day))
    short = {key for key, films in shown(day).items() if len(films) < 5}
    with day.reader.connect() as connection:
        lists = by_query(connection)
        assert lists == expected
        for user, model in sorted(expected)[::7] + sorted(short):
            answer = query.top(connection, user, model=model)
            films = [(film.rank, film.movie_key, film.score) for film in answer.films]
            assert (answer.model, films) == (model, expected[user, model])
            n_stored = len(shown(day)[user, model])
            for film in answer.films[n_stored:]:
                assert film.predicted_rating is None
                assert film.reason == {"kind": "fallback", "because": "list ran short"}
                assert film.why.startswith("Popular: ")
    assert short


@pytest.mark.promise("D12")
def test_a_list_of_which_nothing_is_left(database: Database, nights: Faults) -> None:
    """A user who rated all of a list gets popular films under its model, and no row in the view."""
    assert nights
    stored = rows(database, STORED.format(run_id=1))
    rate(database, [(user, film) for user, _, film, _ in stored if user == "u4"])
    expected = filled(database, shown(database))["u4", "blend"]
    assert [score for *_, score in expected] == [-1.0, -2.0, -3.0, -4.0, -5.0]
    with database.reader.connect() as connection:
        answer = query.top(connection, "u4", model="blend")
        assert answer.model == "blend"
        assert [(film.rank, film.movie_key, film.score) for film in answer.films] == expected
        assert answer in list(query.lists(connection, model="blend"))
    assert ("u4", "blend") not in by_view(database)


def test_plain_lists_are_not_filled(day: Database) -> None:
    """A list of a `plain` run, or of one whose preset is not known, is what is left of it."""
    for preset in ("'plain'", "NULL"):
        with day.writer.begin() as connection:
            connection.execute(text(f"UPDATE runs SET preset = {preset}"))
        with day.reader.connect() as connection:
            assert by_query(connection) == by_view(day)


def test_a_condition_on_one_user_reads_one_list(day: Database) -> None:
    """A condition on the user, or a join with another table, decides whose lists are read."""
    joined = "FROM current_recommendations c JOIN users u ON u.user_key = c.user_key"
    one_user = "SELECT c.rank, c.movie_key {} WHERE {} = 'u3' AND c.model = 'blend' ORDER BY c.rank"
    expected = [film[:2] for film in by_view(day)["u3", "blend"]]
    direct = one_user.format("FROM current_recommendations c", "c.user_key")
    for statement in (direct, one_user.format(joined, "u.user_key")):
        assert rows(day, statement) == expected
        explain = "EXPLAIN QUERY PLAN" if day.file else "EXPLAIN"
        plan = "\n".join(str(row[-1]) for row in rows(day, f"{explain} {statement}"))
        if day.file:
            assert "SCAN u" not in plan
            assert "SEARCH r USING PRIMARY KEY (run_id=? AND user_id=? AND model=?)" in plan
        else:
            assert "Seq Scan on recommendations" not in plan


def test_stored_lists_are_longer(nights: Faults, database: Database) -> None:
    """Each list has top_n and spare rows; spare ones give no reason, and no figure counts them."""
    assert nights
    [(top_n, spare, written)] = rows(database, "SELECT top_n, spare, rows_written FROM runs")
    assert (top_n, spare) == (5, 15)
    lengths = "SELECT max(rank), count(*) FROM recommendations GROUP BY user_id, model"
    longest = max(length for length, _ in rows(database, lengths))
    assert 5 < longest <= 20
    assert all(last == count for last, count in rows(database, lengths))
    assert rows(database, "SELECT count(*) FROM recommendations WHERE rank <= 5") == [(written,)]
    assert (
        rows(database, "SELECT 1 FROM recommendations WHERE rank > 5 AND reason IS NOT NULL") == []
    )
    counts: dict[str, Any] = dict(
        rows(database, "SELECT metric, sum(value) FROM run_metrics GROUP BY metric")
    )
    assert counts["rows"] == written
    [(n_rows,)] = rows(database, "SELECT count(*) FROM recommendations")
    assert counts["spare_rows"] == n_rows - written


@pytest.mark.promise("D12")
def test_only_the_last_two_runs_keep_spare_rows(
    nights: Faults,
    database: Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Older runs are cut to top_n, can be published, and then say that lists can run short."""
    assert nights
    monkeypatch.setenv("RECBATCH_PUBLISH__KEEP_RUNS", "14")
    for _ in range(2):
        assert command("-q", "run") == 0
    longest = "SELECT run_id, max(rank) FROM recommendations GROUP BY run_id ORDER BY run_id"
    [(_, of_first), (_, of_second), (_, of_third)] = rows(database, longest)
    assert of_first == 5 < of_second == of_third
    assert rows(database, "SELECT spare FROM runs ORDER BY run_id") == [(0,), (15,), (15,)]
    assert command("rollback") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "run 2 is now current"
    assert command("publish", "1") == 0
    said = capsys.readouterr().out.splitlines()[-2:]
    assert said[0] == "run 1 is now current"
    assert said[1].startswith("its lists can run short")
    purge(database, 14)  # runs that are newer than the current one keep theirs
    assert dict(rows(database, longest))[3] == of_third
    assert by_view(database) == shown(database)


def test_no_spare_rows(
    database: Database, nights: Faults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With `publish.spare: 0` lists are stored as long as they are shown."""
    assert nights
    monkeypatch.setenv("RECBATCH_PUBLISH__SPARE", "0")
    assert command("-q", "run", "--force") == 0
    assert rows(database, "SELECT max(rank) FROM recommendations WHERE run_id = 2") == [(5,)]
    assert rows(database, "SELECT spare FROM runs WHERE run_id = 2") == [(0,)]
    stored = rows(database, STORED.format(run_id=2))
    rate(database, [(user, film) for user, _, film, _ in stored[:9]])
    left = shown(database, 2)
    assert by_view(database) == {key: films for key, films in left.items() if films}
