"""Settings of a Postgres server: each works, or is refused at the start with what to change."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from batch import query
from batch.job import steps
from batch.store import postgres_upgrade
from batch.store.database import Database, open_database
from batch.store.versions import upgrade
from data import fill, long_csv
from debian_postgres import server_folder
from faults import fixed_nights
from fixed import command
from test_database import migrate, publish_one_film

TITLES = ["Amélie", "Сталкер", "千と千尋の神隠し", "🎬", "zebra", "Zebra", "_", "10", "9", "ı", "I"]
IDLE = {"idle_session_timeout": "100ms"}
SETTINGS = (
    IDLE,
    {"DateStyle": "SQL, DMY"},
    {"DateStyle": "German", "TimeZone": "Asia/Kathmandu"},
    {"client_encoding": "LATIN1"},
    {"default_transaction_isolation": "serializable"},
    {"extra_float_digits": "-15"},
    {"standard_conforming_strings": "off", "search_path": "pg_catalog"},
)
on_postgres = pytest.mark.parametrize("url", ["postgres"], indirect=True)
Refused = Callable[..., str]


def lists(database: Database) -> list[Any]:
    """What readers get, and when it was published."""
    with query.snapshot(database.url.render_as_string(hide_password=False)) as connection:
        shown = [
            (answer.user_key, answer.films, answer.scale)
            for model in query.models(connection)
            for answer in query.lists(connection, model=model)
        ]
        published = query.published(connection)
    assert published is not None
    assert abs((datetime.now(UTC) - published.published_at).total_seconds()) < 60
    return shown


def night(database: Database, folder: Path) -> list[Any]:
    """The lists of a night with films of many writings."""
    rows = [(f"u{n % 3}", title, n % 5 + 0.5, 1_700_000_000 + n) for n, title in enumerate(TITLES)]
    file = folder / "titles.csv"
    file.write_text(long_csv(rows))
    assert command("ingest", str(file)) == 0
    assert command("-q", "run", "--force") == 0
    assert command("top", "u1") == 0
    assert command("check") == 0
    return lists(database)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The same night on SQLite, which has no such settings."""
    folder = tmp_path_factory.mktemp("expected")
    database = open_database(f"sqlite:///{folder / 'recbatch.db'}")
    upgrade(database)
    fill(database, folder)
    with pytest.MonkeyPatch.context() as patch, fixed_nights(database, folder, patch):
        return night(database, folder)


@pytest.mark.promise("G3")
@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "+".join(settings))
@on_postgres
def test_a_night_is_the_same_whatever_is_set(
    database: Database,
    postgres_server: str,
    expected: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
) -> None:
    """Settings of the database or the role change no row and no answer of a night."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        for name, value in settings.items():
            change = f"ALTER DATABASE {database.url.database} SET {name} = '{value}'"
            connection.execute(change.encode())
    if settings == IDLE:  # a model takes longer
        fit = steps.fit_blend

        def slow(*given: Any) -> Any:
            time.sleep(0.3)
            return fit(*given)

        monkeypatch.setattr(steps, "fit_blend", slow)
    assert night(database, tmp_path) == expected


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command on a database, which must end with this code; returns its last line."""

    def run(code: int, database: Database, *words: str) -> str:
        url = database.url.render_as_string(hide_password=False)
        monkeypatch.setenv("RECBATCH_DATABASE__URL", url)
        capfd.readouterr()
        assert command(*words) == code
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]

    return run


@pytest.mark.promise("G3")
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_an_encoding_that_lacks_letters_is_refused(
    postgres_server: str, refused: Refused, encoding: str
) -> None:
    """A database that is not UTF-8 is refused before a table is made, with how to make one."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        options = f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        connection.execute(f"CREATE DATABASE {name} {options}".encode())
        try:
            database = open_database(postgres_server.replace("/postgres?", f"/{name}?"))
            message = refused(2, database, "db", "upgrade")
            assert f"{name} has the encoding {encoding}" in message
            assert "ENCODING 'UTF8'" in message
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def role(postgres_url: str, postgres_server: str) -> Iterator[str]:
    """A role without rights on the test's database."""
    name = f"role_{uuid4().hex[:12]}"
    database = str(make_url(postgres_url).database)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN".encode())
        connection.execute(f"REVOKE CREATE ON DATABASE {database} FROM PUBLIC".encode())
        yield name
        connection.execute(f"DROP DATABASE {database} WITH (FORCE)".encode())
        connection.execute(f"DROP ROLE {name}".encode())


@pytest.mark.promise("G3")
def test_a_role_without_the_right_to_create_is_told(
    postgres_url: str, role: str, refused: Refused
) -> None:
    """`db upgrade` as a role that may not make or change tables says who may, and changes nothing.

    With the right that the message names, or on tables that are up to date, it works.
    """
    url = make_url(postgres_url)
    by_role = open_database(url.set(username=role).render_as_string(hide_password=False))
    message = refused(2, by_role, "db", "upgrade")
    assert f"GRANT CREATE ON DATABASE {url.database} TO {role}" in message
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA recbatch")
        assert "the role postgres" in refused(2, by_role, "db", "upgrade")
        connection.execute(f"GRANT ALL ON SCHEMA recbatch TO {role}".encode())
        upgrade(by_role)
        connection.execute("ALTER TABLE recbatch.runs OWNER TO postgres")
        upgrade(by_role)
        connection.execute("UPDATE recbatch.alembic_version SET version_num = '0005'")
        message = refused(2, by_role, "db", "upgrade")
        assert "recbatch.runs belongs to the role postgres" in message


@pytest.mark.promise("A2")
@pytest.mark.promise("G3")
def test_an_upgrade_waits_for_readers_and_holds_up_none(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one reads a view for long, `db upgrade` waits, other readers do not, and then it works.

    No reader waits longer than one attempt to lock the tables takes.
    """
    monkeypatch.setattr(postgres_upgrade, "ATTEMPT", 0.2)
    database = open_database(postgres_url)
    migrate(database, "0003")
    with database.writer.begin() as connection:
        publish_one_film(connection)
    ended: list[BaseException | None] = []

    def work() -> None:
        try:
            upgrade(database)
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    upgrading = threading.Thread(target=work)
    longest = 0.0
    with psycopg.connect(postgres_url) as reader, psycopg.connect(postgres_url) as other:
        reader.execute("SELECT * FROM recbatch.current_recommendations")
        upgrading.start()
        until = time.monotonic() + 3 * postgres_upgrade.ATTEMPT
        while time.monotonic() < until:
            began = time.monotonic()
            assert other.execute("SELECT count(*) FROM recbatch.current_popular").fetchone()
            other.rollback()
            longest = max(longest, time.monotonic() - began)
        assert ended == []
    upgrading.join(20)
    assert ended == [None]
    assert longest < 10 * postgres_upgrade.ATTEMPT


@pytest.mark.promise("G3")
def test_an_upgrade_names_who_reads(
    postgres_url: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`db upgrade` behind a reader who stays exits 75, names its session, and changes nothing."""
    monkeypatch.setattr(postgres_upgrade, "PATIENCE", 0.1)
    database = open_database(postgres_url)
    migrate(database, "0003")
    with psycopg.connect(postgres_url, application_name="dashboard") as reader:
        reader.execute("SELECT * FROM recbatch.current_recommendations")
        message = refused(75, database, "db", "upgrade")
        assert f"process {reader.info.backend_pid} (dashboard)" in message
        assert "pg_terminate_backend" in message
    upgrade(database)


@pytest.fixture
def icu_url() -> Iterator[str]:
    """An empty database of a server whose texts are sorted by ICU, in Turkish."""
    locale = ["--locale-provider=icu", "--icu-locale=tr-TR", "--locale=C.UTF-8", "--encoding=UTF8"]
    with server_folder() as server:
        server.make(*locale)
        with server.running() as url:
            yield url


@pytest.mark.promise("G3")
def test_a_night_is_the_same_under_icu(
    icu_url: str, expected: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where ICU sorts texts, in an order of its own, a night gives the same rows."""
    database = open_database(icu_url)
    upgrade(database)
    with database.reader.connect() as connection:
        order = "SELECT 'a' < 'B', lower('I') = 'i'"
        assert connection.exec_driver_sql(order).one() == (True, False)
    fill(database, tmp_path)
    with fixed_nights(database, tmp_path, monkeypatch):
        assert night(database, tmp_path) == expected
