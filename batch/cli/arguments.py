"""Shared by all commands: arguments, settings and database, and how results are printed."""

import json
from collections import deque
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated, Any, NoReturn

import typer

from batch.cli import completion
from batch.cli.terminal import print_json, print_lines
from batch.config import Config, load_config
from batch.store.database import Database, open_database
from batch.store.versions import prepare, require_tables

# Exit codes; docs/reference.md has their meanings.
FAILED = 1
REFUSED = 3
UNHEALTHY = 5
LOCKED = 75

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
User = Annotated[
    str, typer.Argument(metavar="USER", help="A user's key, or a name that only one user has.")
]
Movie = Annotated[
    str, typer.Argument(metavar="MOVIE", help="A film's key, or a title that only one film has.")
]
A_RUN = "A run that 'recbatch runs' lists."
LARGEST_NUMBER = 2**31 - 1
"""Of a run, a filter or a count: what an integer of either database can contain."""

AtMost = Annotated[
    int | None,
    typer.Option("-n", min=1, max=LARGEST_NUMBER, metavar="N", help="At most this many films."),
]
AnyRun = Annotated[
    int | None,
    typer.Option(
        "--run",
        max=LARGEST_NUMBER,
        metavar="RUN",
        help="A run other than the published one.",
        autocompletion=completion.runs,
    ),
]

options: dict[str, Any] = {"config": None, "log_format": None, "log_level": None}
"""The values of the options that stand before a command."""
opened: deque[Database] = deque(maxlen=1)
"""The last one, which an error of a driver is about."""


def load_settings() -> Config:
    """The settings of the file that --config names. Raises ConfigError."""
    return load_config(options["config"])


def connect(settings: Config) -> Database:
    """The database of the settings, with or without tables. Raises DatabaseUrlError."""
    return open_at(settings.database.url, settings.database.schema_name)


def connect_for_job(settings: Config) -> Database:
    """The same database by the address for whatever writes. Raises DatabaseUrlError."""
    address = settings.database
    if address.job_url is None:
        return connect(settings)
    return open_at(address.job_url, address.schema_name, "database.job_url")


def open_at(url: str, schema_name: str = "recbatch", setting: str = "database.url") -> Database:
    """The database that errors name from now on. Raises DatabaseUrlError."""
    database = open_database(url, schema_name, setting)
    opened.append(database)
    return database


def open_ready(*, writes: bool = False, create: bool = False) -> tuple[Config, Database]:
    """The settings, and the database with tables of this version.

    `writes` takes the address for whatever writes; `create` makes a SQLite file that does not
    exist. Raises ConfigError, DatabaseUrlError, NotReadyError.
    """
    settings = load_settings()
    data = connect_for_job(settings) if writes else connect(settings)
    if create:
        prepare(data)
    else:
        require_tables(data)
    return settings, data


def print_result(as_json: bool, content: Any, print_text: Callable[[], None]) -> None:
    """Print the content as JSON, or call `print_text`."""
    if as_json:
        print_json(json.dumps(content, default=_as_text, indent=2, ensure_ascii=False))
    else:
        print_text()


def stop(code: int, *lines: str) -> NoReturn:
    """End with this exit code and one line on stderr; several only where several are wrong."""
    first, *others = lines
    print_lines(f"recbatch: {first}", *others, err=True)
    raise SystemExit(code)


def utc(moment: datetime | None) -> datetime | None:
    """A time of the command line, which has no zone, as a time in UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def _as_text(value: Any) -> str:
    """Dates and times as ISO 8601, paths as text."""
    return value.isoformat() if isinstance(value, date) else str(value)
