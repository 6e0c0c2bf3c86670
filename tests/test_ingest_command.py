"""`recbatch ingest`: what it reads, where from, and what it prints."""

import bz2
import gzip
import io
import lzma
import os
import sqlite3
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from batch.cli import standard_input
from fixed import program

RATINGS = b"user,movie,rating,timestamp\nann,heat,4.5,1500000000\nbo,ran,2,1500000001\n"

SETTINGS = """
ingest:
  paths: [ratings.csv]
  query: SELECT who AS user, what AS movie, stars AS rating FROM reviews
  films_query: SELECT DISTINCT what AS movie, what || '!' AS title FROM reviews
  query_url: sqlite:///shop.db
"""
STORED = "SELECT user_key, title, rating FROM ratings JOIN users USING (user_id) JOIN movies"


def stored(folder: Path) -> list[tuple[str, str, float]]:
    """(user, title, rating) of the database in a folder, in order."""
    with closing(sqlite3.connect(folder / "recbatch.db")) as connection:
        return sorted(connection.execute(f"{STORED} USING (movie_id)"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with settings, a file of ratings and the database of a shop."""
    (tmp_path / "config.yaml").write_text(SETTINGS)
    (tmp_path / "ratings.csv").write_text("user,movie,rating\nann,ran,3\n")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE reviews (who TEXT, what TEXT, stars REAL)")
        connection.execute("INSERT INTO reviews VALUES ('bo', 'heat', 4.5), ('bo', 'ran', 2)")
    return tmp_path


def test_without_a_path_it_reads_what_the_settings_name(shop: Path) -> None:
    """`ingest` alone merges the files and queries of the settings, and passes over undone ones."""
    done = program(shop, "ingest")
    assert done.returncode == 0, done.stderr
    assert stored(shop) == [("ann", "ran!", 3), ("bo", "heat!", 4.5), ("bo", "ran!", 2)]
    assert program(shop, "ingest", "undo", "1").returncode == 0
    again = program(shop, "ingest")
    assert "ratings.csv: undone as batch 1;" in again.stdout
    assert stored(shop) == [("bo", "heat!", 4.5), ("bo", "ran!", 2)]
    (shop / "shop.db").unlink()
    assert program(shop, "ingest").returncode == 1
    assert program(shop, "ingest", "ratings.csv").returncode == 0  # asks no query
    assert len(stored(shop)) == 3


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--json",)])
def test_nothing_to_read(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Without a PATH and settings that name sources it is wrong use, with the remedy."""
    done = program(tmp_path, "ingest", *options)
    assert done.returncode == 2
    assert done.stderr == (
        "recbatch: nothing to ingest: name files, as in 'recbatch ingest ratings.csv', or set"
        " ingest.paths or ingest.query\n"
    )
    assert list(tmp_path.iterdir()) == []


def pipe(patch: pytest.MonkeyPatch, content: bytes) -> None:
    """Make this the standard input."""
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_standard_input_is_read_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    """`-` is standard input, packed or not, known as `-`; its copy is gone in the end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    pipe(monkeypatch, pack(RATINGS))
    (tmp_path / "more.csv").write_text("user,movie,rating\ncy,ran,1\n")
    done = program(tmp_path, "ingest", "more.csv", "-")
    assert done.returncode == 0, done.stderr
    assert "-: long file, because" in done.stdout
    assert stored(tmp_path) == [("ann", "heat", 4.5), ("bo", "ran", 2), ("cy", "ran", 1)]
    assert " - " in program(tmp_path, "ingest", "list").stdout
    assert list((tmp_path / "tmp").iterdir()) == []
    pipe(monkeypatch, RATINGS)
    assert "-: already ingested as batch " in program(tmp_path, "ingest", "-").stdout


def test_an_archive_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members of a piped .zip are shown as -/MEMBER, also those that are not looked at."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("in/ratings.csv", RATINGS)
        archive.writestr("in/README.txt", "what this is")
    pipe(monkeypatch, content.getvalue())
    done = program(tmp_path, "ingest", "-")
    assert done.returncode == 0, done.stderr
    assert "-/in/README.txt: not looked at" in done.stdout
    assert "-/in/ratings.csv: long file" in done.stdout
    assert "recbatch-" not in done.stdout


def test_standard_input_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no table is refused as `-`; a terminal, or `-` twice, is wrong use."""
    main, terminal = os.openpty()
    with os.fdopen(main), os.fdopen(terminal) as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        done = program(tmp_path, "ingest", "-")
    assert done.returncode == 2
    assert "pipe a file into it" in done.stderr
    assert program(tmp_path, "ingest", "-", "-").returncode == 2
    assert list(tmp_path.iterdir()) == []
    pipe(monkeypatch, b"")
    empty = program(tmp_path, "ingest", "-")
    assert (empty.returncode, empty.stderr) == (1, "refused: -: the file is empty\n")
    full = Path("/dev/full")  # every write fails: no space left on device
    if full.exists():
        monkeypatch.setattr(standard_input, "COPY", str(full))
        pipe(monkeypatch, RATINGS)
        done = program(tmp_path, "ingest", "-")
        assert (done.returncode, "make room there" in done.stderr) == (1, True)
