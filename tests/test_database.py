"""Tables, transactions and the lock, on both databases."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from batch.store import schema, views
from batch.store.database import (
    Database,
    DatabaseUrlError,
    LockedError,
    NotReadyError,
    grant,
    migrations,
    open_database,
    prepare,
    require_tables,
    revision,
    run_lock,
    upgrade,
)


def test_migrations_make_what_the_program_expects(database: Database) -> None:
    """A migrated database has the tables, columns, indexes, checks and views of the schema, no more and no less."""
    with database.writer.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": database.file is None}
        )
        assert compare_metadata(context, schema.metadata) == []
        found = inspect(connection)
        for table in schema.metadata.tables.values():
            named = {
                check.name for check in table.constraints if isinstance(check, CheckConstraint)
            }
            assert {check["name"] for check in found.get_check_constraints(table.name)} == named, (
                table.name
            )
        assert set(found.get_view_names()) == set(schema.VIEWS)
        assert revision(connection) == schema.HEAD


def test_ratings_outlive_the_loss_of_their_foreign_keys(url: str) -> None:
    """A database of version 0001 is upgraded with every rating it has."""
    database = open_database(url)
    config = Config()
    config.set_main_option("script_location", str(migrations()))
    with database.writer.begin() as connection:
        if database.file is None:
            connection.execute(text("CREATE SCHEMA recbatch"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with database.writer.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ingest_batches (batch_id, file, settings_sha256, snapshot_at, ingested_at, status,"
                " rows_read, rows_accepted, rows_rejected, rows_duplicate, all_timed)"
                " VALUES (1, 'x', '', 0, '2026-01-01T00:00:00+00:00', 'merged', 2, 2, 0, 0, 0)"
            )
        )
        for number in (1, 2):
            connection.execute(
                text(f"INSERT INTO users (user_id, user_key) VALUES ({number}, 'u{number}')")
            )
            connection.execute(
                text(
                    f"INSERT INTO movies (movie_id, movie_key, title) VALUES ({number}, 'm{number}', 't')"
                )
            )
        connection.execute(
            text("INSERT INTO ratings VALUES (2, 1, 4.5, 1700000000, 1), (1, 2, 0.5, NULL, 1)")
        )
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(text("INSERT INTO ratings VALUES (3, 1, 4.5, NULL, 1)"))
    upgrade(database)
    require_tables(database)
    with database.writer.begin() as connection:
        kept = connection.execute(text("SELECT * FROM ratings ORDER BY user_id")).all()
        assert [tuple(row) for row in kept] == [(1, 2, 0.5, None, 1), (2, 1, 4.5, 1700000000, 1)]
        connection.execute(text("INSERT INTO ratings VALUES (3, 1, 4.5, NULL, 1)"))


def test_filters_come_and_go_with_what_was_published(database: Database) -> None:
    """Version 0003 goes down to 0002 and up again: lists stay as they are, and whoever may read the views still may."""
    config = Config()
    config.set_main_option("script_location", str(migrations()))
    listed = text("SELECT user_key, model, rank, movie_key FROM current_recommendations")
    with database.writer.begin() as connection:
        insert(connection, "users", user_id=1, user_key="u1")
        insert(connection, "movies", movie_id=1, movie_key="m1", title="t")
        run = {
            "logical_date": "2026-01-01",
            "triggered_by": "manual",
            "owner": "",
            "started_at": "2026-01-01T00:00:00+00:00",
        }
        told = {
            "status": "published",
            "forced": 0,
            "top_n": 5,
            "seed": 1,
            "config_sha256": "",
            "versions": "{}",
        }
        insert(connection, "runs", run_id=1, **run, **told)
        insert(
            connection,
            "recommendations",
            run_id=1,
            user_id=1,
            model="x",
            rank=1,
            movie_id=1,
            score=1.0,
            support=1.0,
        )
        insert(
            connection,
            "publication",
            slot="current",
            run_id=1,
            published_at="2026-01-01T00:00:00+00:00",
        )
        insert(
            connection,
            "item_filters",
            filter_id=1,
            movie_id=1,
            starts_at="2026-01-01T00:00:00+00:00",
        )
        role = "reader_" + os.urandom(4).hex()
        if database.file is None:
            connection.execute(text(f"CREATE ROLE {role}"))
    if database.file is None:
        grant(database, role)
    for direction, version in ((command.downgrade, "0002"), (command.upgrade, "head")):
        with database.writer.begin() as connection:
            config.attributes["connection"] = connection
            direction(config, version)
        with database.writer.connect() as connection:
            if database.file is None:
                connection.execute(text(f"SET ROLE {role}"))
            assert [tuple(row) for row in connection.execute(listed)] == [("u1", "x", 1, "m1")]
            assert inspect(connection).has_table("item_filters") == (version == "head")
    require_tables(database)


def insert(connection: Connection, table: str, **row: object) -> None:
    """One row, as text and numbers."""
    columns = ", ".join(row)
    connection.execute(
        text(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(f':{name}' for name in row)})"),
        row,
    )


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    """The version that the program requires is the head of the migrations."""
    assert ScriptDirectory(str(migrations())).get_heads() == [schema.HEAD]


def test_upgrading_again_changes_nothing(database: Database) -> None:
    """`db upgrade` on a current database is harmless."""
    upgrade(database)
    require_tables(database)


def test_the_whole_schema_is_rolled_back(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails leaves no table behind, and can be tried again."""
    database = open_database(sqlite_url)
    with monkeypatch.context() as patch:
        patch.setattr(views, "view_queries", lambda _: {"broken": "SELECT nothing FROM nowhere ("})
        with pytest.raises(DBAPIError):
            upgrade(database)
    with database.reader.connect() as connection:
        assert inspect(connection).get_table_names() == []
    upgrade(database)
    require_tables(database)


def test_sqlite_is_made_on_first_use_and_postgres_is_not(url: str) -> None:
    """A SQLite file appears when it is needed; on Postgres the tables are made by `db upgrade` alone."""
    database = open_database(url)
    if database.file:
        prepare(database)
        require_tables(database)
    else:
        with pytest.raises(NotReadyError, match="db upgrade"):
            prepare(database)


def test_a_file_that_was_left_empty_is_made_again(sqlite_url: str) -> None:
    """A file whose first migration was killed before it made a table is taken up where that left off."""
    database = open_database(sqlite_url)
    with database.writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA user_version = 0")
    assert database.file is not None
    assert database.file.stat().st_size > 0
    prepare(database)
    require_tables(database)


def test_a_link_to_the_file_has_the_same_lock(sqlite_url: str, tmp_path: Path) -> None:
    """However a SQLite file is reached, there is one lock on it."""
    database = open_database(sqlite_url)
    prepare(database)
    assert database.file is not None
    link = tmp_path / "link.db"
    link.symlink_to(database.file)
    with (
        run_lock(database),
        pytest.raises(LockedError),
        run_lock(open_database(f"sqlite:///{link}")),
    ):
        pass


def test_another_version_is_refused(database: Database) -> None:
    """Tables of another version are an error that says which, and what to run; a newer one cannot be upgraded."""
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(NotReadyError, match=r"schema version 0000.*db upgrade"):
        require_tables(database)
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refused in (require_tables, upgrade):
        with pytest.raises(
            NotReadyError, match=r"schema version 9999, of a newer recbatch.*install that version"
        ):
            refused(database)


def test_tables_of_postgres_lie_in_their_schema(postgres_url: str) -> None:
    """On Postgres everything lies in database.schema, beside an application's own tables of the same names."""
    database = open_database(postgres_url, "films")
    with database.writer.begin() as connection:
        connection.execute(text("CREATE TABLE public.users (mine int)"))
    upgrade(database)
    with database.reader.connect() as connection:
        names = text(
            "SELECT table_schema FROM information_schema.tables WHERE table_name = 'users' ORDER BY 1"
        )
        assert connection.execute(names).scalars().all() == ["films", "public"]
        assert connection.execute(text("SELECT count(*) FROM users")).scalar() == 0


def test_both_spellings_of_postgres_are_accepted(postgres_url: str) -> None:
    """`postgres://` and `postgresql://` name the same database."""
    for spelling in ("postgres://", "postgresql://", "postgresql+psycopg://"):
        database = open_database(postgres_url.replace("postgresql://", spelling))
        with database.reader.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
def test_other_urls_are_refused(url: str) -> None:
    """A URL that cannot be used is refused with the forms that can."""
    with pytest.raises(DatabaseUrlError, match=r"database\.url"):
        open_database(url)


@pytest.mark.promise("E3")
def test_a_password_is_never_shown() -> None:
    """Neither the label of a database nor its engines print the password, wherever in the URL it stands."""
    for url in ("postgresql://me:canary@h/db", "postgresql://me@h/db?password=canary"):
        database = open_database(url)
        assert "canary" not in database.label
        assert "canary" not in repr(database.writer.url.set(query={}))


@pytest.mark.promise("D5")
def test_a_number_column_refuses_text_and_infinity(database: Database) -> None:
    """No score that is not a finite number can be stored."""
    row = "INSERT INTO recommendations (run_id, user_id, model, rank, movie_id, score, support)"
    for score in (float("nan"), float("inf"), 1e7, "high"):
        with pytest.raises(DBAPIError), database.writer.begin() as connection:
            connection.execute(text(f"{row} VALUES (1, 1, 'x', 1, 1, :score, 1)"), {"score": score})
    with database.reader.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM recommendations")).scalar() == 0


@pytest.mark.promise("B1")
def test_the_lock_is_taken_once(database: Database) -> None:
    """Of two that want the lock the second is refused at once."""
    with run_lock(database):
        began = time.monotonic()
        with pytest.raises(LockedError, match="another job"), run_lock(database):
            pass
        assert time.monotonic() - began < 1


@pytest.mark.promise("B2")
def test_a_killed_holder_leaves_no_lock(url: str, tmp_path: Path) -> None:
    """kill -9 of the process that holds the lock frees it without help."""
    database = open_database(url)
    upgrade(database)
    program = (
        "import sys, time; from batch.store.database import *\n"
        "with run_lock(open_database(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, url], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    with pytest.raises(LockedError), run_lock(database):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    until = time.monotonic() + 5
    while True:
        try:
            with run_lock(database):
                break
        except LockedError:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.promise("B3")
def test_whoever_lost_the_lock_cannot_publish(postgres_url: str) -> None:
    """On Postgres the lock and the publication share a connection: when it is cut, nothing can be published on it."""
    database = open_database(postgres_url)
    upgrade(database)
    with run_lock(database) as holder:
        pid = holder.execute(text("SELECT pg_backend_pid()")).scalar_one()
        holder.commit()
        with database.writer.begin() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(DBAPIError):
            holder.execute(text("SELECT 1"))
    with run_lock(database):
        pass


@pytest.mark.promise("B1")
def test_a_lock_is_free_before_its_session_ends(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Postgres the next job finds the lock free, however long the server keeps the session of the one before."""
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
    """A role that was granted reading sees both views, and neither the tables behind them nor any change."""
    database = open_database(postgres_url)
    upgrade(database)
    role = "reader_" + os.urandom(4).hex()
    with database.writer.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role}"))
    grant(database, role)
    for statement, allowed in {
        "SELECT * FROM recbatch.current_recommendations": True,
        "SELECT * FROM recbatch.current_popular": True,
        "SELECT * FROM recbatch.ratings": False,
        "DELETE FROM recbatch.publication": False,
        "CREATE TABLE recbatch.mine (x int)": False,
    }.items():
        with database.writer.connect() as connection:
            connection.execute(text(f"SET ROLE {role}"))
            if allowed:
                connection.execute(text(statement))
            else:
                with pytest.raises(DBAPIError, match="permission denied"):
                    connection.execute(text(statement))
