"""What `recbatch contract` hands to those who read the views, held against the views of real databases."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from sqlalchemy import Connection, text

from batch.serve.contract import MARK
from batch.serve.view_columns import VIEWS, Kind
from batch.store import schema
from batch.store.database import Database
from fixed import command

FILES = ["contract.json", "data_dictionary.md", "examples.sql", "grants.sql", "sources.yml"]


def kind_of(database: Database) -> Kind:
    return "sqlite" if database.file else "postgres"


@pytest.fixture
def kit(nights: object, tmp_path: Path) -> Path:
    """The folder that the command wrote for a database with one published night."""
    assert command("contract", "kit", "--role", "kit_reader") == 0
    assert sorted(file.name for file in (tmp_path / "kit").iterdir()) == FILES
    return tmp_path / "kit"


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """One that may write."""
    with database.writer.connect() as made:
        yield made


def columns_of(connection: Connection, view: str) -> list[tuple[str, str]]:
    """Name and type of each column, in order, as the database itself tells them."""
    if connection.dialect.name == "sqlite":
        return [
            (row.name, row.type.lower())
            for row in connection.execute(text(f"PRAGMA table_info({view})"))
        ]
    asked = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = :view"
    return [
        tuple(row)
        for row in connection.execute(text(f"{asked} ORDER BY ordinal_position"), {"view": view})
    ]


def test_everything_tells_the_views_as_they_are(
    database: Database, kit: Path, connection: Connection
) -> None:
    """Dictionary, JSON schema and dbt file have each view's columns, in its order, with the types it really has."""
    kind = kind_of(database)
    told = (kit / "data_dictionary.md").read_text()
    rules = json.loads((kit / "contract.json").read_text())["$defs"]
    [source] = yaml.safe_load((kit / "sources.yml").read_text())["sources"]
    assert (
        list(VIEWS)
        == list(rules)
        == [table["name"] for table in source["tables"]]
        == list(schema.VIEWS)
    )
    for table in source["tables"]:
        view = table["name"]
        real = columns_of(connection, view)
        assert [(column["name"], column["data_type"]) for column in table["columns"]] == real
        assert (
            list(rules[view]["properties"]) == rules[view]["required"] == [name for name, _ in real]
        )
        section = told.split(f"## `{view}`")[1].split("\n## ")[0]
        lines = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
        place = 1 if kind == "postgres" else 2
        assert [(line[0].strip("| `"), line[place]) for line in lines] == real
        may_be_null = [line[0].strip("| `") for line in lines if line[3] == "may be"]
        assert may_be_null == [
            c["name"] for c in table["columns"] if "not_null" not in c.get("data_tests", [])
        ]
        assert may_be_null == [
            name for name, rule in rules[view]["properties"].items() if "null" in rule["type"]
        ]


def rows_as_json(connection: Connection, view: str) -> list[dict[str, Any]]:
    found = connection.execute(text(f"SELECT * FROM {view}")).mappings().all()
    return [
        {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in row.items()
        }
        for row in found
    ]


def test_rows_are_as_the_schema_says(kit: Path, connection: Connection) -> None:
    """Every row of a published night is valid by the JSON schema; one without its film or rank is not."""
    rules = json.loads((kit / "contract.json").read_text())
    jsonschema.Draft202012Validator.check_schema(rules)
    for view in VIEWS:
        validator = jsonschema.Draft202012Validator({**rules, "$ref": f"#/$defs/{view}"})
        found = rows_as_json(connection, view)
        assert len(found) == {"current_recommendations": 500, "current_popular": 5}[view]
        assert [error for row in found for error in validator.iter_errors(row)] == []
        for wrong in ({"rank": "1"}, {"movie_key": None}):
            assert not validator.is_valid(found[0] | wrong)
        del found[0]["title"]
        assert not validator.is_valid(found[0])


def statements(file: Path) -> list[str]:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("--")]
    return [each.strip() for each in "\n".join(lines).split(";") if each.strip()]


def test_every_example_answers(kit: Path, connection: Connection) -> None:
    """Each SQL example runs as it stands on the database it is for, and gives what it says."""
    connection.execute(text("CREATE TABLE customers (user_key text)"))
    connection.execute(text("INSERT INTO customers VALUES ('u3'), ('u7'), ('stranger')"))
    top, join, popular, current, age = statements(kit / "examples.sql")
    assert connection.execute(text(top)).all() == []
    best = connection.execute(text(top.replace("'42'", "'u7'"))).all()
    assert [row.rank for row in best] == [1, 2, 3, 4, 5]
    mine = connection.execute(text(join)).all()
    assert [(row.user_key, row.rank) for row in mine] == [
        (user, n) for user in ("u3", "u7") for n in range(1, 6)
    ]
    assert [row.movie_key for row in mine[5:]] == [row.movie_key for row in best]
    assert [(row.user_key, row.rank) for row in connection.execute(text(popular))] == [
        ("stranger", n) for n in range(1, 6)
    ]
    [(run_id, published_at)] = connection.execute(text(current)).all()
    assert (run_id, published_at is None) == (1, False)
    [(run_id, hours)] = connection.execute(text(age)).all()
    assert (run_id, float(hours)) == (1, 0.0)


@pytest.mark.promise("E2")
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_the_grants_are_enough_and_no_more(kit: Path, connection: Connection) -> None:
    """After grants.sql the role reads both views, and no table."""
    connection.execute(text("CREATE ROLE kit_reader NOLOGIN"))
    for statement in statements(kit / "grants.sql"):
        connection.execute(text(statement))
    connection.execute(text("SET LOCAL ROLE kit_reader"))
    for view in VIEWS:
        assert connection.execute(text(f"SELECT count(*) FROM recbatch.{view}")).scalar_one() > 0
    may = "SELECT has_table_privilege('recbatch.' || tablename, 'SELECT') FROM pg_tables WHERE schemaname = 'recbatch'"
    assert {allowed for (allowed,) in connection.execute(text(may))} == {False}
    connection.rollback()  # the role with it: it belongs to the whole server


def test_dbt_asks_for_what_is_wanted_of_the_list(
    kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Freshness in sources.yml is that of `check`, measured by a column that each view has; the example names them."""
    content = yaml.safe_load((kit / "sources.yml").read_text())
    [source], [exposure] = content["sources"], content["exposures"]
    assert source["freshness"] == {
        "warn_after": {"count": 26, "period": "hour"},
        "error_after": {"count": 50, "period": "hour"},
    }
    for table in source["tables"]:
        assert source["loaded_at_field"] in [column["name"] for column in table["columns"]]
    assert exposure["depends_on"] == [f"source('recbatch', '{view}')" for view in VIEWS]
    monkeypatch.setenv("RECBATCH_CHECK__WARN_AFTER_HOURS", "30.5")
    assert command("contract", "kit") == 0
    again = yaml.safe_load((kit / "sources.yml").read_text())["sources"][0]["freshness"]
    assert again["warn_after"]["count"] == 31


def test_own_files_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that holds somebody's file of such a name gets nothing; one's own kit is made anew, the same."""
    monkeypatch.chdir(tmp_path)
    assert command("contract", "kit", "--json") == 0
    before = {file.name: file.read_text() for file in (tmp_path / "kit").iterdir()}
    assert all(MARK in content for content in before.values())
    assert command("contract", "kit") == 0
    assert {file.name: file.read_text() for file in (tmp_path / "kit").iterdir()} == before
    (tmp_path / "sources.yml").write_text("version: 2\n")
    assert command("contract", ".") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kit", "sources.yml"]
