"""Rights of roles, passwords, hostile texts, and pickles, which are never loaded."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from batch import query
from batch.job import nightly
from batch.store.database import Database, open_database
from batch.store.roles import grant
from batch.store.versions import upgrade
from data import fill, long_csv, settings
from fixed import command
from tables import rows

PASSWORD = "c4nary-Pa55word"  # noqa: S105  searched for in every output


@pytest.fixture
def role(database: Database, postgres_server: str) -> Iterator[str]:
    """A role of the test server without rights, with a password of its own."""
    name = f"role_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    yield name
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {database.url.database} WITH (FORCE)")
        connection.execute(f"DROP ROLE {name}")


def as_role(database: Database, role: str) -> str:
    """The URL of the database for the role."""
    url = database.url.set(username=role, password=PASSWORD, drivername="postgresql")
    return url.render_as_string(hide_password=False)


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("E2")
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_the_job_needs_no_right_to_change_tables(
    database: Database, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that may write rows can do all of the job, and cannot change a table."""
    grant(database, role, job=True)
    monkeypatch.setenv("RECBATCH_DATABASE__URL", as_role(database, role))
    more = tmp_path / "more.csv"
    more.write_text(long_csv([("u99", f"m{n}", 4, 1_700_000_000) for n in range(9)]))
    job = (
        ["ingest", str(more)],
        ["-q", "run", "--force"],
        ["rollback"],
        ["forget", "u99"],
        ["purge"],
    )
    for words in job:
        assert command(*words) == 0, words
    forbidden = (
        "CREATE TABLE extra (n int)",
        "DROP TABLE ratings",
        "TRUNCATE recommendations",
        "CREATE SCHEMA other",
        "ALTER TABLE runs ADD COLUMN more text",
        "CREATE INDEX more ON ratings (rating)",
        "DROP VIEW current_popular",
    )
    by_role = open_database(as_role(database, role))
    for statement in forbidden:
        with (
            pytest.raises(Exception, match=r"permission denied|must be owner"),
            by_role.writer.begin() as connection,
        ):
            connection.exec_driver_sql(statement)


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("F3")
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_role_that_may_not_vacuum_is_told_who_may(
    database: Database,
    role: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without the right to vacuum, forget exits 1, with the statements and who must run them."""
    grant(database, role, job=True)
    with database.writer.begin() as connection:
        for table in ("users", "ratings"):
            connection.exec_driver_sql(f"REVOKE MAINTAIN ON recbatch.{table} FROM {role}")
    monkeypatch.setenv("RECBATCH_DATABASE__URL", as_role(database, role))
    assert command("forget", "u9") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'permission denied to vacuum "users", skipping it; as postgres, who owns' in error
    assert "run: VACUUM FULL recbatch.users, recbatch.ingest_rejects, recbatch.item_f" in error
    assert rows(database, "SELECT * FROM users WHERE user_key = 'u9'") == []


T = 1_700_000_000  # seconds since 1970
HOSTILE = [
    "Robert'); DROP TABLE ratings;--",
    "' OR '1'='1",
    '"; DROP VIEW current_popular; --',
    "%s %(x)s :x ? $1",
    "\\'; SELECT 1 --",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "${jndi:ldap://x}",
    "[red]x[/red]",
]


def in_quotes(text: str) -> str:
    """A cell of a CSV file."""
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("E1")
def test_texts_are_texts(database: Database, tmp_path: Path, figure: Callable[[int], None]) -> None:
    """A user, film or genre of any text, in files or in commands, is stored and found as it is."""
    titles = [f"m{n}" for n in range(6)] + HOSTILE
    genres = [in_quotes(f"genre_{name}") for name in HOSTILE]
    lines = [",".join(["", "movie_title", *genres])]
    for number, title in enumerate(titles):
        lines.append(",".join([str(number), in_quotes(title), *("1" * len(HOSTILE))]))
    catalogue = tmp_path / "films.csv"
    catalogue.write_text("\n".join(lines))
    ratings = tmp_path / "hostile.csv"
    ratings.write_text(long_csv([(user, film, 4, T) for user in HOSTILE for film in HOSTILE]))
    assert command("ingest", str(catalogue), str(ratings)) == 0
    assert command("-q", "run", "--force") == 0
    for name in HOSTILE:
        assert command("top", name) == 0
        assert command("top", name, "--model", name) == 2
        assert command("-q", "run", "--scheduled-for", name) == 2
    with database.reader.connect() as connection:
        for name in HOSTILE:
            assert query.find_user(connection, name) == name
            assert query.top(connection, name, model="blend").user_key == name
    assert set(HOSTILE) <= {title for (title,) in rows(database, "SELECT title FROM movies")}
    assert set(HOSTILE) <= {name for (name,) in rows(database, "SELECT name FROM genres")}
    figure(5 * len(HOSTILE))


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("E3")
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_password_is_never_printed(
    database: Database,
    role: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    figure: Callable[[int], None],
) -> None:
    """No output, log, table or process list has a password, whatever fails, wherever it was set."""
    grant(database, role, job=True)
    good = as_role(database, role)
    host = make_url(good)
    without = host.set(password=None)
    in_query = without.update_query_dict({"password": PASSWORD})
    wrong = host.update_query_dict({"host": "/nowhere"})
    secret = tmp_path / "secret"
    secret.write_text(good)
    url = "RECBATCH_DATABASE__URL"
    environments = (
        {url: good},
        {url: in_query.render_as_string(hide_password=False)},
        {url: wrong.render_as_string(hide_password=False)},
        {f"{url}_FILE": str(secret)},
        {url: good + "@"},
        {url: good.replace("postgresql", "mysql")},
        {"RECBATCH_DATABASE__UR": good},
        {url: good.replace("postgresql:", "postgresql")},
    )
    commands = (
        ["runs"],
        ["run", "--dry-run"],
        ["top", "u1"],
        ["db", "upgrade"],
        ["forget", "nobody"],
        ["check"],
        ["diff", "1", "1"],
        ["contract", "kit"],
    )
    monkeypatch.chdir(tmp_path)
    tries = 0
    processes = environments[:1] + environments[-1:]  # a URL that works, and one that is none
    for environ in environments:
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            outputs = []
            if environ in processes:  # what others see of one, and what comes before logging
                process = [sys.executable, "-m", "batch", *commands[0]]
                child = subprocess.Popen(
                    process, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
                command_line = Path(f"/proc/{child.pid}/cmdline").read_bytes()
                outputs.append(child.communicate(timeout=60)[0])
                assert PASSWORD.encode() not in command_line
            capfd.readouterr()
            for words in commands:
                command(*words)
                outputs.append("".join(capfd.readouterr()))
        for output in outputs:
            assert PASSWORD not in output, environ
            assert "Traceback" not in output, (environ, output)
        tries += len(outputs)
    assert not any(PASSWORD in file.read_text() for file in (tmp_path / "kit").iterdir())
    for table in ("runs", "run_checks", "run_metrics", "ingest_batches", "ingest_rejects"):
        assert not any(PASSWORD in str(row) for row in rows(database, f"SELECT * FROM {table}"))
    figure(tries)


@pytest.mark.promise("E4")
def test_nothing_is_unpickled(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two whole nights with real models load no pickle but numba's own machine code."""
    allowed = ("numba.", "concurrent.", "multiprocessing.")
    callers = []

    def forbid(function: Any) -> Any:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if not caller.startswith(allowed):
                callers.append(caller)
                raise AssertionError("unpickled")
            return function(*args, **kwargs)

        return refuse

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbid(getattr(pickle, name)))
    import torch  # takes seconds, and must not unpickle either

    monkeypatch.setattr(torch, "load", forbid(torch.load))
    with pytest.raises(AssertionError, match="unpickled"):
        pickle.loads(pickle.dumps(1))  # noqa: S301  that it would be noticed
    callers.clear()
    database = open_database(sqlite_url)
    upgrade(database)
    fill(database, tmp_path)
    for day in (1, 2):
        outcome = nightly.run(database, settings(tmp_path), nightly.Order(date(2026, 11, day)))
        assert outcome.status == "published"
    assert callers == []
