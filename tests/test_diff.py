"""What changed between two runs: the database's counts against Python's, and the command."""

import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, insert

from batch.query import NoSuchModelError, NoSuchRunError
from batch.serve.diff import MOST_MOVED, MovedFilm, diff
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
    run = {
        "run_id": run_id,
        "logical_date": date(2026, 11, 23),
        "triggered_by": "manual",
        "status": "ready",
        "owner": "me",
        "forced": 0,
        "seed": 1,
        "config_sha256": "",
        "versions": "{}",
        "started_at": datetime.now(UTC),
        "top_n": top_n,
    }
    connection.execute(insert(schema.runs), run)
    rows = []
    for (model, user), films in lists.items():
        for rank, film in enumerate(films, 1):
            row = {
                "run_id": run_id,
                "model": model,
                "user_id": user,
                "rank": rank,
                "movie_id": film,
                "score": -rank,
                "support": 1,
            }
            rows.append(row)
    connection.execute(insert(schema.recommendations), rows)
    for model in sorted({model for model, _ in lists}):
        count = sum(row["model"] == model for row in rows)
        metric = {"run_id": run_id, "model": model, "metric": "rows", "value": count}
        connection.execute(insert(schema.run_metrics), metric)


def random_lists(seed: int, users: range) -> Lists:
    """Lists of one to five films, the same for two seeds for a third of the users."""
    common = np.random.default_rng(1)
    own = np.random.default_rng(seed)
    lists = {}
    for model in ("blend", "neural"):
        for user in range(40):
            same = list(map(int, common.permutation(FILMS)[: common.integers(1, 6)]))
            different = list(map(int, own.permutation(FILMS)[: own.integers(1, 6)]))
            if user in users:
                lists[model, user] = same if user % 3 == 0 else different
    return lists


def most_moved(counts: Counter[int]) -> list[MovedFilm]:
    """The films of the largest counts, ties by key."""
    by_count = sorted(counts.items(), key=lambda film: (-film[1], film[0]))
    return [MovedFilm(f"m{film:02}", f"Film {film}", n) for film, n in by_count[:MOST_MOVED]]


@pytest.mark.parametrize("top_n", [5, 3])
def test_counts_are_those_of_the_lists(database: Database, top_n: int) -> None:
    """Counts and shares equal those of lists compared one by one, shorter lists included."""
    before = random_lists(2, range(30))
    after = random_lists(3, range(7, 40))
    with database.writer.begin() as connection:
        add_films(connection)
        add_run(connection, 1, before)
        add_run(connection, 2, {key: films[:top_n] for key, films in after.items()}, top_n)
        changes = diff(connection, 1, 2)
    assert (changes.before, changes.after, changes.ranks) == (1, 2, top_n)
    assert [model.model for model in changes.models] == ["blend", "neural"]
    for model in changes.models:
        in_both = [key for key in before if key in after and key[0] == model.model]
        pairs = [(before[key][:top_n], after[key][:top_n]) for key in in_both]
        assert (model.users, model.new_users, model.gone_users) == (23, 10, 7)
        assert model.same_share == pytest.approx(sum(old == new for old, new in pairs) / 23)
        overlaps = [len({*old} & {*new}) / max(len(old), len(new)) for old, new in pairs]
        assert model.overlap == pytest.approx(sum(overlaps) / 23)
        assert model.replaced == overlaps.count(0.0)
        entered = Counter(film for old, new in pairs for film in {*new} - {*old})
        left = Counter(film for old, new in pairs for film in {*old} - {*new})
        assert list(model.entered) == most_moved(entered)
        assert list(model.left) == most_moved(left)


def test_order_within_a_list_is_a_change_and_no_film_moves(database: Database) -> None:
    """Two films that swap places make the list different, with an overlap of 1."""
    with database.writer.begin() as connection:
        add_films(connection)
        add_run(connection, 1, {("blend", 1): [1, 2, 3], ("blend", 2): [4, 5]})
        add_run(connection, 2, {("blend", 1): [1, 3, 2], ("blend", 2): [4, 5]})
        [blend] = diff(connection, 1, 2).models
    assert (blend.users, blend.same_share, blend.overlap, blend.replaced) == (2, 0.5, 1.0, 0)
    assert blend.entered == blend.left == ()


def test_a_model_that_only_one_run_has(database: Database) -> None:
    """A model of one run only has new or gone users, and none whose lists can be compared."""
    with database.writer.begin() as connection:
        add_films(connection)
        add_run(connection, 1, {("blend", 1): [1], ("neural", 1): [1], ("neural", 2): [2]})
        add_run(connection, 2, {("blend", 1): [1]})
        [neural] = diff(connection, 1, 2, "neural").models
        assert (neural.users, neural.new_users, neural.gone_users) == (0, 0, 2)
        assert (neural.same_share, neural.overlap) == (None, None)
        [neural] = diff(connection, 2, 1, "neural").models
        assert neural.new_users == 2
        message = "no lists of a model 'best'; there are blend, neural"
        with pytest.raises(NoSuchModelError, match=message):
            diff(connection, 1, 2, "best")
        with pytest.raises(NoSuchRunError, match="there is no run 3"):
            diff(connection, 1, 3)


@pytest.mark.usefixtures("nights")
def test_the_command_shows_both_runs(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`recbatch diff` prints lists and metrics of both runs within 80 columns, and as JSON."""
    ratings = "".join(f"u1,m{n},4,17{n:08}\n" for n in range(20))
    (tmp_path / "more.csv").write_text(f"user,movie,rating,timestamp\n{ratings}")
    assert command("ingest", "more.csv") == 0
    assert command("-q", "run") == 0
    capsys.readouterr()
    assert command("diff", "1", "2") == 0
    printed = capsys.readouterr().out
    assert all(len(line) <= 80 for line in printed.splitlines())
    lists = [line.split() for line in printed.split("\n\n")[0].splitlines()[2:]]
    assert [line[0] for line in lists] == ["blend", "item_item", "neural", "user_user"]
    assert {line[1] for line in lists} == {"25"}
    assert "0.900 0.900" in printed
    assert "entered" in printed
    assert command("diff", "1", "2", "--model", "blend", "--json") == 0
    [blend] = json.loads(capsys.readouterr().out)["models"]
    assert blend["metrics"]["precision"] == {"before": 0.2, "after": 0.2}
    assert f"{blend['same_share']:.1%}" == lists[0][2]
    [(changed,)] = rows(
        database,
        "SELECT count(DISTINCT b.user_id)"
        " FROM recommendations a JOIN recommendations b USING (user_id, model, rank)"
        " WHERE a.run_id = 1 AND b.run_id = 2 AND a.movie_id <> b.movie_id AND model = 'blend'",
    )
    assert changed == round(25 * (1 - blend["same_share"]))
    assert changed > 0
    assert command("diff", "1", "2", "--model", "best") == 2
    assert command("diff", "1", "9") == 2
