"""Any one statement, commit or file write fails: the list stays whole, the answer is right, the next night works."""

import resource
from collections.abc import Callable
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from batch import publish
from batch.database import Database
from faults import KINDS, Faults, Kind
from fixed import command
from processes import ended, in_child
from tables import leftovers, rows, shown

DONE, FAILED = 0, 1


def night(
    nights: Faults, database: Database, folder: Path, at: int = 0, kind: Kind = "before", most: int | None = None
) -> tuple[int, int]:
    """Run one with a fault in a process of its own; its exit code, and how many statements it came to.

    The code must agree with whether readers see another run than before, and what is told must be for people. No file
    may become larger than `most` bytes.
    """
    before, told, log = shown(database), folder / "told", folder / "log"

    def work() -> int:
        nights.plan(at, kind)
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        code = command("-q", "run")
        told.write_text(str(nights.count))
        return code

    log.unlink(missing_ok=True)
    code = ended(in_child(work, log))
    assert code == (FAILED if shown(database) == before else DONE), (at, log.read_text())
    assert "Traceback" not in log.read_text(), (at, log.read_text())
    return code, int(told.read_text())


def next_night(database: Database) -> None:
    """The one after trouble: it works without help, and nothing of the trouble is left."""
    assert command("-q", "run") == DONE
    assert leftovers(database) == []


@pytest.mark.promise("A7")
@pytest.mark.parametrize("kind", KINDS)
def test_any_statement_may_fail(
    kind: Kind, nights: Faults, database: Database, tmp_path: Path, figure: Callable[[int], None]
) -> None:
    """Whichever statement or commit fails, exit code and view agree, the view is whole, and the next night works."""
    next_night(database)
    next_night(database)  # from here on a night purges one
    _, normal = night(nights, database, tmp_path)
    outcomes, untold = [], 0
    for at in count(1):
        code, reached = night(nights, database, tmp_path, at, kind)
        if reached < at:  # it is done before: every statement has had its turn
            break
        outcomes.append(code)
        untold += len(rows(database, "SELECT run_id FROM runs WHERE status = 'running'"))
        next_night(database)
    assert len(outcomes) >= 0.8 * normal
    assert set(outcomes) == {DONE, FAILED}  # what fails once the list is out leaves it out
    # A run that ends says so, but for one that was never told that it was opened.
    assert untold <= (kind != "before")
    figure(len(outcomes))


@pytest.mark.promise("A8")
@pytest.mark.parametrize("kind", ["after", "closed"])
def test_a_commit_whose_answer_is_lost_is_told_as_it_went(
    kind: Kind, nights: Faults, database: Database, monkeypatch: pytest.MonkeyPatch, figure: Callable[[int], None]
) -> None:
    """A night, or a rollback, whose last commit was done without an answer says that it is published, and is, once."""
    assert command("-q", "run") == DONE
    for name, arguments in (("publish", ["-q", "run"]), ("republish", ["rollback"])) * 10:
        work = getattr(publish, name)

        def then_lose(*given: Any, work: Any = work, **named: Any) -> None:
            work(*given, **named)
            nights.plan(1, kind)  # what comes next is the commit

        with monkeypatch.context() as patch:
            patch.setattr(publish, name, then_lose)
            before = shown(database)
            assert command(*arguments) == DONE
        nights.rest()
        assert nights.count > 1
        assert shown(database) != before
    figure(20)


@contextmanager
def room_for(pages: int) -> Any:
    """Databases that may grow by so many pages, as on a disk that is nearly full."""

    def limit(connection: Any, _record: object) -> None:
        [(used,)], [(free,)] = (connection.execute(f"PRAGMA {of}_count").fetchall() for of in ("page", "freelist"))
        connection.execute(f"PRAGMA max_page_count = {used - free + pages}")

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)


@pytest.mark.promise("A7")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_full_disk(
    nights: Faults, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Callable[[int], None]
) -> None:
    """Wherever the disk is full, the list stays as it was, and the next night, with room again, works."""
    monkeypatch.setenv("RECBATCH_PUBLISH__KEEP_RUNS", "100")  # so that each night needs room of its own
    outcomes = []
    for pages in range(20):
        with room_for(pages):
            outcomes.append(night(nights, database, tmp_path)[0])
        next_night(database)
    assert set(outcomes) == {DONE, FAILED}
    figure(len(outcomes))


@pytest.mark.promise("A7")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_file_that_cannot_grow(
    nights: Faults, database: Database, tmp_path: Path, figure: Callable[[int], None]
) -> None:
    """Whatever size a file may have, of the database, its log or the weights, a night that needs more fails cleanly."""
    outcomes = []
    for most in range(4_000, 404_000, 20_000):
        outcomes.append(night(nights, database, tmp_path, most=most)[0])
        next_night(database)
    assert set(outcomes) == {DONE, FAILED}
    figure(len(outcomes))
