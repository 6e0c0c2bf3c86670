"""The file of a SQLite database: one name, one place, and who may read it."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from batch import query
from batch.job import steps
from batch.store.backup import backup
from batch.store.database import Database
from batch.store.sqlite_file import SecondNameError
from fixed import command
from processes import ended, in_child
from tables import rows

NOBODY = 65534
"""The number of a user without rights, on most systems."""

pytestmark = [
    pytest.mark.parametrize("url", ["sqlite"], indirect=True),
    pytest.mark.usefixtures("nights"),
]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def file_of(database: Database) -> Path:
    """The file, which a SQLite database has."""
    assert database.file
    return database.file


@pytest.mark.promise("B10")
def test_a_second_name_is_refused(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file with a hard link is not opened by either name: each would have a log of its own."""
    link = tmp_path / "link.db"
    link.hardlink_to(file_of(database))
    for name in (database.file, link):
        monkeypatch.setenv("RECBATCH_DATABASE__URL", f"sqlite:///{name}")
        for arguments in (("run",), ("top", "u1"), ("filter", "add", "m1"), ("db", "upgrade")):
            assert command(*arguments) == 2
            error = capsys.readouterr().err.splitlines()[-1]
            assert f"{name} has 2 names (hard links)" in error
    with (
        pytest.raises(SecondNameError, match="hard links"),
        query.snapshot(f"sqlite:///{link}") as connection,
    ):
        query.published(connection)
    link.unlink()
    assert rows(database, "SELECT count(*) FROM publication") == [(1,)]


def replace_by_copy(file: Path, tmp_path: Path) -> None:
    """Put a copy of the same content in its place, as a restored backup is."""
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.replace(file)


def remove(file: Path, _tmp_path: Path) -> None:
    """Delete the file."""
    file.unlink()


@pytest.mark.promise("B10")
@pytest.mark.parametrize("replace", [replace_by_copy, remove])
def test_a_file_that_is_replaced_during_a_night(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    replace: Callable[[Path, Path], None],
) -> None:
    """A night whose file was replaced or removed meanwhile fails and says so; it flips nothing."""
    audit = steps.audit_lists

    def audit_then_replace(*given: object) -> object:
        checks = audit(*given)  # type: ignore[arg-type]
        replace(file_of(database), tmp_path)
        return checks

    monkeypatch.setattr(steps, "audit_lists", audit_then_replace)
    assert command("-q", "run") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{database.file} was replaced or removed while this job was at work" in error
    if replace is replace_by_copy:
        assert rows(database, "SELECT run_id FROM publication") == [(1,)]


@pytest.mark.parametrize("parameters", ["uri=true", "uri=true&vfs=unix-none", "mode=ro"])
def test_parameters_of_an_address_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    parameters: str,
) -> None:
    """Parameters, which could switch locking off or choose another file, are wrong settings."""
    url = f"sqlite:///{tmp_path / 'other.db'}?{parameters}"
    monkeypatch.setenv("RECBATCH_DATABASE__URL", url)
    assert command("db", "upgrade") == 2
    assert "sqlite:///FILE takes no parameters; remove ?" in capsys.readouterr().err
    assert not list(tmp_path.glob("*other.db*"))


def as_nobody(work: Callable[[], int], log: Path) -> int:
    """Do work as a user without rights; what it returned."""

    def become_nobody() -> int:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return work()

    return ended(in_child(become_nobody, log))


@needs_root
def test_a_reader_who_may_not_write(database: Database, tmp_path: Path) -> None:
    """Who may only read gets the remedy from the database, and lists from a copy of it."""
    for folder in [tmp_path, *list(tmp_path.parents)[:-1]]:
        mode = folder.stat().st_mode
        if mode & 0o005 != 0o005:
            folder.chmod(mode | 0o055)
    copy = tmp_path / "copy.db"
    backup(database, copy)
    for file in (file_of(database), copy):
        file.chmod(0o644)

    def read_copy() -> int:
        with query.snapshot(f"sqlite:///{copy}") as connection:
            return len(query.top(connection, "u1", model="blend").films)

    log = tmp_path / "log"
    assert as_nobody(lambda: command("top", "u1"), log) == 1
    remedy = f"{database.file}; SQLite must be able to write"
    assert remedy in log.read_text()
    assert as_nobody(read_copy, log) == 5, log.read_text()
