"""An unfinished command line -> models, runs and batches of the database that may come next."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from batch import RecbatchError, query
from batch.config import load_config
from batch.printable import printable
from batch.store.batches import newest_batches
from batch.store.database import open_database
from batch.store.runs import newest_runs
from batch.store.versions import require_tables

RUNS = 20
"""How many of the newest runs are offered."""
BATCHES = 20
"""How many of the newest batches are offered."""
FAILURES = (RecbatchError, SQLAlchemyError, OSError)
"""Errors in settings or database. Completion then offers nothing: the command itself will print
them."""


def models(context: typer.Context, incomplete: str) -> list[str]:
    """Models of which the published run has lists."""
    names: tuple[str, ...] = ()
    with suppress(*FAILURES), _reading(context) as connection:
        names = query.models(connection)
    return [name for name in names if name.startswith(incomplete)]


def runs(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Numbers of the newest runs that have lists; some shells also show night and status."""
    offered = []
    with suppress(*FAILURES), _reading(context) as connection:
        for run in newest_runs(connection, RUNS):
            number = str(run.run_id)
            if number.startswith(incomplete) and not run.purged:
                offered.append((number, f"{run.logical_date} {run.status}"))
    return offered


def batches(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Numbers of the newest batches that are merged; some shells also show the file."""
    offered = []
    with suppress(*FAILURES), _reading(context) as connection:
        for batch in newest_batches(connection, BATCHES):
            number = str(batch.batch_id)
            if number.startswith(incomplete) and batch.status == "merged":
                offered.append((number, printable(batch.file)))
    return offered


@contextmanager
def _reading(context: typer.Context) -> Iterator[Connection]:
    """A connection for reading, by the --config of the unfinished command line."""
    settings = load_config(context.find_root().params.get("config"))
    database = open_database(settings.database.url, settings.database.schema_name)
    require_tables(database)
    with database.reader.connect() as connection:
        yield connection
