"""Files and folders that the system does not let the program read: each is refused by name."""

import ctypes
import lzma
import os
import re
import socket
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batch.ingest import Report, UnreadableError, ingest, read_pairs
from batch.ingest.archives import find, members
from batch.ingest.errors import RefusedError
from batch.store.database import Database
from fixed import command
from tables import by, ratings, rows, with_tables

RATINGS = "user,movie,rating,timestamp\nAnn,Heat,4,100\n"
MERGED = [("Ann", "Heat", 4.0, 100)]
READ_ANY_FILE = 1 << 1 | 1 << 2
"""The Linux capabilities DAC_OVERRIDE and DAC_READ_SEARCH: root's right to read any file."""


class CapabilityHeader(ctypes.Structure):
    """The first argument of capset(2)."""

    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class CapabilityData(ctypes.Structure):
    """The second argument of capset(2), twice: capabilities 0 to 31, and 32 to 63."""

    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


@contextmanager
def permissions_apply() -> Iterator[None]:
    """Let file permissions count in this thread, also where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = CapabilityHeader(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    data = (CapabilityData * 2)()
    assert libc.capget(ctypes.byref(header), data) == 0
    effective = data[0].effective
    data[0].effective = effective & ~READ_ANY_FILE
    assert libc.capset(ctypes.byref(header), data) == 0
    try:
        yield
    finally:
        data[0].effective = effective
        assert libc.capset(ctypes.byref(header), data) == 0


@pytest.fixture
def sqlite(sqlite_url: str) -> Database:
    """An empty database, where the kind of database does not matter."""
    return with_tables(sqlite_url)


def locked(path: Path) -> None:
    path.write_text(RATINGS)
    path.chmod(0)


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # a socket's path has at most 107 bytes


def damaged_lzma(path: Path) -> None:
    """A .zip with a member whose LZMA stream is broken in the middle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.csv", RATINGS * 100)
    content = bytearray(path.read_bytes())
    content[60:70] = b"\xff" * 10
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive, pytest.raises(lzma.LZMAError):
        archive.read("x.csv")


def bad_name(path: Path) -> None:
    """A .zip whose directory claims a name to be UTF-8 that is not."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("é.csv", RATINGS)
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))


def future_version(path: Path) -> None:
    """A .zip that asks for version 9.9 of the format."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.csv", RATINGS)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 99
    path.write_bytes(content)


PERMISSION = r"cannot be read \(Permission denied\); .+"
BROKEN = r"broken archive \(.+\); copy the file again"
DISK_ERROR = r"cannot be read \(Input/output error\); .+"
MEMORY = "/proc/self/mem"  # a regular file whose first byte cannot be read

# name, how it is made, code, and the message behind the path
ENTRIES: dict[str, tuple[str, Callable[[Path], object], str, str]] = {
    "locked file": ("x.csv", locked, "UNREADABLE", PERMISSION),
    "locked gzip": ("x.csv.gz", locked, "UNREADABLE", PERMISSION),
    "locked zip": ("x.zip", locked, "UNREADABLE", PERMISSION),
    "disk error": ("x.csv", lambda path: path.symlink_to(MEMORY), "UNREADABLE", DISK_ERROR),
    "disk error, gzip": ("x.gz", lambda path: path.symlink_to(MEMORY), "UNREADABLE", DISK_ERROR),
    "disk error, zip": ("x.zip", lambda path: path.symlink_to(MEMORY), "UNREADABLE", DISK_ERROR),
    "broken link": (
        "x.csv",
        lambda path: path.symlink_to("nowhere.csv"),
        "NO_SUCH_FILE",
        "a link to a file that does not exist; .+",
    ),
    "circular link": (
        "x.csv",
        lambda path: path.symlink_to(path),
        "UNREADABLE",
        r"cannot be read \(Too many levels of symbolic links\); .+",
    ),
    "pipe": ("x.csv", os.mkfifo, "NOT_REGULAR", "a named pipe, not a regular file; .+"),
    "zipped pipe": ("x.zip", os.mkfifo, "NOT_REGULAR", "a named pipe, not a regular file; .+"),
    "device": (
        "x.csv",
        lambda path: path.symlink_to("/dev/zero"),
        "NOT_REGULAR",
        "a device, not a regular file; .+",
    ),
    "socket": ("x.csv", bind_socket, "NOT_REGULAR", "a socket, not a regular file; .+"),
    "folder": ("x.csv", Path.mkdir, "NOT_REGULAR", "a folder, not a regular file; .+"),
    "zipped folder": ("x.zip", Path.mkdir, "NOT_REGULAR", "a folder, not a regular file; .+"),
    "no archive": ("x.zip", lambda path: path.write_text(RATINGS), "BAD_ARCHIVE", BROKEN),
    "damaged LZMA": ("x.zip", damaged_lzma, "BAD_ARCHIVE", BROKEN),
    "bad name in archive": ("x.zip", bad_name, "BAD_ARCHIVE", BROKEN),
    "archive of the future": ("x.zip", future_version, "BAD_ARCHIVE", r"cannot be unpacked .+; .+"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities and /proc are Linux's")
@pytest.mark.parametrize("what", ENTRIES)
def test_entries_of_a_folder_that_cannot_be_read(
    sqlite: Database, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Such an entry is refused with its path, code, reason and remedy, and others are merged."""
    name, make, code, message = ENTRIES[what]
    good = write("in/good.csv", RATINGS)
    folder = good.parent
    monkeypatch.chdir(folder)
    make(folder / name)
    with permissions_apply():
        reports = ingest(sqlite, [folder], by())
    by_file = {Path(report.file): report for report in reports}
    assert by_file.pop(good).status == "merged"
    [(path, refused)] = by_file.items()
    assert path in (folder / name, folder / name / "x.csv")  # a member is named with its archive
    assert (refused.status, refused.code) == ("refused", code)
    assert re.fullmatch(f"{re.escape(str(path))}: {message}", refused.why)
    assert ratings(sqlite) == MERGED
    kept = rows(sqlite, "SELECT file, error FROM ingest_batches WHERE status = 'refused'")
    assert kept == [(str(path), refused.why)]


def refused(report: Report) -> tuple[str, str | None, str]:
    assert report.status == "refused"
    return report.file, report.code, report.why


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_folders_that_cannot_be_read(sqlite: Database, write: Callable[..., Path]) -> None:
    """A folder that cannot be listed, or whose files cannot be reached, is refused by name."""
    good = write("good.csv", RATINGS)
    unlisted = write("unlisted/x.csv", RATINGS).parent
    unsearchable = write("unsearchable/x.csv", RATINGS).parent
    unlisted.chmod(0o000)
    unsearchable.chmod(0o444)
    paths = [unlisted, unlisted / "x.csv", unsearchable, good]
    with permissions_apply():
        *bad, merged = ingest(sqlite, paths, by())
    files = [unlisted, unlisted / "x.csv", unsearchable / "x.csv"]
    assert [refused(report)[:2] for report in bad] == [(str(file), "UNREADABLE") for file in files]
    for file, report in zip(files, bad, strict=True):
        assert re.fullmatch(f"{re.escape(str(file))}: {PERMISSION}", report.why)
    assert (merged.status, ratings(sqlite)) == ("merged", MERGED)


def test_paths_that_cannot_be_files(sqlite: Database, write: Callable[..., Path]) -> None:
    """A name too long for the system, or with a NUL, is refused; the files beside it are merged."""
    good = write("good.csv", RATINGS)
    long, nul = good.with_name("x" * 300), good.with_name("x\0.csv")
    too_long, no_file, merged = ingest(sqlite, [long, nul, good], by())
    assert refused(too_long)[:2] == (str(long), "UNREADABLE")
    assert "File name too long" in too_long.why
    assert refused(no_file)[1] == "NO_SUCH_FILE"
    assert (merged.status, ratings(sqlite)) == ("merged", MERGED)


def test_a_file_that_vanishes_once_listed(write: Callable[..., Path]) -> None:
    """A file that is deleted after its folder was listed is refused at every step."""
    path = write("in/x.csv", RATINGS)
    [source], _ = find(path.parent)
    path.unlink()
    steps: list[Callable[[], object]] = [
        lambda: members(source),
        source.head,
        source.content,
        lambda: source.modified_at,
    ]
    for step in steps:
        with pytest.raises(RefusedError, match="no such file or folder; ") as error:
            step()
        assert error.value.code == "NO_SUCH_FILE"


@pytest.mark.parametrize("name", ["x.csv", "x.zip"])
def test_a_file_that_vanishes_before_it_is_merged(
    sqlite: Database, write: Callable[..., Path], name: str
) -> None:
    """A file that was examined and is gone, or another archive, when it is merged is refused."""
    good = write("good.csv", RATINGS)
    bad = good.with_name(name)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("y.csv", RATINGS.replace("Ann", "Bob"))
    if name == "x.csv":
        bad.write_text(RATINGS.replace("Ann", "Bob"))

    def paths() -> Iterator[Path]:
        yield bad
        bad.unlink()  # examined by now: the next path has been asked for
        if name == "x.zip":
            zipfile.ZipFile(bad, "w").close()
        yield good

    reports = {report.status: report for report in ingest(sqlite, paths(), by())}
    assert reports["merged"].file == str(good)
    file, code, why = refused(reports["refused"])
    assert (file, code) in [(str(bad), "NO_SUCH_FILE"), (f"{bad}/y.csv", "BAD_ARCHIVE")]
    assert re.fullmatch(f"{re.escape(file)}: .+; .+", why)
    assert ratings(sqlite) == MERGED


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_pairs_are_not_read_in_part(write: Callable[..., Path]) -> None:
    """A measurement on a file that cannot be read ends with an error that names it."""
    path = write("in/x.csv", RATINGS)
    write("in/good.csv", RATINGS)
    path.chmod(0)
    with permissions_apply(), pytest.raises(UnreadableError, match=f"{path}: {PERMISSION}"):
        read_pairs(path.parent, by())


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # root needs its rights for Postgres
@pytest.mark.usefixtures("nights")
def test_commands_with_a_folder_that_cannot_be_read(
    database: Database,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`ingest` merges the rest and ends with 1; `run` reports what is refused and goes on."""
    folder = write("in/good.csv", "user,movie,rating,timestamp\nann,m1,4,100\n").parent
    locked(folder / "x.csv")
    (folder / "y.csv").mkdir()
    unlisted = write("unlisted/z.csv", RATINGS).parent
    unlisted.chmod(0)
    bad = [folder / "x.csv", folder / "y.csv", unlisted]
    monkeypatch.setenv("RECBATCH_INGEST__PATHS", f"[{folder}, {unlisted}]")
    with permissions_apply():
        run_code = command("-q", "run", "--no-publish")
        run_errors = capsys.readouterr().err
        ingest_code = command("-q", "ingest", str(folder), str(unlisted))
        ingest_errors = capsys.readouterr().err
    unlisted.chmod(0o700)  # so that pytest can remove it
    assert (run_code, ingest_code) == (0, 1)
    for errors in (run_errors, ingest_errors):
        assert "Traceback" not in errors
        assert all(f"refused: {path}: " in errors for path in bad)
    assert ("ann", "m1", 4.0, 100) in ratings(database)
    assert rows(database, "SELECT status FROM runs ORDER BY run_id") == [("published",), ("ready",)]
