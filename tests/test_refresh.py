"""Refreshes: new lists, during the day, of those whose ratings changed since the current run."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from batch import query
from batch.job import refresh as job
from batch.models import PUBLISHED
from batch.serve.report.facts import gather
from batch.store import schema
from batch.store.database import Database
from batch.store.purge import purge
from data import long_csv
from faults import Faults
from fixed import Fixed, command, program
from tables import leftovers, rows

DONE, FAILED, WRONG_USE, UNHEALTHY = 0, 1, 2, 5
LATER = 1_700_000_000
STORED = "SELECT * FROM recommendations WHERE run_id = 1 ORDER BY user_id, model, rank"
LISTED = """
    SELECT user_key, model, rank, movie_key, score, run_id FROM current_recommendations
    ORDER BY user_key, model, rank"""
POINTER = "SELECT run_id, refreshed_at IS NOT NULL FROM publication"
OVERLAY = "SELECT user_key, run_id FROM refreshed_users JOIN users USING (user_id) ORDER BY 1"
FILM = "SELECT movie_key FROM current_recommendations WHERE user_key = '{}' AND rank = 1"


def lists(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """The rows that readers see, by user."""
    by_user: dict[str, list[tuple[Any, ...]]] = {}
    for user, *row in rows(database, LISTED):
        by_user.setdefault(user, []).append(tuple(row))
    return by_user


def rate(folder: Path, ratings: Sequence[tuple[object, ...]]) -> None:
    """Somebody ingests a file."""
    file = folder / f"later-{len(list(folder.iterdir()))}.csv"
    file.write_text(long_csv(ratings))
    assert command("ingest", str(file)) == DONE


def expected(database: Database, user: str) -> list[str]:
    """The films that fixed arithmetic lists for a user now, as a night would."""
    with database.reader.connect() as connection:
        ratings = job.steps.load(connection).ratings
    [(user_id,)] = rows(database, f"SELECT user_id FROM users WHERE user_key = '{user}'")
    row = ratings.user_ids.tolist().index(user_id)
    listed = Fixed(ratings).rank_users(["blend"], ratings.user_ids[:1] * 0 + row, 5)["blend"].listed
    keys = dict(rows(database, "SELECT movie_id, movie_key FROM movies"))
    return [keys[ratings.movie_ids[column]] for column in listed[0].tolist()]


@pytest.mark.promise("D16")
@pytest.mark.usefixtures("nights")
def test_those_who_rated_get_new_lists(database: Database, tmp_path: Path) -> None:
    """Of people with new ratings, new people too; all else stays, and the stored run also."""
    stored, before = rows(database, STORED), lists(database)
    film = rows(database, FILM.format("u3"))[0][0]
    rate(tmp_path, [("u3", film, 5.0, LATER), ("brand new", "m1", 4.0, 1)])
    assert command("-q", "refresh") == DONE
    after = lists(database)
    assert rows(database, OVERLAY) == [("brand new", 2), ("u3", 2)]
    assert rows(database, STORED) == stored
    for user in ("u3", "brand new"):
        listed = {row[0]: [] for row in after[user]}
        for model, rank, key, *_ in after[user]:
            assert rank == len(listed[model]) + 1
            listed[model].append(key)
        assert listed == dict.fromkeys(PUBLISHED, expected(database, user))
    assert {row[-1] for user in after.values() for row in user} == {1}
    others = after.keys() - {"u3", "brand new"}
    assert {user: after[user] for user in others} == {user: before[user] for user in others}
    assert rows(database, POINTER) == [(1, True)]


@pytest.mark.usefixtures("nights")
def test_python_says_what_the_view_says(database: Database, tmp_path: Path) -> None:
    """`top`, `lists`, `rows` and `export` show refreshed lists; by its number, the run itself."""
    before = lists(database)
    rate(
        tmp_path,
        [("u3", "m30", 5.0, LATER), ("u4", "m31", 5.0, LATER), ("brand new", "m1", 4.0, 1)],
    )
    assert command("-q", "refresh") == DONE
    after = lists(database)
    with database.reader.connect() as connection:
        for user, listed in after.items():
            films = query.top(connection, user, model="blend").films
            of_blend = [row for row in listed if row[0] == "blend"]
            assert [(f.rank, f.movie_key) for f in films] == [row[1:3] for row in of_blend]
        by_user = {answer.user_key for answer in query.lists(connection, model="blend")}
        assert by_user == after.keys()
        assert [(row.user_key, *row[2:4], row.movie_key) for row in query.rows(connection)]
        as_run = query.top(connection, "u3", model="blend", run_id=1)
        assert [f.movie_key for f in as_run.films] == [
            row[2] for row in before["u3"] if row[0] == "blend" and row[2] != "m30"
        ] or len(as_run.films) == 5
        assert query.top(connection, "brand new", model="blend", run_id=1).model == "popular"
        published = query.published(connection)
        assert published is not None
        assert published.refreshed_at is not None
        with pytest.raises(query.NoSuchRunError, match="run 2 is a refresh"):
            query.top(connection, "u3", model="blend", run_id=2)


@pytest.mark.usefixtures("nights")
def test_nothing_new_is_no_run(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody's ratings changed only the time of the look is recorded."""
    assert command("refresh") == DONE
    assert "run 1 is up to date" in capsys.readouterr().out
    assert rows(database, "SELECT count(*) FROM runs") == [(1,)]
    assert rows(database, POINTER) == [(1, True)]
    assert command("check") == DONE
    assert " h ago and refreshed 0.0 h ago" in capsys.readouterr().out


@pytest.mark.usefixtures("nights")
def test_each_change_is_refreshed_once(database: Database, tmp_path: Path) -> None:
    """The next refresh is of those who rated since the last one; a third finds nothing."""
    rate(tmp_path, [("u3", "m30", 5.0, LATER)])
    assert command("-q", "refresh") == DONE
    rate(tmp_path, [("u4", "m31", 5.0, LATER)])
    assert command("-q", "refresh") == DONE
    assert command("-q", "refresh") == DONE
    assert rows(database, OVERLAY) == [("u3", 2), ("u4", 3)]
    rate(tmp_path, [("u3", "m33", 1.0, LATER + 1)])
    assert command("-q", "refresh") == DONE
    assert rows(database, OVERLAY) == [("u3", 4), ("u4", 3)]
    assert rows(database, "SELECT DISTINCT run_id FROM recommendations ORDER BY 1") == [
        (1,), (3,), (4,),
    ]  # fmt: skip
    assert leftovers(database) == []


@pytest.mark.usefixtures("nights")
def test_an_undone_file_is_refreshed(database: Database, tmp_path: Path) -> None:
    """Those whose ratings were taken back get their lists of before; who came with it, none."""
    before = lists(database)
    film = rows(database, FILM.format("u3"))[0][0]
    rate(tmp_path, [("u3", film, 5.0, LATER), ("brand new", "m1", 4.0, 1)])
    assert command("-q", "refresh") == DONE
    [(batch_id,)] = rows(database, "SELECT max(batch_id) FROM ingest_batches")
    assert command("ingest", "undo", str(batch_id)) == DONE
    assert command("-q", "refresh") == DONE
    after = lists(database)
    assert {user for user, run_id in rows(database, OVERLAY) if run_id == 3} >= {"u3"}
    assert after == before
    assert command("-q", "refresh") == DONE
    assert rows(database, "SELECT max(run_id) FROM runs") == [(3,)]
    # whoever came with the file is gone, and with them what another of their number would inherit
    for table in ("refreshed_users", "undone_users"):
        gone = f"SELECT * FROM {table} WHERE user_id NOT IN (SELECT user_id FROM users)"
        assert rows(database, gone) == []
    assert rows(database, "SELECT count(*) FROM undone_users") == [(1,)]
    for _ in range(3):
        assert command("-q", "run") == DONE
    assert rows(database, "SELECT * FROM undone_users") == []


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize("then", [("-q", "run"), ("rollback",)])
def test_another_run_shows_its_own_lists(
    then: tuple[str, ...], database: Database, tmp_path: Path
) -> None:
    """After a night or a rollback nobody is shown a refresh of another run."""
    assert command("-q", "run") == DONE
    rate(tmp_path, [("u3", "m30", 5.0, LATER)])
    assert command("-q", "refresh") == DONE
    assert command(*then) == DONE
    assert rows(database, OVERLAY) == []
    [(run_id, is_refreshed)] = rows(database, POINTER)
    assert (run_id, is_refreshed) == (4 if "run" in then else 1, False)
    assert {row[-1] for user in lists(database).values() for row in user} == {run_id}
    # of the run that was rolled back to, u3's rating is news again
    assert command("-q", "refresh") == DONE
    assert rows(database, "SELECT count(*) FROM refreshed_users") == [(int("run" not in then),)]


@pytest.mark.usefixtures("nights")
def test_purging(database: Database, tmp_path: Path, nights: Faults) -> None:
    """Lists of a refresh go when nobody is shown them; all of it goes with its run."""
    rate(tmp_path, [("u3", "m30", 5.0, LATER)])
    assert command("-q", "refresh") == DONE
    purge(database, 2)
    assert rows(database, OVERLAY) == [("u3", 2)]
    assert rows(database, "SELECT purged_at FROM runs WHERE run_id = 2") == [(None,)]
    assert {run_id for (run_id,) in rows(database, "SELECT run_id FROM recommendations")} == {1, 2}
    for _ in range(3):
        assert command("-q", "run") == DONE
    assert [run_id for (run_id,) in rows(database, "SELECT run_id FROM runs ORDER BY 1")] == [
        1, 3, 4, 5,
    ]  # fmt: skip
    assert rows(database, "SELECT count(*) FROM run_checks WHERE run_id = 2") == [(0,)]
    assert leftovers(database) == []


@pytest.mark.usefixtures("nights")
def test_files_that_overwrote_ratings_can_still_be_undone(
    database: Database, tmp_path: Path
) -> None:
    """The purge after a refresh deletes no earlier values: only that after a night may."""
    rated = "SELECT movie_key FROM ratings JOIN users USING (user_id) JOIN movies USING (movie_id)"
    [(film,)] = rows(database, f"{rated} WHERE user_key = 'u3' ORDER BY 1 LIMIT 1")
    rate(tmp_path, [("u3", film, 0.5, LATER)])
    for other in ("m30", "m31"):
        rate(tmp_path, [("u3", other, 5.0, LATER)])
        assert command("-q", "refresh") == DONE
        kept = "SELECT count(*) FROM superseded_ratings WHERE batch_id = 3"
        assert rows(database, kept) == [(1,)]


@pytest.mark.usefixtures("nights")
def test_the_history_is_one_of_nights(
    database: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`runs` shows refreshes with --all; they cannot be published, compared or reported."""
    rate(tmp_path, [("u3", "m30", 5.0, LATER)])
    assert command("-q", "refresh") == DONE
    capsys.readouterr()
    assert command("runs") == DONE
    assert "refresh" not in capsys.readouterr().out
    assert command("runs", "--all") == DONE
    assert "refresh of run 1" in capsys.readouterr().out
    for line in ("publish 2", "diff 1 2", "report 2", "outcome 2", "top u3 --run 2"):
        words = line.split()
        assert command(*words) in (FAILED, WRONG_USE)
        assert "run 2 is a refresh" in capsys.readouterr().err, words


@pytest.mark.usefixtures("nights")
def test_why_a_run_cannot_be_refreshed(
    database: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One line says why, and what helps; nothing is ingested or changed."""
    rate(tmp_path, [("u3", "m30", 5.0, LATER)])

    def refused() -> str:
        before = lists(database)
        capsys.readouterr()
        assert command("-q", "refresh") == FAILED
        assert lists(database) == before
        assert rows(database, "SELECT count(*) FROM runs") == [(1,)]
        [line] = [line for line in capsys.readouterr().err.splitlines() if "recbatch:" in line]
        assert "'recbatch run'" in line
        return line

    with database.writer.begin() as connection:
        connection.execute(text("UPDATE runs SET known_until = 5"))
    assert "of the past" in refused()
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE runs SET known_until = NULL"))
    [file] = (tmp_path / "artifacts").iterdir()
    content = file.read_bytes()
    for damaged in (content[:-1], b"", content[:-1] + b"x"):
        file.write_bytes(damaged)
        assert "is not the file that the run wrote" in refused()
    file.unlink()
    assert "No such file" in refused()
    assert command("forget", "--yes", "u4") == DONE
    assert "what it learnt is not stored" in refused()


def test_nothing_is_published_yet(tmp_path: Path) -> None:
    """A new database has nothing to refresh: the line says how to begin."""
    ended = program(tmp_path, "refresh")
    assert ended.returncode == FAILED
    assert "nothing is published yet; bring in ratings" in ended.stderr


@pytest.mark.usefixtures("nights")
def test_the_forgotten_are_in_no_refresh(database: Database, tmp_path: Path) -> None:
    """`forget` deletes a person's refreshed lists, and the marks of an undone file."""
    rate(tmp_path, [("u3", "m30", 5.0, LATER)])
    [(batch_id,)] = rows(database, "SELECT max(batch_id) FROM ingest_batches")
    assert command("-q", "refresh") == DONE
    assert command("ingest", "undo", str(batch_id)) == DONE
    [(user_id,)] = rows(database, "SELECT user_id FROM users WHERE user_key = 'u3'")
    assert command("forget", "--yes", "u3") == DONE
    for table in ("refreshed_users", "undone_users", "recommendations"):
        assert rows(database, f"SELECT * FROM {table} WHERE user_id = {user_id}") == []


@pytest.mark.usefixtures("nights")
def test_lists_that_fail_their_audit_are_not_shown(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A refresh is audited before it is shown; one that is refused leaves nothing behind."""
    rate(tmp_path, [("u3", "m30", 5.0, LATER)])
    before = lists(database)

    class Careless(Fixed):
        def rank_users(self, names: Any, users: Any, *given: Any, **named: Any) -> Any:
            ranked = super().rank_users(names, users, *given, **named)
            return {name: replace(block, score=-block.score) for name, block in ranked.items()}

    monkeypatch.setattr(job, "restored_ensemble", lambda *given: Careless(given[2], given[4]))
    assert command("-q", "refresh") == FAILED
    assert rows(database, OVERLAY) == []
    assert lists(database) == before
    [(status, error)] = rows(database, "SELECT status, error FROM runs WHERE run_id = 2")
    assert status == "failed"
    assert "scores_out_of_order" in error
    assert command("check") == DONE
    assert "ok last_run: run 1 is published" in capsys.readouterr().out


@pytest.mark.usefixtures("nights")
def test_a_film_seen_is_a_change_too(database: Database, tmp_path: Path) -> None:
    """Who marked a film as seen gets new lists, and gets others when that is undone."""
    file = tmp_path / "seen.csv"
    file.write_text("userId,movieId\nu3,m1\n")
    assert command("ingest", "--seen", str(file)) == DONE
    assert command("-q", "refresh") == DONE
    assert rows(database, OVERLAY) == [("u3", 2)]
    [(batch_id,)] = rows(database, "SELECT max(batch_id) FROM ingest_batches")
    assert command("ingest", "undo", str(batch_id)) == DONE
    assert command("-q", "refresh") == DONE
    assert rows(database, OVERLAY) == [("u3", 3)]


@pytest.mark.usefixtures("nights")
def test_lists_are_made_as_the_run_made_them(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long, on its scale, and filled as its preset says, whatever the settings are now."""
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE runs SET rating_max = 10, least_ratings = 1000"))
    rate(tmp_path, [("u3", "m30", 5.0, LATER)])
    monkeypatch.setenv("RECBATCH_PUBLISH__TOP_N", "3")
    monkeypatch.setenv("RECBATCH_PUBLISH__SPARE", "0")
    monkeypatch.setenv("RECBATCH_MODELS__PRESET", "plain")
    assert command("-q", "refresh") == DONE
    of_run = "SELECT top_n, spare, preset, rating_max FROM runs ORDER BY run_id"
    assert rows(database, of_run) == [(5, 15, "tuned", 10.0)] * 2
    lengths = "SELECT max(rank), max(support) FROM recommendations WHERE run_id = 2 GROUP BY model"
    assert rows(database, lengths) == [(20, 0.0)] * len(PUBLISHED)


@pytest.mark.usefixtures("nights")
def test_what_is_hidden_from_a_refreshed_user(database: Database, tmp_path: Path) -> None:
    """`hidden_titles` looks at the lists that a user is shown."""
    rate(tmp_path, [("brand new", "m1", 4.0, 1)])
    assert command("-q", "refresh") == DONE
    [(film,)] = rows(database, f"{FILM.format('brand new')} LIMIT 1")
    assert command("filter", "add", film) == DONE
    with database.reader.connect() as connection:
        assert query.hidden_titles(connection, "brand new") == (film,)


@pytest.mark.usefixtures("nights")
def test_a_refresh_ends_no_window_of_outcomes(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is judged by what came in until the next night, not until its first refresh."""
    for user in ("u3", "u4"):
        [(film,)] = rows(database, f"{FILM.format(user)} LIMIT 1")
        rate(tmp_path, [(user, film, 5.0, LATER)])
        if user == "u3":
            assert command("-q", "refresh") == DONE
    assert command("-q", "run") == DONE
    capsys.readouterr()
    assert command("outcome", "1", "--json") == DONE
    outcome = json.loads(capsys.readouterr().out)["outcome"]
    assert outcome["blend"]["users"] == 2


@pytest.mark.usefixtures("nights")
def test_a_refresh_hides_no_warning_of_the_night(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A source without data stays an error of `check` until a night has read it."""
    warning = [{"kind": "source", "about": "x.csv", "message": "source x.csv: it is not there"}]
    with database.writer.begin() as connection:
        connection.execute(update(schema.runs).values(warnings=warning))
    rate(tmp_path, [("u3", "m30", 5.0, LATER)])
    assert command("-q", "refresh") == DONE
    capsys.readouterr()
    assert command("check") == UNHEALTHY
    assert "source x.csv: it is not there" in capsys.readouterr().out


@pytest.mark.usefixtures("nights")
def test_the_report_compares_nights(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its trend and its changes for users are between nights: a refresh has lists of some users."""
    rate(tmp_path, [("u3", "m30", 5.0, LATER)])
    assert command("-q", "refresh") == DONE
    before = lists(database)
    assert command("-q", "run") == DONE
    assert lists(database).keys() == before.keys()
    with database.reader.connect() as connection:
        facts = gather(connection)
    assert [run.run_id for run in facts.trend] == [1, 3]
    assert facts.churn is not None
    assert facts.churn.run_id == 1
