"""Taking a file back: the tables are as if it had never come."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event

from batch.ingest import Report, ingest
from batch.ingest.undo import CannotUndoError, Undone, undo
from batch.store import schema
from batch.store.database import Database
from batch.store.leftovers import FOLLOWING, NAMING
from batch.store.load import load
from batch.store.run_lock import run_lock
from data import genre_csv, long_csv
from fixed import command
from tables import Write, by, ratings, rows, shown

Rating = tuple[str, str, float, int | None]
"""user_key, movie_key, stars, and seconds since 1970 or None."""
SUPERSEDED = """
    SELECT o.batch_id, user_key, movie_key, rating, rated_at, previous_batch_id
    FROM superseded_ratings o JOIN users USING (user_id) JOIN movies USING (movie_id)
    ORDER BY o.batch_id, user_key, movie_key"""
STATUSES = "SELECT status FROM ingest_batches ORDER BY batch_id"


class File(NamedTuple):
    """A file of ratings and its age."""

    path: Path
    at: int  # seconds since 1970
    ratings: list[Rating]


def file(folder: Path, name: str, at: int, *lines: Rating) -> File:
    """Write a long CSV."""
    path = folder / name
    texts = [
        (user, movie, stars, "" if time is None else time) for user, movie, stars, time in lines
    ]
    path.write_text(long_csv(texts))
    return File(path, at, list(lines))


def merge(database: Database, *files: File, **options: Any) -> list[Report]:
    """Ingest one file after the other."""
    reports = []
    for each in files:
        reports += ingest(database, [each.path], by(), snapshot_at=each.at, **options)
    return reports


def take_back(database: Database, batch_id: int) -> Undone:
    with run_lock(database):
        return undo(database, batch_id)


def expected(files: list[File]) -> list[Rating]:
    """What must be stored after these files: of each pair the best rating, by its definition."""
    best: dict[tuple[str, str], tuple[tuple[float, ...], Rating]] = {}
    for each in files:
        for rating in each.ratings:
            user, movie, stars, time = rating
            age = each.at if time is None else time
            strength = (age, stars, -1 if time is None else time)
            if (user, movie) not in best or strength > best[user, movie][0]:
                best[user, movie] = (strength, rating)
    return sorted(rating for _, rating in best.values())


def keys(database: Database) -> tuple[list[str], list[str]]:
    """The users and the films that there are."""
    users = rows(database, "SELECT user_key FROM users")
    films = rows(database, "SELECT movie_key FROM movies")
    return sorted(key for (key,) in users), sorted(key for (key,) in films)


def require_only(database: Database, files: list[File]) -> None:
    """The tables have what these files have, and nothing else."""
    stored = expected(files)
    assert ratings(database) == stored
    assert keys(database) == (
        sorted({user for user, *_ in stored}),
        sorted({movie for _, movie, *_ in stored}),
    )


# One pair, many files


def test_a_rating_of_three_files(database: Database, tmp_path: Path) -> None:
    """Undone from the newest on, each file gives back what it overwrote, and can come again."""
    files = [
        file(tmp_path, "1.csv", 1, ("Ann", "Heat", 5.0, 100), ("Ann", "Up", 2.0, 100)),
        file(tmp_path, "2.csv", 1, ("Ann", "Heat", 4.0, 200), ("Bob", "Up", 3.0, 200)),
        file(tmp_path, "3.csv", 1, ("Ann", "Heat", 3.0, 300), ("Ann", "Ran", 3.0, 300)),
    ]
    merge(database, *files)
    assert rows(database, SUPERSEDED) == [
        (2, "Ann", "Heat", 5.0, 100, 1),
        (3, "Ann", "Heat", 4.0, 200, 2),
    ]
    counts = []
    for batch_id in (3, 2, 1):
        undone = take_back(database, batch_id)
        counts.append((undone.deleted, undone.restored, undone.users, undone.films))
        require_only(database, files[: batch_id - 1])
    assert counts == [(1, 1, 0, 1), (1, 1, 1, 0), (2, 0, 1, 2)]
    assert rows(database, STATUSES) == [("undone",)] * 3
    assert rows(database, SUPERSEDED) == []
    again = merge(database, files[2], files[0], files[1])
    assert [(report.status, report.batch_id) for report in again] == [
        ("merged", 4),
        ("merged", 5),
        ("merged", 6),
    ]
    require_only(database, files)


def test_ratings_without_times(database: Database, tmp_path: Path) -> None:
    """A rating without a time is as old as its file again once a newer file is undone."""
    old = file(tmp_path, "old.csv", 100, ("Ann", "Heat", 5.0, None))
    new = file(tmp_path, "new.csv", 300, ("Ann", "Heat", 2.0, None))
    merge(database, old, new)
    take_back(database, 2)
    require_only(database, [old])
    older = file(tmp_path, "older.csv", 1, ("Ann", "Heat", 1.0, 99))
    newer = file(tmp_path, "newer.csv", 1, ("Ann", "Heat", 1.0, 101))
    merge(database, older)
    require_only(database, [old])
    merge(database, newer)
    require_only(database, [old, newer])
    take_back(database, 4)
    require_only(database, [old, older])


def test_the_same_file_twice(database: Database, tmp_path: Path) -> None:
    """A file that changes nothing has no batch of its own; undone once, it is gone."""
    same = file(tmp_path, "x.csv", 100, ("Ann", "Heat", 5.0, 100))
    reports = merge(database, same, same)
    assert [report.status for report in reports] == ["merged", "unchanged"]
    take_back(database, 1)
    require_only(database, [])
    assert merge(database, same)[0].batch_id == 2


def test_repeats_in_one_file(database: Database, tmp_path: Path) -> None:
    """A pair that a file has several times supersedes the stored rating once, by its best."""
    first = file(tmp_path, "1.csv", 1, ("Ann", "Heat", 5.0, 100))
    lines = [("Ann", "Heat", stars, time) for stars, time in ((4.0, 99), (2.0, 300), (3.0, 200))]
    [_, report] = merge(database, first, file(tmp_path, "2.csv", 1, *lines))
    assert (report.accepted, report.duplicate) == (1, 2)
    assert ratings(database) == [("Ann", "Heat", 2.0, 300)]
    assert rows(database, SUPERSEDED) == [(2, "Ann", "Heat", 5.0, 100, 1)]
    take_back(database, 2)
    require_only(database, [first])


# Any files, in any order


@pytest.mark.parametrize("seed", range(6))
def test_as_if_it_had_never_come(database: Database, tmp_path: Path, seed: int) -> None:
    """After any undos, with the files that they name ingested again, only the others count."""
    draw = random.Random(seed)  # noqa: S311  no secret
    files = []
    for number in range(5):
        pairs = [(user, movie) for user in "ABC" for movie in "xyz"]
        lines = [
            (user, movie, float(draw.randint(1, 5)), draw.choice([None, draw.randint(1, 6) * 100]))
            for user, movie in draw.sample(pairs, draw.randint(1, 9))
        ]
        files.append(file(tmp_path, f"{number}.csv", draw.randint(1, 6) * 100 + 50, *lines))
    by_path = {str(each.path): each for each in files}
    merge(database, *files)
    kept = list(files)
    for each in draw.sample(files, 3):
        kept.remove(each)
        to_merge = undo_all(database, each, by_path)
        merge(database, *(by_path[path] for path in to_merge if by_path[path] in kept))
        require_only(database, kept)


def undo_all(database: Database, unwanted: File, by_path: dict[str, File]) -> list[str]:
    """Undo every batch of a file, others first where that must be; the files to ingest again."""
    to_merge: list[str] = []
    of_file = f"status = 'merged' AND file = '{unwanted.path}'"
    while batches := rows(database, f"SELECT max(batch_id) FROM ingest_batches WHERE {of_file}"):
        [(batch_id,)] = batches
        if batch_id is None:
            break
        while True:
            try:
                undone = take_back(database, batch_id)
            except CannotUndoError as error:
                batch_id = int(str(error).rpartition("ingest undo ")[2].rstrip("'"))
            else:
                to_merge += [undone.file, *undone.to_ingest_again]
                break
    return [path for path in dict.fromkeys(to_merge) if path != str(unwanted.path)]


def test_ratings_that_lost_can_come_back(database: Database, tmp_path: Path) -> None:
    """A later file whose ratings repeat, or are older than, undone ones is merged again once."""
    first = file(tmp_path, "1.csv", 1, ("Ann", "Heat", 5.0, 100), ("Ann", "Up", 5.0, 200))
    export = file(
        tmp_path, "2.csv", 1, *first.ratings[:1], ("Ann", "Up", 4.0, 150), ("Bob", "Up", 3.0, 1)
    )
    other = file(tmp_path, "3.csv", 1, ("Bob", "Ran", 3.0, 1))
    merge(database, first, export, other)
    undone = take_back(database, 1)
    assert undone.to_ingest_again == (str(export.path),)
    again = merge(database, export, other, export)
    assert [(report.status, report.accepted) for report in again] == [
        ("merged", 2),
        ("unchanged", 0),
        ("unchanged", 0),
    ]
    require_only(database, [export, other])
    with pytest.raises(CannotUndoError, match=r"before batch 4: .*'recbatch ingest undo 4'$"):
        take_back(database, 2)
    take_back(database, 4)
    take_back(database, 2)
    require_only(database, [other])


def test_catalogues_are_not_marked(database: Database, tmp_path: Path, write: Write) -> None:
    """A catalogue with rows that repeat others is not to be ingested again after an undo."""
    merge(database, file(tmp_path, "1.csv", 1, ("Ann", "m1", 5.0, 100)))
    for folder in ("a", "b"):
        path = write(f"{folder}/genres.csv", genre_csv(2 + (folder == "b")))
        ingest(database, [path], by(), snapshot_at=200)  # a newer one would describe them anew
    assert rows(database, "SELECT max(rows_duplicate) FROM ingest_batches") == [(2,)]
    assert take_back(database, 1).to_ingest_again == ()


def test_content_that_was_merged_again_is_not_passed_over(
    database: Database, tmp_path: Path
) -> None:
    """Whoever merged an undone file again by hand wants it: other settings read it again too."""
    same = file(tmp_path, "x.csv", 100, ("Ann", "Heat", 5.0, 100))
    merge(database, same)
    take_back(database, 1)
    [passed_over] = merge(database, same, pass_over_undone=True)
    assert (passed_over.status, passed_over.batch_id) == ("passed over", 1)
    merge(database, same)
    wider = by(scale=(0.0, 10.0))
    reports = ingest(database, [same.path], wider, snapshot_at=100, pass_over_undone=True)
    assert [report.status for report in reports] == ["merged"]


# What cannot be undone


def test_the_newest_first(database: Database, tmp_path: Path) -> None:
    """A batch is refused, and changes nothing, until those that stand on it are undone."""
    files = [
        file(tmp_path, "1.csv", 1, ("Ann", "Heat", 1.0, 100)),
        file(tmp_path, "2.csv", 1, ("Ann", "Heat", 2.0, 200), ("Ann", "Up", 2.0, 200)),
        file(tmp_path, "3.csv", 1, ("Bob", "Ran", 3.0, 300)),
        file(tmp_path, "4.csv", 1, ("Ann", "Up", 4.0, 400)),
    ]
    merge(database, *files)
    with pytest.raises(CannotUndoError) as refusal:
        take_back(database, 1)
    assert str(refusal.value) == (
        "batch 1 cannot be undone before batches 4 and 2: later files that overwrote its ratings,"
        " or have the same content; begin with 'recbatch ingest undo 4'"
    )
    require_only(database, files)
    take_back(database, 3)
    require_only(database, files[:2] + files[3:])


def test_batches_without_ratings(database: Database, tmp_path: Path, write: Write) -> None:
    """Catalogues, refused and undone batches are refused with what to do instead."""
    catalogue = write("genres.csv", genre_csv(3))
    ingest(database, [catalogue, write("bad.csv", "user,movie,rating\nAnn,Heat,x\n")], by())
    merge(database, file(tmp_path, "1.csv", 1, ("Ann", "Heat", 5.0, 100)))
    take_back(database, 3)
    for batch_id, reason in (
        (1, "is a catalogue of films, .*; ingest the right one"),
        (2, "was refused: none of its rows were merged"),
        (3, "is undone already; 'recbatch ingest FILE' merges its file again"),
    ):
        with pytest.raises(CannotUndoError, match=f"batch {batch_id} {reason}"):
            take_back(database, batch_id)
    assert rows(database, STATUSES) == [("merged",), ("refused",), ("undone",)]
    assert len(keys(database)[1]) == 3


# Users, films, scale


def test_described_films_stay(database: Database, tmp_path: Path, write: Write) -> None:
    """Users that only the file named go, films that a catalogue describes stay."""
    catalogue = ",movie_title,genre_a\n0,m0,1\n1,m1,0\n"  # m1 has no genre
    ingest(database, [write("genres.csv", catalogue)], by())
    lines = [("Ann", film, 5.0, 1) for film in ("m0", "m1", "Heat")]
    merge(database, file(tmp_path, "1.csv", 1, *lines))
    undone = take_back(database, 2)
    assert (undone.users, undone.films) == (1, 1)
    assert keys(database) == ([], ["m0", "m1"])
    with database.reader.connect() as connection:
        assert load(connection).movie_keys == ["m0", "m1"]


def test_every_table_that_names_users_or_films_is_searched() -> None:
    """No user or film is deleted that a row of any table refers to."""
    owners = {schema.users, schema.movies}
    naming = {
        table
        for table in schema.metadata.sorted_tables
        if table not in owners and {"user_id", "movie_id"} & set(table.c.keys())
    }
    assert {*NAMING, *FOLLOWING} == naming


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is asked of the database in the block."""
    asked: list[str] = []

    def note(*given: Any) -> None:
        asked.append(given[2])

    event.listen(database.writer, "before_cursor_execute", note)
    yield asked
    event.remove(database.writer, "before_cursor_execute", note)


def test_new_pairs_supersede_nothing(database: Database, tmp_path: Path) -> None:
    """A file of pairs that are all new, first or not, is not compared with stored ratings."""
    first = file(tmp_path, "1.csv", 1, ("Ann", "Heat", 5.0, 100), ("Ann", "Heat", 4.0, 100))
    second = file(tmp_path, "2.csv", 1, ("Bob", "Heat", 5.0, 100))
    with statements(database) as asked:
        merge(database, first, second)
    assert not any("superseded_ratings" in statement for statement in asked)
    superseded = "SELECT rows_superseded FROM ingest_batches ORDER BY batch_id"
    assert rows(database, superseded) == [(0,), (0,)]
    merge(database, file(tmp_path, "3.csv", 1, ("Bob", "Heat", 3.0, 101)))
    assert rows(database, superseded) == [(0,), (0,), (1,)]


# Nights


def newest_batch(database: Database) -> int:
    [(batch_id,)] = rows(database, "SELECT max(batch_id) FROM ingest_batches")
    return int(batch_id)


@pytest.mark.usefixtures("nights")
def test_a_run_passes_over_what_was_undone(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A configured file that was undone, under any name, is warned of; by hand it comes again."""
    path = file(tmp_path, "wrong.csv", 1, ("new", "m1", 5.0, 1)).path
    monkeypatch.setenv("RECBATCH_INGEST__PATHS", json.dumps([str(path)]))
    assert command("ingest", str(path)) == 0
    batch_id = newest_batch(database)
    assert command("ingest", "undo", str(batch_id)) == 0
    path.rename(path := path.with_name("renamed.csv"))
    monkeypatch.setenv("RECBATCH_INGEST__PATHS", json.dumps([str(path)]))
    capsys.readouterr()
    assert command("-q", "--log-format", "json", "run") == 0
    printed = capsys.readouterr()
    why = f"undone as batch {batch_id}; 'recbatch ingest {path}' merges it again"
    [warning] = [json.loads(line) for line in printed.err.splitlines()]
    assert (warning["level"], warning["status"]) == ("warning", "passed over")
    assert (warning["file"], warning["why"]) == (str(path), why)
    assert f"{path}: {why}, passed over" in printed.out
    assert newest_batch(database) == batch_id
    assert command("ingest", str(path)) == 0
    assert newest_batch(database) == batch_id + 1
    assert command("-q", "run") == 0
    assert "already ingested" in capsys.readouterr().out
    assert ("new",) in rows(database, "SELECT user_key FROM current_recommendations")


@pytest.mark.usefixtures("nights")
def test_who_is_in_a_kept_list_stays_until_it_is_purged(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Published lists stay as they are; a user that only they name goes when they are purged."""
    lines = [("gone", "m1", 5.0, 1), ("gone", "only here", 5.0, 1), ("gone", "filtered", 5.0, 1)]
    merge(database, file(tmp_path, "wrong.csv", 1, *lines))
    batch_id = newest_batch(database)
    assert command("filter", "add", "filtered") == 0
    assert command("-q", "run", "--force") == 0
    run_id = shown(database)
    listed = rows(database, "SELECT * FROM current_recommendations ORDER BY user_key, model, rank")
    undone = take_back(database, batch_id)
    assert (undone.deleted, undone.users) == (3, 0)
    assert shown(database) == run_id
    after = rows(database, "SELECT * FROM current_recommendations ORDER BY user_key, model, rank")
    assert after == listed
    users, films = keys(database)
    assert "gone" in users
    assert {"filtered", "only here"} <= set(films)
    for user, film in (("gone", "m1"), ("u1", "filtered")):
        capsys.readouterr()
        assert command("explain", user, film) == 2
        assert (
            "is from a file of films seen or one that was undone, and has no ratings"
            in capsys.readouterr().err
        )
    for _ in range(3):
        assert command("-q", "run", "--force") == 0
    users, films = keys(database)
    assert "gone" not in users
    assert "only here" not in films
    assert "filtered" in films
    assert command("rollback") == 0


@pytest.mark.usefixtures("nights")
def test_who_comes_again_is_in_runs_again(database: Database, tmp_path: Path, write: Write) -> None:
    """A user or film that an undone file left to lists counts again with the next file of it."""
    names = "SELECT user_key FROM users WHERE undone_batch_id IS NOT NULL"
    films = "SELECT movie_key FROM movies WHERE undone_batch_id IS NOT NULL ORDER BY movie_key"
    lines = [("gone", film, 5.0, 1) for film in ("described", "rated", "left")]
    merge(database, file(tmp_path, "wrong.csv", 1, *lines))
    for film in ("described", "rated", "left"):
        assert command("filter", "add", film, "--user", "gone") == 0
    take_back(database, newest_batch(database))
    assert rows(database, names) == [("gone",)]
    assert rows(database, films) == [("described",), ("left",), ("rated",)]
    merge(database, file(tmp_path, "right.csv", 1, ("gone", "rated", 4.0, 2)))
    catalogue = write("films/movie_genres.csv", ",movie_title,genre_a\n0,described,1\n")
    ingest(database, [catalogue], by())
    assert rows(database, names) == []
    assert rows(database, films) == [("left",)]
    with database.reader.connect() as connection:
        loaded = load(connection)
    assert "gone" in loaded.user_keys
    assert {"described", "rated"} <= set(loaded.movie_keys)
    assert "left" not in loaded.movie_keys


@pytest.mark.usefixtures("nights")
def test_earlier_values_go_with_the_runs_that_used_the_file(
    database: Database, tmp_path: Path
) -> None:
    """A file that overwrote ratings can be undone until the first run that used it is purged."""
    user, movie, *_ = ratings(database)[0]
    merge(database, file(tmp_path, "wrong.csv", 1, (user, movie, 1.0, 1_700_000_000)))
    assert command("-q", "run") == 0
    merge(database, file(tmp_path, "later.csv", 1, (user, movie, 2.0, 1_700_000_001)))
    batch_id = newest_batch(database)
    overwriters = "SELECT batch_id FROM superseded_ratings ORDER BY batch_id"
    assert rows(database, overwriters) == [(batch_id - 1,), (batch_id,)]
    assert command("-q", "run") == 0
    assert command("-q", "run") == 0
    assert rows(database, overwriters) == [(batch_id,)]
    take_back(database, batch_id)
    assert (user, movie, 1.0, 1_700_000_000) in ratings(database)
    with pytest.raises(CannotUndoError, match="ratings that it overwrote are no longer stored"):
        take_back(database, batch_id - 1)


@pytest.mark.usefixtures("nights")
def test_the_scale_is_that_of_merged_files(database: Database, tmp_path: Path) -> None:
    """The scale of an undone file no longer counts."""
    extremes = "SELECT rating_min, rating_max FROM runs ORDER BY run_id DESC LIMIT 1"
    merge(database, file(tmp_path, "wrong.csv", 1, ("u1", "m1", 9.0, 1_700_000_000)))
    assert command("-q", "run", "--force") == 0
    assert rows(database, extremes) == [(0.5, 9.0)]
    take_back(database, newest_batch(database))
    assert command("-q", "run", "--force") == 0
    assert rows(database, extremes) == [(0.5, 5.0)]


# Commands


@pytest.fixture
def listed(
    nights: Any, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """Runs `recbatch ingest list --json`."""

    def answer(*options: str) -> Any:
        capsys.readouterr()
        assert command("ingest", "list", "--json", *options) == 0
        return json.loads(capsys.readouterr().out)

    return answer


def test_batches_are_listed(
    listed: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`ingest list` shows batches, newest first, with status and rows; `undo` prints its counts."""
    monkeypatch.setenv("COLUMNS", "200")
    path = file(tmp_path, "wrong.csv", 1, ("new", "m1", 5.0, 1), ("new", "m1", 4.0, 1)).path
    before = listed()
    assert command("ingest", str(path)) == 0
    newest, *others = listed()
    assert others == before
    assert [batch["batch_id"] for batch in others] == list(range(len(others), 0, -1))
    assert listed("-n", "1") == [newest]
    counts = (newest["rows_read"], newest["rows_accepted"], newest["rows_duplicate"])
    assert (newest["file"], newest["status"], newest["undone_at"]) == (str(path), "merged", None)
    assert counts == (2, 1, 1)
    capsys.readouterr()
    assert command("ingest", "undo", str(newest["batch_id"])) == 0
    assert capsys.readouterr().out == (
        f"batch {newest['batch_id']} is undone ({path}): 1 ratings deleted, 0 as they were"
        " before, 1 users and 0 films deleted\n"
    )
    undone = listed("-n", "1")[0]
    assert undone.pop("undone_at") > newest.pop("ingested_at")
    assert undone.pop("status") == "undone"
    assert command("ingest", "list") == 0
    heading, row, *_ = capsys.readouterr().out.splitlines()
    assert heading.split() == ["batch", "ingested", "(UTC)", "status", "rows", "file"]
    assert row.split()[3:] == ["undone", "1", str(path)]


def test_undo_in_json(
    listed: Callable[..., Any],
    database: Database,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`ingest undo --json` gives the counts, and the files to ingest again."""
    user, movie, *_ = ratings(database)[0]
    lines = [("new", "m1", 5.0, 1), (user, movie, 5.0, 1_700_000_000)]
    wrong = file(tmp_path, "wrong.csv", 1, *lines)
    later = file(tmp_path, "later.csv", 1, ("new", "m1", 5.0, 1))
    assert command("ingest", str(wrong.path)) == 0
    assert command("ingest", str(later.path)) == 0
    wrong_batch = listed()[1]["batch_id"]
    assert command("ingest", "undo", str(wrong_batch), "--json") == 0
    undone = json.loads(capsys.readouterr().out)
    assert undone == {
        "batch_id": wrong_batch,
        "of_seen": False,
        "file": str(wrong.path),
        "deleted": 1,
        "restored": 1,
        "users": 1,
        "films": 0,
        "to_ingest_again": [str(later.path)],
    }


@pytest.mark.usefixtures("nights")
def test_files_named_like_commands(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files named list and undo are given as ./list and ./undo; a misplaced command is refused."""
    for name in ("list", "undo"):
        (tmp_path / name).write_text(long_csv([("new", name, 5.0, 1)]))
    n_batches = newest_batch(database)
    for arguments in (("--dry-run", "list"), ("./list", "undo"), ("list", "undo")):
        assert command("ingest", *arguments) == 2
    capsys.readouterr()
    assert command("ingest", "--json", "list") == 2
    assert capsys.readouterr().err == (
        "recbatch: 'list' is a command, 'recbatch ingest list', which comes before any option;"
        " a file of that name is './list'; see recbatch ingest --help\n"
    )
    assert newest_batch(database) == n_batches
    assert command("ingest", "./list", "--dry-run") == 0
    assert newest_batch(database) == n_batches
    assert command("ingest", "./list", "./undo") == 0
    assert newest_batch(database) == n_batches + 2


@pytest.mark.usefixtures("nights")
def test_batches_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A number that is none, or of no batch, is exit 2 with where to look; a refusal is exit 1."""
    messages = {
        "abc": "invalid value for 'BATCH': must be a whole number",
        "99": "there is no batch 99; 'recbatch ingest list' lists them\n",
        "-1": "no such option: -1",
    }
    for word, message in messages.items():
        capsys.readouterr()
        assert command("ingest", "undo", word) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"recbatch: {message}")
        assert error.count("\n") == 1
    assert command("ingest", "undo", "2") == 1
    assert "batch 2 is a catalogue of films" in capsys.readouterr().err


def test_help_of_all_three(capsys: pytest.CaptureFixture[str]) -> None:
    """`ingest --help` has its arguments, and names `list` and `undo`, which have their own."""
    wanted = {
        (): ("PATH", "--dry-run", "--snapshot-at", "list", "undo", "./list"),
        ("list",): ("newest first", "-n", "Example: recbatch ingest list"),
        ("undo",): ("BATCH", "Example: recbatch ingest undo"),
    }
    for words, parts in wanted.items():
        assert command("ingest", *words, "--help") == 0
        text = capsys.readouterr().out
        assert f"Usage: {' '.join(('recbatch', 'ingest', *words))} [OPTIONS]" in text
        for part in parts:
            assert part in text
