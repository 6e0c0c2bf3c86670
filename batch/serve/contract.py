"""Columns of the views -> files for applications: dictionary, grants, SQL, JSON schema, dbt."""

import json
from math import ceil
from pathlib import Path
from typing import Any

import yaml

from batch import RecbatchError, __version__
from batch.config import CheckSettings
from batch.files import writing
from batch.models import PUBLISHED
from batch.serve.sql_examples import examples
from batch.serve.view_columns import DESCRIPTIONS, VIEWS, Kind, ViewColumn
from batch.store import schema
from batch.store.publish import CHANNEL
from batch.store.roles import reading_grants

MARK = "Made by 'recbatch contract': change nothing here, make it again."
"""A line of every file; a file that has it may be replaced.

Its text must stay as it is, or files of an earlier version would be refused.
"""
PROMISES = """\
- These names, their order and their types stay as they are within a major version of recbatch.
  Columns may be added after the others, and views beside these: name the columns that you read.
- One statement sees one whole run, also while another is being published. Two statements see the
  same run only within one transaction of REPEATABLE READ (Postgres) or one transaction (SQLite).
- Everything else in the database is private to the job, and may change with any version.
"""
NOTIFICATIONS = f"""\
- Each publication and rollback sends `NOTIFY {CHANNEL}` with the run's number. Notifications are
  not kept for those who are not connected: read the `run_id` of `current_popular` after `LISTEN`.
"""
EXAMPLES_NOTE = """\
For {kind}. '42' stands for a user's key, '318' for a film's, 'blend' for a model, \
customers(user_key) for a table of yours."""
GRANTS_NOTE = """\
Lets an existing role (CREATE ROLE NAME NOLOGIN) read the views, and nothing else, as 'recbatch \
db grant' does.
Run it once more after 'recbatch db upgrade'."""
SQLITE_NOTE = "For Postgres only: whoever can read a SQLite file can read its views."


class ForeignFileError(RecbatchError):
    """A file that this program did not write is in the way."""


def write_contract(
    folder: Path, kind: Kind, schema_name: str, role: str, limits: CheckSettings
) -> list[Path]:
    """Write the files for one kind of database, in place of those of an earlier call.

    Returns the files. Raises ForeignFileError, OSError.
    """
    dbt = _with_mark("For a dbt project.", _dbt(kind, schema_name, limits), sign="#")
    contents = {
        "contract.json": json.dumps(json_schema(kind), indent=2, ensure_ascii=False) + "\n",
        "data_dictionary.md": _dictionary(kind, schema_name),
        "examples.sql": _examples(kind, schema_name),
        "grants.sql": _grants(kind, schema_name, role),
        "sources.yml": dbt,
    }
    files = {folder / name: text for name, text in contents.items()}
    for file in files:
        if file.exists() and MARK not in file.read_text(encoding="utf-8", errors="replace"):
            raise ForeignFileError(
                f"{file} was not made by 'recbatch contract'; name another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        with writing(file):
            file.write_text(text, encoding="utf-8")
    return list(files)


def json_schema(kind: Kind) -> dict[str, Any]:
    """JSON schema of a row of each view, under its name in `$defs`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": MARK,
        "title": "Rows of the views of recbatch",
        "version": schema.HEAD,
        "$defs": {view: _row_schema(view, kind) for view in VIEWS},
    }


def _row_schema(view: str, kind: Kind) -> dict[str, Any]:
    columns = VIEWS[view]
    return {
        "type": "object",
        "description": DESCRIPTIONS[view],
        "properties": {column.name: _property(column, kind) for column in columns},
        "required": [column.name for column in columns],
    }


def _property(column: ViewColumn, kind: Kind) -> dict[str, Any]:
    name = column.json_type(kind)
    rules: dict[str, Any] = {
        "type": [name, "null"] if column.nullable else name,
        "description": _description(column),
    }
    if isinstance(column.source.type, schema.Moment):
        rules["format"] = "date-time"
    return rules


def _description(column: ViewColumn) -> str:
    """Meaning, unit and promise of a column, on one line."""
    parts = [column.meaning]
    if column.unit:
        parts.append(f"Unit: {column.unit}.")
    if column.promise:
        parts.append(f"{column.promise[0].upper()}{column.promise[1:]}.")
    return " ".join(parts)


def _dictionary(kind: Kind, schema_name: str) -> str:
    """data_dictionary.md: a section for each view, with a table of its columns."""
    place = f"in the schema `{schema_name}`" if kind == "postgres" else "in the SQLite file"
    promises = PROMISES
    if kind == "postgres":
        promises += NOTIFICATIONS
    lines = [
        f"# What applications read\n\n<!-- {MARK} -->\n",
        f"Views {place}, as of schema version {schema.HEAD} of recbatch {__version__}.",
        "`examples.sql` has queries that applications need; `grants.sql` lets a role read the",
        "views; `contract.json` has their rows as JSON schema; `sources.yml` is for dbt.\n",
        f"## What is promised\n\n{promises}",
    ]
    for view, columns in VIEWS.items():
        lines += [
            f"## `{view}`\n\n{DESCRIPTIONS[view]}\n",
            "| column | Postgres | SQLite | NULL | meaning | unit | promised |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_dictionary_row(column) for column in columns]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _dictionary_row(column: ViewColumn) -> str:
    cells = (
        f"`{column.name}`",
        column.type("postgres").lower(),
        column.type("sqlite").lower(),
        "may be" if column.nullable else "never",
        column.meaning,
        column.unit,
        column.promise,
    )
    return f"| {' | '.join(cells)} |"


def _with_mark(note: str, text: str, sign: str = "--") -> str:
    """A text below MARK and a note, each line of which is a comment."""
    comments = [f"{sign} {line}\n" for line in (MARK, *note.splitlines())]
    return "".join(comments) + f"\n{text}\n"


def _examples(kind: Kind, schema_name: str) -> str:
    statements = [
        f"-- {question}.\n{sql};" for question, sql in examples(kind, schema_name).items()
    ]
    return _with_mark(EXAMPLES_NOTE.format(kind=kind), "\n\n".join(statements))


def _grants(kind: Kind, schema_name: str, role: str) -> str:
    note = GRANTS_NOTE
    if kind == "sqlite":
        note += f"\n{SQLITE_NOTE}"
    statements = [f"{statement};" for statement in reading_grants(schema_name, role)]
    return _with_mark(note, "\n".join(statements))


def _dbt(kind: Kind, schema_name: str, limits: CheckSettings) -> str:
    """sources.yml: the views as a source, and an example of an exposure."""
    source = {
        "name": "recbatch",
        "description": f"Film recommendations, schema version {schema.HEAD}.",
        "schema": schema_name if kind == "postgres" else "main",
        "loaded_at_field": "published_at",
        "freshness": {
            "warn_after": {"count": ceil(limits.warn_after_hours), "period": "hour"},
            "error_after": {"count": ceil(limits.error_after_hours), "period": "hour"},
        },
        "tables": [_dbt_table(view, kind) for view in VIEWS],
    }
    exposure = {
        "name": "film_page",
        "description": "An example: an application that shows the lists. Put your own here.",
        "type": "application",
        "maturity": "medium",
        "owner": {"name": "Your team", "email": "team@example.org"},
        "depends_on": [f"source('recbatch', '{view}')" for view in VIEWS],
    }
    content = {"version": 2, "sources": [source], "exposures": [exposure]}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110).rstrip()


def _dbt_table(view: str, kind: Kind) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": view,
        "description": DESCRIPTIONS[view],
        "columns": [_dbt_column(column, kind) for column in VIEWS[view]],
    }
    if view == "run_outcomes_by_run":
        content["freshness"] = None  # its newest run is the one before the current run
    return content


def _dbt_column(column: ViewColumn, kind: Kind) -> dict[str, Any]:
    tests: list[Any] = []
    if not column.nullable:
        tests.append("not_null")
    if column.name == "model":
        # It only warns: a model that is added does not break the contract.
        rule = {"arguments": {"values": list(PUBLISHED)}, "config": {"severity": "warn"}}
        tests.append({"accepted_values": rule})
    content: dict[str, Any] = {
        "name": column.name,
        "description": _description(column),
        "data_type": column.type(kind).lower(),
    }
    if tests:
        content["data_tests"] = tests
    return content
