"""A database -> a snapshot of it, and the run whose lists are read there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, select

from batch.store import schema
from batch.store.database import Database, open_database
from batch.store.first_steps import first_steps
from batch.store.runs import (
    NoSuchRunError,
    Run,
    UnknownRunError,
    current_run,
    find_run,
    require_night,
)
from batch.store.versions import require_tables

_publication = schema.publication


@dataclass(frozen=True)
class Publication:
    """Which run is current, since when, and when a refresh last looked for newer ratings."""

    run_id: int
    previous_run_id: int | None
    published_at: datetime
    refreshed_at: datetime | None


@lru_cache(maxsize=8)
def _database(url: str, schema_name: str) -> Database:
    database = open_database(url, schema_name)
    require_tables(database)
    return database


@contextmanager
def snapshot(url: str, schema_name: str = "recbatch") -> Iterator[Connection]:
    """A read-only connection on which every answer is of one moment.

    Open a new one to see a new night; one that stays open for hours keeps
    the database from reusing space. The URL may lead to a pooler. Raises
    `batch.store.database.NotReadyError` where there are no tables.
    """
    with _database(url, schema_name).reader.connect() as connection:
        yield connection


def published(connection: Connection) -> Publication | None:
    """The current run; None before the first is published."""
    p = _publication.c
    columns = select(p.run_id, p.previous_run_id, p.published_at, p.refreshed_at)
    row = connection.execute(columns).first()
    return Publication(*row) if row else None


def run_with_lists(connection: Connection, run_id: int | None) -> Run:
    """The published run, or run `run_id` if it has lists."""
    if run_id is None:
        current = current_run(connection)
        if current is None:
            raise NoSuchRunError(f"nothing is published yet; {first_steps(connection)}")
        return replace(current, published_at=current.current_since)
    run = find_run(connection, run_id)
    if run is None:
        raise UnknownRunError(run_id)
    require_night(run)
    if not run.has_lists:
        state = "purged" if run.purged else run.status
        raise NoSuchRunError(f"run {run_id} has no lists: it is {state}")
    return run
