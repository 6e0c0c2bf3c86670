"""Rows of queries on other tables -> CSV files, which are then merged like any other file."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, select
from sqlalchemy.exc import DBAPIError

from batch.ingest import catalogue, long, seen_files
from batch.ingest.batches import File, Report, Settings
from batch.ingest.catalogue import QUERY_MOVIES
from batch.ingest.columns import RATINGS_COLUMNS, find_columns
from batch.ingest.errors import RefusedError
from batch.ingest.file_format import Format, Layout, Sample
from batch.ingest.formats import recognise_query
from batch.ingest.long import QUERY
from batch.ingest.seen_files import SEEN_QUERY
from batch.ingest.sources import Source
from batch.ingest.time_limit import time_limit
from batch.ingest.values import texts_of
from batch.store import schema
from batch.store.database import Database, DatabaseUrlError, open_database

FETCH_ROWS = 10_000
"""Rows that are fetched at a time."""


class Statement(NamedTuple):
    """One query of the settings."""

    name: str  # of the setting, shown instead of a path
    format: Format
    layout_of: Callable[[Sample], Layout]
    sql: str


@dataclass(frozen=True)
class Queries:
    """The queries of the settings, on tables that another program keeps; None where not set."""

    ratings: str | None = None  # SQL for user, movie, rating and maybe time
    films: str | None = None  # SQL for movie, title and maybe genres, a|b
    url: str | None = None  # of the database with those tables; None: this program's own
    timeout: int = 600  # seconds that each may take, with fetching its rows
    seen: str | None = None  # SQL for user, movie and maybe time: films that were seen

    @property
    def statements(self) -> list[Statement]:
        """The queries that are set; films come before their ratings."""
        statements = []
        if self.films is not None:
            statements.append(
                Statement("ingest.films_query", QUERY_MOVIES, catalogue.read_of_query, self.films)
            )
        if self.ratings is not None:
            statements.append(Statement("ingest.query", QUERY, long.read_of_query, self.ratings))
        if self.seen is not None:
            read_seen = seen_files.read_of_query
            statements.append(Statement("ingest.seen_query", SEEN_QUERY, read_seen, self.seen))
        return statements


NO_QUERIES = Queries()


def run_queries(
    database: Database, queries: Queries, folder: Path, settings: Settings
) -> tuple[list[Report], list[File]]:
    """Write the rows of each query into a file in this folder; returns reports of failures.

    All queries see one snapshot, on a connection that cannot write, and rows are not held in
    memory. Where one query fails the others are refused too: they belong together.
    """
    statements = queries.statements
    statement = statements[-1]  # reported as failed where the database cannot be opened
    files: list[File] = []
    try:
        with _source_database(database, queries.url).reader.connect() as connection:
            if connection.dialect.name == "postgresql":
                # The user's tables are not in this program's own schema.
                connection.exec_driver_sql("SET LOCAL search_path TO DEFAULT")
            for statement in statements:
                with time_limit(connection, queries.timeout) as check_time:
                    file = _fetch(connection, statement, folder, settings, check_time)
                files.append(file)
    except RefusedError as error:
        return _refuse_all(statements, statement, error), []
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        failure = RefusedError("QUERY_FAILED", f"the query failed: {reason}; fix the query")
        return _refuse_all(statements, statement, failure), []
    with database.reader.connect() as connection:
        return [], [_with_earlier_time(connection, file, settings) for file in files]


def _source_database(database: Database, url: str | None) -> Database:
    """The database that the queries read. Raises RefusedError."""
    if url is None:
        return database
    try:
        source = open_database(url)
    except DatabaseUrlError as error:
        message = str(error).replace("database.url", "ingest.query_url")
        raise RefusedError("BAD_URL", message) from None
    if source.file and not source.file.exists():
        remedy = "set ingest.query_url to the one with your tables"
        message = f"there is no database at {source.file}; {remedy}"
        raise RefusedError("NO_SUCH_FILE", message)
    return source


def _fetch(
    connection: Connection,
    statement: Statement,
    folder: Path,
    settings: Settings,
    check_time: Callable[[], None],
) -> File:
    """Run a query and write its rows as CSV, under the names of its columns."""
    source = Source(folder / f"{statement.name}.csv", None, label=statement.name)
    try:
        _write_csv(connection, statement, source.path, settings, check_time)
    except OSError as error:
        message = (
            f"its rows cannot be written to {folder} ({error.strerror}); "
            "make room there, or set TMPDIR to another folder"
        )
        raise RefusedError("UNWRITABLE", message) from None
    content = source.content()
    recognised = recognise_query(source, content, statement.layout_of, settings.choices)
    return File(
        source=source,
        format=statement.format,
        why="the settings ask for it",
        read=recognised.read,
        sha256=content.sha256,
        size=content.size,
        snapshot_at=source.modified_at,
    )


def _write_csv(
    connection: Connection,
    statement: Statement,
    file: Path,
    settings: Settings,
    check_time: Callable[[], None],
) -> None:
    role = _role(connection)
    streaming = {"yield_per": FETCH_ROWS, "no_parameters": True}
    # Closed in any case: an open cursor of the server would warn.
    with connection.exec_driver_sql(statement.sql, execution_options=streaming) as result:
        if not result.returns_rows:
            raise RefusedError("NO_ROWS", "gives no rows; it must be a SELECT")
        names = list(result.keys())
        rows = _texts(result, check_time)
        if role is not None and statement.format in (QUERY, SEEN_QUERY):
            user = find_columns(names, RATINGS_COLUMNS, settings.choices.columns)["user"]
            if user is not None:
                rows = _refusing_role(rows, user, role)
        with file.open("w", encoding="utf-8", newline="", errors="backslashreplace") as output:
            writer = csv.writer(output, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(rows)


def _role(connection: Connection) -> str | None:
    """The role of a connection to Postgres; SQLite has none."""
    if connection.dialect.name != "postgresql":
        return None
    return str(connection.exec_driver_sql("SELECT current_user").scalar_one())


def _texts(result: CursorResult[Any], check_time: Callable[[], None]) -> Iterator[list[str]]:
    """The rows of a result as texts; the time is checked whenever some have been fetched."""
    for number, row in enumerate(result):
        if number % FETCH_ROWS == 0:
            check_time()
        yield texts_of(row)


def _refusing_role(rows: Iterator[list[str]], user: int, role: str) -> Iterator[list[str]]:
    """The same rows; raises RefusedError in the end if each has the role as its user.

    In Postgres a bare `user` is not a column but the name of the role. One row says nothing.
    """
    n_rows = 0
    for row in rows:
        yield row
        if row[user] != role:  # mostly the first row
            yield from rows
            return
        n_rows += 1
    if n_rows > 1:
        message = (
            f"all {n_rows:,} rows have the user {role!r}, the role of this connection, which a"
            ' bare user means in Postgres; write "user" in quotes, or public.TABLE.user AS user'
        )
        raise RefusedError("ROLE_AS_USER", message)


def _with_earlier_time(connection: Connection, file: File, settings: Settings) -> File:
    """The file with the `snapshot_at` of the query's last result, if that had the same content.

    Its ratings without times have not become newer.
    """
    b = schema.ingest_batches.c
    earlier = select(b.sha256, b.settings_sha256, b.snapshot_at).where(
        b.format == file.format.name, b.status == "merged"
    )
    last = connection.execute(earlier.order_by(b.batch_id.desc()).limit(1)).first()
    if last is None or last.sha256 != file.sha256:
        return file
    if last.settings_sha256 != settings.sha256:
        return file
    return replace(file, snapshot_at=last.snapshot_at)


def _refuse_all(
    statements: list[Statement], failed: Statement, error: RefusedError
) -> list[Report]:
    """Reports for the query that failed, and for the others."""
    reports = []
    for statement in statements:
        name = statement.name
        if statement is failed:
            code = error.code
            why = error.with_place(name)
        else:
            code = "GROUP_REFUSED"
            why = f"{name}: not merged, because it belongs with {failed.name}"
        reports.append(Report(name, statement.format.name, why, "refused", code=code))
    return reports
