"""Arguments -> one call per command, and every error -> one line and an exit code."""

import atexit
import gc
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

import typer
from sqlalchemy.exc import DBAPIError

from batch import RecbatchError, __version__, query
from batch.cli import (
    audience,
    database,
    export,
    filters,
    help,
    ingest,
    inspect,
    job,
    manage,
    refresh,
    runs,
    seen,
    similar,
)
from batch.cli.arguments import FAILED, LOCKED, opened, options, stop
from batch.cli.database_errors import database_error
from batch.cli.file_errors import file_error
from batch.cli.help import WRONG_USE
from batch.cli.terminal import print_lines
from batch.config import ConfigError
from batch.job import shutdown
from batch.serve.export import ExportFileError
from batch.store.backup import BackupFileError
from batch.store.batches import NoSuchBatchError
from batch.store.database import DatabaseUrlError, NotReadyError
from batch.store.filters import EmptyWindowError, NoSuchFilterError
from batch.store.postgres_upgrade import TablesInUseError
from batch.store.run_lock import LockedError
from batch.store.runs import UnknownRunError
from batch.store.sessions import UnfitServerError
from batch.store.sqlite_file import SecondNameError
from batch.telemetry import cause, log_error, start_logging

WRONG_USE_ERRORS = (
    DatabaseUrlError,
    BackupFileError,
    EmptyWindowError,
    ExportFileError,
    NoSuchBatchError,
    NotReadyError,
    UnfitServerError,
    SecondNameError,
    NoSuchFilterError,
    UnknownRunError,
    query.NoSimilarFilmsError,
    query.NoSuchModelError,
    query.UnknownUserError,
    query.AmbiguousUserError,
    query.UnknownFilmError,
    query.AmbiguousFilmError,
)
"""Errors that other arguments or settings avoid."""
NEW_OBJECTS = 10_000
"""New objects after which Python collects garbage; its default of 700 is for programs that make
fewer at their start."""

app = help.Commands(
    help="Film ratings in, each user's top films in a database table, every night.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (job, refresh, inspect, runs, similar, audience, export, manage):
    app.add_typer(module.commands)
app.add_typer(ingest.commands, name="ingest")
app.add_typer(database.commands, name="db")
app.add_typer(filters.commands, name="filter")
app.add_typer(seen.commands, name="seen")


def main() -> None:
    """The `recbatch` command."""
    shutdown.listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Printing a title must not fail on a terminal that lacks its letters.
            stream.reconfigure(errors="backslashreplace")
    # Imports leave a million objects that stay. Collecting garbage among them after every 700 new
    # ones, and once more at the end, would take a small run one second of its ten.
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)
    with _errors_in_one_line():
        _require_text(sys.argv[1:])
        with shutdown.ending_at_once():
            code = help.call(app)
        sys.exit(code)


def _require_text(arguments: Iterable[str]) -> None:
    """End with WRONG_USE where an argument is not UTF-8, which no name in a database can be."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            stop(
                WRONG_USE,
                f"the argument {argument} is not UTF-8 text; type it in UTF-8, or, if it is the"
                " name of a file, rename that or name its folder",
            )


def _print_version(requested: bool) -> None:
    if requested:
        print_lines(f"recbatch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    config: Annotated[
        Path | None, typer.Option(help="Settings file. Default: config.yaml, if it is there.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
    log_level: Annotated[
        Literal["debug", "info", "warning"] | None,
        typer.Option(
            help="Least level that is logged; debug adds where an error came from. Default: info."
        ),
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option(help="Format of the log on stderr. Default: text on a terminal, else json."),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    start_logging(level=log_level or ("warning" if quiet else "info"), style=log_format)
    options.update(config=config, log_format=log_format, log_level=log_level)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """An error -> one line on stderr with the remedy, and the exit code for cron and its like."""
    try:
        yield
    except typer.TyperException as error:
        stop(WRONG_USE, help.usage_error(error))
    except ConfigError as error:
        stop(WRONG_USE, *error.lines)
    except WRONG_USE_ERRORS as error:
        stop(WRONG_USE, str(error))
    except (LockedError, TablesInUseError) as error:
        stop(LOCKED, str(error))
    except RecbatchError as error:
        stop(FAILED, str(error))
    except DBAPIError as error:
        stop(FAILED, database_error(error, opened[-1]))
    except OSError as error:
        stop(*file_error(error))
    except Exception as error:  # a fault of the program, or of a library
        log_error("unexpected error", error)
        stop(
            FAILED,
            f"unexpected error, {cause(error)}; 'recbatch --log-level debug' shows where it came"
            " from: please report that",
        )
