"""What the tables hold after many files: the order, the packing and the repetition of files never matter."""

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

LATEST, LATEST_FILMS = "userId,movieId,rating,timestamp\n", "movieId,title,genres\n"
TIMED, UNTIMED = "user,movie,rating,time\n", "user,movie,rating\n"
History = list[tuple[str, int]]  # the text of a file, and its age in seconds since 1970


def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, ids and all."""
    with database.reader.connect() as connection:
        tables = schema.metadata.sorted_tables
        return {
            t.name: sorted((tuple(row) for row in connection.execute(select(t))), key=repr)
            for t in tables
        }


def by_key(database: Database) -> tuple[Any, ...]:
    """What users, genres, films and ratings say, whatever numbers they got."""
    users, genres = (
        rows(database, "SELECT user_key, name FROM users"),
        rows(database, "SELECT name FROM genres"),
    )
    return sorted(users), sorted(genres), films(database), ratings(database)


def ingest_all(database: Database, folder: Path, history: History) -> list[Report]:
    """Each text as a file in a folder of its own, one after the other."""
    reports = []
    for text, snapshot_at in history:
        path = Path(mkdtemp(dir=folder)) / "x.csv"
        path.write_text(text, encoding="utf-8")
        reports += ingest(database, [path], by(), snapshot_at=snapshot_at)
    return reports


@pytest.mark.promise("C3")
def test_same_files_again(database: Database, write: Write) -> None:
    """Files that were merged before, packed or moved, change nothing: no row of any table, no id, no count."""
    write("wide/user_reviews.csv", ",User,Heat,Up\n0,Ann,4.0,0.0\n1,Ann,,2.5\n")
    write("wide/movie_genres.csv", ",movie_title,genre_a\n0,Heat,1\n1,Up,0\n")
    write("ml/ratings.csv", LATEST + "1,31,2.5,100\n1,31,3,99\nx,31,3,99\n")
    write("ml/movies.csv", LATEST_FILMS + "31,Dangerous Minds (1995),Drama\n")
    long = write("long.csv", TIMED + "Ann,Heat,3,\nAnn,Up,3,100\n")
    paths = [long, long.parent / "wide", long.parent / "ml"]
    merged = ingest(database, paths, by(), snapshot_at=1000)
    assert [report.status for report in merged] == ["merged"] * 5
    before = everything(database)
    packed = long.with_name("again.gz")
    packed.write_bytes(gzip.compress(long.read_bytes()))
    again = ingest(database, [*reversed(paths), packed, *paths], by(), snapshot_at=1000)
    assert {(report.status, report.read) for report in again} == {("unchanged", 0)}
    assert {report.file: report.why for report in again} == {
        report.file: f"already ingested as batch {report.batch_id}" for report in again
    }
    assert everything(database) == before


def test_age_of_a_file(database: Database, write: Write) -> None:
    """Ratings without times are as old as their file was last modified; a touched file changes no value."""
    path = write("x.csv", ",User,Heat,Up\n0,Ann,4,5\n")
    statuses, values = [], []
    for seconds in (100, 100, 300):
        os.utime(path, (seconds, seconds))
        statuses += [report.status for report in ingest(database, [path], by())]
        values.append(by_key(database))
    assert statuses == ["merged", "unchanged", "merged"]
    assert values == [values[0]] * 3
    assert rows(
        database, "SELECT snapshot_at, rows_accepted FROM ingest_batches ORDER BY batch_id"
    ) == [
        (100, 2),
        (300, 2),
    ]
    newer = write("newer.csv", TIMED + "Ann,Heat,1,299\nAnn,Up,1,301\n")
    ingest(database, [newer], by())
    assert ratings(database) == [("Ann", "Heat", 4.0, None), ("Ann", "Up", 1.0, 301)]


def wide(stars: float) -> str:
    return f",User,Heat\n0,Ann,{stars}\n"


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([(TIMED + "Ann,Heat,5,200\n", 1), (TIMED + "Ann,Heat,3,300\n", 1)], (3.0, 300)),
        ([(TIMED + "Ann,Heat,5,200\n", 1), (TIMED + "Ann,Heat,3,200\n", 1)], (5.0, 200)),
        ([(TIMED + "Ann,Heat,3,1970-01-01T00:05:00Z\n", 1), (TIMED + "Ann,Heat,5,299\n", 1)], (3.0, 300)),
        ([(wide(5), 100), (wide(2), 200)], (2.0, None)),
        ([(wide(5), 100), (wide(2), 100)], (5.0, None)),
        ([(wide(5), 100), (wide(2), 200), (wide(5), 300)], (5.0, None)),
        ([(wide(5), 100), (TIMED + "Ann,Heat,3,150\n", 1)], (3.0, 150)),
        ([(wide(5), 200), (TIMED + "Ann,Heat,3,150\n", 1)], (5.0, None)),
        ([(wide(3), 100), (TIMED + "Ann,Heat,3,100\n", 1)], (3.0, 100)),
        ([(UNTIMED + "Ann,Heat,5\n", 100), (UNTIMED + "Ann,Heat,2\n", 200)], (2.0, None)),
        ([(UNTIMED + f"Ann,Heat,{stars}\n", at) for stars, at in ((3, 100), (4, 200), (3, 300))], (3.0, None)),
        ([(TIMED + "Ann,Heat,4,\nAnn,Heat,2,100\n", 99), (TIMED + "Ann,Heat,1,99\n", 1)], (2.0, 100)),
        ([(TIMED + "Ann,Heat,4,\nAnn,Heat,4,100\n", 100)], (4.0, 100)),
        ([(TIMED + "Ann,Heat,2,100\nAnn,Heat,3,\nAnn,Heat,4,\nAnn,Heat,3,\n", 101)], (4.0, None)),
    ],
    ids=["later", "higher", "ISO", "newer export lowers", "same age", "lowered and raised", "timed is newer",
         "timed is older", "time is kept", "no times", "export taken back", "mixed", "mixed, same age", "one file"],
)  # fmt: skip
def test_precedence(
    database: Database, tmp_path: Path, history: History, expected: tuple[Any, ...]
) -> None:
    """Of two ratings of a pair the later wins, then the higher; one without a time is as old as its file."""
    ingest_all(database, tmp_path, history)
    ingest_all(
        database, tmp_path, [(text.replace("Ann", "Bob"), at) for text, at in reversed(history)]
    )
    assert ratings(database) == [("Ann", "Heat", *expected), ("Bob", "Heat", *expected)]


@pytest.mark.parametrize("backwards", [False, True])
def test_names_of_users_and_films(database: Database, tmp_path: Path, backwards: bool) -> None:
    """A user's name and a film's title that a wide matrix brings are kept, also where a bare key came first."""
    history = [
        (TIMED + "Ann,Heat,4,100\nAnn,Heat #2,4,100\nBob,Up,4,100\n", 1),
        (",User,Heat,Heat\n0,Ann,3,3\n", 1),
    ]
    ingest_all(database, tmp_path, history[::-1] if backwards else history)
    assert sorted(rows(database, "SELECT user_key, name FROM users WHERE name IS NOT NULL")) == [
        ("Ann", "Ann")
    ]
    assert films(database) == {"Heat": ("Heat", []), "Heat #2": ("Heat", []), "Up": ("Up", [])}


CATALOGUE_OLD = LATEST_FILMS + "31,Dangerous Mindss,Drama|Comedy\n32,Up,Crime\n"
CATALOGUE_NEW = LATEST_FILMS + "31,Dangerous Minds (1995),Drama|War\n"


@pytest.mark.parametrize("backwards", [False, True])
def test_newer_catalogue_wins(database: Database, tmp_path: Path, backwards: bool) -> None:
    """The newer description of a film replaces title and genres; genres that no film has any more are gone."""
    history = [(CATALOGUE_OLD, 100), (CATALOGUE_NEW, 200)]
    reports = ingest_all(database, tmp_path, history[::-1] if backwards else history)
    assert [(r.read, r.accepted, r.duplicate) for r in reports] == (
        [(1, 1, 0), (2, 1, 1)] if backwards else [(2, 2, 0), (1, 1, 0)]
    )
    assert films(database) == {
        "31": ("Dangerous Minds (1995)", ["Drama", "War"]),
        "32": ("Up", ["Crime"]),
    }
    assert sorted(rows(database, "SELECT name FROM genres")) == [("Crime",), ("Drama",), ("War",)]


def test_film_known_by_ratings_only(database: Database, tmp_path: Path) -> None:
    """A film that only ratings name has its key for a title until a catalogue of whatever age describes it."""
    ingest_all(database, tmp_path, [(LATEST + "1,31,4,900\n", 900)])
    assert films(database) == {"31": ("31", [])}
    ingest_all(database, tmp_path, [(CATALOGUE_NEW, 0), (LATEST + "2,31,4,950\n", 950)])
    assert films(database) == {"31": ("Dangerous Minds (1995)", ["Drama", "War"])}


class File(NamedTuple):
    """A generated file: its text, its age, and by hand what it says."""

    text: str
    at: int
    ratings: list[tuple[str, str, int, int | None]]
    films: list[
        tuple[str, str, list[str]]
    ]  # key, title, genres; no genres entry for a ratings file


USERS, TITLES = ("Ann", "Bob"), ("Heat", "NA")
SECONDS = st.integers(98, 102)


def keyed(names: list[str]) -> list[str]:
    """Heat, NA, Heat -> Heat, NA, Heat #2"""
    return [
        f"{name} #{n}" if (n := names[: i + 1].count(name)) > 1 else name
        for i, name in enumerate(names)
    ]


@st.composite
def long_files(draw: st.DrawFn) -> File:
    cells = st.tuples(
        st.sampled_from(USERS),
        st.sampled_from([*TITLES, "Heat #2"]),
        st.integers(1, 3),
        st.none() | SECONDS,
    )
    told = draw(st.lists(cells, min_size=1, max_size=4))
    lines = "".join(
        f"{user},{film},{stars},{'' if at is None else at}\n" for user, film, stars, at in told
    )
    return File(TIMED + lines, draw(SECONDS), told, [])


@st.composite
def wide_files(draw: st.DrawFn) -> File:
    titles, people = (
        draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)) for names in (TITLES, USERS)
    )
    stars = [[draw(st.integers(0, 3)) for _ in titles] for _ in people]
    lines = [
        f"{user},{','.join(map(str, line))}\n" for user, line in zip(people, stars, strict=True)
    ]
    told = [
        (user, film, cell, None)
        for user, line in zip(keyed(people), stars, strict=True)
        for film, cell in zip(keyed(titles), line, strict=True)
        if cell
    ]
    return File(f"User,{','.join(titles)}\n{''.join(lines)}", draw(SECONDS), told, [])


@st.composite
def catalogues(draw: st.DrawFn) -> File:
    titles = draw(st.lists(st.sampled_from(TITLES), min_size=1, max_size=3))
    flags = [(draw(st.booleans()), draw(st.booleans())) for _ in titles]
    lines = [f"{title},{a:d},{b:d}\n" for title, (a, b) in zip(titles, flags, strict=True)]
    told = [
        (key, title, [name for name, flag in zip("ab", has, strict=True) if flag])
        for key, title, has in zip(keyed(titles), titles, flags, strict=True)
    ]
    return File("movie_title,genre_a,genre_b\n" + "".join(lines), draw(SECONDS), [], told)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[File], list[File], list[File]]:
    """Some files, the same files backwards, and in any order with repetitions."""
    files = draw(
        st.lists(st.one_of(long_files(), wide_files(), catalogues()), min_size=3, max_size=5)
    )
    return (
        files,
        files[::-1],
        draw(st.permutations(files + draw(st.lists(st.sampled_from(files), max_size=2)))),
    )


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with tables, to copy."""
    file = tmp_path_factory.mktemp("empty") / "recbatch.db"
    with_tables(f"sqlite:///{file}")
    return file


def after(empty: Path, history: History) -> tuple[Any, ...]:
    """What a new database says by keys when these files are ingested."""
    folder = Path(mkdtemp(dir=empty.parent))
    database = open_database(f"sqlite:///{copyfile(empty, folder / 'recbatch.db')}")
    with (
        database.reader.connect()
    ):  # while one connection is open, closing others costs no checkpoint
        ingest_all(database, folder, history)
        return by_key(database)


@pytest.mark.promise("C3")
def test_order_and_repetition(
    empty: Path, often: Callable[[int, int], int], figure: Callable[[int], None]
) -> None:
    """Any order and repetition of files gives the same tables by keys, with the ratings and films the rule names."""
    times = often(60, 300)

    @settings(max_examples=times, derandomize=True, deadline=None)
    @given(histories())
    def check(history: tuple[list[File], ...]) -> None:
        found, backwards, anyhow = (
            after(empty, [(file.text, file.at) for file in files]) for files in history
        )
        assert backwards == found
        assert anyhow == found
        best: dict[tuple[str, str], tuple[int, int, bool]] = {}
        described: dict[str, tuple[int, str, list[str]]] = {}
        for file in history[0]:
            for user, film, stars, at in file.ratings:
                rank = (file.at if at is None else at, stars, at is not None)
                best[user, film] = max(rank, best.get((user, film), rank))
            for key, title, names in file.films:
                described[key] = max((file.at, title, names), described.get(key, (0, "", [])))
        won = [
            (*pair, float(stars), at if timed else None)
            for pair, (at, stars, timed) in best.items()
        ]
        assert found[3] == sorted(won)
        catalogue: Films = {key: (title, names) for key, (_, title, names) in described.items()}
        assert {key: film for key, film in found[2].items() if key in catalogue} == catalogue

    check()
    figure(times)


def test_missing_times_of_movielens(empty: Path) -> None:
    """Where MovieLens ratings lack their times, the order of files matters no more than elsewhere."""
    history = [
        (f"{LATEST}1,31,{stars},\n1,32,3,50\n", at) for stars, at in ((3, 100), (4, 200), (3, 300))
    ]
    assert after(empty, history) == after(empty, history[::-1])


@pytest.mark.parametrize(
    ("content", "given", "stored"),
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
    given: tuple[float, float] | None,
    stored: tuple[Any, Any],
) -> None:
    """The scale stored with a file is the one given, else its format's, else the smallest and largest rating seen."""
    database = with_tables(sqlite_url)
    ingest(database, [write("x.csv", content)], by(given))
    assert rows(database, "SELECT scale_min, scale_max FROM ingest_batches") == [stored]


def test_wider_scale_lets_rows_in(database: Database, write: Write) -> None:
    """A rating outside the scale of the settings is rejected by name, and comes in once the scale is widened."""
    path = write("x.csv", ",User,Heat,Up\n0,Ann,4,10\n")
    (narrow,) = ingest(database, [path], by((1.0, 5.0)), snapshot_at=100)
    (reject,) = narrow.rejects
    assert reject == (
        2,
        "Up",
        "RATING_RANGE",
        "rating 10 is outside 1..5; fix the row or widen ingest.scale",
        "10",
    )
    assert ratings(database) == [("Ann", "Heat", 4.0, None)]
    (wider,) = ingest(database, [path], by((1.0, 10.0)), snapshot_at=100)
    assert (wider.status, wider.read, wider.accepted, wider.rejected, wider.duplicate) == (
        "merged",
        2,
        1,
        0,
        1,
    )
    assert ratings(database) == [("Ann", "Heat", 4.0, None), ("Ann", "Up", 10.0, None)]


def test_dry_run(database: Database, write: Write) -> None:
    """A dry run reports what would become of every file, and writes to no table."""
    write("in/ratings.csv", LATEST + "1,31,4,100\n1,31,4,99\n1,31,x,99\n")
    folder = write("in/movies.csv", CATALOGUE_OLD).parent
    broken = write("broken.csv", 'user,movie,rating\nAnn,"Heat,4\n')
    before = everything(database)
    found = ingest(database, [folder, broken], by(), dry_run=True)
    assert [(r.status, r.read, r.accepted, r.rejected, r.duplicate, r.batch_id) for r in found] == [
        ("refused", 0, 0, 0, 0, None), ("would be merged", 2, 2, 0, 0, None), ("would be merged", 3, 1, 1, 1, None),
    ]  # fmt: skip
    assert everything(database) == before
