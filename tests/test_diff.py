"""What changed between two runs: counts of the database against the same counted list by list, and the command."""

import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, insert

from batch.query import NoSuchRunError
from batch.serve.diff import MOST_MOVED, MovedFilm, NoSuchModelError, diff
from batch.store import schema
from batch.store.database import Database
from fixed import command
from tables import rows

FILMS = 12
Lists = dict[tuple[str, int], list[int]]
"""(model, user_id) -> movie_ids, best first"""


def add_films(connection: Connection) -> None:
    films = [{"movie_id": n, "movie_key": f"m{n:02}", "title": f"Film {n}"} for n in range(FILMS)]
    connection.execute(insert(schema.movies), films)


def add_run(connection: Connection, run_id: int, lists: Lists, top_n: int = 5) -> None:
    now = datetime.now(UTC)
    run = {
        "logical_date": date(2026, 11, 23),
        "triggered_by": "manual",
        "status": "ready",
        "owner": "me",
    }
    same = {
        "forced": 0,
        "seed": 1,
        "config_sha256": "",
        "versions": "{}",
        "started_at": now,
        "top_n": top_n,
    }
    connection.execute(insert(schema.runs), {"run_id": run_id, **run, **same})
    stored = [
        {
            "run_id": run_id,
            "model": model,
            "user_id": user,
            "rank": rank,
            "movie_id": film,
            "score": -rank,
            "support": 1,
        }
        for (model, user), films in lists.items()
        for rank, film in enumerate(films, 1)
    ]
    connection.execute(insert(schema.recommendations), stored)


def random_lists(seed: int, users: range) -> Lists:
    """Lists of one to five films, alike in two seeds for a third of the users."""
    alike, own = np.random.default_rng(1), np.random.default_rng(seed)
    found = {}
    for model in ("blend", "neural"):
        for user in range(40):
            first = list(map(int, alike.permutation(FILMS)[: alike.integers(1, 6)]))
            second = list(map(int, own.permutation(FILMS)[: own.integers(1, 6)]))
            if user in users:
                found[model, user] = first if user % 3 == 0 else second
    return found


def test_counts_are_those_of_the_lists(database: Database) -> None:
    """Each count and share is what comes out when lists are compared one by one, shorter lists and ranks included."""
    for top_n in (5, 3):
        before, after = random_lists(2, range(30)), random_lists(3, range(7, 40))
        with database.writer.begin() as connection:
            for table in (schema.recommendations, schema.runs, schema.movies):
                connection.execute(table.delete())
            add_films(connection)
            add_run(connection, 1, before)
            add_run(connection, 2, {key: films[:top_n] for key, films in after.items()}, top_n)
            found = diff(connection, 1, 2)
        assert (found.before, found.after, found.ranks) == (1, 2, top_n)
        assert [each.model for each in found.models] == ["blend", "neural"]
        for each in found.models:
            pairs = [
                (before[key][:top_n], after[key][:top_n])
                for key in before
                if key in after and key[0] == each.model
            ]
            assert (each.users, each.new_users, each.gone_users) == (23, 10, 7)
            assert each.same_share == pytest.approx(sum(a == b for a, b in pairs) / 23)
            overlaps = [len({*a} & {*b}) / max(len(a), len(b)) for a, b in pairs]
            assert each.overlap == pytest.approx(sum(overlaps) / 23)
            assert each.replaced == overlaps.count(0.0)
            entered = Counter(film for a, b in pairs for film in {*b} - {*a})
            left = Counter(film for a, b in pairs for film in {*a} - {*b})
            for moved, counted in ((each.entered, entered), (each.left, left)):
                most = sorted(counted.items(), key=lambda film: (-film[1], film[0]))[:MOST_MOVED]
                assert list(moved) == [
                    MovedFilm(f"m{film:02}", f"Film {film}", count) for film, count in most
                ]


def test_order_within_a_list_is_a_change_and_no_film_moves(database: Database) -> None:
    """Two films that change places make a list another one, whose overlap is whole."""
    with database.writer.begin() as connection:
        add_films(connection)
        add_run(connection, 1, {("blend", 1): [1, 2, 3], ("blend", 2): [4, 5]})
        add_run(connection, 2, {("blend", 1): [1, 3, 2], ("blend", 2): [4, 5]})
        [found] = diff(connection, 1, 2).models
    assert (found.users, found.same_share, found.overlap, found.replaced) == (2, 0.5, 1.0, 0)
    assert found.entered == found.left == ()


def test_a_model_that_only_one_run_has(database: Database) -> None:
    """A model that came or went has users that are new or gone, and none whose lists could be compared."""
    with database.writer.begin() as connection:
        add_films(connection)
        add_run(connection, 1, {("blend", 1): [1], ("neural", 1): [1], ("neural", 2): [2]})
        add_run(connection, 2, {("blend", 1): [1]})
        found = diff(connection, 1, 2, "neural").models[0]
        assert (
            found.users,
            found.same_share,
            found.overlap,
            found.new_users,
            found.gone_users,
        ) == (
            0,
            None,
            None,
            0,
            2,
        )
        assert diff(connection, 2, 1, "neural").models[0].new_users == 2
        with pytest.raises(
            NoSuchModelError, match="no lists of a model 'best'; there are blend, neural"
        ):
            diff(connection, 1, 2, "best")
        with pytest.raises(NoSuchRunError, match="there is no run 3"):
            diff(connection, 1, 3)


@pytest.mark.usefixtures("nights")
def test_the_command_shows_both_runs(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`recbatch diff` prints what changed within 80 columns, with metrics of both runs, and the same as JSON."""
    (tmp_path / "more.csv").write_text(
        "user,movie,rating,timestamp\n" + "".join(f"u1,m{n},4,17{n:08}\n" for n in range(20))
    )
    assert command("ingest", "more.csv") == 0
    assert command("-q", "run") == 0
    capsys.readouterr()
    assert command("diff", "1", "2") == 0
    told = capsys.readouterr().out
    assert all(len(line) <= 80 for line in told.splitlines())
    lists = [line.split() for line in told.split("\n\n")[0].splitlines()[2:]]
    assert [line[0] for line in lists] == ["blend", "item_item", "neural", "user_user"]
    assert {line[1] for line in lists} == {"25"}
    assert "0.900 0.900" in told
    assert "entered" in told
    assert command("diff", "1", "2", "--model", "blend", "--json") == 0
    [blend] = json.loads(capsys.readouterr().out)["models"]
    assert blend["metrics"]["precision"] == {"before": 0.2, "after": 0.2}
    assert f"{blend['same_share']:.1%}" == lists[0][2]
    changed = rows(
        database,
        "SELECT count(DISTINCT b.user_id) FROM recommendations a JOIN recommendations b USING (user_id, model, rank)"
        " WHERE a.run_id = 1 AND b.run_id = 2 AND a.movie_id <> b.movie_id AND model = 'blend'",
    )
    assert changed == [(round(25 * (1 - blend["same_share"])),)]
    assert changed[0][0] > 0
    assert command("diff", "1", "2", "--model", "best") == 2
    assert command("diff", "1", "9") == 1
