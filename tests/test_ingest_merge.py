"""The tables after many files: order, packing and repetition of files do not matter."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from tempfile import mkdtemp
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from batch.ingest import Report, ingest
from batch.store import schema
from batch.store.database import Database, open_database
from tables import Films, Write, by, films, ratings, rows, with_tables

LATEST = "userId,movieId,rating,timestamp\n"
LATEST_FILMS = "movieId,title,genres\n"
TIMED = "user,movie,rating,time\n"
UNTIMED = "user,movie,rating\n"
History = list[tuple[str, int]]  # texts of files, and their ages in seconds since 1970


def all_rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, with their ids."""
    table_rows = {}
    with database.reader.connect() as connection:
        for table in schema.metadata.sorted_tables:
            result = [tuple(row) for row in connection.execute(select(table))]
            table_rows[table.name] = sorted(result, key=repr)
    return table_rows


class State(NamedTuple):
    """The content of a database by keys, whatever ids its rows have."""

    users: list[tuple[Any, ...]]
    genres: list[tuple[Any, ...]]
    films: Films
    ratings: list[tuple[Any, ...]]


def state(database: Database) -> State:
    users = sorted(rows(database, "SELECT user_key, name FROM users"))
    genres = sorted(rows(database, "SELECT name FROM genres"))
    return State(users, genres, films(database), ratings(database))


def ingest_all(database: Database, folder: Path, history: History) -> list[Report]:
    """Ingest each text as a file in its own folder, one after the other."""
    reports = []
    for text, snapshot_at in history:
        path = Path(mkdtemp(dir=folder)) / "x.csv"
        path.write_text(text, encoding="utf-8")
        reports += ingest(database, [path], by(), snapshot_at=snapshot_at)
    return reports


@pytest.mark.promise("C3")
def test_same_files_again(database: Database, write: Write) -> None:
    """Files merged before, also packed or moved, change no row of any table, no id and no count."""
    write("wide/user_reviews.csv", ",User,Heat,Up\n0,Ann,4.0,0.0\n1,Ann,,2.5\n")
    write("wide/movie_genres.csv", ",movie_title,genre_a\n0,Heat,1\n1,Up,0\n")
    write("ml/ratings.csv", LATEST + "1,31,2.5,100\n1,31,3,99\nx,31,3,99\n")
    write("ml/movies.csv", LATEST_FILMS + "31,Dangerous Minds (1995),Drama\n")
    long = write("long.csv", TIMED + "Ann,Heat,3,\nAnn,Up,3,100\n")
    paths = [long, long.parent / "wide", long.parent / "ml"]
    merged = ingest(database, paths, by(), snapshot_at=1000)
    assert [report.status for report in merged] == ["merged"] * 5
    before = all_rows(database)
    packed = long.with_name("again.gz")
    packed.write_bytes(gzip.compress(long.read_bytes()))
    again = ingest(database, [*reversed(paths), packed, *paths], by(), snapshot_at=1000)
    assert len({report.file for report in again}) == 6
    for report in again:
        assert (report.status, report.read) == ("unchanged", 0)
        assert report.why == f"already ingested as batch {report.batch_id}"
    assert all_rows(database) == before


def test_age_of_a_file(database: Database, write: Write) -> None:
    """Ratings without times are as old as their file; a file that is only touched changes none."""
    path = write("x.csv", ",User,Heat,Up\n0,Ann,4,5\n")
    statuses = []
    states = []
    for seconds in (100, 100, 300):
        os.utime(path, (seconds, seconds))
        statuses += [report.status for report in ingest(database, [path], by())]
        states.append(state(database))
    assert statuses == ["merged", "unchanged", "merged"]
    assert states == [states[0]] * 3
    batches = "SELECT snapshot_at, rows_accepted FROM ingest_batches ORDER BY batch_id"
    assert rows(database, batches) == [(100, 2), (300, 2)]
    newer = write("newer.csv", TIMED + "Ann,Heat,1,299\nAnn,Up,1,301\n")
    ingest(database, [newer], by())
    assert ratings(database) == [("Ann", "Heat", 4.0, None), ("Ann", "Up", 1.0, 301)]


def wide(stars: float) -> str:
    return f",User,Heat\n0,Ann,{stars}\n"


def timed(*lines: str) -> str:
    return TIMED + "".join(f"Ann,Heat,{line}\n" for line in lines)


def untimed(stars: float) -> str:
    return UNTIMED + f"Ann,Heat,{stars}\n"


PRECEDENCE: dict[str, tuple[History, tuple[float, int | None]]] = {
    "later": ([(timed("5,200"), 1), (timed("3,300"), 1)], (3.0, 300)),
    "higher": ([(timed("5,200"), 1), (timed("3,200"), 1)], (5.0, 200)),
    "ISO": ([(timed("3,1970-01-01T00:05:00Z"), 1), (timed("5,299"), 1)], (3.0, 300)),
    "newer export lowers": ([(wide(5), 100), (wide(2), 200)], (2.0, None)),
    "same age": ([(wide(5), 100), (wide(2), 100)], (5.0, None)),
    "lowered and raised": ([(wide(5), 100), (wide(2), 200), (wide(5), 300)], (5.0, None)),
    "timed is newer": ([(wide(5), 100), (timed("3,150"), 1)], (3.0, 150)),
    "timed is older": ([(wide(5), 200), (timed("3,150"), 1)], (5.0, None)),
    "time is kept": ([(wide(3), 100), (timed("3,100"), 1)], (3.0, 100)),
    "no times": ([(untimed(5), 100), (untimed(2), 200)], (2.0, None)),
    "export taken back": (
        [(untimed(3), 100), (untimed(4), 200), (untimed(3), 300)],
        (3.0, None),
    ),
    "mixed": ([(timed("4,", "2,100"), 99), (timed("1,99"), 1)], (2.0, 100)),
    "mixed, same age": ([(timed("4,", "4,100"), 100)], (4.0, 100)),
    "one file": ([(timed("2,100", "3,", "4,", "3,"), 101)], (4.0, None)),
}
"""Files and their ages, and the rating and time that are stored."""


@pytest.mark.parametrize("case", PRECEDENCE)
def test_precedence(database: Database, tmp_path: Path, case: str) -> None:
    """Of two ratings the later wins, then the higher; one without a time is as old as its file."""
    history, expected = PRECEDENCE[case]
    reverse = [(text.replace("Ann", "Bob"), at) for text, at in reversed(history)]
    ingest_all(database, tmp_path, history)
    ingest_all(database, tmp_path, reverse)
    assert ratings(database) == [("Ann", "Heat", *expected), ("Bob", "Heat", *expected)]


@pytest.mark.parametrize("backwards", [False, True])
def test_names_of_users_and_films(database: Database, tmp_path: Path, backwards: bool) -> None:
    """Names and titles of a wide matrix are stored, also where a bare key was merged first."""
    history = [
        (TIMED + "Ann,Heat,4,100\nAnn,Heat #2,4,100\nBob,Up,4,100\n", 1),
        (",User,Heat,Heat\n0,Ann,3,3\n", 1),
    ]
    ingest_all(database, tmp_path, history[::-1] if backwards else history)
    named = rows(database, "SELECT user_key, name FROM users WHERE name IS NOT NULL")
    assert named == [("Ann", "Ann")]
    assert films(database) == {"Heat": ("Heat", []), "Heat #2": ("Heat", []), "Up": ("Up", [])}


OLD_CATALOGUE = LATEST_FILMS + "31,Dangerous Mindss,Drama|Comedy\n32,Up,Crime\n"
NEW_CATALOGUE = LATEST_FILMS + "31,Dangerous Minds (1995),Drama|War\n"


@pytest.mark.parametrize("backwards", [False, True])
def test_newer_catalogue_wins(database: Database, tmp_path: Path, backwards: bool) -> None:
    """The newer description replaces title and genres, and unused genres are deleted."""
    history = [(OLD_CATALOGUE, 100), (NEW_CATALOGUE, 200)]
    counts = [(2, 2, 0), (1, 1, 0)]
    if backwards:
        history.reverse()
        counts = [(1, 1, 0), (2, 1, 1)]
    reports = ingest_all(database, tmp_path, history)
    assert [(report.read, report.accepted, report.duplicate) for report in reports] == counts
    assert films(database) == {
        "31": ("Dangerous Minds (1995)", ["Drama", "War"]),
        "32": ("Up", ["Crime"]),
    }
    genres = sorted(rows(database, "SELECT name FROM genres"))
    assert genres == [("Crime",), ("Drama",), ("War",)]


def test_film_without_a_catalogue(database: Database, tmp_path: Path) -> None:
    """A film of ratings only has its key as title until a catalogue of any age describes it."""
    ingest_all(database, tmp_path, [(LATEST + "1,31,4,900\n", 900)])
    assert films(database) == {"31": ("31", [])}
    ingest_all(database, tmp_path, [(NEW_CATALOGUE, 0), (LATEST + "2,31,4,950\n", 950)])
    assert films(database) == {"31": ("Dangerous Minds (1995)", ["Drama", "War"])}


class File(NamedTuple):
    """A generated file: its text and age, and the rows that it must give."""

    text: str
    at: int  # seconds since 1970
    ratings: list[tuple[str, str, int, int | None]]
    films: list[tuple[str, str, list[str]]]  # key, title, genres; of a catalogue only


USERS = ("Ann", "Bob")
TITLES = ("Heat", "NA")
SECONDS = st.integers(98, 102)


def keyed(names: list[str]) -> list[str]:
    """Heat, NA, Heat -> Heat, NA, Heat #2"""
    keys = []
    for place, name in enumerate(names):
        number = names[:place].count(name) + 1
        keys.append(name if number == 1 else f"{name} #{number}")
    return keys


@st.composite
def long_files(draw: st.DrawFn) -> File:
    cells = st.tuples(
        st.sampled_from(USERS),
        st.sampled_from([*TITLES, "Heat #2"]),
        st.integers(1, 3),
        st.none() | SECONDS,
    )
    expected = draw(st.lists(cells, min_size=1, max_size=4))
    lines = []
    for user, film, stars, at in expected:
        lines.append(f"{user},{film},{stars},{'' if at is None else at}\n")
    return File(TIMED + "".join(lines), draw(SECONDS), expected, [])


@st.composite
def wide_files(draw: st.DrawFn) -> File:
    titles = draw(st.lists(st.sampled_from(TITLES), min_size=1, max_size=3))
    users = draw(st.lists(st.sampled_from(USERS), min_size=1, max_size=3))
    lines = [f"index,User,{','.join(titles)}\n"]
    expected: list[tuple[str, str, int, int | None]] = []
    for user, user_key in zip(users, keyed(users), strict=True):
        cells = [draw(st.integers(0, 3)) for _ in titles]
        lines.append(f"0,{user},{','.join(map(str, cells))}\n")
        for film, stars in zip(keyed(titles), cells, strict=True):
            if stars:
                expected.append((user_key, film, stars, None))
    return File("".join(lines), draw(SECONDS), expected, [])


@st.composite
def catalogues(draw: st.DrawFn) -> File:
    titles = draw(st.lists(st.sampled_from(TITLES), min_size=1, max_size=3))
    lines = ["movie_title,genre_a,genre_b\n"]
    expected = []
    for title, movie_key in zip(titles, keyed(titles), strict=True):
        has_a = draw(st.booleans())
        has_b = draw(st.booleans())
        lines.append(f"{title},{has_a:d},{has_b:d}\n")
        genres = ["a"] * has_a + ["b"] * has_b
        expected.append((movie_key, title, genres))
    return File("".join(lines), draw(SECONDS), [], expected)


class Orders(NamedTuple):
    """Some files, the same backwards, and shuffled with repetitions."""

    files: list[File]
    backwards: list[File]
    shuffled: list[File]


@st.composite
def orders(draw: st.DrawFn) -> Orders:
    kinds = st.one_of(long_files(), wide_files(), catalogues())
    files = draw(st.lists(kinds, min_size=3, max_size=5))
    repeated = draw(st.lists(st.sampled_from(files), max_size=2))
    return Orders(files, files[::-1], draw(st.permutations(files + repeated)))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with empty tables, to copy."""
    file = tmp_path_factory.mktemp("empty") / "recbatch.db"
    with_tables(f"sqlite:///{file}")
    return file


def state_after(empty: Path, history: History) -> State:
    """The content of a new database once these files are ingested."""
    folder = Path(mkdtemp(dir=empty.parent))
    database = open_database(f"sqlite:///{copyfile(empty, folder / 'recbatch.db')}")
    # While one connection is open, closing others costs no checkpoint.
    with database.reader.connect():
        ingest_all(database, folder, history)
        return state(database)


def expected_ratings(files: list[File]) -> list[tuple[Any, ...]]:
    """The best rating of each pair by the rule, computed file by file."""
    best: dict[tuple[str, str], tuple[int, int, bool]] = {}
    for file in files:
        for user, film, stars, at in file.ratings:
            rank = (file.at if at is None else at, stars, at is not None)
            best[user, film] = max(rank, best.get((user, film), rank))
    stored = []
    for (user, film), (at, stars, has_time) in best.items():
        stored.append((user, film, float(stars), at if has_time else None))
    return sorted(stored)


def expected_films(files: list[File]) -> Films:
    """The latest description of each film that a catalogue has, then the greatest."""
    described: dict[str, tuple[int, str, list[str]]] = {}
    for file in files:
        for key, title, genres in file.films:
            description = (file.at, title, genres)
            described[key] = max(description, described.get(key, description))
    return {key: (title, genres) for key, (_, title, genres) in described.items()}


@pytest.mark.promise("C3")
def test_order_and_repetition(
    empty: Path, often: Callable[[int, int], int], figure: Callable[[int], None]
) -> None:
    """Any order and repetition of files gives the same tables, with the rows of the rule."""
    times = often(30, 300)

    @settings(max_examples=times, derandomize=True, deadline=None)
    @given(orders())
    def check(orders: Orders) -> None:
        histories = [[(file.text, file.at) for file in files] for files in orders]
        forwards, backwards, shuffled = (state_after(empty, history) for history in histories)
        assert backwards == forwards
        assert shuffled == forwards
        assert forwards.ratings == expected_ratings(orders.files)
        catalogue = expected_films(orders.files)
        described = {key: film for key, film in forwards.films.items() if key in catalogue}
        assert described == catalogue

    check()
    figure(times)


def test_missing_times_of_movielens(empty: Path) -> None:
    """Where MovieLens ratings lack their times, the order of files does not matter either."""
    history = [
        (f"{LATEST}1,31,{stars},\n1,32,3,50\n", at) for stars, at in ((3, 100), (4, 200), (3, 300))
    ]
    assert state_after(empty, history) == state_after(empty, history[::-1])


@pytest.mark.parametrize(
    ("content", "scale", "stored"),
    [
        (LATEST + "1,31,2.5,100\n", None, (0.5, 5.0)),
        (LATEST + "1,31,2.5,100\n", (0.0, 10.0), (0.0, 10.0)),
        ("1\t2\t3\t100\n", None, (1.0, 5.0)),
        ("1::2::2::100\n1::3::4.5::100\n", None, (2.0, 4.5)),
        (TIMED + "Ann,Heat,-3,100\nAnn,Up,77.5,100\n", None, (-3.0, 77.5)),
        (TIMED + "Ann,Heat,3,100\n", (1.0, 5.0), (1.0, 5.0)),
        (",User,Heat,Up\n0,Ann,2,0\n1,Bob,3,4\n", None, (2.0, 4.0)),
        (LATEST_FILMS + "31,Up,\n", (1.0, 5.0), (None, None)),
        (LATEST, None, (None, None)),
    ],
)
def test_scale_is_stored(
    sqlite_url: str,
    write: Write,
    content: str,
    scale: tuple[float, float] | None,
    stored: tuple[Any, Any],
) -> None:
    """The scale of a file is that of the settings, else of its format, else of its ratings."""
    database = with_tables(sqlite_url)
    ingest(database, [write("x.csv", content)], by(scale))
    assert rows(database, "SELECT scale_min, scale_max FROM ingest_batches") == [stored]


def test_wider_scale_accepts_more_rows(database: Database, write: Write) -> None:
    """A rating outside the scale is rejected, and is merged once the scale is wider."""
    path = write("x.csv", ",User,Heat,Up\n0,Ann,4,10\n")
    (narrow,) = ingest(database, [path], by((1.0, 5.0)), snapshot_at=100)
    (reject,) = narrow.rejects
    message = "rating 10 is outside 1..5; fix the row or widen ingest.scale"
    assert reject == (2, "Up", "RATING_RANGE", message, "10")
    assert ratings(database) == [("Ann", "Heat", 4.0, None)]
    (wider,) = ingest(database, [path], by((1.0, 10.0)), snapshot_at=100)
    assert (wider.status, wider.read, wider.accepted) == ("merged", 2, 1)
    assert (wider.rejected, wider.duplicate) == (0, 1)
    assert ratings(database) == [("Ann", "Heat", 4.0, None), ("Ann", "Up", 10.0, None)]


def test_dry_run(database: Database, write: Write) -> None:
    """A dry run reports the outcome of every file, and writes to no table."""
    write("in/ratings.csv", LATEST + "1,31,4,100\n1,31,4,99\n1,31,x,99\n")
    folder = write("in/movies.csv", OLD_CATALOGUE).parent
    broken = write("broken.csv", 'user,movie,rating\nAnn,"Heat,4\n')
    before = all_rows(database)
    reports = ingest(database, [folder, broken], by(), dry_run=True)
    of_broken, of_films, of_ratings = reports
    assert (of_broken.status, of_broken.read, of_broken.accepted) == ("refused", 1, 0)
    assert (of_films.status, of_films.read, of_films.accepted) == ("would be merged", 2, 2)
    assert (of_ratings.status, of_ratings.read) == ("would be merged", 3)
    assert (of_ratings.accepted, of_ratings.rejected, of_ratings.duplicate) == (1, 1, 1)
    assert (of_broken.rejected, of_broken.duplicate) == (1, 0)
    assert (of_films.rejected, of_films.duplicate) == (0, 0)
    assert {report.batch_id for report in reports} == {None}
    assert all_rows(database) == before


def test_ids_that_differ_by_a_decimal_only(database: Database, write: Write) -> None:
    """A file whose ids differ from stored ones, or its own, by .0 only warns once, with a count."""
    first = write("first.csv", UNTIMED + "1,7,3\n2,8,4\nv2,2.5,1\nv2.0,2.50,1\n")
    second = write("second.csv", UNTIMED + "1.0,7,4\n2.0,8,4\n3.0,9,1\n4,10,1\n4.0,10.0,1\n")
    third = write("third.csv", UNTIMED + "1.0,7,5\n2,8,5\n5,11,5\n")
    catalogue = write("films.csv", "movie,title,genres\n7.0,Seven,Crime\n8,Eight,\n12,Twelve,\n")
    reports = [ingest(database, [file], by())[0] for file in (first, second, third, catalogue)]
    told = [
        [warning.partition(", and count")[0] for warning in report.warnings] for report in reports
    ]
    rest = "have two ids that differ by .0 only, such as"
    assert told == [
        [],
        [f"3 users {rest} '1' and '1.0'", f"1 films {rest} '10' and '10.0'"],
        [],
        [f"1 films {rest} '7' and '7.0'"],
    ]
    assert "'recbatch ingest undo' and its number" in reports[1].warnings[0]
    assert "undo" not in reports[3].warnings[0]
    assert len(ratings(database)) == 10
