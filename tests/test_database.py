"""Tables, transactions and the run lock, on both databases."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from batch.ingest import ingest
from batch.store import engines, schema, views
from batch.store.database import Database, DatabaseUrlError, NotReadyError, open_database
from batch.store.roles import grant
from batch.store.run_lock import LockedError, run_lock, small_write
from batch.store.versions import (
    migrations,
    prepare,
    require_tables,
    revision,
    temporary_database,
    upgrade,
)
from tables import by, rows

NEW_YEAR = "2026-01-01T00:00:00+00:00"
BATCH = {
    "batch_id": 1,
    "file": "x",
    "settings_sha256": "",
    "snapshot_at": 0,
    "ingested_at": NEW_YEAR,
    "status": "merged",
    "rows_read": 2,
    "rows_accepted": 2,
    "rows_rejected": 0,
    "rows_duplicate": 0,
    "all_timed": 0,
}
RUN = {
    "run_id": 1,
    "logical_date": "2026-01-01",
    "triggered_by": "manual",
    "owner": "",
    "started_at": NEW_YEAR,
    "status": "published",
    "forced": 0,
    "top_n": 5,
    "seed": 1,
    "config_sha256": "",
    "versions": "{}",
}


def insert(connection: Connection, table: str, **row: object) -> None:
    """One row, as text and numbers."""
    columns = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), row)


def migrate(database: Database, version: str, down: bool = False) -> None:
    """Bring the tables to a version."""
    config = Config()
    config.set_main_option("script_location", str(migrations()))
    with database.writer.begin() as connection:
        if database.file is None:
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS recbatch"))
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, version)


def publish_one_film(connection: Connection) -> None:
    """A published run with one list of one film."""
    insert(connection, "users", user_id=1, user_key="u1")
    insert(connection, "movies", movie_id=1, movie_key="m1", title="t")
    insert(connection, "runs", **RUN)
    listed = {"run_id": 1, "user_id": 1, "model": "x", "rank": 1, "movie_id": 1}
    insert(connection, "recommendations", **listed, score=1.0, support=1.0)
    insert(connection, "publication", slot="current", run_id=1, published_at=NEW_YEAR)


# Migrations


def test_migrations_make_what_the_program_expects(database: Database) -> None:
    """A migrated database has exactly the tables, columns, indexes, checks and views defined."""
    with database.writer.connect() as connection:
        options = {"compare_type": database.file is None}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
        inspector = inspect(connection)
        for table in schema.metadata.tables.values():
            checks = {c.name for c in table.constraints if isinstance(c, CheckConstraint)}
            made = {check["name"] for check in inspector.get_check_constraints(table.name)}
            assert made == checks, table.name
        assert set(inspector.get_view_names()) == set(schema.VIEWS)
        assert set(views.view_queries(connection.dialect)) == set(schema.VIEWS)
        assert revision(connection) == schema.HEAD


def test_ratings_outlive_the_loss_of_their_foreign_keys(url: str) -> None:
    """A database of version 0001 is upgraded with every rating it has."""
    database = open_database(url)
    migrate(database, "0001")
    new_rating = text("INSERT INTO ratings VALUES (3, 1, 4.5, NULL, 1)")
    with database.writer.begin() as connection:
        insert(connection, "ingest_batches", **BATCH)
        for number in (1, 2):
            insert(connection, "users", user_id=number, user_key=f"u{number}")
            insert(connection, "movies", movie_id=number, movie_key=f"m{number}", title="t")
        values = "(2, 1, 4.5, 1700000000, 1), (1, 2, 0.5, NULL, 1)"
        connection.execute(text(f"INSERT INTO ratings VALUES {values}"))
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(new_rating)
    upgrade(database)
    require_tables(database)
    kept = rows(database, "SELECT * FROM ratings ORDER BY user_id")
    assert kept == [(1, 2, 0.5, None, 1), (2, 1, 4.5, 1700000000, 1)]
    with database.writer.begin() as connection:
        connection.execute(new_rating)


def test_filters_come_and_go_with_what_was_published(database: Database) -> None:
    """Filters can be migrated away and back: lists and the right to read the views remain."""
    role = "reader_" + os.urandom(4).hex()
    with database.writer.begin() as connection:
        publish_one_film(connection)
        insert(connection, "item_filters", filter_id=1, movie_id=1, starts_at=NEW_YEAR)
        if database.file is None:
            connection.execute(text(f"CREATE ROLE {role}"))
    if database.file is None:
        grant(database, role)
    listed = text("SELECT user_key, model, rank, movie_key FROM current_recommendations")
    for version, down in (("0002", True), ("head", False)):
        migrate(database, version, down)
        with database.writer.connect() as connection:
            if database.file is None:
                connection.execute(text(f"SET ROLE {role}"))
            assert [tuple(row) for row in connection.execute(listed)] == [("u1", "x", 1, "m1")]
            assert inspect(connection).has_table("item_filters") == (version == "head")
    require_tables(database)


FILTERS = {
    "for everyone": (None, NEW_YEAR, None),
    "for the user": (1, NEW_YEAR, None),
    "for another user": (2, NEW_YEAR, None),
    "ended": (None, NEW_YEAR, "2026-01-02T00:00:00+00:00"),
    "ends later": (None, NEW_YEAR, "2999-01-01T00:00:00+00:00"),
    "begins later": (None, "2999-01-01T00:00:00+00:00", None),
}
"""user_id, starts_at, ends_at."""


def test_views_show_the_same_rows_as_before(url: str) -> None:
    """A 0003 database is upgraded with its filters, and both views show what they showed."""
    database = open_database(url)
    migrate(database, "0003")
    with database.writer.begin() as connection:
        publish_one_film(connection)
        connection.execute(text("UPDATE runs SET top_n = 8"))
        insert(connection, "users", user_id=2, user_key="u2")
        for movie_id in range(2, 9):
            insert(connection, "movies", movie_id=movie_id, movie_key=f"m{movie_id}", title="t")
            listed = {"run_id": 1, "rank": movie_id, "movie_id": movie_id, "score": 1.0}
            insert(connection, "popular_items", **listed)
            insert(connection, "recommendations", **listed, user_id=1, model="x", support=1.0)
        for filter_id, (user_id, starts_at, ends_at) in enumerate(FILTERS.values(), 2):
            window = {"starts_at": starts_at, "ends_at": ends_at}
            ids = {"filter_id": filter_id, "movie_id": filter_id, "user_id": user_id}
            insert(connection, "item_filters", **ids, **window)

    def everything() -> list[Any]:
        """All but the ranks, which are numbered anew since version 0010."""
        lists = rows(database, "SELECT * FROM current_recommendations ORDER BY rank")
        popular = rows(database, "SELECT * FROM current_popular ORDER BY rank")
        return [
            [row[:3] + row[4:] for row in lists],
            [row[1:] for row in popular],
            rows(database, "SELECT filter_id, movie_id, user_id FROM item_filters ORDER BY 1"),
        ]

    before = everything()
    assert [row[3] for row in before[0]] == ["m1", "m4", "m5", "m7", "m8"]
    assert [row[0] for row in before[1]] == ["m3", "m4", "m5", "m7", "m8"]
    upgrade(database)
    require_tables(database)
    assert everything() == before
    ranks = "SELECT rank FROM current_recommendations ORDER BY rank"
    assert rows(database, ranks) == [(1,), (2,), (3,), (4,), (5,)]
    assert rows(database, "SELECT DISTINCT setting FROM item_filters") == [(None,)]
    migrate(database, "0003", down=True)
    assert everything() == before
    assert rows(database, ranks) == [(1,), (4,), (5,), (7,), (8,)]


def test_filters_of_the_settings_end_with_their_column(database: Database) -> None:
    """Going down from 0004 ends the settings' filters, which an older program never would."""
    with database.writer.begin() as connection:
        publish_one_film(connection)
        row = {"movie_id": 1, "starts_at": NEW_YEAR}
        insert(connection, "item_filters", filter_id=1, setting="genres", **row)
        with pytest.raises(IntegrityError), connection.begin_nested():
            insert(connection, "item_filters", filter_id=2, setting="films and more", **row)
    assert rows(database, "SELECT rank FROM current_recommendations") == []
    migrate(database, "0003", down=True)
    assert rows(database, "SELECT rank FROM current_recommendations") == [(1,)]


def test_batches_outlive_a_new_status(database: Database) -> None:
    """Version 0005 can be left and entered again: batches keep their rows, undone ones end refused.

    Films and rejected rows still refer to their batches, which the database checks.
    """
    with database.writer.begin() as connection:
        insert(connection, "ingest_batches", **BATCH)
        undone = {"batch_id": 2, "status": "undone", "undone_at": NEW_YEAR}
        insert(connection, "ingest_batches", **BATCH | undone)
        insert(connection, "movies", movie_id=1, movie_key="m1", title="t", batch_id=1)
        reject = {"file": "x", "line": 3, "code": "x", "message": "x", "text": "x"}
        insert(connection, "ingest_rejects", batch_id=2, reject_no=1, **reject)
    statuses = []
    for version, down in (("0004", True), ("head", False)):
        migrate(database, version, down)
        columns = "batch_id, file, rows_read, status, error"
        statuses.append(rows(database, f"SELECT {columns} FROM ingest_batches ORDER BY batch_id"))
        with database.writer.begin() as connection:
            with pytest.raises(IntegrityError), connection.begin_nested():
                connection.execute(text("DELETE FROM ingest_batches WHERE batch_id = 2"))
            with pytest.raises(IntegrityError), connection.begin_nested():
                connection.execute(text("UPDATE ingest_batches SET status = 'taken back'"))
    assert statuses == [[(1, "x", 2, "merged", None), (2, "x", 2, "refused", "undone")]] * 2
    require_tables(database)


def test_films_seen_go_with_their_table_and_come_again(database: Database, tmp_path: Path) -> None:
    """Going down from 0012 shows films seen again, and refuses their files, to be merged anew."""
    file = tmp_path / "seen.csv"
    file.write_text("user,movie\nu1,m1\n")
    listed = "SELECT movie_key FROM current_recommendations"
    batches = "SELECT status, error FROM ingest_batches WHERE format = 'seen films'"
    with database.writer.begin() as connection:
        publish_one_film(connection)
    assert rows(database, listed) == [("m1",)]
    for _ in range(2):
        with run_lock(database):
            [report] = ingest(database, [], by(), seen_paths=[file])
        assert report.status == "merged"
        assert rows(database, listed) == []
        migrate(database, "0011", down=True)
        assert rows(database, listed) == [("m1",)]
        assert set(rows(database, batches)) == {("refused", "films seen, without a table")}
        migrate(database, "head")
    require_tables(database)
    assert rows(database, "SELECT * FROM seen") == []


def test_the_newest_migration_is_the_required_one() -> None:
    """The version that the program requires is the head of the migrations."""
    assert ScriptDirectory(str(migrations())).get_heads() == [schema.HEAD]


def test_a_temporary_database_may_be_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of temporary files may have a name with characters that a URL reads as its own."""
    folder = tmp_path / "a?b=c#d%20e"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with temporary_database() as database:
        assert database.file is not None
        assert folder in database.file.parents
        require_tables(database)


def test_upgrading_again_changes_nothing(database: Database) -> None:
    """`db upgrade` on a current database is harmless."""
    upgrade(database)
    require_tables(database)


def test_the_whole_schema_is_rolled_back(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails leaves no table behind, and can be repeated."""
    database = open_database(sqlite_url)
    broken = {"current_recommendations": "SELECT nothing FROM nowhere_at_all WHERE ("}
    with monkeypatch.context() as patch:
        patch.setattr(views, "list_views", lambda _dialect: broken)
        with pytest.raises(DBAPIError):
            upgrade(database)
    with database.reader.connect() as connection:
        assert inspect(connection).get_table_names() == []
    upgrade(database)
    require_tables(database)


def test_sqlite_is_made_on_first_use_and_postgres_is_not(url: str) -> None:
    """A SQLite file is created when it is needed, tables on Postgres by `db upgrade` only."""
    database = open_database(url)
    if database.file:
        prepare(database)
        require_tables(database)
    else:
        with pytest.raises(NotReadyError, match="db upgrade"):
            prepare(database)


def test_a_file_that_was_left_empty_is_made_again(sqlite_url: str) -> None:
    """A file whose first migration was killed before it made a table is migrated."""
    database = open_database(sqlite_url)
    with database.writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA user_version = 0")
    assert database.file is not None
    assert database.file.stat().st_size > 0
    prepare(database)
    require_tables(database)


def test_another_version_is_refused(database: Database) -> None:
    """Tables of another version are an error with the remedy; newer ones are not upgraded."""
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(NotReadyError, match=r"schema version 0000.*db upgrade"):
        require_tables(database)
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    message = r"schema version 9999, of a newer recbatch.*install that version"
    for refused in (require_tables, upgrade):
        with pytest.raises(NotReadyError, match=message):
            refused(database)


# URLs


def test_tables_of_postgres_are_in_their_schema(postgres_url: str) -> None:
    """On Postgres tables are in `database.schema`, beside an application's of the same names."""
    database = open_database(postgres_url, "films")
    with database.writer.begin() as connection:
        connection.execute(text("CREATE TABLE public.users (mine int)"))
    upgrade(database)
    users = "FROM information_schema.tables WHERE table_name = 'users' ORDER BY 1"
    assert rows(database, f"SELECT table_schema {users}") == [("films",), ("public",)]
    assert rows(database, "SELECT count(*) FROM users") == [(0,)]


def test_both_spellings_of_postgres_are_accepted(postgres_url: str) -> None:
    """`postgres://` and `postgresql://` name the same database."""
    for spelling in ("postgres://", "postgresql://", "postgresql+psycopg://"):
        database = open_database(postgres_url.replace("postgresql://", spelling))
        assert rows(database, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
def test_other_urls_are_refused(url: str) -> None:
    """A URL that cannot be used is refused with the forms that can."""
    with pytest.raises(DatabaseUrlError, match=r"database\.url"):
        open_database(url)


@pytest.mark.promise("E3")
def test_a_password_is_never_shown() -> None:
    """Neither the label of a database nor its engines print the password in its URL."""
    for url in ("postgresql://me:canary@h/db", "postgresql://me@h/db?password=canary"):
        database = open_database(url)
        assert "canary" not in database.label
        assert "canary" not in repr(database.writer.url.set(query={}))


@pytest.mark.promise("D5")
def test_a_number_column_refuses_text_and_infinity(database: Database) -> None:
    """No score that is not a finite number can be stored."""
    columns = "(run_id, user_id, model, rank, movie_id, score, support)"
    row = f"INSERT INTO recommendations {columns} VALUES (1, 1, 'x', 1, 1, :score, 1)"
    for score in (float("nan"), float("inf"), 1e7, "high"):
        with pytest.raises(DBAPIError), database.writer.begin() as connection:
            connection.execute(text(row), {"score": score})
    assert rows(database, "SELECT count(*) FROM recommendations") == [(0,)]


# Settings of connections


@pytest.fixture
def drivers(database: Database) -> Iterator[dict[str, Any]]:
    """The driver's connection of everything that a job opens, by name."""
    with ExitStack() as stack:
        writing = {
            "writer": stack.enter_context(database.writer.connect()),
            "run lock": stack.enter_context(run_lock(database)),
            "reader": stack.enter_context(database.reader.connect()),
        }
        found = {name: each.connection.dbapi_connection for name, each in writing.items()}
        raw = database.writer.raw_connection()
        stack.callback(raw.close)
        found["raw"] = raw.dbapi_connection
        yield found


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_commit_of_sqlite_is_on_the_disk(drivers: dict[str, Any]) -> None:
    """Writers use `synchronous` FULL: in WAL mode NORMAL may lose a publication at a power cut."""
    full = 2  # https://www.sqlite.org/pragma.html#pragma_synchronous
    for name in ("writer", "run lock", "raw"):
        assert drivers[name].execute("PRAGMA synchronous").fetchone() == (full,), name
        assert drivers[name].execute("PRAGMA journal_mode").fetchone() == ("wal",), name


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_every_connection_limits_its_wait_for_a_lock(drivers: dict[str, Any]) -> None:
    """No connection to SQLite waits longer than 30 seconds for another's transaction."""
    assert engines.LOCK_TIMEOUT_MS == 30_000
    for name, driver in drivers.items():
        assert driver.execute("PRAGMA busy_timeout").fetchone() == (30_000,), name


def test_every_transaction_limits_its_wait_for_a_lock(postgres_url: str) -> None:
    """No transaction on Postgres waits longer than 30 seconds, and its session keeps no setting."""
    database = open_database(postgres_url)
    show = "SELECT name, setting FROM pg_settings WHERE name ~ 'timeout$'"
    limited = {"lock_timeout": "30000"}
    for opened in (database.writer.connect(), database.reader.connect(), run_lock(database)):
        with opened as connection:
            driver: Any = connection.connection.driver_connection
            before = dict(driver.execute(show).fetchall())
            driver.rollback()
            for _ in range(2):
                with connection.begin():
                    settings = dict(connection.exec_driver_sql(show).all())
                    assert settings == before | limited
                assert dict(driver.execute(show).fetchall()) == before
                driver.rollback()


def test_a_writer_behind_a_lock_gives_up(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Postgres a statement that waits for a lock ends with an error that says so."""
    monkeypatch.setattr(engines, "LOCK_TIMEOUT_MS", 200)
    database = open_database(postgres_url)
    upgrade(database)

    def delete_runs(transaction: Any) -> None:
        with transaction as connection:
            # If there were no limit, the statement would end by this one, with another error.
            connection.execute(text("SET LOCAL statement_timeout TO '10s'"))
            connection.execute(text("DELETE FROM runs"))

    with database.writer.begin() as holder:
        holder.execute(text("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE"))
        began = time.monotonic()
        for transaction in (database.writer.begin(), small_write(database)):
            with pytest.raises(OperationalError) as caught:
                delete_runs(transaction)
            assert isinstance(caught.value.orig, psycopg.errors.LockNotAvailable)
        assert time.monotonic() - began < 8


# The run lock


def test_a_link_to_the_file_has_the_same_lock(sqlite_url: str, tmp_path: Path) -> None:
    """A SQLite file has one lock, by whatever link it is reached."""
    database = open_database(sqlite_url)
    prepare(database)
    assert database.file is not None
    link = tmp_path / "link.db"
    link.symlink_to(database.file)
    linked = open_database(f"sqlite:///{link}")
    with run_lock(database), pytest.raises(LockedError), run_lock(linked):
        pass


@pytest.mark.promise("B1")
def test_the_lock_is_taken_once(database: Database) -> None:
    """Of two processes that try to take the lock the second is refused at once."""
    with run_lock(database):
        began = time.monotonic()
        with pytest.raises(LockedError, match="another job"), run_lock(database):
            pass
        assert time.monotonic() - began < 1


HOLDER = """
import sys, time
from batch.store.database import open_database
from batch.store.run_lock import run_lock
with run_lock(open_database(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.promise("B2")
def test_a_killed_holder_leaves_no_lock(url: str) -> None:
    """kill -9 of the process that holds the lock frees it."""
    database = open_database(url)
    upgrade(database)
    program = [sys.executable, "-c", HOLDER, url]
    holder = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    with pytest.raises(LockedError), run_lock(database):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    deadline = time.monotonic() + 5
    while True:
        try:
            with run_lock(database):
                break
        except LockedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.promise("B3")
def test_whoever_lost_the_lock_cannot_publish(postgres_url: str) -> None:
    """On Postgres a lost lock means that the connection to publish on is gone as well."""
    database = open_database(postgres_url)
    upgrade(database)
    with run_lock(database) as holder:
        pid = holder.execute(text("SELECT pg_backend_pid()")).scalar_one()
        holder.commit()
        with database.writer.begin() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(DBAPIError):
            holder.execute(text("SELECT 1"))
    with run_lock(database):
        pass


@pytest.mark.promise("B1")
def test_a_lock_is_free_before_its_session_ends(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Postgres the lock is free once a job ends, also if the server keeps its session."""
    database = open_database(postgres_url)
    upgrade(database)
    with monkeypatch.context() as patch:
        with run_lock(database) as holder:
            session = holder.connection.dbapi_connection
            patch.setattr(session, "close", lambda: None)
        with run_lock(database):
            pass
    session.close()


@pytest.mark.promise("E2")
def test_a_granted_role_reads_the_views_only(postgres_url: str) -> None:
    """A role with the right to read sees every view, no table behind them, and changes nothing."""
    database = open_database(postgres_url)
    upgrade(database)
    role = "reader_" + os.urandom(4).hex()
    with database.writer.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role}"))
    grant(database, role)
    allowed = (
        "SELECT * FROM recbatch.current_recommendations",
        "SELECT * FROM recbatch.current_popular",
        "SELECT * FROM recbatch.current_shelves",
        "SELECT * FROM recbatch.current_similar",
    )
    forbidden = (
        "SELECT * FROM recbatch.ratings",
        "DELETE FROM recbatch.publication",
        "CREATE TABLE recbatch.mine (x int)",
    )
    for statement in (*allowed, *forbidden):
        with database.writer.connect() as connection:
            connection.execute(text(f"SET ROLE {role}"))
            if statement in allowed:
                connection.execute(text(statement))
            else:
                with pytest.raises(DBAPIError, match="permission denied"):
                    connection.execute(text(statement))
