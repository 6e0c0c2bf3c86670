"""The program's commands, settings and tables -> docs/reference.md, written by `make reference`."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import typer
import yaml
from pydantic import BaseModel
from sqlalchemy import CheckConstraint, Column, Index, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql, sqlite

from batch import config, params
from batch.cli import app
from batch.cli.arguments import FAILED, LOCKED, REFUSED, UNHEALTHY
from batch.cli.help import WRONG_USE
from batch.serve import view_columns
from batch.store import schema

PAGE = Path(__file__).with_name("reference.md")
HEAD = """# Reference

Made from the program by `make reference`; a test compares this page with it.
[Commands](#commands), [exit codes](#exit-codes), [settings](#settings), [views](#views),
[tables](#tables).
"""
TABLES = {
    "users": "Users who rate films.",
    "movies": "Films.",
    "genres": "Names of genres.",
    "movie_genres": "The genres of each film.",
    "ratings": "The newest rating of each film by each user.",
    "superseded_ratings": "Ratings that a later file overwrote: `recbatch ingest undo` puts them "
    "back.",
    "ingest_batches": "One row for each file, or result of a query, that was read.",
    "ingest_rejects": "Rows of files that were not merged.",
    "seen": "Films that users have watched and not rated: in no list, and not learnt from.",
    "superseded_seen": "Times of films seen that later files overwrote by earlier ones.",
    "item_filters": "Films that are not listed, for everyone or for one user, and when.",
    "runs": "One row for each run, with what it takes to repeat it.",
    "run_metrics": "Metrics of a run; docs/metrics.md describes each.",
    "run_outcomes": "What became of the lists of a run, by what was rated since; "
    "docs/metrics.md describes each metric. Applications read `run_outcomes_by_run`.",
    "run_digests": "A digest of the rows of each run and model: changes by hand are noticed by it.",
    "run_checks": "Checks that a run passed or failed before it was published; docs/gates.md.",
    "recommendations": "The lists of every kept run, one row for each film. "
    "Applications read `current_recommendations`.",
    "popular_items": "The most rated films of every kept run. Applications read `current_popular`.",
    "similar_items": "The films most like each film, of every kept run. "
    "Applications read `current_similar`.",
    "publication": "One row: the run that readers see.",
    "refreshed_users": "Users who are shown newer lists than those of the published run.",
    "undone_users": "Users with rows in an undone batch: a refresh makes new lists for them.",
}
KINDS = {datetime: "TIME", Path: "FILE", str: "TEXT", int: "N", float: "NUMBER"}
"""The placeholder for an option's value, by its type."""
EXITS = {
    0: "Done, or nothing to do.",
    FAILED: "Failed; the published lists are unchanged. The last line on stderr says why.",
    WRONG_USE: "Wrong use or settings, or a name that does not exist; the message says which.",
    REFUSED: "A check refused the run; the published lists are unchanged.",
    UNHEALTHY: "`recbatch check`: the lists are stale, the last run failed or was refused, "
    "or a source brought nothing.",
    LOCKED: "Another job is at work on this database; try again later.",
    130: "Ended by SIGINT; the published lists are unchanged, unless the run had been published.",
    143: "Ended by SIGTERM; the published lists are unchanged, unless the run had been published.",
}
OWN_NUMBER = "The program's own number, which sources do not have."
SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
"""Limits of a number in JSON schema, as they are written."""
WORDS = {"integer": "whole number", "string": "text", "object": "mapping"}
"""Types of JSON schema in words, where they differ."""

Setting = tuple[Any, Any]
"""The default of a setting, and its part of the JSON schema."""


def page() -> str:
    """The whole page."""
    parts = [HEAD, *commands(), *exits(), *settings(), *views(), *tables()]
    return "\n".join(parts).rstrip() + "\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Cells -> a table of Markdown."""
    lines = []
    for cells in (head, ("---",) * len(head), *rows):
        escaped = [cell.replace("|", "\\|") for cell in cells]
        lines.append(f"| {' | '.join(escaped)} |\n")
    return "".join(lines)


# Commands


def commands() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield "## Commands\n"
    yield (
        "`recbatch`, or `python -m batch`; its own options come before the command. "
        "Results go to stdout,\nthe log to stderr.\n"
    )
    yield from command("recbatch", typer.main.get_command(app))


def command(name: str, group: Any) -> Iterator[str]:
    """One command and its subcommands."""
    words, _, example = (group.help or "").partition("Example:")
    yield f"### {name}\n\n{' '.join(words.split())}\n"
    if example:
        yield f"```sh\n{example.strip()}\n```\n"
    visible = [param for param in group.params if is_visible(param)]
    if visible:
        only_options = all(is_option(param) for param in visible)
        first = "option" if only_options else "argument or option"
        yield table((first, "default", "meaning"), [parameter(param) for param in visible])
    for word, subcommand in getattr(group, "commands", {}).items():
        yield from command(f"{name} {word}", subcommand)


def is_visible(param: Any) -> bool:
    """Whether it belongs on the page: options that install completion do not."""
    return not param.hidden and "completion" not in param.name


def is_option(param: Any) -> bool:
    """Whether its name begins with -."""
    return bool(param.param_type_name == "option")


def parameter(param: Any) -> tuple[str, ...]:
    """Name, default and meaning of an argument or option."""
    default = f"`{param.default}`"
    if param.default is None or param.default is False:
        default = ""
    meaning = param.help or ""
    if is_option(param):
        names = ", ".join([*param.opts, *param.secondary_opts])
        return f"`{names}{option_value(param)}`", default, meaning
    name = (param.metavar or param.name.upper()).strip("[]")
    if param.nargs < 0:
        name += "..."
    return f"`{name}`", "required" if param.required else default, meaning


def option_value(param: Any) -> str:
    """What follows the name of an option: nothing for a switch."""
    kind = param.type_descriptor.annotation
    if kind is bool:
        return ""
    choices = "|".join(str(choice) for choice in get_args(kind))
    return " " + (param.metavar or choices or KINDS[kind])


def exits() -> Iterator[str]:
    """The meaning of each exit code."""
    yield "## Exit codes\n"
    yield table(("code", "means"), [(str(code), text) for code, text in EXITS.items()])


# Settings


def settings() -> Iterator[str]:
    """Every setting: its default, the values it takes, and the comment in config.yaml."""
    comments = setting_comments(config.shipped_text())
    head = ("setting", "default", "takes", "meaning")
    yield "## Settings\n"
    yield (
        "They are in `config.yaml`, or in the file that `--config` names. Any can be overridden "
        "by the environment:\n`RECBATCH_` and the path in capitals, with `__` between the levels, "
        "such as `RECBATCH_PUBLISH__TOP_N=10`.\n"
        f"With `_FILE` behind its name, {secrets()} is read from a file.\n"
    )
    properties = config.Config.model_json_schema()["properties"]
    for name, field in config.Config.model_fields.items():
        if name == "preset":
            continue
        if name == "models":
            yield from models(comments)
            continue
        yield f"### {name}\n"
        if not isinstance(field.default, BaseModel):
            yield table(head, [setting(name, (field.default, properties[name]), comments)])
            continue
        if name in comments:
            yield comments[name] + "\n"
        rows = []
        for key, value in keys(field.default):
            rows.append(setting(f"{name}.{key}", value, comments))
        yield table(head, rows)


def secrets() -> str:
    """The variables that may name a file instead."""
    names = []
    for path in config.SECRETS:
        variable = config.PREFIX + "__".join(path).upper()
        names.append(f"`{variable}`")
    return ", ".join(names[:-1]) + " or " + names[-1]


def keys(section: BaseModel) -> Iterator[tuple[str, Setting]]:
    """The settings of a section by name."""
    json_schema = type(section).model_json_schema()
    for name, field in type(section).model_fields.items():
        key = field.alias or name
        part = resolved(json_schema["properties"][key], json_schema)
        yield key, (getattr(section, name), part)


def resolved(part: dict[str, Any], json_schema: dict[str, Any]) -> dict[str, Any]:
    """A part of a schema, or the part that it refers to."""
    if "$ref" in part:
        return dict(json_schema["$defs"][part["$ref"].rpartition("/")[2]])
    return part


def setting(path: str, value: Setting, comments: dict[str, str]) -> tuple[str, ...]:
    """One row."""
    default, part = value
    return f"`{path}`", f"`{as_yaml(default)}`", takes(part), comments[path]


def as_yaml(value: Any) -> str:
    """A value as it is written in config.yaml."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    written = yaml.safe_dump(value, default_flow_style=True, width=200)
    return written.removesuffix("...\n").strip()


def takes(part: dict[str, Any]) -> str:
    """The values that a setting may have, in words."""
    if "anyOf" in part:
        return ", or ".join(takes(choice) for choice in part["anyOf"])
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    kind = part.get("type", "")
    if kind == "array":
        if part.get("prefixItems"):
            return "a lowest and a highest number"
        return f"a list of: {takes(part['items'])}"
    limits = []
    for limit, sign in SIGNS.items():
        if limit in part:
            limits.append(f"{sign} {part[limit]:,.10g}")
    return f"{WORDS.get(kind, kind)} {' and '.join(limits)}".strip()


def models(comments: dict[str, str]) -> Iterator[str]:
    """The settings of the models in both presets; [models.md](models.md) has the formulas."""
    yield "### models\n"
    presets = ", ".join(f"`{name}`" for name in params.PRESETS)
    row = ("`models.preset`", "`tuned`", presets, comments["models.preset"])
    yield table(("setting", "default", "takes", "meaning"), [row])
    yield (
        "Single settings override the preset; [the models](models.md) has the formulas they "
        "appear in.\n"
    )
    rows = []
    for model in params.Models.model_fields:
        plain = getattr(params.PRESETS["plain"], model)
        tuned = getattr(params.PRESETS["tuned"], model)
        meanings: dict[str, str] = {}
        for kind in type(tuned).__mro__:
            meanings.update(attribute_docs(kind))
        for key, (value, part) in keys(tuned):
            presets_of_key = (as_yaml(getattr(plain, key)), as_yaml(value))
            values = [f"`{text}`" for text in presets_of_key]
            rows.append((f"`models.{model}.{key}`", *values, takes(part), meanings[key]))
    yield table(("setting", "plain", "tuned", "takes", "meaning"), rows)


def attribute_docs(kind: type) -> dict[str, str]:
    """The docstring below each attribute of a class in batch/params.py."""
    source = Path(params.__file__).read_text(encoding="utf-8")
    body = re.search(rf"^class {kind.__name__}\(.*?(?=^\w)", source, re.S | re.M)
    if body is None:
        return {}
    docs = re.findall(r'^    (\w+): [^\n]*\n    """(.*?)"""$', body[0], re.M | re.S)
    return {name: " ".join(text.split()) for name, text in docs}


def setting_comments(text: str) -> dict[str, str]:
    """Comments of config.yaml by the setting or section below; one may be of several settings."""
    comments: dict[str, str] = {}
    section = ""
    comment = ""
    is_new = True
    for line in text.splitlines():
        if match := re.match(r" *# (.*)", line):
            comment = match[1] if is_new else f"{comment} {match[1]}"
            is_new = False
        elif match := re.match(r"( *)(\w+):", line):
            indent, key = match.groups()
            if indent:
                comments[f"{section}.{key}"] = comment
            else:
                section = key
                if not is_new:
                    comments[section] = comment
            is_new = True
        elif not line:
            comment = ""
            is_new = True
    return comments


# Views and tables


def views() -> Iterator[str]:
    """What applications read."""
    yield "## Views\n"
    yield (
        "What applications read. On Postgres they are in the schema `database.schema`, "
        "`recbatch` by default.\n"
    )
    for name, columns in view_columns.VIEWS.items():
        yield f"### {name}\n\n{view_columns.DESCRIPTIONS[name]}\n"
        rows = []
        for column in columns:
            about = (column.meaning.rstrip("."), column.unit, column.promise)
            types = (column.type("sqlite"), column.type("postgres"))
            nullable = "yes" if column.nullable else ""
            meaning = "; ".join(filter(None, about)) + "."
            rows.append((f"`{column.name}`", *types, nullable, meaning))
        yield table(("column", "SQLite", "Postgres", "NULL", "meaning; unit; promise"), rows)


def tables() -> Iterator[str]:
    """The tables behind the views."""
    yield "## Tables\n"
    yield (
        "The job's own: read them, and leave writing to the commands, except for "
        "`item_filters`. Times of runs are UTC.\n"
    )
    in_views = {}
    for columns in view_columns.VIEWS.values():
        for shown in columns:
            in_views.setdefault(shown.source, shown.meaning)
    for each in schema.metadata.tables.values():
        yield f"### {each.name}\n\n{TABLES[each.name]}\n"
        rows = []
        for column in each.columns:
            sqlite_type = column.type.compile(dialect=sqlite.dialect())
            postgres_type = column.type.compile(dialect=postgresql.dialect())
            nullable = "yes" if column.nullable else ""
            meaning = column.doc or in_views.get(column) or own_number(column)
            types = (sqlite_type, postgres_type)
            rows.append((f"`{column.name}`", *types, nullable, role(column), meaning))
        yield table(("column", "SQLite", "Postgres", "NULL", "key", "meaning"), rows)
        if limits := constraints(each):
            yield "\n".join(limits) + "\n"


def own_number(column: Column[Any]) -> str:
    """The meaning of a column of ids that has no other."""
    return OWN_NUMBER if column.name.endswith(("_id", "_no")) else ""


def role(column: Column[Any]) -> str:
    """Whether a column is part of the primary key, and which column it refers to."""
    roles = ["primary"] if column.primary_key else []
    roles += [f"of `{key.target_fullname}`" for key in column.foreign_keys]
    return ", ".join(roles)


def constraints(each: Table) -> list[str]:
    """The rows that the database itself refuses."""
    checks = []
    keys_of_table = []
    for constraint in each.constraints:
        if isinstance(constraint, CheckConstraint):
            checks.append(f"- `{constraint.sqltext}`")
        if isinstance(constraint, UniqueConstraint):
            names = ", ".join(f"`{column.name}`" for column in constraint.columns)
            keys_of_table.append(f"- unique: {names}")
    partial = []
    for index in each.indexes:
        if index.unique:
            names = ", ".join(column.name for column in index.columns)
            partial.append(f"- unique: `{names}` where `{condition(index)}`")
    return sorted(checks) + sorted(keys_of_table) + sorted(partial)


def condition(index: Index) -> str:
    """The rows that a partial index covers."""
    return str(index.dialect_options["postgresql"]["where"])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
