"""Films that were seen and not rated: in no list from the next read on, and never learnt from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from batch import query
from batch.audit.integrity import audit_integrity
from batch.config import FilterSettings
from batch.models import PUBLISHED
from batch.ranking.mask import Mask
from batch.store import schema
from batch.store.database import Database
from batch.store.run_lock import run_lock
from data import fill, random_rows
from fixed import command
from reference import random_stars, ratings_of
from tables import rows, shown, with_tables

DAY = 86_400
T = 1_700_000_000
"""Seconds since 1970: 2023-11-14."""
LISTED = "SELECT DISTINCT user_key, movie_key FROM current_recommendations"


def give(folder: Path, *pairs: tuple[Any, ...], name: str = "seen.csv") -> Path:
    """A file of films seen: user, film and maybe a time."""
    file = folder / name
    lines = [",".join(str(cell) for cell in pair) for pair in pairs]
    header = "user,movie,time" if len(pairs[0]) == 3 else "user,movie"
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


def stored(database: Database, run_id: int) -> set[tuple[str, str]]:
    """User and film of each row of a run's lists."""
    listed = "SELECT user_key, movie_key FROM recommendations JOIN users USING (user_id)"
    return set(rows(database, f"{listed} JOIN movies USING (movie_id) WHERE run_id = {run_id}"))


def answers(database: Database, user: str) -> set[str]:
    """The films of a user's lists by `query.top` and `query.lists`, which must agree."""
    with database.reader.connect() as connection:
        of_user = {
            film.movie_key
            for model in PUBLISHED
            for film in query.top(connection, user, model=model).films
        }
        of_all = {
            film.movie_key
            for model in PUBLISHED
            for answer in query.lists(connection, model=model)
            if answer.user_key == user
            for film in answer.films
        }
    assert of_user == of_all
    return of_user


def status_of(database: Database, run_id: int) -> str:
    [(status,)] = rows(database, f"SELECT status FROM runs WHERE run_id = {run_id}")
    return str(status)


# Lists


@pytest.mark.promise("D13")
@pytest.mark.usefixtures("nights")
def test_a_film_seen_is_gone_at_once_and_from_then_on(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Marked films are in no view, answer or export of their users, and in no later list.

    Others move up at once; what is taken back may be listed again.
    """
    before = set(rows(database, LISTED))
    users = sorted({user for user, _ in before})[:6]
    gone = {(user, film) for user, film in before if user in users[:5]}
    gone = {pair for place, pair in enumerate(sorted(gone)) if place % 2}
    assert command("ingest", "--seen", str(give(tmp_path, *sorted(gone)))) == 0
    assert set(rows(database, LISTED)) & gone == set()
    assert {pair for pair in before if pair[0] not in users[:5]} <= set(rows(database, LISTED))
    shown(database)  # spare films have moved up: every list has five
    films = {user: {film for of, film in gone if of == user} for user in users}
    for user in users:
        assert answers(database, user).isdisjoint(films[user])
    exported = tmp_path / "lists.jsonl"
    assert command("export", str(exported)) == 0
    lines = [json.loads(line) for line in exported.read_text().splitlines()]
    assert {(line["user_key"], line["movie_key"]) for line in lines}.isdisjoint(gone)
    assert command("-q", "run") == 0
    shown(database)
    assert stored(database, 2).isdisjoint(gone)
    assert stored(database, 2) > {pair for pair in before if pair[0] not in users[:5]}
    [(newest,)] = rows(database, "SELECT max(batch_id) FROM ingest_batches")
    assert command("ingest", "undo", str(newest)) == 0
    capsys.readouterr()
    assert command("-q", "run") == 0
    assert set(rows(database, LISTED)) == before


@pytest.mark.promise("D13")
@pytest.mark.usefixtures("nights")
def test_a_night_reads_what_the_settings_name(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night ingests `ingest.seen_paths` first, and warns of one that brings nothing."""
    pairs = sorted(rows(database, LISTED))[:7]
    file = give(tmp_path, *pairs)
    monkeypatch.setenv("RECBATCH_INGEST__SEEN_PATHS", f"[{file}]")
    assert command("-q", "run") == 0
    assert stored(database, 2).isdisjoint(pairs)
    [(last,)] = rows(database, "SELECT last_batch_id FROM runs WHERE run_id = 2")
    assert rows(database, "SELECT DISTINCT batch_id FROM seen") == [(last,)]
    file.write_text("user,movie,rating\nu1,m1,4\n")
    assert command("-q", "run") == 0
    [(warnings,)] = rows(database, "SELECT warnings FROM runs WHERE run_id = 3")
    assert "ingest it without --seen" in str(warnings)


@pytest.mark.usefixtures("nights")
def test_the_audit_refuses_a_list_with_a_film_seen(database: Database, tmp_path: Path) -> None:
    """A list with a film that its run knew as seen fails integrity; later marks do not count."""
    pair = sorted(stored(database, 1))[0]
    assert command("-q", "ingest", "--seen", str(give(tmp_path, pair))) == 0

    def found(run_id: int) -> float:
        with database.reader.connect() as connection:
            checks = audit_integrity(connection, run_id, FilterSettings())
        return {check.name: check.value for check in checks}["already_seen"]

    assert found(1) == 0
    with database.writer.begin() as connection:
        connection.execute(update(schema.runs).values(last_batch_id=99))
    n_rows = "SELECT count(*) FROM recommendations JOIN users USING (user_id)"
    of_pair = f"user_key = '{pair[0]}' AND movie_key = '{pair[1]}'"
    [(count,)] = rows(database, f"{n_rows} JOIN movies USING (movie_id) WHERE {of_pair}")
    assert found(1) == count > 0
    with database.writer.begin() as connection:
        connection.execute(update(schema.runs).values(known_until=T))
    assert found(1) == count  # a mark without a time is known at any time
    with database.writer.begin() as connection:
        connection.execute(update(schema.seen).values(seen_at=T))
    assert found(1) == 0
    assert command("-q", "run", "--no-publish") == 0
    with database.writer.begin() as connection:
        connection.execute(update(schema.seen).values(batch_id=99))
        connection.execute(update(schema.runs).values(known_until=None))
    assert command("publish", "1") == 1  # integrity is asked again


@pytest.mark.usefixtures("nights")
def test_a_run_of_the_past_knows_what_was_seen_then(database: Database, tmp_path: Path) -> None:
    """`run --as-of` leaves out films seen by the end of that day, and those without a time."""
    pairs = sorted(stored(database, 1))
    user = pairs[0][0]
    early, late, untimed = [film for of, film in pairs if of == user][:3]
    timed = give(tmp_path, (user, early, T), (user, late, T + 2 * DAY), name="timed.csv")
    files = [timed, give(tmp_path, (user, untimed), name="untimed.csv")]
    assert command("-q", "ingest", "--seen", *map(str, files)) == 0
    assert command("-q", "run", "--as-of", "2023-11-14") == 0
    of_user = {film for of, film in stored(database, 2) if of == user}
    assert {early, late, untimed} & of_user == {late}
    assert status_of(database, 2) == "ready"
    assert command("publish", "2") == 0


@pytest.mark.usefixtures("nights")
def test_who_is_known_by_films_seen_only(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They get the popular list, less what they have seen, as users without a list do."""
    [(film,)] = rows(database, "SELECT movie_key FROM current_popular WHERE rank = 1")
    assert command("-q", "ingest", "--seen", str(give(tmp_path, ("new", film)))) == 0
    assert command("-q", "run") == 0
    assert rows(database, "SELECT n_users FROM runs WHERE run_id = 2") == [(25,)]
    shown(database)
    popular = [key for (key,) in rows(database, "SELECT movie_key FROM current_popular")]
    assert film in popular  # it is for everyone
    with database.reader.connect() as connection:
        answer = query.top(connection, "new", model="blend")
    assert (answer.model, len(answer.films)) == ("popular", 5)
    assert film not in {each.movie_key for each in answer.films}
    assert rows(database, f"{LISTED} WHERE user_key = 'new'") == []
    capsys.readouterr()
    assert command("explain", "new", film) == 2
    assert "the user 'new' is from a file of films seen" in capsys.readouterr().err


# By hand


@pytest.mark.promise("D13")
@pytest.mark.usefixtures("nights")
def test_a_person_marks_a_film(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """`seen add` takes keys, names and titles, is listed as a batch, and can be undone."""
    user, film = sorted(rows(database, LISTED))[0]
    capsys.readouterr()
    assert command("seen", "add", user, film, "--json") == 0
    added = json.loads(capsys.readouterr().out)
    assert (added["user_key"], added["movie_key"]) == (user, film)
    assert (user, film) not in rows(database, LISTED)
    assert command("ingest", "list", "-n", "1", "--json") == 0
    [batch] = json.loads(capsys.readouterr().out)
    assert (batch["batch_id"], batch["rows_accepted"]) == (added["batch_id"], 1)
    assert (batch["file"], batch["format"]) == ("recbatch seen add", "seen films")
    assert command("seen", "add", user, film) == 0
    assert "was marked as seen" in capsys.readouterr().out
    assert command("seen", "add", user, "no such film") == 2
    assert command("seen", "add", "nobody", film) == 2
    with run_lock(database):
        assert command("seen", "add", user, film) == 75
    assert rows(database, "SELECT count(*) FROM seen") == [(1,)]
    assert command("ingest", "undo", str(added["batch_id"])) == 0
    assert (user, film) in rows(database, LISTED)
    assert rows(database, "SELECT count(*) FROM seen") == [(0,)]


@pytest.mark.promise("F1")
@pytest.mark.promise("F4")
@pytest.mark.usefixtures("nights")
def test_forgetting_deletes_marks(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`forget` counts and deletes a user's marks, those overwritten, and rejected rows."""
    late = give(tmp_path, ("u3", "m1", T + 9), ("u3", "m2", T), ("u4", "m1", T), name="1.csv")
    early = give(tmp_path, ("u3", "m1", T), ("u3", "", T), ("u4", "", T), name="2.csv")
    assert command("-q", "ingest", "--seen", str(late), str(early)) == 0
    counts = []
    for options in (["--dry-run"], ["--yes"]):
        capsys.readouterr()
        assert command("forget", "u3", *options, "--json") == 0
        removed = json.loads(capsys.readouterr().out)
        counts.append((removed["seen"], removed["superseded_seen"], removed["rejects"]))
    assert counts == [(2, 1, 1)] * 2
    assert rows(database, "SELECT user_key FROM seen JOIN users USING (user_id)") == [("u4",)]
    assert rows(database, "SELECT count(*) FROM superseded_seen") == [(0,)]
    assert rows(database, "SELECT count(*) FROM seen") == [(1,)]
    [(left,)] = rows(database, "SELECT text FROM ingest_rejects")
    assert left.startswith("u4")


# Models


def test_a_mask_of_films_seen() -> None:
    """Seen films are kept from their user only, beside filters; unknown ids have no effect."""
    ratings = ratings_of(random_stars(4, 7, 9, (1, 2, 3), 0.4))
    ids = ratings.user_ids, ratings.movie_ids
    seen = np.array([(ids[0][2], ids[1][5]), (ids[0][6], ids[1][0]), (99_999, ids[1][0])])
    mask = Mask.of(ratings, [(int(ids[1][8]), None), (int(ids[1][5]), int(ids[0][2]))], seen)
    users = np.arange(7)
    expected = ratings.matrix.toarray() > 0
    expected[:, 8] = True
    expected[2, 5] = True
    expected[6, 0] = True
    assert ((mask.excluded(ratings, users).toarray() > 0) == expected).all()
    assert Mask.of(ratings, [], seen).excluded(ratings, users[[2]]).toarray()[0, 5] > 0


LEARNT = """
    SELECT model, metric, value FROM run_metrics
    WHERE run_id = {run_id} AND model <> 'night' AND metric NOT LIKE '%_rows'
    ORDER BY model, metric"""


@pytest.mark.promise("D14")
def test_models_never_learn_from_films_seen(
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A night gives the same metrics, weights and predicted ratings with marks and without."""
    database = with_tables(sqlite_url)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECBATCH_DATABASE__URL", sqlite_url)
    fill(database, tmp_path / "data", random_rows(3, 40, 30))
    assert command("-q", "run", "--force") == 0
    random = np.random.default_rng(5)
    pairs = {(f"u{user}", f"m{film}") for user, film in random.integers(0, 40, (200, 2))}
    assert command("-q", "ingest", "--seen", str(give(tmp_path, *sorted(pairs)))) == 0
    assert command("-q", "run", "--force") == 0
    first, second = (rows(database, LEARNT.format(run_id=run_id)) for run_id in (1, 2))
    assert first == second
    assert len([metric for _, metric, _ in first if "rmse" in metric]) > 5
    same = "SELECT count(DISTINCT data_sha256), count(DISTINCT artifact_sha256) FROM runs"
    assert rows(database, same) == [(1, 1)]
    assert stored(database, 2).isdisjoint(pairs)
    assert not stored(database, 1).isdisjoint(pairs)
    predicted = """
        SELECT count(*), sum(a.predicted_rating <> b.predicted_rating)
        FROM recommendations a JOIN recommendations b USING (user_id, model, movie_id)
        WHERE a.run_id = 1 AND b.run_id = 2 AND a.support > 0"""
    [(count, different)] = rows(database, predicted)
    assert (count > 100, different) == (True, 0)
    user, film = min(stored(database, 1) & pairs)
    capsys.readouterr()
    assert command("explain", user, film, "--json") == 0
    explanation = json.loads(capsys.readouterr().out)
    assert explanation["seen"]
    assert all(opinion["place"] for opinion in explanation["opinions"])
    assert command("explain", user, film) == 0
    assert "marked as seen: wherever the models place it, it is in no list" in (
        capsys.readouterr().out
    )
