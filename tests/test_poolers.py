"""PgBouncer between this program and Postgres: readers work, the job works or says what to do."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from batch import query
from batch.store import publish
from batch.store.database import Database, open_database
from batch.store.run_lock import LockedError, run_lock
from batch.store.sessions import UnfitServerError
from data import long_csv
from faults import Faults
from fixed import command
from pgbouncer import Application, Pooler
from tables import rows, shown

URL = "RECBATCH_DATABASE__URL"
JOB_URL = "RECBATCH_DATABASE__JOB_URL"
pytestmark = pytest.mark.parametrize("url", ["postgres"], indirect=True)
READS = (
    ["top", "u1"],
    ["runs"],
    ["diff", "1", "1"],
    ["ingest", "list"],
    ["filter", "list"],
    ["check"],
    ["export", "lists.csv"],
)
"""Commands that change nothing."""
WRITES = (
    ["db", "upgrade"],
    ["ingest", "more.csv"],
    ["-q", "run", "--force"],
    ["rollback"],
    ["publish", "2"],
    ["forget", "u2"],
    ["purge"],
)
"""Commands that take the run lock, in an order in which each has something to do."""
POOLS = [(1, {}), (3, {}), (2, {"server_round_robin": 1}), (3, {"server_round_robin": 1})]
"""Sessions of a pool, and its settings."""


@pytest.fixture
def more(tmp_path: Path) -> None:
    """A file that `ingest` reads."""
    file = tmp_path / "more.csv"
    file.write_text(long_csv([("u99", f"m{n}", 4, 1_700_000_000) for n in range(9)]))


@pytest.mark.promise("G1")
@pytest.mark.usefixtures("nights")
def test_readers_work_through_a_pooler(
    pooler: Pooler, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What changes nothing says the same through a pool of one session, and leaves it as it was."""
    direct = [(command(*words), capfd.readouterr().out) for words in READS]
    address = pooler("transaction")
    application = Application(address, 1)
    monkeypatch.setenv(URL, address)
    for words, expected in zip(READS, direct, strict=True):
        assert (command(*words), capfd.readouterr().out) == expected, words
        application.require_unharmed()
    assert command("filter", "add", "m1") == 0  # a single transaction, without the lock
    application.require_unharmed()
    assert [code for code, _ in direct] == [0] * len(READS)


@pytest.mark.promise("G1")
@pytest.mark.usefixtures("nights")
def test_a_snapshot_through_a_pooler_stays_whole(database: Database, pooler: Pooler) -> None:
    """A reader in a pool sees one run as long as it reads, and other sessions stay as they were."""
    address = pooler("transaction", 3)
    application = Application(address, 3)
    with query.snapshot(address) as connection:
        before = query.published(connection)
        assert command("-q", "run") == 0
        for _ in range(10):  # psycopg prepares a repeated statement by default
            assert query.top(connection, "u1", model="blend").run_id == 1
        assert query.published(connection) == before
        with pytest.raises(Exception, match="read-only transaction"):
            connection.execute(text("DELETE FROM publication"))
    assert shown(database) == 2
    application.require_unharmed()


@pytest.mark.promise("G2")
@pytest.mark.usefixtures("nights", "more")
@pytest.mark.parametrize(("size", "settings"), POOLS)
def test_the_job_refuses_changing_sessions(
    database: Database,
    pooler: Pooler,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    size: int,
    settings: dict[str, int],
) -> None:
    """Where a pooler changes sessions, what needs the lock exits 2, says why, and leaves nothing.

    Also `schedule`, at its start.
    """
    address = pooler("transaction", size, **settings)
    application = Application(address, size)
    with monkeypatch.context() as patch:
        patch.setenv(URL, address)
        for words in (*WRITES, ["schedule"]):
            capfd.readouterr()
            assert command(*words) == 2, words
            message = capfd.readouterr().err.strip().splitlines()[-1]
            assert message.startswith("recbatch: database.url"), words
            assert "database.job_url" in message
            application.require_unharmed()
    assert shown(database) == 1
    with run_lock(database):  # nothing holds it
        pass


@pytest.mark.promise("G2")
@pytest.mark.usefixtures("nights")
def test_a_busy_pool_is_recognised(
    database: Database,
    pooler: Pooler,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """A pool is recognised whichever of its sessions others use meanwhile."""
    size = 4
    address = pooler("transaction", size)
    pooled = open_database(address)
    tries = often(10, 200)
    for number in range(tries):
        with psycopg.connect(address) as first, psycopg.connect(address) as second:
            first.execute("SELECT 1")
            if number % 2:
                second.execute("SELECT 1")
            first.rollback()
            with pytest.raises(UnfitServerError), run_lock(pooled):
                pass
    with run_lock(database):
        pass
    figure(tries)


@pytest.mark.promise("G2")
@pytest.mark.usefixtures("nights", "more")
def test_the_job_has_an_address_of_its_own(
    database: Database, pooler: Pooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With database.job_url every command works, and readers stay on the pool."""
    address = pooler("transaction")
    application = Application(address, 1)
    monkeypatch.setenv(JOB_URL, database.url.render_as_string(hide_password=False))
    monkeypatch.setenv(URL, address)
    rating = """SELECT 'u1' AS "user", 'm1' AS movie, 5 AS rating"""
    monkeypatch.setenv("RECBATCH_INGEST__QUERY", rating)
    monkeypatch.setenv("RECBATCH_INGEST__QUERY_URL", address)
    for words in (*READS, *WRITES):
        assert command(*words) == 0, words
    assert command("filter", "add", "m1") == 0
    assert command("filter", "remove", "1") == 0
    assert command("top", "u1") == 0
    application.require_unharmed()
    monkeypatch.setenv(URL, "postgresql://nobody@127.0.0.1:1/nowhere")
    assert command("-q", "run") == 0  # not at database.url


@pytest.mark.promise("G2")
@pytest.mark.usefixtures("nights", "more")
def test_sessions_of_a_pool_work(
    pooler: Pooler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where a pooler gives each connection a session, every command works as without it."""
    address = pooler("session", 4)
    application = Application(address, 4)
    monkeypatch.setenv(URL, address)
    for words in (*WRITES, *READS):
        assert command(*words) == 0, words
    application.require_unharmed()
    pooled = open_database(address)
    with run_lock(pooled), pytest.raises(LockedError), run_lock(pooled):
        pass


@pytest.mark.promise("B3")
def test_a_lock_that_is_not_there_publishes_nothing(
    nights: Faults, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that lives and has lost the lock cannot publish: its night fails."""
    commit = publish.commit_or_verify

    def unlocked(database: Database, connection: object, is_committed: object) -> object:
        connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")  # type: ignore[attr-defined]
        connection.commit()  # type: ignore[attr-defined]
        return commit(database, connection, is_committed)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(publish, "commit_or_verify", unlocked)
        assert command("-q", "run") == 1
        assert command("rollback") == 1
    assert shown(database) == 1
    [(status, error)] = rows(database, "SELECT status, error FROM runs WHERE run_id = 2")
    assert status == "failed"
    assert "lock" in error
