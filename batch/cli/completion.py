"""A command line that is not finished -> the models and runs that may come next, from the database if it is there."""

from collections.abc import Iterator
from contextlib import suppress

import typer
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from batch import RecbatchError, query
from batch.config import load_config
from batch.store.database import open_database, require_tables
from batch.store.runs import newest_runs

RUNS = 20
"""Newest runs that are offered."""


def models(context: typer.Context, incomplete: str) -> list[str]:
    """Models that the published run has lists of."""
    return [
        name
        for connection in _reading(context)
        for name in query.models(connection)
        if name.startswith(incomplete)
    ]


def runs(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Numbers of the newest runs; shells that can, show what became of each."""
    found = [
        run
        for connection in _reading(context)
        for run in newest_runs(connection, RUNS)
        if not run.purged
    ]
    told = ((str(run.run_id), f"{run.logical_date} {run.status}") for run in found)
    return [(number, about) for number, about in told if number.startswith(incomplete)]


def _reading(context: typer.Context) -> Iterator[Connection]:
    """One connection, or none: whoever presses Tab is not told what is wrong, the command will."""
    with suppress(RecbatchError, SQLAlchemyError, OSError):
        settings = load_config(context.find_root().params.get("config"))
        database = open_database(settings.database.url, settings.database.schema_name)
        require_tables(database)
        with database.reader.connect() as connection:
            yield connection
