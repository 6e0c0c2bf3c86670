"""The dictionary of the views -> a folder for those who read them: words, grants, SQL examples, JSON schema, dbt."""

import json
from math import ceil
from pathlib import Path
from typing import Any

import yaml

from batch import RecbatchError, __version__
from batch.config import CheckSettings
from batch.models import PUBLISHED
from batch.serve.sql_examples import examples
from batch.serve.view_columns import TOLD, VIEWS, Kind, ViewColumn
from batch.store import schema
from batch.store.database import reading_grants
from batch.store.publish import CHANNEL

MARK = "Made by 'recbatch contract': change nothing here, make it again."
"""In each file, and the licence to replace it."""
PROMISES = """\
- These names, their order and their types stay as they are within a major version of recbatch. Columns may be added
  behind the others, and views beside these: name the columns that you read.
- One statement sees one whole run, also while another is being published. Two statements see the same run only within
  one transaction of REPEATABLE READ (Postgres) or one transaction (SQLite).
- Everything else in the database is private to the job, and may change with any version.
"""
HEARD = f"""\
- Each publication and rollback sends `NOTIFY {CHANNEL}` with the run's number; nothing is kept for those who are not
  connected, so read the `run_id` of `current_popular` after `LISTEN`.
"""


class NotOursError(RecbatchError):
    """The folder holds a file of that name which this command did not make."""


def write_contract(
    folder: Path, kind: Kind, schema_name: str, role: str, limits: CheckSettings
) -> list[Path]:
    """Write the kit for one kind of database, in place of an older one; its files. Raises NotOursError, OSError."""
    made = {
        "contract.json": json.dumps(json_schema(kind), indent=2, ensure_ascii=False) + "\n",
        "data_dictionary.md": _dictionary(kind, schema_name),
        "examples.sql": _examples(kind, schema_name),
        "grants.sql": _grants(kind, schema_name, role),
        "sources.yml": _commented("For a dbt project.", _dbt(kind, schema_name, limits), sign="#"),
    }
    files = {folder / name: text for name, text in made.items()}
    for file in files:
        if file.exists() and MARK not in file.read_text(encoding="utf-8", errors="replace"):
            raise NotOursError(f"{file} was not made by 'recbatch contract'; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
    return list(files)


def json_schema(kind: Kind) -> dict[str, Any]:
    """JSON schema of a row of each view, under its name in `$defs`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": MARK,
        "title": "Rows of the views of recbatch",
        "version": schema.HEAD,
        "$defs": {
            view: {
                "type": "object",
                "description": TOLD[view],
                "properties": {column.name: _property(column, kind) for column in columns},
                "required": [column.name for column in columns],
            }
            for view, columns in VIEWS.items()
        },
    }


def _property(column: ViewColumn, kind: Kind) -> dict[str, Any]:
    name = column.json_type(kind)
    found: dict[str, Any] = {
        "type": [name, "null"] if column.nullable else name,
        "description": _meaning(column),
    }
    if isinstance(column.source.type, schema.Moment):
        found["format"] = "date-time"
    return found


def _meaning(column: ViewColumn) -> str:
    """All that is told of it, on one line."""
    unit = f" Unit: {column.unit}." if column.unit else ""
    return f"{column.meaning}{unit}{_sentence(column.promise)}"


def _sentence(promise: str) -> str:
    return f" {promise[0].upper()}{promise[1:]}." if promise else ""


def _dictionary(kind: Kind, schema_name: str) -> str:
    where = f"in the schema `{schema_name}`" if kind == "postgres" else "in the SQLite file"
    parts = [
        f"# What applications read\n\n<!-- {MARK} -->\n",
        f"Views {where}, as of schema version {schema.HEAD} of recbatch {__version__}. `examples.sql` asks them what",
        "applications ask; `grants.sql` lets a role read them; `contract.json` has their rows as JSON schema;",
        "`sources.yml` is for dbt.\n",
        f"## What is promised\n\n{PROMISES}{HEARD if kind == 'postgres' else ''}",
    ]
    for view, columns in VIEWS.items():
        parts += [
            f"## `{view}`\n\n{TOLD[view]}\n",
            "| column | Postgres | SQLite | NULL | meaning | unit | promised |",
        ]
        parts.append("|---|---|---|---|---|---|---|")
        for column in columns:
            types = f"{column.type('postgres').lower()} | {column.type('sqlite').lower()}"
            null = "may be" if column.nullable else "never"
            parts.append(
                f"| `{column.name}` | {types} | {null} | {column.meaning} | {column.unit} | {column.promise} |"
            )
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _commented(about: str, text: str, sign: str = "--") -> str:
    return "".join(f"{sign} {line}\n" for line in (MARK, *about.splitlines())) + f"\n{text}\n"


def _examples(kind: Kind, schema_name: str) -> str:
    asked = examples(kind, schema_name).items()
    return _commented(
        f"For {kind}. '42' stands for a user's key, 'blend' for a model, customers(user_key) for a table of yours.",
        "\n\n".join(f"-- {question}.\n{sql};" for question, sql in asked),
    )


def _grants(kind: Kind, schema_name: str, role: str) -> str:
    about = """\
Lets a role that is there (CREATE ROLE NAME NOLOGIN) read the views, and nothing else, as 'recbatch db grant' does.
Run it once more after 'recbatch db upgrade'."""
    if kind == "sqlite":
        about += "\nFor Postgres only: whoever can read a SQLite file can read its views."
    return _commented(
        about, "\n".join(f"{statement};" for statement in reading_grants(schema_name, role))
    )


def _dbt(kind: Kind, schema_name: str, limits: CheckSettings) -> str:
    def column(each: ViewColumn, *tests: Any) -> dict[str, Any]:
        found = {
            "name": each.name,
            "description": _meaning(each),
            "data_type": each.type(kind).lower(),
        }
        asked = [*([] if each.nullable else ["not_null"]), *tests]
        return found | ({"data_tests": asked} if asked else {})

    # A model that is added is no breach of contract: it warns.
    models = {
        "accepted_values": {
            "arguments": {"values": list(PUBLISHED)},
            "config": {"severity": "warn"},
        }
    }
    tables = [
        {
            "name": view,
            "description": TOLD[view],
            "columns": [
                column(each, *([models] if each.name == "model" else [])) for each in columns
            ],
        }
        for view, columns in VIEWS.items()
    ]
    source = {
        "name": "recbatch",
        "description": f"Film recommendations, schema version {schema.HEAD}.",
        "schema": schema_name if kind == "postgres" else "main",
        "loaded_at_field": "published_at",
        "freshness": {
            "warn_after": {"count": ceil(limits.warn_after_hours), "period": "hour"},
            "error_after": {"count": ceil(limits.error_after_hours), "period": "hour"},
        },
        "tables": tables,
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
