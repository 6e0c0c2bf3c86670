"""`recbatch ingest`: what it reads, where from, and what it prints."""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import sqlite3
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from batch.cli import standard_input
from batch.ingest import ingest
from batch.ingest.first_rows import StoredRating
from fixed import program
from tables import Write, by, with_tables

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
    assert "-/in/README.txt: documentation" in done.stdout
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


def test_a_dry_run_shows_the_first_rows(tmp_path: Path) -> None:
    """--dry-run shows the first five accepted rows of each file, by the names of their columns."""
    rows = ["ann,heat,x,1500000000", *(f"u{n},ran,{n}.5,{1500000000 + n}" for n in range(6))]
    text = "\n".join(["userId,movieId,rating,timestamp", *rows, ""])
    (tmp_path / "long.csv").write_text(text)
    (tmp_path / "films.csv").write_text("movie,title,genres\nran,Ran (1985),War|Drama\n")
    done = program(tmp_path, "ingest", "--dry-run", "long.csv", "films.csv")
    assert done.returncode == 0, done.stderr
    tables = [line.split() for line in done.stdout.splitlines() if ":" not in line[:20]]
    assert tables == [
        ["film", "title", "genres"],
        ["ran", "Ran", "(1985)", "Drama|War"],
        [],
        ["user", "film", "rating", "time"],
        *([f"u{n}", "ran", f"{n}.5", "2017-07-14", f"02:40:0{n}"] for n in range(5)),
        [],
    ]
    assert "  would be merged: 7 rows = 6 accepted + 1 rejected + 0 duplicate" in done.stdout
    printed = json.loads(program(tmp_path, "ingest", "--dry-run", "--json", "long.csv").stdout)
    first = {"user": "u0", "film": "ran", "rating": 0.5, "time": "2017-07-14T02:40:00+00:00"}
    assert printed[0]["first_rows"][0] == first
    assert len(printed[0]["first_rows"]) == 5
    merged = json.loads(program(tmp_path, "ingest", "--json", "long.csv").stdout)
    assert merged[0]["first_rows"] == []
    again = program(tmp_path, "ingest", "--dry-run", "films.csv")
    assert (again.returncode, again.stderr) == (0, "")


def test_first_rows_of_a_block(tmp_path: Path, write: Write) -> None:
    """Ratings that are read in blocks, as MovieLens' are, show their first rows too."""
    lines = [f"{n},31,2.5,1260759144" for n in range(1, 8)]
    file = write("ratings.csv", "\n".join(["userId,movieId,rating,timestamp", *lines, ""]))
    database = with_tables(f"sqlite:///{tmp_path / 'recbatch.db'}")
    [report] = ingest(database, [file], by(), dry_run=True)
    time = datetime(2009, 12, 14, 2, 52, 24, tzinfo=UTC)
    assert report.format == "MovieLens ratings.csv"
    assert report.first_rows[1] == StoredRating("2", "31", 2.5, time)
    assert len(report.first_rows) == 5


def test_a_dry_run_before_the_first_database(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--dry-run works before the first database, says so, and leaves no file behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(shop / "tmp"))
    (shop / "tmp").mkdir()
    before = sorted(shop.rglob("*"))
    done = program(shop, "ingest", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "recbatch.db has no tables of recbatch yet: every row is new" in done.stderr
    assert "2 rows = 2 accepted + 0 rejected + 0 duplicate\nuser" in done.stdout
    assert sorted(shop.rglob("*")) == before
    alone = "ingest:\n  query: SELECT who AS user, what AS movie, stars AS rating FROM reviews\n"
    (shop / "config.yaml").write_text(f"database: {{url: 'sqlite:///shop.db'}}\n{alone}")
    in_shop = program(shop, "ingest", "--dry-run")  # its tables are not this program's
    assert in_shop.returncode == 0, in_shop.stderr
    assert sorted(shop.rglob("*")) == before


def test_a_dry_run_before_the_first_tables_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    """On Postgres too, with queries on tables of others, and it creates nothing there."""
    relations = "SELECT count(*) FROM pg_class"
    schemas = "SELECT nspname FROM pg_namespace ORDER BY 1"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE reviews (who text, what text, stars int)")
        connection.execute("INSERT INTO reviews VALUES ('ann', 'heat', 4), ('bo', 'ran', 2)")
        before = [connection.execute(sql).fetchall() for sql in (relations, schemas)]
        query = "SELECT who AS customer, what AS movie, stars FROM reviews"
        environ = {"RECBATCH_DATABASE__URL": postgres_url, "RECBATCH_INGEST__QUERY": query}
        done = program(tmp_path, "ingest", "--dry-run", **environ)
        assert done.returncode == 0, done.stderr
        assert "has no tables of recbatch yet" in done.stderr
        assert re.search(r"^ann +heat +4 *$", done.stdout, re.M)
        assert [connection.execute(sql).fetchall() for sql in (relations, schemas)] == before
        assert program(tmp_path, "ingest", **environ).returncode == 2  # needs 'db upgrade'
    assert list(tmp_path.iterdir()) == []
