"""The program's own commands, settings and tables -> docs/reference.md; `make reference` writes it anew."""

import io
import re
import tokenize
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

Made from the program by `make reference`; a test holds this page to it. [Commands](#commands),
[exit codes](#exit-codes), [settings](#settings), [views](#views), [tables](#tables).
"""
TABLES = {
    "users": "Who rates.",
    "movies": "What is rated.",
    "genres": "Names of genres.",
    "movie_genres": "Which film has which genres.",
    "ratings": "The newest rating of each film by each user.",
    "ingest_batches": "One row for each file, or answer to a query, that was read.",
    "ingest_rejects": "Rows that were not taken, as they stood.",
    "item_filters": "Films that must not be shown, from everyone or from one user, and when.",
    "runs": "One row for each run, with what it takes to make it again.",
    "run_metrics": "What a run measured; docs/metrics.md says what each metric is.",
    "run_checks": "What was asked of a run before it was shown; docs/gates.md.",
    "recommendations": "The lists of every kept run: one row a film. Applications read `current_recommendations`.",
    "popular_items": "The most rated films of every kept run. Applications read `current_popular`.",
    "publication": "One row: which run readers see.",
}
KINDS = {datetime: "TIME", Path: "FILE", str: "TEXT", int: "N", float: "NUMBER"}
"""What an option takes, by its type."""
EXITS = {
    0: "Done, or nothing to do.",
    FAILED: "Failed; the old list still serves. The last line on stderr says why.",
    WRONG_USE: "Wrong use or settings; the message names what.",
    REFUSED: "A run was refused by a check; the old list still serves.",
    UNHEALTHY: "`recbatch check`: the list is stale, or the last run failed or was refused.",
    LOCKED: "Another job is at work on this database; try again later.",
    130: "Ended by SIGINT; the old list still serves.",
    143: "Ended by SIGTERM; the old list still serves.",
}


def page() -> str:
    """The whole page."""
    parts = [HEAD, *commands(), *exits(), *settings(), *views(), *tables()]
    return "\n".join(parts).rstrip() + "\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Cells -> a table of Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        + "\n"
    )


def commands() -> Iterator[str]:
    """Every command with its arguments and options, as the program has them."""
    yield "## Commands\n"
    yield (
        "`recbatch`, or `python -m batch`; its own options stand before the command. Results go to stdout,\n"
        "the log to stderr.\n"
    )
    yield from command("recbatch", typer.main.get_command(app))


def command(name: str, found: Any) -> Iterator[str]:
    """One command and those below it."""
    words, _, example = (found.help or "").partition("Example:")
    yield f"### {name}\n\n{' '.join(words.split())}\n"
    if example:
        yield f"```sh\n{example.strip()}\n```\n"
    shown = [each for each in found.params if not each.hidden and "completion" not in each.name]
    if shown:
        head = (
            "option" if all(map(is_option, shown)) else "argument or option",
            "default",
            "meaning",
        )
        yield table(head, [parameter(each) for each in shown])
    for word, inner in getattr(found, "commands", {}).items():
        yield from command(f"{name} {word}", inner)


def is_option(each: Any) -> bool:
    """Whether it has a name that begins with -."""
    return bool(each.param_type_name == "option")


def parameter(each: Any) -> tuple[str, ...]:
    """Name, default and meaning of an argument or option."""
    default = "" if each.default is None or each.default is False else f"`{each.default}`"
    if not is_option(each):
        name = (each.metavar or each.name.upper()).strip("[]") + "..." * (each.nargs < 0)
        return f"`{name}`", "required" if each.required else default, each.help or ""
    kind = each.type_descriptor.annotation
    names = ", ".join([*each.opts, *each.secondary_opts])
    value = (
        ""
        if kind is bool
        else " " + (each.metavar or "|".join(map(str, get_args(kind))) or KINDS[kind])
    )
    return f"`{names}{value}`", default, each.help or ""


def exits() -> Iterator[str]:
    """What the codes mean that programs act on."""
    yield "## Exit codes\n"
    yield table(("code", "means"), [(str(code), text) for code, text in EXITS.items()])


def settings() -> Iterator[str]:
    """Every setting: its default, what it takes, and the words of config.yaml."""
    said = told(config.shipped_text())
    yield "## Settings\n"
    yield (
        "They lie in `config.yaml`, or in the file that `--config` names. Any can be overridden by the environment:\n"
        "`RECBATCH_` and the path in capitals, with `__` between the levels, such as `RECBATCH_PUBLISH__TOP_N=10`.\n"
        f"With `_FILE` behind its name, {secrets()} is read from a file.\n"
    )
    for name, field in config.Config.model_fields.items():
        inner = field.default
        if name == "preset":
            continue
        if name == "models":
            yield from models(said)
        elif isinstance(inner, BaseModel):
            yield f"### {name}\n"
            if name in said:
                yield said[name] + "\n"
            rows = [setting(f"{name}.{key}", each, said) for key, each in keys(inner)]
            yield table(("setting", "default", "takes", "meaning"), rows)
        else:
            yield f"### {name}\n"
            rows = [
                setting(name, (inner, config.Config.model_json_schema()["properties"][name]), said)
            ]
            yield table(("setting", "default", "takes", "meaning"), rows)


def secrets() -> str:
    """The variables that may name a file instead."""
    names = ["`" + config.PREFIX + "__".join(path).upper() + "`" for path in config.SECRETS]
    return ", ".join(names[:-1]) + " or " + names[-1]


def keys(section: BaseModel) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The keys of a section, each with its default and what JSON schema says of it."""
    about = type(section).model_json_schema()
    for name, field in type(section).model_fields.items():
        key = field.alias or name
        yield key, (getattr(section, name), resolved(about["properties"][key], about))


def resolved(part: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """A part of a schema, with what it refers to in its place."""
    if "$ref" in part:
        return dict(about["$defs"][part["$ref"].rpartition("/")[2]])
    return part


def setting(path: str, each: tuple[Any, Any], said: dict[str, str]) -> tuple[str, ...]:
    """One row."""
    default, about = each
    return f"`{path}`", f"`{written(default)}`", takes(about), said[path]


def written(value: Any) -> str:
    """A value as config.yaml would have it."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return yaml.safe_dump(value, default_flow_style=True, width=200).removesuffix("...\n").strip()


def takes(about: dict[str, Any]) -> str:
    """What values a setting may have, in words."""
    if "anyOf" in about:
        return ", or ".join(takes(part) for part in about["anyOf"])
    if "enum" in about:
        return ", ".join(f"`{value}`" for value in about["enum"])
    if "const" in about:
        return f"`{about['const']}`"
    kind = about.get("type", "")
    if kind == "array":
        pair = about.get("prefixItems")
        return "a lowest and a highest number" if pair else f"a list of: {takes(about['items'])}"
    words = {"integer": "whole number", "string": "text", "object": "mapping", "null": "null"}.get(
        kind, kind
    )
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    limits = [f"{sign} {about[word]:,.10g}" for word, sign in signs.items() if word in about]
    return f"{words} {' and '.join(limits)}".strip()


def models(said: dict[str, str]) -> Iterator[str]:
    """The knobs of the models beside each other in both presets; [models.md](models.md) has the formulas."""
    yield "### models\n"
    yield table(
        ("setting", "default", "takes", "meaning"),
        [
            (
                "`models.preset`",
                "`tuned`",
                ", ".join(f"`{name}`" for name in params.PRESETS),
                said["models.preset"],
            )
        ],
    )
    yield "Single knobs override the preset; [the models](models.md) says what they do in the formulas.\n"
    rows = []
    for model in params.Models.model_fields:
        plain, tuned = (getattr(params.PRESETS[name], model) for name in ("plain", "tuned"))
        meanings = {key: text for kind in type(tuned).__mro__ for key, text in knobs(kind).items()}
        for key, (value, about) in keys(tuned):
            given = written(getattr(plain, key)), written(value)
            rows.append(
                (
                    f"`models.{model}.{key}`",
                    *(f"`{each}`" for each in given),
                    takes(about),
                    meanings[key],
                )
            )
    yield table(("setting", "plain", "tuned", "takes", "meaning"), rows)


def knobs(kind: type) -> dict[str, str]:
    """The words under each attribute of a class in batch/params.py."""
    text = Path(params.__file__).read_text(encoding="utf-8")
    body = re.search(rf"^class {kind.__name__}\(.*?(?=^\w)", text, re.S | re.M)
    return dict(re.findall(r'^    (\w+): .*\n    """(.*)"""$', body[0], re.M)) if body else {}


def told(text: str) -> dict[str, str]:
    """The comments of config.yaml by the setting, or section, that they stand before; one may be of several keys."""
    found: dict[str, str] = {}
    section, comment, fresh = "", "", True
    for line in text.splitlines():
        if match := re.match(r" *# (.*)", line):
            comment = match[1] if fresh else f"{comment} {match[1]}"
            fresh = False
        elif match := re.match(r"( *)(\w+):", line):
            section = section if match[1] else match[2]
            if match[1] or not fresh:
                found[f"{section}.{match[2]}" if match[1] else section] = comment
            fresh = True
        elif not line:
            comment, fresh = "", True
    return found


def views() -> Iterator[str]:
    """What applications read."""
    yield "## Views\n"
    yield "What applications read. On Postgres they lie in the schema `database.schema`, `recbatch` by default.\n"
    for name, columns in view_columns.VIEWS.items():
        yield f"### {name}\n\n{view_columns.DESCRIPTIONS[name]}\n"
        rows = [
            (f"`{each.name}`", each.type("sqlite"), each.type("postgres"), "yes" if each.nullable else "",
             "; ".join(filter(None, (each.meaning.rstrip("."), each.unit, each.promise))) + ".")
            for each in columns
        ]  # fmt: skip
        yield table(("column", "SQLite", "Postgres", "NULL", "meaning; unit; promise"), rows)


def tables() -> Iterator[str]:
    """What the views are made from, and what operators may look into."""
    yield "## Tables\n"
    yield "The job's own: read them, and leave writing to the commands, `item_filters` apart. Times of runs are UTC.\n"
    comments = beside()
    shown = {
        each.source: each.meaning for columns in view_columns.VIEWS.values() for each in columns
    }
    for found in schema.metadata.tables.values():
        yield f"### {found.name}\n\n{TABLES[found.name]}\n"
        rows = [
            (f"`{each.name}`", each.type.compile(dialect=sqlite.dialect()),
             each.type.compile(dialect=postgresql.dialect()), "yes" if each.nullable else "", role(each),
             comments.get((found.name, each.name)) or shown.get(each) or known(each))
            for each in found.columns
        ]  # fmt: skip
        yield table(("column", "SQLite", "Postgres", "NULL", "key", "meaning"), rows)
        if limits := constraints(found):
            yield "\n".join(limits) + "\n"


def known(column: Column[Any]) -> str:
    """What a column is that nothing else is said of."""
    if column.name.endswith(("_id", "_no")):
        return "The program's own number, which sources do not know."
    return "In words." if column.name == "name" else ""


def role(column: Column[Any]) -> str:
    """Whether a column is of the primary key, or which column it refers to."""
    refers = [f"of `{each.target_fullname}`" for each in column.foreign_keys]
    return ", ".join(["primary"] * column.primary_key + refers)


def constraints(found: Table) -> list[str]:
    """What the database itself refuses."""
    checks = [
        f"- `{each.sqltext}`" for each in found.constraints if isinstance(each, CheckConstraint)
    ]
    only = [each for each in found.constraints if isinstance(each, UniqueConstraint)]
    unique = [
        f"- unique: {', '.join(f'`{column.name}`' for column in each.columns)}" for each in only
    ]
    some = [
        f"- unique: `{', '.join(column.name for column in each.columns)}` where `{where(each)}`"
        for each in found.indexes
        if each.unique
    ]
    return sorted(checks) + sorted(unique) + sorted(some)


def where(index: Index) -> str:
    """The rows that a partial index is of."""
    return str(index.dialect_options["postgresql"]["where"])


def beside() -> dict[tuple[str, str], str]:
    """(table, column) -> the comment at the end of its line in batch/schema.py."""
    text = Path(schema.__file__).read_text(encoding="utf-8")
    lines = text.splitlines()
    found, name = {}, ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING and lines[token.start[0] - 2].endswith("= _table("):
            name = token.string.strip('"')
        column = re.match(r' +(?:Column|_id)\("(\w+)"', token.line)
        if token.type == tokenize.COMMENT and column:
            meaning = token.string.lstrip("# ")
            found[name, column[1]] = meaning[0].upper() + meaning[1:].rstrip(".") + "."
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
