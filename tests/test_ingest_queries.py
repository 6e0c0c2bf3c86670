"""Tables that somebody else keeps, as input: what comes in is what a file of the same rows would bring."""

import csv
from pathlib import Path

import pytest
from sqlalchemy import text

from batch.ingest import Queries, Report, ingest
from batch.ingest.queries import run_queries
from batch.store.database import Database, open_database, run_lock, upgrade
from fixed import command
from tables import by, films, ratings, rows

RATINGS = """
    SELECT who AS user, what AS movie, stars AS rating, seen AS time FROM shop_ratings
    WHERE what NOT LIKE '100%' ORDER BY who, what"""
FILMS = "SELECT what AS movie, title, kinds AS genres FROM shop_films ORDER BY what"
ROWS = [
    ("ann", "heat", 4.5, "2026-01-02 03:04:05.000+00:00"),
    ("ann", "ran", 3, "2026-01-02 03:04:06+00:00"),
    ("bo, jr", "heat", 1, "2026-01-03 00:00:00+00:00"),
    ("bo, jr", "ran", 5, None),
    (None, "ran", 5, None),
    ('c "q"', "ran", 9, None),
    ("dee", "no such film", 2.5, None),
]
MADE = [
    ("heat", "Heat (1995)", "Crime|Drama"),
    ("ran", "Ran, 乱", None),
    ("new", "Unseen", "Drama"),
]


def keep_shop(database: Database) -> None:
    """A shop's own tables, in the same database."""
    number, moment = ("REAL", "TEXT") if database.file else ("numeric(12, 6)", "timestamptz")
    with database.writer.begin() as connection:
        if database.file is None:
            connection.execute(text("SET search_path TO public"))
        connection.execute(
            text(f"CREATE TABLE shop_ratings (who text, what text, stars {number}, seen {moment})")
        )
        connection.execute(text("CREATE TABLE shop_films (what text, title text, kinds text)"))
        names = ("who", "what", "stars", "seen")
        connection.execute(
            text("INSERT INTO shop_ratings VALUES (:who, :what, :stars, :seen)"),
            [dict(zip(names, row, strict=True)) for row in ROWS],
        )
        connection.execute(
            text("INSERT INTO shop_films VALUES (:what, :title, :kinds)"),
            [dict(zip(("what", "title", "kinds"), row, strict=True)) for row in MADE],
        )
        if database.file is None:
            connection.execute(text("SET search_path TO recbatch"))


def change(database: Database, statement: str) -> None:
    with database.writer.begin() as connection:
        connection.execute(
            text(statement if database.file else statement.replace("shop_", "public.shop_"))
        )


def take(database: Database, asked: Queries) -> list[Report]:
    with run_lock(database):
        return ingest(database, [], by(scale=(1, 5)), queries=asked)


@pytest.fixture
def shop(database: Database) -> Database:
    """A database beside whose tables lie a shop's."""
    keep_shop(database)
    return database


BOTH = Queries(RATINGS, FILMS)


def test_rows_of_a_query_are_judged_as_a_files(
    shop: Database, tmp_path: Path, sqlite_url: str
) -> None:
    """A query brings what a CSV file of its rows would: ratings, films, counts and rejects with place and reason."""
    told = {report.file: report for report in take(shop, BOTH)}
    file = tmp_path / "same.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([("user", "movie", "rating", "time"), *ROWS])
    (tmp_path / "other").mkdir()
    other = open_database(f"sqlite:///{tmp_path / 'other' / 'other.db'}")
    upgrade(other)
    with run_lock(other):
        [expected] = ingest(other, [file], by(scale=(1, 5)))
    assert ratings(shop) == ratings(other)
    assert len(ratings(shop)) == 5
    found = told["ingest.query"]
    assert (found.status, found.read, found.accepted, found.rejected) == ("merged", 7, 5, 2)
    by_place = [
        [(each.line, each.field, each.code) for each in report.rejects]
        for report in (found, expected)
    ]
    assert sorted(code for _, _, code in by_place[0]) == ["EMPTY_KEY", "RATING_RANGE"]
    assert {each[1:] for each in by_place[0]} == {each[1:] for each in by_place[1]}
    assert films(shop) == {
        "heat": ("Heat (1995)", ["Crime", "Drama"]), "ran": ("Ran, 乱", []), "new": ("Unseen", ["Drama"]),
        "no such film": ("no such film", []),
    }  # fmt: skip
    batches = "SELECT file, format, status, rows_read FROM ingest_batches ORDER BY batch_id"
    assert rows(shop, batches) == [
        ("ingest.films_query", "films of a query", "merged", 3),
        ("ingest.query", "rows of a query", "merged", 7),
    ]


def test_the_same_answer_changes_nothing(shop: Database) -> None:
    """Asked again a query whose answer is the same brings nothing, also where ratings have no times."""
    take(shop, BOTH)
    before = ratings(shop)
    a_day_passes(shop)
    assert {report.status for report in take(shop, BOTH)} == {"unchanged"}
    for stars, kept in ((2, [*before[:-1], ("dee", "no such film", 2.0, None)]), (2.5, before)):
        change(shop, f"UPDATE shop_ratings SET stars = {stars} WHERE who = 'dee'")
        assert {report.status for report in take(shop, BOTH) if report.file == "ingest.query"} == {
            "merged"
        }
        assert ratings(shop) == kept
        a_day_passes(shop)


def a_day_passes(database: Database) -> None:
    """As if everything had come a day earlier: what a query says is as old as its answer."""
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE ingest_batches SET snapshot_at = snapshot_at - 86400"))


BROKEN = [
    (Queries("SELECT * FROM nonesuch"), "ingest.query", "the database says: "),
    (
        Queries("SELECT who FROM shop_ratings"),
        "ingest.query",
        "no column for user, movie or rating; name them in",
    ),
    (
        Queries(RATINGS, "SELECT what AS movie FROM shop_films"),
        "ingest.films_query",
        "no column for movie or title",
    ),
    (Queries(RATINGS, "SELEC"), "ingest.films_query", "; mend the query"),
    (Queries("DELETE FROM shop_ratings"), "ingest.query", "the database says: "),
    (
        Queries(RATINGS, url="sqlite:////nowhere/shop.db"),
        "ingest.query",
        "no database at /nowhere/shop.db",
    ),
    (
        Queries(RATINGS, url="shop"),
        "ingest.query",
        "ingest.query_url is not a URL; expected sqlite:///FILE",
    ),
]


def test_a_query_that_cannot_be_used(shop: Database) -> None:
    """What is wrong with a query is one line with its name, nothing of either is merged, and no table is touched."""
    for asked, culprit, message in BROKEN:
        told = {report.file: report for report in take(shop, asked)}
        assert {report.status for report in told.values()} == {"refused"}
        assert told[culprit].why.startswith(culprit)
        assert message in told[culprit].why
        assert "\n" not in told[culprit].why
    assert ratings(shop) == []
    assert films(shop) == {}
    assert rows(shop, "SELECT DISTINCT status FROM ingest_batches") == [("refused",)]
    kept = "shop_ratings" if shop.file else "public.shop_ratings"
    assert rows(shop, f"SELECT count(*) FROM {kept}") == [(7,)]


@pytest.mark.usefixtures("nights")
def test_a_night_asks_another_database(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`run` asks the queries of its settings where they point; one that fails is told, and the night goes on."""
    other = open_database(f"sqlite:///{tmp_path / 'shop.db'}")
    keep_shop(other)
    monkeypatch.setenv("RECBATCH_INGEST__QUERY", RATINGS)
    monkeypatch.setenv("RECBATCH_INGEST__QUERY_URL", f"sqlite:///{tmp_path / 'shop.db'}")
    assert command("-q", "run", "--no-publish") == 0
    assert (
        "ingest.query: rows of a query, because the settings ask for it" in capsys.readouterr().out
    )
    assert ("ann", "heat", 4.5, 1767323045) in ratings(database)
    change(other, "DROP TABLE shop_ratings")
    assert command("-q", "run", "--no-publish") == 0
    assert "ingest.query: the database says: no such table: shop_ratings" in capsys.readouterr().err
    assert command("forget", "bo, jr") == 0
    assert "forgotten: 2 ratings" in capsys.readouterr().out


def test_a_long_answer_is_not_held(database: Database, tmp_path: Path) -> None:
    """Rows are written as they come: of 50,000 a fraction is in memory at a time."""
    import tracemalloc

    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
    sql = f'{numbers} SELECT i AS "user", i AS movie, 3 AS rating FROM n'
    tracemalloc.start()
    try:
        failed, [answer] = run_queries(database, Queries(sql), tmp_path, by())
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert failed == []
    assert answer.source.path.read_text().count("\n") == 50_001
    assert most < 6e6
