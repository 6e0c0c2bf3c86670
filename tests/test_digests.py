"""Rows of a run that were changed after its audit, and what the audit says of all readers see."""

import hashlib
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from batch.audit import integrity
from batch.audit.integrity import audit_integrity
from batch.config import FilterSettings
from batch.store import digests
from batch.store.database import Database
from data import long_csv
from faults import Faults
from fixed import command
from tables import rows

pytestmark = pytest.mark.usefixtures("nights")

UNHEALTHY = 5
NO_RULES = FilterSettings()
ROW = "run_id = 1 AND user_id = 3 AND model = 'neural' AND rank = 5"
TWO = "run_id = 1 AND user_id IN (3, 4) AND model = 'neural' AND rank = 5"
LAST_POPULAR = "run_id = 1 AND rank = 5"
LAST_SIMILAR = "run_id = 1 AND movie_id = 3 AND rank = 10"


def change(database: Database, sql: str) -> None:
    """Change rows by hand."""
    with database.writer.begin() as connection:
        assert connection.execute(text(sql)).rowcount > 0


def require_current(database: Database) -> None:
    """The stored digests of all runs with lists are those of their rows, and `check` is content."""
    with database.reader.connect() as connection:
        with_lists = connection.execute(text("SELECT DISTINCT run_id FROM recommendations"))
        run_ids = set(with_lists.scalars())
        assert run_ids
        for run_id in run_ids:
            stored = digests.recorded(connection, run_id)
            assert stored == digests.compute(connection, run_id)
            assert stored.keys() == {
                *("user_user", "item_item", "neural", "blend"),
                *("popular", "similar"),
            }
        stored_ids = connection.execute(text("SELECT DISTINCT run_id FROM run_digests"))
        assert set(stored_ids.scalars()) == run_ids
    assert command("check") == 0


EDITS = {
    "film": f"UPDATE recommendations SET movie_id = 39 WHERE {ROW}",
    "score": f"UPDATE recommendations SET score = score - 0.000001 WHERE {ROW}",
    "stars": f"UPDATE recommendations SET predicted_rating = NULL WHERE {ROW}",
    "support": f"UPDATE recommendations SET support = 2 WHERE {ROW}",
    "reason": f'UPDATE recommendations SET reason = \'{{"kind":"filler"}}\' WHERE {ROW}',
    "row removed": f"DELETE FROM recommendations WHERE {ROW}",
    "films of two users swapped": f"UPDATE recommendations SET movie_id = (SELECT sum(movie_id)"
    f" FROM recommendations WHERE {TWO}) - movie_id WHERE {TWO}",
    "model added": "INSERT INTO recommendations SELECT run_id, user_id, 'extra', rank, movie_id,"
    f" score, predicted_rating, support, reason FROM recommendations WHERE {ROW}",
    "popular film": f"UPDATE popular_items SET movie_id = 39 WHERE {LAST_POPULAR}",
    "popular score": f"UPDATE popular_items SET score = score - 1 WHERE {LAST_POPULAR}",
    "similar film": f"UPDATE similar_items SET other_id = 39 WHERE {LAST_SIMILAR}",
    "similar score": f"UPDATE similar_items SET score = score - 0.000001 WHERE {LAST_SIMILAR}",
    "similar support": f"UPDATE similar_items SET support = 9 WHERE {LAST_SIMILAR}",
    "similar removed": "DELETE FROM similar_items WHERE run_id = 1 AND movie_id = 3",
    "model removed": "DELETE FROM recommendations WHERE run_id = 1 AND model = 'neural'",
}


@pytest.mark.promise("A13")
@pytest.mark.parametrize("edit", EDITS)
def test_rows_changed_by_hand_are_noticed(
    database: Database, edit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is changed in a published run, `check` exits 5 and names the model."""
    assert command("check") == 0
    capsys.readouterr()
    change(database, EDITS[edit])
    assert command("check") == UNHEALTHY
    first = edit.split()[0]
    model = first if first in ("popular", "similar") else "neural"
    model = "extra" if edit == "model added" else model
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if line.startswith("error")]
    assert line.startswith(f"error rows: run 1: rows of {model} are not those that were published")


@pytest.mark.promise("A13")
def test_a_run_that_was_changed_is_not_published_again(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kept run whose rows were changed by hand fails its audit, whatever else it says."""
    assert command("-q", "run") == 0
    change(database, EDITS["reason"])
    assert command("rollback") == 1
    assert "fails its integrity checks: changed_rows;" in capsys.readouterr().err


@pytest.mark.promise("A13")
def test_changes_of_the_program_are_its_own(database: Database, tmp_path: Path) -> None:
    """Runs, rollback, forget, undo, filters and purge leave every digest true."""
    require_current(database)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(long_csv([("u99", f"m{n}", 4, 1_700_000_000) for n in range(9)]))
    commands = (
        ["ingest", str(wrong)],
        ["-q", "run", "--force"],
        ["forget", "u3"],
        ["filter", "add", "m1"],
        ["ingest", "undo", "3"],
        ["rollback"],
        ["-q", "run", "--no-publish"],
        ["purge", "--keep", "2"],
        ["publish", "2"],
        ["forget", "u4"],
    )
    for words in commands:
        assert command(*words) == 0, words
        require_current(database)


@pytest.mark.promise("A13")
def test_a_run_without_digests_is_not_compared(database: Database) -> None:
    """A run of an older version has no digests: nothing is said of it, and it can be published."""
    change(database, "DELETE FROM run_digests")
    change(database, EDITS["reason"])
    assert command("check") == 0
    assert command("forget", "u5") == 0
    assert rows(database, "SELECT * FROM run_digests") == []
    assert command("publish", "1") == 0


def test_a_digest_is_the_sum_of_the_hashes_of_rows(database: Database) -> None:
    """The digest of a list, row by row, by the formula of docs/running.md."""
    total = n_rows = 0
    for rank, movie_id, score in rows(
        database, "SELECT rank, movie_id, score FROM popular_items WHERE run_id = 1"
    ):
        n_rows += 1
        row = f"{rank}|{movie_id}|{round(Decimal(score) * 10**6)}|"
        total += int(hashlib.sha256(row.encode()).hexdigest()[:16], 16)
    stored = rows(database, "SELECT n_rows, digest FROM run_digests WHERE model = 'popular'")
    assert stored == [(n_rows, f"{total % 2**64:016x}")]


@pytest.mark.parametrize(
    ("check", "damage"),
    [
        ("broken_popular_list", f"UPDATE popular_items SET rank = 999 WHERE {LAST_POPULAR}"),
        ("broken_popular_list", "DELETE FROM popular_items WHERE run_id = 1 AND rank = 1"),
        ("broken_popular_list", "DELETE FROM popular_items WHERE run_id = 1"),
        ("unknown_films", f"UPDATE popular_items SET movie_id = 999 WHERE {LAST_POPULAR}"),
        ("broken_similar_lists", f"UPDATE similar_items SET rank = 12 WHERE {LAST_SIMILAR}"),
        (
            "broken_similar_lists",
            "UPDATE similar_items SET other_id = (SELECT other_id FROM similar_items"
            f" WHERE run_id = 1 AND movie_id = 3 AND rank = 1) WHERE {LAST_SIMILAR}",
        ),
        ("broken_similar_lists", f"UPDATE similar_items SET other_id = 3 WHERE {LAST_SIMILAR}"),
        ("broken_similar_lists", f"UPDATE similar_items SET score = 0.9 WHERE {LAST_SIMILAR}"),
        ("unknown_films", f"UPDATE similar_items SET other_id = 999 WHERE {LAST_SIMILAR}"),
        ("unknown_films", "UPDATE similar_items SET movie_id = 999 WHERE movie_id = 3"),
        ("unreadable_reasons", f"UPDATE recommendations SET reason = '[]' WHERE {ROW}"),
        ("unreadable_reasons", f"UPDATE recommendations SET reason = '\"x\"' WHERE {ROW}"),
        ("unreadable_reasons", f"UPDATE recommendations SET reason = '{{}}' WHERE {ROW}"),
        ("unreadable_reasons", f"UPDATE recommendations SET reason = 'null' WHERE {ROW}"),
    ],
)
def test_the_audit_looks_at_all_that_readers_see(
    database: Database, nights: Faults, check: str, damage: str
) -> None:
    """A damaged popular or similar list, or reason, is a violation of its own, as of the digest."""
    change(database, damage)
    with database.writer.begin() as connection:
        failed = {each.name for each in audit_integrity(connection, 1, NO_RULES) if not each.passed}
    assert failed == {check, "changed_rows"}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_reason_that_is_no_json(database: Database) -> None:
    """SQLite stores any text as a reason; Postgres refuses it."""
    change(database, f"UPDATE recommendations SET reason = '{{\"kind\":' WHERE {ROW}")
    with database.writer.begin() as connection:
        checks = {each.name: each.value for each in audit_integrity(connection, 1, NO_RULES)}
    assert checks["unreadable_reasons"] == 1


def test_a_popular_list_that_is_too_long(
    database: Database, nights: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A popular list ends where a run stores no more."""
    assert nights

    def broken() -> float:
        with database.writer.begin() as connection:
            checks = {each.name: each.value for each in audit_integrity(connection, 1, NO_RULES)}
        return checks["broken_popular_list"]

    [(length,)] = rows(database, "SELECT count(*) FROM popular_items")
    monkeypatch.setattr(integrity, "POPULAR_KEPT", length)
    assert broken() == 0
    monkeypatch.setattr(integrity, "POPULAR_KEPT", length - 1)
    assert broken() == 1


def test_films_of_the_settings_are_not_shown(database: Database) -> None:
    """A film that the settings name must be filtered for readers, whatever `item_filters` says."""
    [(film, n_rows)] = rows(
        database,
        "SELECT movie_key, count(*) FROM recommendations JOIN movies USING (movie_id)"
        " GROUP BY movie_key ORDER BY count(*) DESC, movie_key LIMIT 1",
    )
    rules = FilterSettings(films=(film,))
    popular = rows(
        database,
        f"SELECT 1 FROM popular_items JOIN movies USING (movie_id) WHERE movie_key = '{film}'",
    )
    similar = rows(database, f"SELECT 1 FROM current_similar WHERE other_key = '{film}'")
    with database.writer.begin() as connection:
        checks = {each.name: each.value for each in audit_integrity(connection, 1, rules)}
    assert similar
    assert checks["films_of_settings"] == n_rows + len(popular) + len(similar)
    assert command("filter", "add", film) == 0
    with database.writer.begin() as connection:
        checks = {each.name: each.value for each in audit_integrity(connection, 1, rules)}
    assert checks["films_of_settings"] == 0
