"""People's data: a forgotten user is deleted everywhere, and a backup is one state."""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert

from batch import query
from batch.ingest.rows_of_person import PersonTexts
from batch.job.forget import forget
from batch.store import engines, erase, schema
from batch.store.backup import BackupFileError, NoBackupError, backup
from batch.store.database import Database, open_database
from batch.store.run_lock import run_lock
from data import fill, long_csv, random_rows
from faults import Faults
from fixed import command
from processes import ended, in_child
from tables import rows, selects, shown

CANARY = "u7-Quetzalcoatl"


def canaries(database: Database) -> list[str]:
    """Tables that have the canary in any column of any row."""

    def has_canary(row: tuple[Any, ...]) -> bool:
        return any(CANARY in str(value) for value in row)

    names = [table.name for table in schema.metadata.sorted_tables]
    return [name for name in names if any(map(has_canary, rows(database, f"SELECT * FROM {name}")))]


def files_with_canary(database: Database) -> list[str]:
    """The files of the database that have the canary; on Postgres without the server's log."""
    if database.file:
        files = list(database.file.parent.glob(database.file.name + "*"))
    else:
        with database.writer.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("CHECKPOINT")
            number = "SELECT oid FROM pg_database WHERE datname = current_database()"
            folder = connection.exec_driver_sql("SHOW data_directory").scalar_one()
            oid = connection.exec_driver_sql(number).scalar_one()
        files = list(Path(folder, "base", str(oid)).iterdir())
    return [file.name for file in files if CANARY.encode() in _content(file)]


def _content(file: Path) -> bytes:
    """What is in a file; nothing where the server has just removed it, as it does with caches."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def add_rejects(database: Database, format_: str, texts: list[str]) -> None:
    """A refused batch with rejected rows of these texts."""
    batch = {
        "batch_id": 900, "file": "x.csv", "format": format_, "settings_sha256": "",
        "snapshot_at": 0, "ingested_at": datetime.now(UTC), "status": "refused",
        "rows_read": len(texts), "rows_accepted": 0, "rows_rejected": len(texts),
        "rows_duplicate": 0, "all_timed": 0,
    }  # fmt: skip
    reject = {"batch_id": 900, "file": "x.csv", "code": "FIELD_COUNT", "message": "odd"}
    with database.writer.begin() as connection:
        connection.execute(insert(schema.ingest_batches), batch)
        for number, row in enumerate(texts):
            values = {"reject_no": number, "line": number + 1, "text": row}
            connection.execute(insert(schema.ingest_rejects), reject | values)


@contextmanager
def reading(database: Database) -> Iterator[None]:
    """Another application reads the users, in a transaction that stays open."""
    with selects(database) as select:
        select("SELECT * FROM users")
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that stay are waited for a second, not half a minute."""
    monkeypatch.setattr(erase, "PATIENCE", 1.0)
    monkeypatch.setattr(engines, "_SETTINGS", ("busy_timeout = 1000", *engines._SETTINGS[1:]))


@contextmanager
def without_secure_delete(database: Database) -> Iterator[None]:
    """SQLite as most builds are: deleted bytes stay in the file until they are overwritten."""

    def by_default(connection: Any, _record: object) -> None:
        if database.file:
            connection.execute("PRAGMA secure_delete = OFF")

    event.listen(Engine, "connect", by_default)
    try:
        yield
    finally:
        event.remove(Engine, "connect", by_default)


@pytest.fixture
def with_canary(nights: Faults, database: Database, tmp_path: Path) -> Database:
    """Three kept runs; one user has a unique name, a rejected row and an overwritten rating."""
    ratings = [(CANARY, movie, rating, at) for _, movie, rating, at in random_rows(0)[:12]]
    bad = [(CANARY, "m1", "x", 1), ("u3", "m2", "y", 1)]
    fill(database, tmp_path / "more", [*ratings, *bad])
    newer = tmp_path / "newer.csv"
    newer.write_text(long_csv([(CANARY, ratings[0][1], 0.5, 1_700_000_000)]))
    assert command("ingest", str(newer)) == 0
    assert command("filter", "add", "m30", "--user", CANARY, "--why", f"{CANARY} asked") == 0
    broken = tmp_path / "broken.csv"
    broken.write_text("user,movie,rating\n" + f"{CANARY},m1,x\n" * 20)
    assert command("ingest", str(broken)) == 1
    for _ in range(2):
        assert command("-q", "run") == 0
    return database


@pytest.mark.promise("F1")
def test_whoever_is_forgotten_is_nowhere(
    with_canary: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forgotten user is in no table, file of weights or byte of SQLite; others lose nothing."""
    of_another = (
        "SELECT run_id, count(*) FROM recommendations"
        " WHERE user_id = 1 GROUP BY run_id ORDER BY run_id"
    )
    [(n_ratings,)] = rows(with_canary, "SELECT count(*) FROM ratings")
    kept = rows(with_canary, of_another)
    assert set(canaries(with_canary)) == {"users", "ingest_rejects", "item_filters"}
    with without_secure_delete(with_canary):
        assert command("forget", CANARY) == 0
    counts = (
        "12 ratings, 1 overwritten ones, 160 rows of lists, 21 rejected rows,"
        " 2 files of weights, 1 filters, 0 films seen, 0 overwritten times"
    )
    assert capsys.readouterr().out.splitlines()[-1] == f"{CANARY} is forgotten: {counts}"
    assert canaries(with_canary) == []
    assert rows(with_canary, "SELECT * FROM superseded_ratings") == []
    assert rows(with_canary, "SELECT count(*) FROM ratings") == [(n_ratings - 12,)]
    assert rows(with_canary, of_another) == kept
    assert len(rows(with_canary, "SELECT * FROM ingest_rejects")) == 1
    assert list((tmp_path / "artifacts").glob("*.safetensors")) == []
    shown(with_canary)
    assert files_with_canary(with_canary) == []


@pytest.mark.promise("F3")
@pytest.mark.usefixtures("impatient")
def test_a_reader_that_stays_is_reported(
    with_canary: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """While an earlier reader keeps old pages, forget says so, exits 1 and names what helps."""
    with reading(with_canary):
        assert command("forget", CANARY) == 1
        assert files_with_canary(with_canary) != []
    error = capsys.readouterr().err.splitlines()[-1]
    assert "still in the database's files: a reader that began before is still at work" in error
    assert canaries(with_canary) == []
    remedy = error.partition("run: ")[2]
    if with_canary.file:
        assert remedy == f"sqlite3 {with_canary.file} 'PRAGMA wal_checkpoint(TRUNCATE)'"
        with closing(sqlite3.connect(with_canary.file)) as plain:
            assert plain.execute(remedy.split("'")[1]).fetchone() == (0, 0, 0)
    else:
        with with_canary.writer.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            for statement in remedy.rstrip(";").split(";"):
                connection.exec_driver_sql(statement)
    assert files_with_canary(with_canary) == []


@pytest.mark.promise("F3")
def test_a_reader_that_ends_is_waited_for(with_canary: Database, tmp_path: Path) -> None:
    """A reader that ends in time costs forget nothing but the time."""

    def read_a_while() -> int:
        with reading(with_canary):
            (tmp_path / "reading").touch()
            sleep(1)
        return 0

    child = in_child(read_a_while, tmp_path / "log")
    while not (tmp_path / "reading").exists():
        sleep(0.01)
    assert command("forget", CANARY) == 0
    assert files_with_canary(with_canary) == []
    assert ended(child) == 0


@pytest.mark.promise("F3")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("nights")
def test_every_writer_overwrites_what_it_deletes(database: Database, tmp_path: Path) -> None:
    """What another command than forget deletes is in no byte of a SQLite file either."""
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(long_csv([(CANARY, f"m{n}", 4, 1_700_000_000) for n in range(9)]))
    with without_secure_delete(database):
        assert command("ingest", str(wrong)) == 0
        assert files_with_canary(database) == [database.file.name] if database.file else []
        [(batch_id,)] = rows(database, "SELECT max(batch_id) FROM ingest_batches")
        assert command("ingest", "undo", str(batch_id)) == 0
    assert files_with_canary(database) == []


@pytest.mark.promise("F1")
def test_kept_runs_stay_publishable(with_canary: Database) -> None:
    """A run without the rows of a forgotten user can be published again, and the next one works."""
    with run_lock(with_canary):
        forget(with_canary, CANARY)
    assert command("rollback") == 0
    shown(with_canary)
    assert command("-q", "run", "--force") == 0
    assert (CANARY,) not in rows(with_canary, "SELECT user_key FROM current_recommendations")


@pytest.mark.usefixtures("nights")
def test_a_number_that_is_also_a_film(database: Database, tmp_path: Path) -> None:
    """In MovieLens files only the first field says whose a rejected row is."""
    lines = ["userId,movieId,rating,timestamp", "5,31,4,100", "1,31,x,100", "5,1,1,x", "1,32,4,100"]
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n")
    assert command("ingest", str(tmp_path / "ratings.csv")) == 0
    with run_lock(database):
        assert forget(database, "1").rejects == 1
    assert rows(database, "SELECT text FROM ingest_rejects") == [("5,1,1,x",)]


@pytest.mark.usefixtures("nights")
def test_a_key_that_holds_commas(database: Database, tmp_path: Path) -> None:
    """A rejected row of a long CSV is found by the whole key, commas included, not by a part."""
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


REJECTED = {
    "comma": "ann,m1,x",
    "semicolon": "m1;ANN;x",
    "tab": "m1\tAnn\tx",
    "bar": "m1|ann|x",
    "colons": "ann::m1::x",
    "control": "ann\x01m1\x01x",
    "tilde": "x~Ann~m1",
    "slash": "x/ann/m1",
    "quotes": "'Ann','m1',x",
    "json": '{"user": "ANN", "movie": "m1", "rating": "x"}',
    "spaces": "m1 ann x",
}
OTHERS = ["annie,m1,x", "ann@example.org,m1,x", "joann;m1;x", "d'ann,m1,x", "ann-marie|m1|x"]


@pytest.mark.promise("F4")
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.usefixtures("nights")
def test_rejected_rows_are_searched_in_any_separator_and_case(
    database: Database, known: bool, figure: Callable[[int], None]
) -> None:
    """Rejected rows of a person are found however they are written, known as a user or not."""
    add_rejects(database, "long file", [*REJECTED.values(), *OTHERS])
    if known:
        with database.writer.begin() as connection:
            connection.execute(insert(schema.users), {"user_id": 999, "user_key": "Ann"})
    assert command("forget", "Ann") == 0
    remaining = rows(database, "SELECT text FROM ingest_rejects ORDER BY reject_no")
    assert [text for (text,) in remaining] == OTHERS
    assert command("forget", "Ann") == 2
    figure(len(REJECTED))


@pytest.mark.parametrize(
    ("format_", "field", "row", "is_named"),
    [
        ("MovieLens ratings.csv", None, "7;31;4;100", True),
        ("MovieLens ratings.csv", None, '"7",31,x,100', True),
        ("MovieLens ratings.csv", None, "1,7,x,100", False),
        ("MovieLens ratings.csv", None, "71,7,x,100", False),
        ("long file", None, "31,7,x", True),
        ("long file", None, "31,4.7,x", False),
        ("long file", None, "31,-7,x", False),
        (None, None, "7;31", True),
        ("wide ratings matrix", "m1", "7", False),
        ("wide ratings matrix", "7", "9", True),
        ("wide ratings matrix", None, "7,4,4,,x,1", True),
        ("catalogue of films", None, "7,Seven", False),
    ],
)
def test_numbers_name_a_person_only_where_users_are(
    format_: str | None, field: str | None, row: str, is_named: bool
) -> None:
    """A number that may be a film or a rating is no trace of the user of that number."""
    assert PersonTexts({"7"}).are_in(format_, field, row) == is_named


@pytest.mark.parametrize(
    "row", [r"Ren\udce9,m1,x", r"REN\udcc9,m1,x", 'm1,"René",x', r'{"u": "Ren\u00e9"}', "RENÉ|x"]
)
def test_letters_are_found_in_other_encodings(row: str) -> None:
    """A name is found in a row whose bytes were not in the file's encoding, or escaped."""
    assert PersonTexts({"René"}).are_in("long file", None, row)


def test_quotes_in_a_key_are_found_doubled() -> None:
    """A key with quotes is found in a row of CSV, where they are doubled."""
    assert PersonTexts({'Bo "B" Li'}).are_in("long file", None, 'm1,"Bo ""B"" Li",x')


@pytest.mark.promise("F4")
def test_a_dry_run_shows_what_would_go(
    with_canary: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """--dry-run has the counts that forget then has, and changes no row and no file."""
    tables = [table.name for table in schema.metadata.sorted_tables]
    before = [rows(with_canary, f"SELECT * FROM {name}") for name in tables]
    capsys.readouterr()
    assert command("forget", CANARY, "--dry-run") == 0
    would = capsys.readouterr().out
    assert [rows(with_canary, f"SELECT * FROM {name}") for name in tables] == before
    assert list(Path("artifacts").glob("*.safetensors"))
    assert command("forget", CANARY) == 0
    assert capsys.readouterr().out == would.replace("would be", "is")


@pytest.mark.promise("F4")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "answer", "code"),
    [((), b"n\n", 1), ((), b"\x04", 1), ((), b"y\n", 0), (("--yes",), b"", 0)],
    ids=["no", "end of input", "yes", "--yes"],
)
def test_forget_asks_on_a_terminal(
    with_canary: Database,
    tmp_path: Path,
    arguments: tuple[str, ...],
    answer: bytes,
    code: int,
) -> None:
    """On a terminal a person sees what would go, and is asked; only yes removes anything."""
    controller, terminal = os.openpty()

    def ask() -> int:
        sys.stdin = os.fdopen(terminal)
        return command("forget", CANARY, *arguments)

    child = in_child(ask, tmp_path / "log")
    os.write(controller, answer)
    assert ended(child) == code
    output = (tmp_path / "log").read_text()
    question = f"forget {CANARY} for good: 12 ratings, 1 overwritten ones, 160 rows of lists"
    assert (question in output) == (not arguments)
    assert (canaries(with_canary) == []) == (code == 0)


def test_an_unknown_user_is_an_error(
    with_canary: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown user is an error, and no other user is forgotten."""
    before = rows(with_canary, "SELECT count(*) FROM ratings")
    assert command("forget", "Quetzal") == 2
    assert "Quetzal" in capsys.readouterr().err
    assert rows(with_canary, "SELECT count(*) FROM ratings") == before


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("F2")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_backup_is_one_state(
    database: Database, tmp_path: Path, figure: Callable[[int], None]
) -> None:
    """Copies taken while runs are published show one whole run each, and work as databases."""
    log = tmp_path / "log"

    def work() -> int:
        return max(command("-q", "run") for _ in range(10))

    child = in_child(work, log)
    run_ids = set()
    for number in range(20):
        file = tmp_path / f"copy-{number}.db"
        assert backup(database, file) == file.stat().st_size
        copy = open_database(f"sqlite:///{file}")
        run_ids.add(shown(copy))
        with copy.reader.connect() as connection:
            assert len(query.top(connection, "u1", model="blend").films) == 5
    assert ended(child) == 0, log.read_text()
    assert len(run_ids) > 1
    assert [file for file in tmp_path.iterdir() if file.suffix == ".part"] == []
    figure(20)


@pytest.mark.promise("F2")
def test_a_backup_replaces_nothing(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An existing file stays as it is; on Postgres the error names pg_dump."""
    existing = tmp_path / "there.db"
    existing.write_text("mine")
    expected = BackupFileError if database.file else NoBackupError
    with pytest.raises(expected, match="is there already" if database.file else "pg_dump"):
        backup(database, existing)
    assert existing.read_text() == "mine"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_backup_that_fails_leaves_no_file(database: Database, tmp_path: Path) -> None:
    """Where the copy fails the error names the file, and no file is left."""
    with pytest.raises(BackupFileError, match="nowhere"):
        backup(database, tmp_path / "nowhere" / "copy.db")
    assert database.file
    with closing(sqlite3.connect(database.file)) as plain:
        plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.file.write_bytes(database.file.read_bytes()[:5000])
    with pytest.raises(NoBackupError, match=r"copy\.db: "):
        backup(database, tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy*"))
