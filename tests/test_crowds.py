"""Many at once: readers while nights are published, and jobs that are started together."""

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from batch.job import steps
from batch.store.database import Database, open_database
from batch.store.run_lock import run_lock
from data import fill, long_csv, random_rows
from fixed import command
from processes import ended, in_child, together
from tables import shown

LOCKED = 75
LATER = 1_700_000_000
READERS = 8
PAUSES = 300, 0
"""Milliseconds between a reader's rounds: on a commit, when other tests run too, and in soak."""


def read(url: str, until: Path, answer: Path, pause: float) -> int:
    """Read lists until a file appears; record the number of answers and what was wrong.

    The pause between rounds is in seconds.
    """
    database = open_database(url)
    one = text(
        "SELECT run_id, rank FROM current_recommendations WHERE user_key = :key AND model = 'blend'"
    )
    every = text("SELECT run_id, count(*) FROM current_recommendations GROUP BY run_id")
    reads, wrong, last, seen = 0, [], 0, set()
    parent = os.getppid()
    with database.reader.connect() as connection:
        while not until.exists() and os.getppid() == parent:  # which may have been killed
            for number in range(25):
                with connection.begin():
                    rows = connection.execute(one, {"key": f"u{number}"}).all()
                reads += 1
                runs, ranks = {row.run_id for row in rows}, sorted(row.rank for row in rows)
                if len(runs) != 1 or ranks != [1, 2, 3, 4, 5] or min(runs) < last:
                    wrong.append((sorted(runs), ranks, last))
                last = max(runs, default=last)
                seen |= runs
            with connection.begin():
                whole = connection.execute(every).all()
            reads += 1
            if [row[1] for row in whole] != [500]:
                wrong.append(whole)
            time.sleep(pause)
    answer.write_text(
        json.dumps({"reads": reads, "runs": len(seen), "wrong": [str(each) for each in wrong[:5]]})
    )
    return 0


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("A1")
def test_readers_in_a_crowd(
    database: Database, url: str, tmp_path: Path, often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:  # fmt: skip
    """During publications, refreshes and purges, each answer to eight readers is one whole run.

    None is older than the last.
    """
    until, answers = (
        tmp_path / "until",
        [tmp_path / f"reader-{number}" for number in range(READERS)],
    )
    pause = often(*PAUSES) / 1000
    crowd = [
        in_child(lambda answer=answer: read(url, until, answer, pause), tmp_path / "log")
        for answer in answers
    ]  # type: ignore[misc]
    wanted = often(6, 200)
    for round_ in range(wanted):
        assert command("-q", "run") == 0
        if round_ % 3 == 0:
            later = [(f"u{user}", f"m{round_ % 40}", 5.0, LATER + round_) for user in range(5)]
            (tmp_path / "later.csv").write_text(long_csv(later))
            assert command("-q", "ingest", str(tmp_path / "later.csv")) == 0
            assert command("-q", "refresh") == 0
    n_refreshes = -(-wanted // 3)
    if often(0, 1):
        time.sleep(60)
    until.touch()
    assert [ended(child) for child in crowd] == [0] * READERS, (tmp_path / "log").read_text()
    results = [json.loads(answer.read_text()) for answer in answers]
    assert [each["wrong"] for each in results] == [[]] * READERS
    assert min(each["runs"] for each in results) > 1  # they did read while nights were published
    assert shown(database) == wanted + n_refreshes + 1
    figure(sum(each["reads"] for each in results))


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("A2")
@pytest.mark.promise("A3")
def test_publishing_waits_for_no_reader(
    database: Database, often: Callable[[int, int], int], figure: Callable[[int], None]
) -> None:
    """With impatient locks, nights are published and purged under readers, who keep their view."""

    def impatient(connection: Connection) -> None:
        connection.exec_driver_sql(
            "PRAGMA busy_timeout = 0" if database.file else "SET LOCAL lock_timeout TO '1ms'"
        )

    count = text("SELECT run_id, count(*) FROM current_recommendations GROUP BY run_id")
    times = often(4, 10)
    with ExitStack() as stack:
        readers = [stack.enter_context(database.reader.connect()) for _ in range(4)]
        assert [reader.execute(count).all() for reader in readers] == [[(1, 500)]] * 4
        event.listen(Engine, "begin", impatient)
        stack.callback(event.remove, Engine, "begin", impatient)
        for _ in range(times):
            assert command("-q", "run") == 0
        assert [reader.execute(count).all() for reader in readers] == [[(1, 500)]] * 4
    assert shown(database) == times + 1
    figure(times)


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("B1")
def test_twenty_at_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    often: Callable[[int, int], int], figure: Callable[[int], None],
) -> None:  # fmt: skip
    """Of twenty jobs that start together one works; the others exit 75 before it is done."""
    measure = steps.measure

    def slowly(*given: Any) -> Any:
        time.sleep(3)
        return measure(*given)

    monkeypatch.setattr(steps, "measure", slowly)
    rounds = often(1, 10)
    for round_ in range(rounds):
        found = together(20, lambda _: command("-q", "run"), tmp_path / "log")
        assert [code for code, _ in found] == [LOCKED] * 19 + [0], (tmp_path / "log").read_text()
        assert found[-1][1] - found[-2][1] > 0.5  # they did not wait for the one that worked
        assert shown(database) == round_ + 2
    figure(20 * rounds)


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("B4")
def test_a_night_that_is_started_many_times(
    database: Database, tmp_path: Path, often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:  # fmt: skip
    """Five jobs for one night at once, then five more in turn: one publication, no failure."""
    days = often(2, 5)
    for day in range(1, days + 1):
        order = ("-q", "run", "--scheduled-for", f"2026-11-0{day}")
        found = together(5, lambda _, order=order: command(*order), tmp_path / "log")  # type: ignore[misc]
        assert {code for code, _ in found} <= {0, LOCKED}
        assert [command(*order) for _ in range(5)] == [0] * 5
        assert shown(database) == day + 1
    with database.reader.connect() as connection:
        per_night = text(
            "SELECT count(*) FROM runs WHERE triggered_by = 'schedule' GROUP BY logical_date"
        )
        assert connection.execute(per_night).scalars().all() == [1] * days
    figure(10 * days)


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("B2")
def test_a_holder_that_is_gone(
    database: Database, tmp_path: Path, often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:  # fmt: skip
    """A job that was stopped holds its lock; once it is killed the next one starts at once."""
    times = often(1, 3)
    for _ in range(times):
        held = tmp_path / "held"
        held.unlink(missing_ok=True)

        def hold(held: Path = held) -> int:
            with run_lock(database):
                held.touch()
                time.sleep(600)
            return 0

        child = in_child(hold, tmp_path / "log")
        while not held.exists():
            time.sleep(0.01)
        os.kill(child, signal.SIGSTOP)
        assert command("-q", "run") == LOCKED
        os.kill(child, signal.SIGKILL)
        assert ended(child) == -signal.SIGKILL
        began = time.monotonic()
        while (code := command("-q", "run")) == LOCKED:  # a server notices a moment later
            assert time.monotonic() - began < 10
        assert code == 0
    figure(times)


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("A11")
def test_tables_stop_growing(
    database: Database, tmp_path: Path, often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:  # fmt: skip
    """From the third night on, with two runs kept, the file or table grows no more."""
    fill(
        database, tmp_path / "more", random_rows(1, n_users=120)
    )  # so that lists are most of what there is
    sizes = []
    for _ in range(often(8, 12)):
        assert command("-q", "run", "--force") == 0
        sizes.append(_size(database))
    assert max(sizes[4:]) <= 1.1 * max(sizes[:4])
    figure(len(sizes))


def _size(database: Database) -> int:
    if database.file:
        return database.file.stat().st_size
    with database.writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # As the server does by itself, later.
        connection.execute(text("VACUUM recbatch.recommendations"))
        return int(
            connection.execute(
                text("SELECT pg_total_relation_size('recbatch.recommendations')")
            ).scalar_one()
        )
