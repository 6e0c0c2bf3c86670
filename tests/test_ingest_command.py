"""`recbatch ingest`: what it reads, where from, and what it prints."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fixed import program

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
