"""People's data: whoever is forgotten is nowhere any more, and a backup is one state."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from batch import query
from batch.job.forget import forget
from batch.store import schema
from batch.store.backup import NoBackupError, backup
from batch.store.database import Database, open_database, run_lock
from data import fill, random_rows
from faults import Faults
from fixed import command
from processes import ended, in_child
from tables import rows, shown

CANARY = "u7-Quetzalcoatl"


def canaries(database: Database) -> list[str]:
    """Tables of which a row holds the canary in any column."""
    found = []
    for table in schema.metadata.sorted_tables:
        told = rows(database, f"SELECT * FROM {table.name}")
        found += [table.name for row in told if any(CANARY in str(value) for value in row)]
    return found


@contextmanager
def leaving_what_is_deleted(database: Database) -> Iterator[None]:
    """SQLite as most builds have it: what is deleted stays in the file until something else takes its place."""

    def by_default(connection: Any, _record: object) -> None:
        if database.file:
            connection.execute("PRAGMA secure_delete = OFF")

    event.listen(Engine, "connect", by_default)
    try:
        yield
    finally:
        event.remove(Engine, "connect", by_default)


@pytest.fixture
def known(nights: Faults, database: Database, tmp_path: Path) -> Database:
    """Three kept nights of people of whom one has a name that is nowhere else, also in rejected rows."""
    mine = [(CANARY, movie, rating, at) for _, movie, rating, at in random_rows(0)[:12]]
    bad = [(CANARY, "m1", "x", 1), ("u3", "m2", "y", 1)]
    fill(database, tmp_path / "more", [*mine, *bad])
    assert command("filter", "add", "m30", "--user", CANARY, "--why", f"{CANARY} asked") == 0
    broken = tmp_path / "broken.csv"
    broken.write_text("user,movie,rating\n" + f"{CANARY},m1,x\n" * 20)
    assert command("ingest", str(broken)) == 1
    for _ in range(2):
        assert command("-q", "run") == 0
    return database


@pytest.mark.promise("F1")
def test_whoever_is_forgotten_is_nowhere(
    known: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No table, no file of weights and no byte of SQLite's file holds a forgotten user; others lose nothing."""
    everyone = rows(known, "SELECT count(*) FROM ratings")[0][0]
    kept = rows(
        known,
        "SELECT run_id, count(*) FROM recommendations WHERE user_id = 1 GROUP BY run_id ORDER BY run_id",
    )
    assert set(canaries(known)) == {"users", "ingest_rejects", "item_filters"}
    with leaving_what_is_deleted(known):
        assert command("forget", CANARY) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"{CANARY} is forgotten: 12 ratings, 40 rows of lists, 21 rejected rows, 2 files of weights, 1 filters"
    )
    assert canaries(known) == []
    assert rows(known, "SELECT count(*) FROM ratings")[0][0] == everyone - 12
    mine = "SELECT run_id, count(*) FROM recommendations WHERE user_id = 1 GROUP BY run_id ORDER BY run_id"
    assert rows(known, mine) == kept
    assert len(rows(known, "SELECT * FROM ingest_rejects")) == 1
    assert list((tmp_path / "artifacts").glob("*.safetensors")) == []
    shown(known)
    if known.file:
        for file in known.file.parent.glob(known.file.name + "*"):
            assert CANARY.encode() not in file.read_bytes(), file.name


@pytest.mark.promise("F1")
def test_kept_runs_stay_publishable(known: Database) -> None:
    """A run that lost a forgotten user's rows passes its audit: rollback to it works, and so does the next night."""
    with run_lock(known):
        forget(known, CANARY)
    assert command("rollback") == 0
    shown(known)
    assert command("-q", "run", "--force") == 0
    assert CANARY not in {
        key for (key,) in rows(known, "SELECT user_key FROM current_recommendations")
    }


@pytest.mark.usefixtures("nights")
def test_a_number_that_is_also_a_film(database: Database, tmp_path: Path) -> None:
    """Of MovieLens files a rejected row is a user's by its first field, whatever else has the same number."""
    lines = ["userId,movieId,rating,timestamp", "5,31,4,100", "1,31,x,100", "5,1,1,x", "1,32,4,100"]
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n")
    assert command("ingest", str(tmp_path / "ratings.csv")) == 0
    with run_lock(database):
        assert forget(database, "1").rejects == 1
    assert rows(database, "SELECT text FROM ingest_rejects") == [("5,1,1,x",)]


@pytest.mark.usefixtures("nights")
def test_a_key_that_holds_commas(database: Database, tmp_path: Path) -> None:
    """A rejected row of a long CSV is found by the whole key, also one with commas, and by no part of one."""
    lines = [
        "user,movie,rating",
        '"Li, Ann",m1,4',
        '"Li, Ann",m2,x',
        "Lily,m2,y",
        "Li,m3,z",
        "Li,m4,4",
    ]
    (tmp_path / "long.csv").write_text("\n".join(lines) + "\n")
    assert command("ingest", str(tmp_path / "long.csv")) == 0
    with run_lock(database):
        assert forget(database, "Li, Ann").rejects == 1
    assert rows(database, "SELECT text FROM ingest_rejects ORDER BY text") == [
        ("Li,m3,z",),
        ("Lily,m2,y",),
    ]
    with run_lock(database):
        assert forget(database, "Li").rejects == 1
    assert rows(database, "SELECT text FROM ingest_rejects") == [("Lily,m2,y",)]


def test_nobody_of_that_name(known: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown user is an error, and nobody is forgotten in their place."""
    before = rows(known, "SELECT count(*) FROM ratings")
    assert command("forget", "Quetzal") == 2
    assert "Quetzal" in capsys.readouterr().err
    assert rows(known, "SELECT count(*) FROM ratings") == before


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("F2")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_backup_is_one_state(
    database: Database, tmp_path: Path, figure: Callable[[int], None]
) -> None:
    """Copies taken while nights are published show one whole run each, and are databases like any other."""
    log = tmp_path / "log"

    def work() -> int:
        return max(command("-q", "run") for _ in range(10))

    child = in_child(work, log)
    seen = set()
    for number in range(20):
        file = tmp_path / f"copy-{number}.db"
        assert backup(database, file) == file.stat().st_size
        copy = open_database(f"sqlite:///{file}")
        seen.add(shown(copy))
        with copy.reader.connect() as connection:
            assert len(query.top(connection, "u1", model="blend").films) == 5
    assert ended(child) == 0, log.read_text()
    assert len(seen) > 1
    assert [file for file in tmp_path.iterdir() if file.suffix == ".part"] == []
    figure(20)


@pytest.mark.promise("F2")
def test_a_backup_replaces_nothing(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is there stays as it is, and Postgres is left to its own tool, by name."""
    there = tmp_path / "there.db"
    there.write_text("mine")
    with pytest.raises(NoBackupError, match="is there already" if database.file else "pg_dump"):
        backup(database, there)
    assert there.read_text() == "mine"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_backup_that_fails_leaves_no_file(database: Database, tmp_path: Path) -> None:
    """Where the copy cannot be written, or the database is none, the error names the file, and nothing stays."""
    with pytest.raises(NoBackupError, match="nowhere"):
        backup(database, tmp_path / "nowhere" / "copy.db")
    assert database.file
    with closing(sqlite3.connect(database.file)) as plain:
        plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.file.write_bytes(database.file.read_bytes()[:5000])
    with pytest.raises(NoBackupError, match=r"copy\.db: "):
        backup(database, tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy*"))
