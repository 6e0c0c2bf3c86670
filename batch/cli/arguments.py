"""What commands share: arguments, settings and database as the command line gives them, and how results are shown."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated, Any, NoReturn

import typer

from batch.config import Config, load_config
from batch.store import database
from batch.store.database import Database, open_database

FAILED, REFUSED, UNHEALTHY, LOCKED = 1, 3, 5, 75
"""Exit codes, as docs/running.md has them."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
User = Annotated[
    str, typer.Argument(metavar="USER", help="A user's key, or a name that only one user has.")
]
Movie = Annotated[
    str, typer.Argument(metavar="MOVIE", help="A film's key, or a title that only one film has.")
]
A_RUN = "A run that 'recbatch runs' lists."

options: dict[str, Any] = {"config": None, "log_format": None}
"""Those before a command, for the command."""


def configured() -> Config:
    """The settings. Raises ConfigError."""
    return load_config(options["config"])


def connected(settings: Config) -> Database:
    """The database of the settings, whether its tables are there or not. Raises DatabaseUrlError."""
    return open_database(settings.database.url, settings.database.schema_name)


def opened(*, create: bool = False) -> tuple[Config, Database]:
    """The settings and the database, which must be ready; `create` makes a SQLite file that is not there."""
    settings = configured()
    data = connected(settings)
    (database.prepare if create else database.require_tables)(data)
    return settings, data


def shown(as_json: bool, content: Any, table: Callable[[], None]) -> None:
    """Print the content as JSON, or else call what prints it for people."""
    if as_json:
        typer.echo(json.dumps(content, default=_told, indent=2, ensure_ascii=False))
    else:
        table()


def stop(code: int, message: str) -> NoReturn:
    """End with this exit code and one line on stderr."""
    typer.echo(f"recbatch: {message}", err=True)
    raise SystemExit(code)


def utc(moment: datetime | None) -> datetime | None:
    """A time without a zone, as the command line gives it, as one in UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def _told(value: Any) -> str:
    """Dates and times as ISO 8601, paths as text."""
    return value.isoformat() if isinstance(value, date) else str(value)
