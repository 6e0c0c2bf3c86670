"""Queries on tables that are there already -> files, which are then judged and merged as any other."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from batch.ingest.batches import File, Report, Settings
from batch.ingest.formats import QUERY, QUERY_MOVIES, Format
from batch.ingest.parsing import RefusedError
from batch.ingest.sources import Source
from batch.store import schema
from batch.store.database import Database, DatabaseUrlError, open_database

ROWS = 10_000
"""Fetched at a time."""


@dataclass(frozen=True)
class Queries:
    """What the settings ask of tables that somebody else keeps; None: nothing."""

    ratings: str | None = None  # user, movie, rating and maybe time
    films: str | None = None  # movie, title and maybe genres, a|b
    url: str | None = None  # where those tables are; None: in the same database

    @property
    def asked(self) -> list[tuple[str, Format, str]]:
        """The settings that ask, what they ask for, and the SQL; films come before the ratings of them."""
        known = [
            ("ingest.films_query", QUERY_MOVIES, self.films),
            ("ingest.query", QUERY, self.ratings),
        ]
        return [(name, format_, sql) for name, format_, sql in known if sql is not None]


NO_QUERIES = Queries()


def ask(
    database: Database, queries: Queries, folder: Path, settings: Settings
) -> tuple[list[Report], list[File]]:
    """Write what the queries give into files in this folder, both as of one moment, and say what cannot be had.

    They are asked on a connection that cannot write, and rows are not held in memory. Where one of them fails the other
    is left out too: they belong together.
    """
    asked = queries.asked
    files: list[File] = []
    name, format_ = asked[-1][:2]  # at fault where there is no database to ask
    try:
        with _where(database, queries.url).reader.connect() as there:
            if there.dialect.name == "postgresql":
                there.exec_driver_sql("SET search_path TO DEFAULT")  # not this program's own schema
            for name, format_, sql in asked:
                source = Source(folder / f"{name}.csv", None, name)
                _spool(there, sql, source.path)
                files.append(
                    File(
                        source,
                        format_,
                        "the settings ask for it",
                        *source.candidate_features(),
                        source.modified_at,
                    )
                )
    except RefusedError as error:
        why = {name: error.about(name)}
    except DBAPIError as error:
        why = {
            name: f"{name}: the database says: {str(error.orig).strip().partition(chr(10))[0]}; mend the query"
        }
    else:
        with database.reader.connect() as here:
            return [], [_aged(here, file, settings) for file in files]
    others = {other: f"{other}: not merged, because it belongs with {name}" for other, *_ in asked}
    return [Report(each, kind.name, (others | why)[each], "refused") for each, kind, _ in asked], []


def _where(database: Database, url: str | None) -> Database:
    if url is None:
        return database
    try:
        other = open_database(url)
    except DatabaseUrlError as error:
        told = str(error).replace("database.url", "ingest.query_url")
        raise RefusedError("BAD_URL", told) from None
    if other.file and not other.file.exists():
        raise RefusedError(
            "NO_SUCH_FILE", f"there is no database at {other.file}; mend ingest.query_url"
        )
    return other


def _spool(connection: Connection, sql: str, file: Path) -> None:
    """The rows of a query as CSV, under the names of its columns."""
    result = connection.execution_options(yield_per=ROWS, no_parameters=True).exec_driver_sql(sql)
    if not result.returns_rows:
        raise RefusedError("NO_ROWS", "gives no rows; it must be a SELECT")
    with file.open("w", encoding="utf-8", newline="", errors="backslashreplace") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(result.keys())
        writer.writerows(_texts(row) for row in result)


def _texts(row: Iterable[Any]) -> list[str]:
    """As a person would write them into a file: 4, not 4.000000; nothing for NULL."""
    return [_text(value) for value in row]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, date):  # or a moment
        return value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value.normalize():f}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _aged(connection: Connection, file: File, settings: Settings) -> File:
    """As old as the query's last answer, if that said the same: its ratings without times have become no newer."""
    b = schema.ingest_batches.c
    last = select(b.sha256, b.settings_sha256, b.snapshot_at).where(
        b.format == file.format.name, b.status == "merged"
    )
    found = connection.execute(last.order_by(b.batch_id.desc()).limit(1)).first()
    if found is None or (found.sha256, found.settings_sha256) != (file.sha256, settings.sha256):
        return file
    return replace(file, snapshot_at=found.snapshot_at)
