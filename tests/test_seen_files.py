"""Files and queries of films that were seen: rows of `seen`, in any order and back again."""

import gzip
import json
import os
from itertools import permutations
from pathlib import Path
from typing import Any

import pandas
import pytest

from batch.ingest import Queries, Report, ingest
from batch.ingest.undo import CannotUndoError, Undone, undo
from batch.store.database import Database
from batch.store.load import load
from batch.store.run_lock import run_lock
from batch.store.seen import seen_pairs
from data import long_csv
from fixed import command
from tables import Write, by, ratings, rows, with_tables

HOUR = 3600
T = 1_700_000_000
"""Seconds since 1970."""
Mark = tuple[str, str, int | None]
"""user_key, movie_key, and seconds since 1970 or None."""
STORED = """
    SELECT user_key, movie_key, seen_at, s.batch_id
    FROM seen s JOIN users USING (user_id) JOIN movies USING (movie_id) ORDER BY 1, 2"""
COUNTS = """
    SELECT status, rows_read, rows_accepted, rows_rejected, rows_duplicate
    FROM ingest_batches ORDER BY batch_id"""


def marks(database: Database) -> list[Mark]:
    """All marks, in order."""
    return [(user, film, seen_at) for user, film, seen_at, _ in rows(database, STORED)]


def give(database: Database, *paths: Path, **options: Any) -> list[Report]:
    """Ingest files of films seen, one after the other."""
    reports = []
    for path in paths:
        with run_lock(database):
            reports += ingest(database, [], by(), seen_paths=[path], **options)
    return reports


def take_back(database: Database, batch_id: int) -> Undone:
    with run_lock(database):
        return undo(database, batch_id)


@pytest.fixture
def sqlite(sqlite_url: str) -> Database:
    """An empty database, where the kind of database does not matter."""
    return with_tables(sqlite_url)


# What is read

PAIRS: list[Mark] = [("1", "10", None), ("1", "20", None), ("2", "10", None)]
TIMED: list[Mark] = [("1", "10", T), ("1", "20", T + 1), ("2", "10", None)]
PAIR_TEXTS = {
    "header": "userId,movieId\n1,10\n1,20\n2,10\n",
    "no header": "1,10\n1,20\n2,10\n",
    "other names": "film;member\n10;1\n20;1\n10;2\n".replace("member", "user_name"),
    "other columns": 'user,device,film\n1,"tv, big",10\n1,,20\n2,x,10\n',
    "tabs": "userId\tmovieId\n1\t10\n1\t20\n2\t10\n",
    "double colons": "1::10\n1::20\n2::10\n",
    "quotes": '"userId","movieId"\r\n"1","10"\r\n"1","20"\r\n"2","10"\r\n',
    "sep=": "sep=;\nuserId;movieId\n1;10\n1;20\n2;10\n",
    "json lines": '{"user": "1", "movie": "10"}\n{"user": "1", "movie": "20"}\n'
    '{"user": "2", "movie": "10"}\n',
}
TIMED_TEXTS = {
    "seconds": f"userId,movieId,timestamp\n1,10,{T}\n1,20,{T + 1}\n2,10,\n",
    "no header": f"1,10,{T}\n1,20,{T + 1}\n2,10,\n",
    "dates": "user,movie,date\n1,10,2023-11-14 22:13:20\n1,20,2023-11-14 22:13:21\n2,10,\n",
}


@pytest.mark.promise("C9")
@pytest.mark.parametrize("name", [*PAIR_TEXTS, *(f"timed {name}" for name in TIMED_TEXTS)])
def test_any_table_of_pairs(sqlite: Database, write: Write, name: str) -> None:
    """A user, a film and maybe a time are read in any separator, order of columns, or none named.

    The result is the same for a file with an archive's end.
    """
    timed = name.removeprefix("timed ")
    expected, content = (PAIRS, PAIR_TEXTS.get(name, ""))
    if name.startswith("timed "):
        expected, content = (TIMED, TIMED_TEXTS[timed])
    packed = write("packed.gz", "").with_name("packed.csv.gz")
    packed.write_bytes(gzip.compress(content.encode()))
    [report] = give(sqlite, write("plain.csv", content))
    assert (report.status, report.read, report.accepted) == ("merged", 3, 3), report.why
    assert marks(sqlite) == expected
    assert ratings(sqlite) == []
    [again] = give(sqlite, packed)
    assert again.status == "unchanged"  # the content was merged


def test_tables_that_are_no_text(sqlite: Database, tmp_path: Path) -> None:
    """Parquet and Excel are read like text."""
    table = pandas.DataFrame({"userId": [1, 1, 2], "movieId": [10, 20, 10]})
    table.to_parquet(tmp_path / "x.parquet")
    [report] = give(sqlite, tmp_path / "x.parquet")
    assert (report.status, report.accepted) == ("merged", 3)
    assert marks(sqlite) == PAIRS


def test_the_user_of_the_settings(sqlite: Database, write: Write) -> None:
    """A file without a user is of the one in ingest.user; ingest.columns names other columns."""
    file = write("mine.csv", "film,watched on\nheat,2023-11-14\n")
    settings = by(one_user="ann", time="watched on")
    with run_lock(sqlite):
        [report] = ingest(sqlite, [], settings, seen_paths=[file])
    assert report.status == "merged", report.why
    assert [(user, film) for user, film, _ in marks(sqlite)] == [("ann", "heat")]
    other = write("other.csv", "who,what\nbob,heat\n")
    with run_lock(sqlite):
        [report] = ingest(sqlite, [], by(user="who", movie="what"), seen_paths=[other])
    assert [(user, film) for user, film, _ in marks(sqlite)] == [("ann", "heat"), ("bob", "heat")]


REFUSED = {
    "ratings": ("userId,movieId,rating,timestamp\n1,10,4.0,1\n", "a file of ratings"),
    "long file": ("user,movie,stars\nann,heat,4\n", "a file of ratings"),
    "ratings without a header": ("1,10,4\n1,20,3\n2,10,4\n", "a file of ratings"),
    "u.data": ("196\t242\t3\t881250949\n186\t302\t3\t891717742\n", "a file of ratings"),
    "wide": ("User,Heat,Ran,Up\nann,4,0,1\nbob,1,5,0\n", "a file of ratings"),
    "catalogue": ("movieId,title,genres\n1,Heat,Crime\n", "a catalogue of films"),
    "a user only": ("userId,device\n1,tv\n", "the movie (such as"),
    "unknown names": ("who,picture\n1,10\n2,20\n", "the user (such as"),
    "names only": ("ann,heat\nbob,ran\n", "its first row may be a header"),
    "times only": ("userId,movieId,timestamp\n" + "1,10,5\n2,20,6\n" * 6, "in 1970"),
}


@pytest.mark.promise("C4")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_plainly_films_seen_is_refused(
    sqlite: Database, write: Write, name: str
) -> None:
    """A file with ratings, a catalogue, or a table whose columns are not known, brings nothing."""
    content, expected = REFUSED[name]
    [report] = give(sqlite, write("x.csv", content))
    assert report.status == "refused"
    assert expected in report.why
    if "a file of" in expected or "a catalogue" in expected:
        assert "ingest it without --seen" in report.why
    assert (marks(sqlite), ratings(sqlite)) == ([], [])
    assert rows(sqlite, "SELECT count(*) FROM users") == [(0,)]


def test_names_that_recur_need_no_header(sqlite: Database, write: Write) -> None:
    """A first row whose user or film comes again is no header."""
    give(sqlite, write("x.csv", "ann,heat\nbob,heat\nann,ran\n"))
    assert [mark[:2] for mark in marks(sqlite)] == [
        ("ann", "heat"),
        ("ann", "ran"),
        ("bob", "heat"),
    ]


@pytest.mark.promise("C4")
def test_without_the_option_it_is_a_ratings_file_without_ratings(
    sqlite: Database, write: Write
) -> None:
    """The same header elsewhere is refused, and the message says how films seen come in."""
    for text in ("userId,movieId\n1,10\n", f"userId,movieId,timestamp\n1,10,{T}\n"):
        with run_lock(sqlite):
            [report] = ingest(sqlite, [write("x.csv", text)], by())
        assert report.status == "refused"
        assert "the rating (such as" in report.why
        assert "'recbatch ingest --seen'" in report.why
    assert marks(sqlite) == []


@pytest.mark.promise("C1")
def test_each_row_is_a_mark_a_duplicate_or_rejected(database: Database, write: Write) -> None:
    """Bad rows are kept with their line, code and text, and the counts add up."""
    lines = [f"{user},{film},{T}" for user in range(1, 6) for film in range(1, 9)]
    bad = ["7,,1", "7", "7,9,yesterday", f"7,9,{T * 2}"]
    text = "\n".join(["userId,movieId,timestamp", *lines, *bad, lines[0], lines[1]]) + "\n"
    [report] = give(database, write("x.csv", text))
    assert (report.read, report.accepted, report.rejected, report.duplicate) == (46, 40, 4, 2)
    assert rows(database, COUNTS) == [("merged", 46, 40, 4, 2)]
    stored = rows(database, "SELECT line, field, code, text FROM ingest_rejects ORDER BY line")
    assert stored == [
        (42, "movieId", "EMPTY_KEY", bad[0]),
        (43, None, "FIELD_COUNT", bad[1]),
        (44, "timestamp", "BAD_TIME", bad[2]),
        (45, "timestamp", "TIME_RANGE", bad[3]),
    ]
    assert rows(database, "SELECT user_key FROM users WHERE user_key = '7'") == []


@pytest.mark.parametrize("spoilt", ["", "x", "1,2,3,4", f"1,2,{10**11}"])
def test_blocks_of_bytes_and_rows_agree(sqlite: Database, write: Write, spoilt: str) -> None:
    """A plain file, read in blocks of bytes, gives the rows and lines that a quoted one gives."""
    lines = [f"{user},{film},{T + user}" for user in range(30) for film in range(30)]
    plain = ["userId,movieId,timestamp", *lines[:700], *([spoilt] if spoilt else []), *lines[700:]]
    quoted = [plain[0], *('"{}","{}",{}'.format(*line.split(",")) for line in lines)]
    quoted[701:701] = [spoilt] if spoilt else []
    [report] = give(sqlite, write("plain.csv", "\n".join(plain)))
    [again] = give(sqlite, write("quoted.csv", "\n".join(quoted)))
    assert (report.accepted, report.rejected) == (900, int(bool(spoilt)))
    assert (again.duplicate, again.rejected) == (900, report.rejected)
    assert [reject[:3] for reject in report.rejects] == [reject[:3] for reject in again.rejects]


# Again, in any order, and back


@pytest.mark.promise("C3")
def test_the_same_file_again_changes_nothing(database: Database, write: Write) -> None:
    """A file that was merged is unchanged, also with a newer age; parts of it are duplicates."""
    file = write("x.csv", PAIR_TEXTS["header"])
    give(database, file)
    before = rows(database, STORED)
    os.utime(file, (T + HOUR, T + HOUR))
    [again] = give(database, file)
    assert again.status == "unchanged"
    [part] = give(database, write("part.csv", "userId,movieId\n2,10\n3,10\n"))
    assert (part.accepted, part.duplicate) == (1, 1)
    assert rows(database, STORED) == [*before, ("3", "10", None, 2)]


FILES = {
    "late.csv": f"user,movie,time\nann,heat,{T + 9}\nann,ran,{T + 9}\nbob,heat,{T + 9}\n",
    "early.csv": f"user,movie,time\nann,heat,{T}\ncat,heat,{T}\nann,heat,{T + 20}\n",
    "untimed.csv": "user,movie\nann,ran\nbob,up\n",
}
ALL_MARKS: list[Mark] = [
    ("ann", "heat", T),
    ("ann", "ran", None),
    ("bob", "heat", T + 9),
    ("bob", "up", None),
    ("cat", "heat", T),
]


@pytest.mark.promise("C3")
def test_the_order_of_files_never_matters(database: Database, write: Write) -> None:
    """Of two marks of a pair the earlier stays, one without a time before all, in any order.

    Taken back from the newest on, each file leaves what the files before it left.
    """
    files = [write(name, text) for name, text in FILES.items()]
    for order in permutations(files):
        states = [(marks(database), keys(database))]
        for file in order:
            give(database, file)
            states.append((marks(database), keys(database)))
        assert marks(database) == ALL_MARKS
        [(newest,)] = rows(database, "SELECT max(batch_id) FROM ingest_batches")
        for batch_id in (newest, newest - 1, newest - 2):
            states.pop()
            take_back(database, batch_id)
            assert (marks(database), keys(database)) == states[-1]
        assert rows(database, "SELECT * FROM superseded_seen") == []


def keys(database: Database) -> list[tuple[str]]:
    """Users and films that there are."""
    users = rows(database, "SELECT user_key FROM users ORDER BY 1")
    return users + rows(database, "SELECT movie_key FROM movies ORDER BY 1")


def test_a_file_that_others_overwrote_is_undone_last(database: Database, write: Write) -> None:
    """What a later file overwrote or repeats is undone after it; what lost is merged again."""
    late, early, untimed = (write(name, text) for name, text in FILES.items())
    repeats = write("repeats.csv", "user,movie,time\nann,heat,1700000009\nbob,heat,1700000009\n")
    give(database, late, repeats)
    undone = take_back(database, 1)
    assert undone.of_seen
    assert (undone.deleted, undone.users, undone.films) == (3, 2, 2)
    assert undone.to_ingest_again == (str(repeats),)
    assert marks(database) == []
    [again] = give(database, repeats)
    assert (again.status, again.accepted) == ("merged", 2)
    give(database, early)
    with pytest.raises(CannotUndoError, match=r"before batch 4: later files that overwrote"):
        take_back(database, 3)
    with pytest.raises(CannotUndoError, match=r"'recbatch ingest --seen FILE' merges its file"):
        take_back(database, 1)
    [over] = give(database, late, pass_over_undone=True)
    assert over.status == "passed over"
    assert "'recbatch ingest --seen " in over.why
    give(database, untimed)


# Users and films that only marks name


def of_ratings(database: Database) -> Any:
    """All that models may learn from."""
    with database.reader.connect() as connection:
        loaded = load(connection)
    ratings_of = loaded.ratings
    cells = (ratings_of.matrix.toarray().tolist(), ratings_of.genres.tolist(), ratings_of.scale)
    return loaded.sha256, loaded.user_keys, loaded.movie_keys, cells


RATED = [("ann", "heat", 4, T), ("bob", "ran", 3, T), ("cat", "heat", 5, T)]


def test_nothing_is_learnt_of_films_seen(database: Database, write: Write) -> None:
    """What models learn from is the same with and without marks, whichever file came first.

    A user or film that only marks name takes part as soon as a rating names it, and no longer
    once that rating is undone.
    """
    seen = write("seen.csv", "user,movie\nann,ran\nnew,heat\nann,obscure\ndee,obscure\n")
    rated = write("rated.csv", long_csv(RATED))
    more = write("more.csv", long_csv([("new", "obscure", 2, T)]))
    with run_lock(database):
        ingest(database, [rated], by())
    without = of_ratings(database)
    give(database, seen)
    assert of_ratings(database) == without
    with database.reader.connect() as connection:
        assert len(seen_pairs(connection)) == 4
    with run_lock(database):
        ingest(database, [more], by())
    assert of_ratings(database)[1:3] == (["ann", "bob", "cat", "new"], ["heat", "obscure", "ran"])
    take_back(database, 3)
    assert of_ratings(database) == without
    assert len(marks(database)) == 4
    take_back(database, 1)
    assert of_ratings(database)[1:3] == ([], [])
    with run_lock(database):
        ingest(database, [rated], by())
    assert of_ratings(database) == without
    take_back(database, 2)
    assert of_ratings(database) == without
    users = rows(database, "SELECT user_key FROM users ORDER BY 1")
    assert users == [("ann",), ("bob",), ("cat",)]


@pytest.mark.promise("C3")
def test_a_film_that_a_matrix_names_takes_part_in_any_order(sqlite: Database, write: Write) -> None:
    """A film of a matrix that nobody rated is one that models know, also if it was seen before."""
    matrix = write("user_reviews.csv", "User,Heat,Ran,Up\nann,4,0,0\nbob,1,5,0\n")
    seen = write("seen.csv", "user,movie\nann,Up\n")
    give(sqlite, seen)
    assert of_ratings(sqlite)[2] == []
    with run_lock(sqlite):
        ingest(sqlite, [matrix], by(layout="wide"))
    known = of_ratings(sqlite)
    assert known[2] == ["Heat", "Ran", "Up"]
    take_back(sqlite, 1)
    assert of_ratings(sqlite) == known
    give(sqlite, seen)
    assert of_ratings(sqlite) == known


# Other ways in


def test_rows_of_a_query(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ingest.seen_query` gives the rows of a file, and is read wherever the settings are."""
    cells = " UNION ALL ".join(f"SELECT '{user}', '{film}'" for user, film, _ in PAIRS[1:])
    sql = f"SELECT '1' AS \"user\", '10' AS movie UNION ALL {cells}"
    with run_lock(database):
        [report] = ingest(database, [], by(), queries=Queries(seen=sql))
        [again] = ingest(database, [], by(), queries=Queries(seen=sql))
        [refused] = ingest(database, [], by(), queries=Queries(seen="SELECT 1 AS movie"))
    assert (report.file, report.status, report.accepted) == ("ingest.seen_query", "merged", 3)
    assert again.status == "unchanged"
    assert marks(database) == PAIRS
    assert "the user (such as" in refused.why
    url = database.url.render_as_string(hide_password=False)
    monkeypatch.setenv("RECBATCH_DATABASE__URL", url)
    monkeypatch.setenv("RECBATCH_INGEST__SEEN_QUERY", f"{sql} UNION ALL SELECT '3', '10'")
    assert command("-q", "ingest") == 0
    assert len(marks(database)) == 4


def test_a_dry_run_shows_marks(
    sqlite: Database, write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """`ingest --seen --dry-run` shows rows as they would be stored, and writes nothing."""
    monkeypatch.setenv("RECBATCH_DATABASE__URL", str(sqlite.url))
    file = write("x.csv", TIMED_TEXTS["seconds"])
    assert command("ingest", "--seen", "--dry-run", str(file)) == 0
    printed = capsys.readouterr().out
    assert "seen films, because its header names user = userId, movie = movieId" in printed
    assert "2023-11-14 22:13:20" in printed
    assert marks(sqlite) == []
    assert command("ingest", "--seen", "--json", str(file)) == 0
    [report] = json.loads(capsys.readouterr().out)
    assert (report["format"], report["accepted"]) == ("seen films", 3)
    assert command("ingest", "list") == 0
    assert "merged" in capsys.readouterr().out
    assert command("ingest", "--seen") == 2
    assert "ingest.seen_paths" in capsys.readouterr().err
    assert command("ingest", "undo", "1") == 0
    assert "3 films seen deleted" in capsys.readouterr().out
