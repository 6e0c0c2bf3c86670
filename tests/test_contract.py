"""The files of `recbatch contract`, compared with the views of real databases."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from sqlalchemy import Connection, text, update

from batch.serve.contract import MARK
from batch.serve.view_columns import VIEWS
from batch.store import schema
from batch.store.database import Database
from batch.store.outcomes import write_outcome
from data import GENRES
from fixed import command

FILES = ["contract.json", "data_dictionary.md", "examples.sql", "grants.sql", "sources.yml"]
N_ROWS = {
    "current_recommendations": 500,
    "current_popular": 5,
    "current_shelves": 500,
    "current_similar": 400,
    "run_outcomes_by_run": 1,
}
OUTCOME = {"users": 30.0, "rated": 4.0, "precision@5": 0.1, "spare_hits": 2.0}
COMPUTED = {
    "rank": "integer",
    **{column.name: column.type("sqlite").lower() for column in VIEWS["run_outcomes_by_run"]},
}
"""Columns that a view computes have no declared type on SQLite."""


@pytest.fixture
def kit(nights: object, database: Database, tmp_path: Path) -> Path:
    """The folder that the command writes for a database with one published night."""
    with database.writer.begin() as connection:
        write_outcome(connection, 1, {"blend": OUTCOME, "popular": OUTCOME}, has_spare=True)
    assert command("contract", "kit", "--role", "kit_reader") == 0
    folder = tmp_path / "kit"
    assert sorted(file.name for file in folder.iterdir()) == FILES
    return folder


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A connection that may write."""
    with database.writer.connect() as connection:
        yield connection


def columns_of(connection: Connection, view: str) -> list[tuple[str, str]]:
    """Name and type of each column, in order, by the database's own catalogue."""
    if connection.dialect.name == "sqlite":
        columns = connection.execute(text(f"PRAGMA table_info({view})"))
        return [(column.name, column.type.lower() or COMPUTED[column.name]) for column in columns]
    catalogue = text(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_name = :view ORDER BY ordinal_position"
    )
    return [tuple(row) for row in connection.execute(catalogue, {"view": view})]


def dictionary_rows(kit: Path, view: str) -> list[list[str]]:
    """The cells of a view's table in data_dictionary.md."""
    page = (kit / "data_dictionary.md").read_text()
    section = page.split(f"## `{view}`")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip("| `") for cell in row.split(" | ")] for row in rows]


def rules_of(kit: Path) -> dict[str, Any]:
    rules: dict[str, Any] = json.loads((kit / "contract.json").read_text())
    return rules


def dbt_of(kit: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((kit / "sources.yml").read_text())
    return content


def test_every_file_has_the_columns_of_the_views(
    database: Database, kit: Path, connection: Connection
) -> None:
    """Dictionary, JSON schema and dbt file have each view's columns, in order, with real types."""
    rules = rules_of(kit)["$defs"]
    [source] = dbt_of(kit)["sources"]
    views = [table["name"] for table in source["tables"]]
    assert views == list(VIEWS) == list(rules) == list(schema.VIEWS)
    type_cell = 2 if database.file else 1
    for table in source["tables"]:
        view = table["name"]
        columns = columns_of(connection, view)
        names = [name for name, _ in columns]
        assert [(column["name"], column["data_type"]) for column in table["columns"]] == columns
        assert list(rules[view]["properties"]) == rules[view]["required"] == names
        documented = dictionary_rows(kit, view)
        assert [(row[0], row[type_cell]) for row in documented] == columns
        nullable = [row[0] for row in documented if row[3] == "may be"]
        assert nullable == [
            column["name"]
            for column in table["columns"]
            if "not_null" not in column.get("data_tests", [])
        ]
        properties = rules[view]["properties"].items()
        assert nullable == [name for name, rule in properties if "null" in rule["type"]]


def as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def rows_as_json(connection: Connection, view: str) -> list[dict[str, Any]]:
    rows = connection.execute(text(f"SELECT * FROM {view}")).mappings()
    return [{name: as_json(value) for name, value in row.items()} for row in rows]


def test_rows_are_valid_by_the_schema(kit: Path, connection: Connection) -> None:
    """Every row of a published night is valid by the JSON schema; a wrong one is not."""
    rules = rules_of(kit)
    jsonschema.Draft202012Validator.check_schema(rules)
    for view in VIEWS:
        validator = jsonschema.Draft202012Validator({**rules, "$ref": f"#/$defs/{view}"})
        rows = rows_as_json(connection, view)
        assert len(rows) == N_ROWS[view]
        assert [error for row in rows for error in validator.iter_errors(row)] == []
        for wrong in ({"run_id": "1"}, {"run_id": None}):
            assert not validator.is_valid(rows[0] | wrong)
        for name in rows[0]:
            assert not validator.is_valid({key: rows[0][key] for key in rows[0].keys() - {name}})


def statements(file: Path) -> list[str]:
    """The SQL statements of a file, without comments."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


def test_every_example_answers_its_question(kit: Path, connection: Connection) -> None:
    """Each SQL example runs as it stands on its database, and returns what it promises."""

    def query(statement: str) -> Any:
        return connection.execute(text(statement)).all()

    connection.execute(text("CREATE TABLE customers (user_key text)"))
    connection.execute(text("INSERT INTO customers VALUES ('u3'), ('u7'), ('stranger')"))
    top, join, popular, shelves, similar, outcomes, current, age = statements(kit / "examples.sql")
    assert query(top) == []
    top_of_u7 = query(top.replace("'42'", "'u7'"))
    assert [row.rank for row in top_of_u7] == [1, 2, 3, 4, 5]
    joined = query(join)
    ranks = [("u3", rank) for rank in range(1, 6)] + [("u7", rank) for rank in range(1, 6)]
    assert [(row.user_key, row.rank) for row in joined] == ranks
    assert [row.movie_key for row in joined[5:]] == [row.movie_key for row in top_of_u7]
    strangers = [(row.user_key, row.rank) for row in query(popular)]
    assert strangers == [("stranger", rank) for rank in range(1, 6)]
    assert query(shelves) == []
    by_genre = query(shelves.replace("'42'", "'u7'"))
    places = [(row.genre, row.rank) for row in by_genre]
    assert places == [(genre, rank) for genre in GENRES for rank in (1, 2, 3)]
    assert query(similar) == []
    like_m3 = query(similar.replace("'318'", "'m3'"))
    assert [row.rank for row in like_m3] == list(range(1, 11))
    assert like_m3[0].other_key == "m30"  # the next by key
    assert query(outcomes) == [(1, 30, 0.2, 0.1, 0.1)]
    [(run_id, published_at)] = query(current)
    assert run_id == 1
    assert published_at is not None
    two_hours_ago = datetime.now(UTC) - timedelta(hours=2)
    connection.execute(update(schema.publication).values(published_at=two_hours_ago))
    [(run_id, hours)] = query(age)
    assert (run_id, float(hours)) == (1, 2.0)


@pytest.mark.promise("E2")
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_the_grants_are_enough_and_no_more(kit: Path, connection: Connection) -> None:
    """After grants.sql the role reads every view, and no table."""
    connection.execute(text("CREATE ROLE kit_reader NOLOGIN"))
    for statement in statements(kit / "grants.sql"):
        connection.execute(text(statement))
    connection.execute(text("SET LOCAL ROLE kit_reader"))
    for view in VIEWS:
        assert connection.execute(text(f"SELECT count(*) FROM recbatch.{view}")).scalar_one() > 0
    may_read = (
        "SELECT has_table_privilege('recbatch.' || tablename, 'SELECT')"
        " FROM pg_tables WHERE schemaname = 'recbatch'"
    )
    assert set(connection.execute(text(may_read)).scalars()) == {False}
    connection.rollback()  # with it the role, which belongs to the whole server


def test_the_dbt_file_has_the_limits_of_check(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Freshness is that of `check`, by a column of each view; the example depends on every view."""
    content = dbt_of(kit)
    [source] = content["sources"]
    [exposure] = content["exposures"]
    assert source["freshness"] == {
        "warn_after": {"count": 26, "period": "hour"},
        "error_after": {"count": 50, "period": "hour"},
    }
    for table in source["tables"]:
        assert source["loaded_at_field"] in [column["name"] for column in table["columns"]]
    assert exposure["depends_on"] == [f"source('recbatch', '{view}')" for view in VIEWS]
    monkeypatch.setenv("RECBATCH_CHECK__WARN_AFTER_HOURS", "30.5")
    assert command("contract", "kit") == 0
    [source] = dbt_of(kit)["sources"]
    assert source["freshness"]["warn_after"]["count"] == 31


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_foreign_files_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own files are replaced by the same; a foreign file of such a name stops the command."""
    monkeypatch.chdir(tmp_path)
    assert command("contract", "kit", "--json") == 0
    before = contents(tmp_path / "kit")
    assert all(MARK in text for text in before.values())
    assert command("contract", "kit") == 0
    assert contents(tmp_path / "kit") == before
    (tmp_path / "sources.yml").write_text("version: 2\n")
    assert command("contract", ".") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kit", "sources.yml"]
