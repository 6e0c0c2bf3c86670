"""Who may do what: roles, passwords, hostile texts, and what is never loaded."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from batch import query
from batch.store.database import Database, grant, open_database
from data import fill, long_csv, settings
from faults import first_night, fixed_nights
from fixed import command
from tables import rows

PASSWORD = "c4nary-Pa55word"  # noqa: S105  what is looked for


@pytest.fixture
def role(database: Database, postgres_server: str) -> Iterator[str]:
    """A role of the test server that may do nothing yet, with a password of its own."""
    name = f"role_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")  # type: ignore[call-overload]
    yield name
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {database.url.database} WITH (FORCE)")  # type: ignore[call-overload]
        connection.execute(f"DROP ROLE {name}")  # type: ignore[call-overload]


def as_role(database: Database, role: str) -> str:
    """The URL by which the role reaches the database."""
    url = database.url.set(username=role, password=PASSWORD, drivername="postgresql")
    return url.render_as_string(hide_password=False)


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("E2")
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_the_job_needs_no_right_to_change_tables(
    database: Database, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that may write rows ingests, runs, rolls back, forgets and purges; it makes, changes and drops nothing."""
    grant(database, role, job=True)
    monkeypatch.setenv("RECBATCH_DATABASE__URL", as_role(database, role))
    more = tmp_path / "more.csv"
    more.write_text(long_csv([("u99", f"m{n}", 4, 1_700_000_000) for n in range(9)]))
    for words in (
        ["ingest", str(more)],
        ["-q", "run", "--force"],
        ["rollback"],
        ["forget", "u99"],
        ["purge"],
    ):
        assert command(*words) == 0, words
    forbidden = [
        "CREATE TABLE extra (n int)", "DROP TABLE ratings", "TRUNCATE recommendations", "CREATE SCHEMA other",
        "ALTER TABLE runs ADD COLUMN more text", "CREATE INDEX more ON ratings (rating)", "DROP VIEW current_popular",
    ]  # fmt: skip
    other = open_database(as_role(database, role))
    for statement in forbidden:
        with (
            pytest.raises(Exception, match=r"permission denied|must be owner"),
            other.writer.begin() as connection,
        ):
            connection.exec_driver_sql(statement)


HOSTILE = ["Robert'); DROP TABLE ratings;--", "' OR '1'='1", '"; DROP VIEW current_popular; --', "%s %(x)s :x ? $1",
           "\\'; SELECT 1 --", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "${jndi:ldap://x}",
           "[red]x[/red]"]  # fmt: skip


@pytest.mark.promise("E1")
def test_texts_are_texts(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    figure: Callable[[int], None],
) -> None:
    """Whatever stands for a user, film or genre, in a file or on the command line, is stored and found as it is."""
    catalogue = tmp_path / "films.csv"
    titles = [f"m{n}" for n in range(6)] + HOSTILE
    header = ",movie_title," + ",".join(
        '"' + f"genre_{name}".replace('"', '""') + '"' for name in HOSTILE
    )
    quoted = ['"' + title.replace('"', '""') + '"' for title in titles]
    catalogue.write_text(
        "\n".join(
            [header, *(f"{n},{t}," + ",".join("1" * len(HOSTILE)) for n, t in enumerate(quoted))]
        )
    )
    first_night(database, tmp_path)
    with fixed_nights(database, tmp_path, monkeypatch):
        mine = tmp_path / "hostile.csv"
        mine.write_text(long_csv([(user, film, 4, 5) for user in HOSTILE for film in HOSTILE]))
        assert command("ingest", str(catalogue), str(mine)) == 0
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
def test_a_password_is_told_to_nobody(
    database: Database, role: str, tmp_path: Path, figure: Callable[[int], None]
) -> None:
    """Neither output, logs, tables nor the process list hold a password, whatever goes wrong and however it came."""
    grant(database, role, job=True)
    good = as_role(database, role)
    host = make_url(good)
    in_query = (
        host.set(password=None)
        .update_query_dict({"password": PASSWORD})
        .render_as_string(hide_password=False)
    )
    wrong = host.update_query_dict({"host": "/nowhere"}).render_as_string(hide_password=False)
    secret = tmp_path / "secret"
    secret.write_text(good)
    tried = 0
    for environ in (
        {"RECBATCH_DATABASE__URL": good}, {"RECBATCH_DATABASE__URL": in_query}, {"RECBATCH_DATABASE__URL": wrong},
        {"RECBATCH_DATABASE__URL_FILE": str(secret)}, {"RECBATCH_DATABASE__URL": good + "@"},
        {"RECBATCH_DATABASE__URL": good.replace("postgresql", "mysql")}, {"RECBATCH_DATABASE__UR": good},
        {"RECBATCH_DATABASE__URL": good.replace("postgresql:", "postgresql")},
    ):  # fmt: skip
        known = {
            name: value for name, value in os.environ.items() if not name.startswith("RECBATCH_")
        }
        for words in (
            ["runs"],
            ["run", "--dry-run"],
            ["top", "u1"],
            ["db", "upgrade"],
            ["forget", "nobody"],
            ["check"],
            ["diff", "1", "1"],
            ["contract", "kit"],
        ):
            child = subprocess.Popen(
                [sys.executable, "-m", "batch", *words], env=known | environ, cwd=tmp_path, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            listed = Path(f"/proc/{child.pid}/cmdline").read_bytes()
            told, _ = child.communicate(timeout=60)
            assert PASSWORD not in told, (environ, words)
            assert PASSWORD.encode() not in listed
            assert "Traceback" not in told, (environ, words, told)
            tried += 1
    assert not any(PASSWORD in file.read_text() for file in (tmp_path / "kit").iterdir())
    for table in ("runs", "run_checks", "run_metrics", "ingest_batches", "ingest_rejects"):
        assert not any(PASSWORD in str(row) for row in rows(database, f"SELECT * FROM {table}"))
    figure(tried)


@pytest.mark.promise("E4")
def test_nothing_is_unpickled(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole night with real models, and a second one, load no pickle but numba's own machine code."""
    from datetime import date

    from batch.job import nightly
    from batch.store.database import upgrade

    found = []

    def forbid(kind: Any) -> Any:
        def refuse(*given: Any, **named: Any) -> Any:
            frame = sys._getframe(1)
            if not frame.f_globals.get("__name__", "").startswith(
                ("numba.", "concurrent.", "multiprocessing.")
            ):
                found.append(frame.f_globals.get("__name__"))
                raise AssertionError("unpickled")
            return kind(*given, **named)

        return refuse

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbid(getattr(pickle, name)))
    import torch

    monkeypatch.setattr(torch, "load", forbid(torch.load))
    with pytest.raises(AssertionError, match="unpickled"):
        pickle.loads(pickle.dumps(1))  # noqa: S301  that it would be noticed
    found.clear()
    database = open_database(sqlite_url)
    upgrade(database)
    fill(database, tmp_path)
    for day in (1, 2):
        outcome = nightly.run(database, settings(tmp_path), nightly.Order(date(2026, 11, day)))
        assert outcome.status == "published"
    assert found == []
