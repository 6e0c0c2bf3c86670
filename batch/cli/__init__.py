"""Arguments -> one call per command, and every error -> one line and an exit code."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

import typer
from sqlalchemy.exc import DBAPIError

from batch import RecbatchError, __version__, query
from batch.cli import database, filters, help, inspect, job, manage
from batch.cli.arguments import FAILED, LOCKED, configured, connected, options, stop
from batch.cli.help import WRONG_USE
from batch.config import ConfigError
from batch.job import shutdown
from batch.store.database import DatabaseUrlError, LockedError, NotReadyError
from batch.store.filters import EmptyWindowError

WRONG = (
    ConfigError, DatabaseUrlError, EmptyWindowError, NotReadyError,
    query.UnknownUserError, query.AmbiguousUserError, query.UnknownFilmError, query.AmbiguousFilmError,
)  # fmt: skip
"""What whoever typed the command can mend there, or in the settings."""
NEW_OBJECTS = 10_000
"""After how many of them Python looks for garbage; its own 700 suits programs that make less at their start."""

app = help.Commands(
    help="Film ratings in, each user's top films in a database table, every night.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (job, inspect, manage):
    app.add_typer(part.commands)
app.add_typer(database.commands, name="db")
app.add_typer(filters.commands, name="filter")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"recbatch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    config: Annotated[
        Path | None, typer.Option(help="Settings file. Default: config.yaml, if it is there.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option(
            help="Of the log on stderr, a line an event. Default: text on a terminal, else json."
        ),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    from batch.telemetry import start_logging

    start_logging(verbose=not quiet, style=log_format)
    options.update(config=config, log_format=log_format)


def _said(message: str) -> str:
    """What a database says of itself, with the place and the remedy that SQLite leaves out."""
    remedy = {
        "unable to open database file": "SQLite must be able to write into its folder, to read as well",
        "file is not a database": "mend database.url, or move the file away",
    }.get(message)
    return f"{message}: {connected(configured()).label}; {remedy}" if remedy else message


@contextmanager
def _errors() -> Iterator[None]:
    """What went wrong -> one line with the remedy, and the exit code that cron and its like act on."""
    try:
        yield
    except typer.TyperException as error:
        stop(WRONG_USE, help.told(error))
    except WRONG as error:
        stop(WRONG_USE, str(error))
    except LockedError as error:
        stop(LOCKED, str(error))
    except RecbatchError as error:
        stop(FAILED, str(error))
    except DBAPIError as error:
        stop(FAILED, f"the database says: {_said(str(error.orig).strip())}")
    except OSError as error:
        stop(FAILED, f"{error.filename or 'output'}: {error.strerror or error}")


def main() -> None:
    """The `recbatch` command."""
    shutdown.listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a title must not fail where the terminal lacks its letters
    # Imports leave a million objects that stay: looking for garbage among them every 700, and once more at the end,
    # would take a small run a second of its ten.
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)
    with _errors():
        with shutdown.ending_at_once():
            code = help.call(app)
        sys.exit(code)
