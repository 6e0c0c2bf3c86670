"""Queries on the tables of another program as input: their rows are merged like a file's."""

import csv
import json
from pathlib import Path
from time import monotonic

import pytest
from sqlalchemy import text

from batch.config import load_config
from batch.ingest import Queries, Report, ingest
from batch.ingest.errors import RefusedError
from batch.ingest.queries import run_queries
from batch.ingest.time_limit import time_limit
from batch.job.inputs import queries as asked
from batch.store.database import Database, open_database
from batch.store.run_lock import run_lock
from batch.store.versions import upgrade
from fixed import command
from tables import by, films, ratings, rows, with_tables

ROOT = Path(__file__).parents[1]

RATINGS = """
    SELECT who AS user, what AS movie, stars AS rating, seen AS time
    FROM shop_ratings
    WHERE what NOT LIKE '100%' ORDER BY who, what"""
FILMS = "SELECT what AS movie, title, kinds AS genres FROM shop_films ORDER BY what"
RATING_ROWS = [
    ("ann", "heat", 4.5, "2026-01-02 03:04:05.000+00:00"),
    ("ann", "ran", 3, "2026-01-02 03:04:06+00:00"),
    ("bo, jr", "heat", 1, "2026-01-03 00:00:00+00:00"),
    ("bo, jr", "ran", 5, None),
    (None, "ran", 5, None),
    ('c "q"', "ran", 9, None),
    ("dee", "no such film", 2.5, None),
]
FILM_ROWS = [
    ("heat", "Heat (1995)", "Crime|Drama"),
    ("ran", "Ran, 乱", None),
    ("new", "Unseen", "Drama"),
]


def create_shop(database: Database) -> None:
    """Create the tables of a shop in this database."""
    if database.file:
        number, moment = "REAL", "TEXT"
    else:
        number, moment = "numeric(12, 6)", "timestamptz"
    with database.writer.begin() as connection:
        if database.file is None:
            connection.execute(text("SET search_path TO public"))
        ratings_columns = f"who text, what text, stars {number}, seen {moment}"
        connection.execute(text(f"CREATE TABLE shop_ratings ({ratings_columns})"))
        connection.execute(text("CREATE TABLE shop_films (what text, title text, kinds text)"))
        for who, what, stars, seen in RATING_ROWS:
            row = {"who": who, "what": what, "stars": stars, "seen": seen}
            connection.execute(
                text("INSERT INTO shop_ratings VALUES (:who, :what, :stars, :seen)"), row
            )
        for what, title, kinds in FILM_ROWS:
            film = {"what": what, "title": title, "kinds": kinds}
            connection.execute(text("INSERT INTO shop_films VALUES (:what, :title, :kinds)"), film)
        if database.file is None:
            connection.execute(text("SET search_path TO recbatch"))


def change(database: Database, statement: str) -> None:
    if not database.file:
        statement = statement.replace("shop_", "public.shop_")
    with database.writer.begin() as connection:
        connection.execute(text(statement))


def ingest_queries(database: Database, queries: Queries) -> dict[str, Report]:
    """The report of each query, by the name of its setting."""
    with run_lock(database):
        reports = ingest(database, [], by(scale=(1, 5)), queries=queries)
    return {report.file: report for report in reports}


@pytest.fixture
def shop(database: Database) -> Database:
    """A database with the tables of a shop beside this program's own."""
    create_shop(database)
    return database


BOTH = Queries(RATINGS, FILMS)


def test_rows_of_a_query_are_merged_like_a_file(
    shop: Database, tmp_path: Path, sqlite_url: str
) -> None:
    """A query gives the ratings, films, counts and rejects of a CSV file with the same rows."""
    reports = ingest_queries(shop, BOTH)
    file = tmp_path / "same.csv"
    with file.open("w", newline="") as output:
        csv.writer(output).writerows([("user", "movie", "rating", "time"), *RATING_ROWS])
    (tmp_path / "other").mkdir()
    other = open_database(f"sqlite:///{tmp_path / 'other' / 'other.db'}")
    upgrade(other)
    with run_lock(other):
        [of_file] = ingest(other, [file], by(scale=(1, 5)))
    assert ratings(shop) == ratings(other)
    assert len(ratings(shop)) == 5
    of_query = reports["ingest.query"]
    assert (of_query.status, of_query.read) == ("merged", 7)
    assert (of_query.accepted, of_query.rejected) == (5, 2)
    query_rejects = {(reject.field, reject.code) for reject in of_query.rejects}
    file_rejects = {(reject.field, reject.code) for reject in of_file.rejects}
    assert sorted(reject.code for reject in of_query.rejects) == ["EMPTY_KEY", "RATING_RANGE"]
    assert query_rejects == file_rejects
    assert films(shop) == {
        "heat": ("Heat (1995)", ["Crime", "Drama"]),
        "ran": ("Ran, 乱", []),
        "new": ("Unseen", ["Drama"]),
        "no such film": ("no such film", []),
    }
    batches = "SELECT file, format, status, rows_read FROM ingest_batches ORDER BY batch_id"
    assert rows(shop, batches) == [
        ("ingest.films_query", "films of a query", "merged", 3),
        ("ingest.query", "rows of a query", "merged", 7),
    ]


def test_films_of_a_query_may_repeat(shop: Database) -> None:
    """A query of films from a table of ratings repeats them, and is what the setting says."""
    sql = "SELECT what AS movie, 'The ' || what AS title, who AS user FROM shop_ratings"
    sql = sql.replace("AS user", 'AS "user"')
    if not shop.file:
        sql = sql.replace("shop_", "public.shop_")
    many = " UNION ALL ".join(f"{sql} WHERE what = 'heat'" for _ in range(5))
    report = ingest_queries(shop, Queries(None, many))["ingest.films_query"]
    assert (report.status, report.accepted) == ("merged", 1), report.why
    assert films(shop) == {"heat": ("The heat", [])}


def test_the_same_result_changes_nothing(shop: Database) -> None:
    """A query with the same result as before changes nothing, also for ratings without times."""
    ingest_queries(shop, BOTH)
    before = ratings(shop)
    make_batches_older(shop)
    assert {report.status for report in ingest_queries(shop, BOTH).values()} == {"unchanged"}
    lowered = [*before[:-1], ("dee", "no such film", 2.0, None)]
    for stars, expected in ((2, lowered), (2.5, before)):
        change(shop, f"UPDATE shop_ratings SET stars = {stars} WHERE who = 'dee'")
        assert ingest_queries(shop, BOTH)["ingest.query"].status == "merged"
        assert ratings(shop) == expected
        make_batches_older(shop)


def make_batches_older(database: Database) -> None:
    """Set the age of all batches back by a day."""
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE ingest_batches SET snapshot_at = snapshot_at - 86400"))


BROKEN = [
    (Queries("SELECT * FROM nonesuch"), "ingest.query", "the query failed: "),
    (
        Queries("SELECT who FROM shop_ratings"),
        "ingest.query",
        "none of them is known to be the user",
    ),
    (
        Queries(RATINGS, "SELECT what AS movie FROM shop_films"),
        "ingest.films_query",
        "no column for movie or title",
    ),
    (Queries(RATINGS, "SELEC"), "ingest.films_query", "; fix the query"),
    (Queries("DELETE FROM shop_ratings"), "ingest.query", "the query failed: "),
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
    """A failed query is one line with its name; neither is merged and no table is changed."""
    for queries, culprit, message in BROKEN:
        reports = ingest_queries(shop, queries)
        assert {report.status for report in reports.values()} == {"refused"}
        why = reports[culprit].why
        assert why.startswith(culprit)
        assert message in why
        assert "\n" not in why
        assert None not in [report.code for report in reports.values()]
    assert ratings(shop) == []
    assert films(shop) == {}
    assert rows(shop, "SELECT DISTINCT status FROM ingest_batches") == [("refused",)]
    table = "shop_ratings" if shop.file else "public.shop_ratings"
    assert rows(shop, f"SELECT count(*) FROM {table}") == [(7,)]


def test_no_room_for_the_rows_of_a_query(shop: Database, tmp_path: Path) -> None:
    """Where the rows cannot be written the query is refused with the folder and a remedy."""
    full = Path("/dev/full")  # every write fails: no space left on device
    if not full.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "ingest.query.csv").symlink_to(full)
    reports, files = run_queries(shop, BOTH, tmp_path, by())
    assert files == []
    films_report, ratings_report = reports
    assert (ratings_report.status, ratings_report.code) == ("refused", "UNWRITABLE")
    reason = f"its rows cannot be written to {tmp_path} (No space left on device)"
    assert ratings_report.why.startswith(f"ingest.query: {reason}; make room there")
    assert (films_report.status, films_report.code) == ("refused", "GROUP_REFUSED")


@pytest.mark.usefixtures("nights")
def test_a_run_queries_another_database(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`run` sends its queries to the database of the settings; a failed one stops no run."""
    other = open_database(f"sqlite:///{tmp_path / 'shop.db'}")
    create_shop(other)
    monkeypatch.setenv("RECBATCH_INGEST__QUERY", RATINGS)
    monkeypatch.setenv("RECBATCH_INGEST__QUERY_URL", f"sqlite:///{tmp_path / 'shop.db'}")
    assert command("-q", "run", "--no-publish") == 0
    output = capsys.readouterr().out
    assert "ingest.query: rows of a query, because the settings ask for it" in output
    assert ("ann", "heat", 4.5, 1767323045) in ratings(database)
    change(other, "DROP TABLE shop_ratings")
    assert command("-q", "run", "--no-publish") == 0
    errors = capsys.readouterr().err
    assert "ingest.query: the query failed: no such table: shop_ratings" in errors
    assert command("forget", "bo, jr") == 0
    assert "forgotten: 2 ratings" in capsys.readouterr().out


ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    ' SELECT i AS "user", i AS movie, 3 AS rating FROM n'
)


@pytest.mark.parametrize("sql", [ENDLESS, f"{ENDLESS} WHERE i < 0"], ids=["rows", "no rows"])
def test_a_query_has_a_time_limit(database: Database, sql: str) -> None:
    """A query that takes longer is ended, whether rows come or not, and refused with the remedy."""
    begun = monotonic()
    refused = ingest_queries(database, Queries(sql, timeout=1))["ingest.query"]
    assert monotonic() - begun < 20
    assert (refused.status, refused.code) == ("refused", "QUERY_TIMEOUT")
    assert refused.why == (
        "ingest.query: the query took longer than 1 seconds; make it faster, or raise"
        " ingest.query_timeout"
    )


def test_the_time_limit_ends_with_the_transaction(database: Database) -> None:
    """The limit of a query is gone from the session once its transaction has ended."""
    with database.reader.connect() as connection:
        with time_limit(connection, 7):
            if not database.file:
                shown = connection.execute(text("SHOW statement_timeout")).scalar()
                assert shown == "7s"
        connection.commit()  # a rollback would undo what was set on the session too
        if not database.file:
            assert connection.execute(text("SHOW statement_timeout")).scalar() == "0"
        with pytest.raises(RefusedError), time_limit(connection, 0) as check_time:
            check_time()
        connection.rollback()
        long = f"{ENDLESS} LIMIT 99999"
        assert connection.execute(text(f"SELECT count(*) FROM ({long}) n")).scalar() == 99_999


def test_the_setting_of_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ingest.query_timeout` is the limit of each query, in seconds."""
    assert asked(load_config(ROOT / "config.yaml")).timeout == 600
    monkeypatch.setenv("RECBATCH_INGEST__QUERY_TIMEOUT", "30")
    assert asked(load_config(ROOT / "config.yaml")).timeout == 30


def test_the_role_is_not_the_user(postgres_url: str) -> None:
    """A bare `user`, which Postgres takes for the role, is refused; quoted it is the column."""
    database = with_tables(postgres_url)
    with database.writer.begin() as connection:
        role = connection.execute(text("SELECT current_user")).scalar()
        connection.execute(text('CREATE TABLE public.likes ("user" text, film text, stars int)'))
        few = [(f"u{n}", "heat", 4) for n in range(3)]
        for user, film, stars in few:
            values = {"user": user, "film": film, "stars": stars}
            connection.execute(
                text("INSERT INTO public.likes VALUES (:user, :film, :stars)"), values
            )
    for bare in ("user", "user AS customer", "current_user AS customer"):
        sql = f"SELECT {bare}, film, stars AS rating FROM likes"
        refused = ingest_queries(database, Queries(sql))["ingest.query"]
        assert (refused.status, refused.code) == ("refused", "ROLE_AS_USER")
        assert refused.why == (
            f"ingest.query: all 3 rows have the user {role!r}, the role of this connection, which"
            ' a bare user means in Postgres; write "user" in quotes, or public.TABLE.user AS user'
        )
    one = ingest_queries(database, Queries(f"{sql} LIMIT 1"))["ingest.query"]
    assert one.status == "merged"  # a single row may be by that user
    for column in ('"user"', "public.likes.user AS user", "likes.user"):
        sql = f"SELECT {column}, film, stars AS rating FROM likes UNION ALL SELECT '{role}', 'x', 1"
        assert ingest_queries(database, Queries(sql))["ingest.query"].status != "refused"
    assert [row[0] for row in ratings(database)] == sorted([role, role, "u0", "u1", "u2"])


@pytest.mark.parametrize("kind", ["text[]", "jsonb", "json"])
def test_genres_as_lists(postgres_url: str, kind: str) -> None:
    """Arrays and JSON lists of Postgres are genres, whatever is in their names."""
    database = with_tables(postgres_url)
    lists = {
        "heat": ["Crime", "Drama"],
        "ran": ["Film, Noir", "Sci|Fi", 'the "best"', "b}ra{ces"],
        "new": [],
        "none": None,
    }
    with database.writer.begin() as connection:
        connection.execute(text(f"CREATE TABLE public.works (id text, name text, kinds {kind})"))
        for key, names in lists.items():
            value = names if kind == "text[]" or names is None else json.dumps(names)
            row = {"id": key, "name": key.upper(), "kinds": value}
            statement = f"INSERT INTO public.works VALUES (:id, :name, CAST(:kinds AS {kind}))"
            connection.execute(text(statement), row)
    sql = "SELECT id AS movie, name AS title, kinds AS genres FROM works"
    report = ingest_queries(database, Queries(films=sql))["ingest.films_query"]
    assert (report.status, report.accepted, report.rejected) == ("merged", 4, 0)
    assert films(database) == {
        key: (key.upper(), sorted(names or [])) for key, names in lists.items()
    }


@pytest.mark.usefixtures("nights")
def test_a_plan_asks_the_queries(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run --dry-run` counts the rows that the queries would bring, and writes nothing."""
    create_shop(database)
    monkeypatch.setenv("RECBATCH_INGEST__SCALE", "[1, 5]")
    sql = RATINGS if database.file else RATINGS.replace("shop_", "public.shop_")
    monkeypatch.setenv("RECBATCH_INGEST__QUERY", sql)
    before = [ratings(database), rows(database, "SELECT count(*) FROM ingest_batches")]
    assert command("run", "--dry-run") == 0
    counts = "7 rows = 5 accepted + 2 rejected + 0 duplicate"
    assert f"\ningest.query: would be merged: {counts}\n" in capsys.readouterr().out
    assert command("run", "--dry-run", "--json") == 0
    planned = json.loads(capsys.readouterr().out)["queries"]["ingest.query"]
    assert (planned["status"], planned["read"], planned["accepted"]) == ("would be merged", 7, 5)
    assert [ratings(database), rows(database, "SELECT count(*) FROM ingest_batches")] == before
    assert command("-q", "ingest") == 0
    assert command("run", "--dry-run") == 0
    assert "\ningest.query: already ingested as batch" in capsys.readouterr().out
    monkeypatch.setenv("RECBATCH_INGEST__QUERY", "SELEC")
    assert command("run", "--dry-run") == 0
    assert "\nrefused: ingest.query: the query failed: " in capsys.readouterr().out


def test_a_long_result_is_not_held_in_memory(database: Database, tmp_path: Path) -> None:
    """Rows are written as they arrive: of 50,000 a fraction is in memory at a time."""
    import tracemalloc

    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
    sql = f'{numbers} SELECT i AS "user", i AS movie, 3 AS rating FROM n'
    tracemalloc.start()
    try:
        failed, [file] = run_queries(database, Queries(sql), tmp_path, by())
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert failed == []
    assert file.source.path.read_text().count("\n") == 50_001
    assert peak_bytes < 6e6
