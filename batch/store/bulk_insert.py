"""Rows, or columns of numbers -> a table, by the fastest way that its database has."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice, repeat
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sqlalchemy import BigInteger, Connection, SmallInteger, Table

from batch import RecbatchError
from batch.store.schema import Json

Array: TypeAlias = npt.NDArray[Any]
CHUNK = 10_000
"""Rows handed to SQLite at a time."""
BINARY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""How a COPY in binary form begins: signature, no flags, nothing more."""
BINARY_END = b"\xff\xff"
"""A row of -1 fields, which is none."""

JSONB_VERSION = b"\x01"
"""What stands before the text of a jsonb value."""


class WriteError(RecbatchError):
    """The database refused rows: its disk is full, the connection was lost, or a value broke a rule."""


def bulk_insert(
    connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> int:
    """Insert many rows the fast way, COPY on Postgres, and return how many; values go to the driver as they are.

    Raises WriteError where the database refuses them.
    """
    with _written(connection, table, columns) as (driver, target):
        if connection.dialect.name == "postgresql":
            return _copy(driver, target, rows)
        return _insert_many(driver, target, len(columns), rows)


def insert_columns(
    connection: Connection,
    table: Table,
    constants: Mapping[str, int | str],
    columns: Mapping[str, Array],
) -> int:
    """Insert k rows, whose columns are numbers, (k,) each, or the same in each row, and return k; nan becomes NULL.

    A column may also be JSON, as texts of ASCII signs; an empty one becomes NULL. On Postgres numpy lays the rows out
    as COPY reads them; SQLite takes nothing but objects, one by one.
    Raises WriteError, as `bulk_insert` does.
    """
    names, count = [*constants, *columns], len(next(iter(columns.values())))
    if connection.dialect.name == "postgresql":
        with (
            _written(connection, table, names) as (driver, target),
            driver.cursor() as cursor,
            cursor.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.write(BINARY_HEAD)
            for rows in _laid_out(table, constants, columns):
                copy.write(rows)
            copy.write(BINARY_END)
        return count
    same = [repeat(value, count) for value in constants.values()]
    lists = [_objects(table, name, column) for name, column in columns.items()]
    return bulk_insert(connection, table, names, zip(*same, *lists, strict=True))


def _objects(table: Table, name: str, column: Array) -> list[Any]:
    unknown = _unknown(column)
    values: list[Any] = column.tolist()
    if not _is_text(column):
        values = np.where(unknown, 0, column).astype(_type(table, name)).tolist()
    for place in np.flatnonzero(unknown).tolist():
        values[place] = None
    return values


def _laid_out(
    table: Table, constants: Mapping[str, int | str], columns: Mapping[str, Array]
) -> Iterator[bytes]:
    """The rows in Postgres' binary form. Those that lack the same columns have one layout, and come together."""
    unknown = [_unknown(column) << place for place, column in enumerate(columns.values())]
    lacking = np.bitwise_or.reduce(unknown, axis=0)  # (k,) a bit for each column
    for pattern in np.unique(lacking):
        chosen = lacking == pattern
        texts = {
            name: (JSONB_VERSION if table.c[name].type is Json else b"") + value.encode()
            for name, value in constants.items()
            if isinstance(value, str)
        }
        present = {
            name: _packed(column[chosen]) if _is_text(column) else column[chosen]
            for place, (name, column) in enumerate(columns.items())
            if not pattern >> place & 1
        }
        fields = {**constants, **texts, **present}
        layout = [("fields", ">i2")]
        for name in (*constants, *columns):
            layout.append((f"{name} size", ">i4"))
            if name in texts:
                layout.append((name, f"S{len(texts[name])}"))
            elif name in fields:
                layout.append(
                    (
                        name,
                        present[name].dtype.str
                        if _is_text(columns.get(name))
                        else _type(table, name),
                    )
                )
        rows = np.zeros(np.count_nonzero(chosen), layout)
        rows["fields"] = len(constants) + len(columns)
        for name in (*constants, *columns):
            rows[f"{name} size"] = (
                rows.dtype[name].itemsize if name in fields else -1
            )  # -1 stands for NULL
            if name in fields:
                rows[name] = fields[name]
        yield rows.tobytes()


def _is_text(column: Array | None) -> bool:
    return column is not None and column.dtype.kind == "U"


def _unknown(column: Array) -> Array:
    return column == "" if _is_text(column) else np.isnan(column)


def _packed(texts: Array) -> Array:
    """JSON in the binary form of Postgres' jsonb, with spaces behind it, which say nothing, to one width."""
    width = int(np.strings.str_len(texts).max())
    return np.strings.add("\1", np.strings.ljust(texts, width)).astype(np.bytes_)


def _type(table: Table, name: str) -> str:
    """What a column of numbers holds, in Postgres' order of bytes."""
    kind = table.c[name].type
    return (
        ">i2"
        if isinstance(kind, SmallInteger)
        else ">i8"
        if isinstance(kind, BigInteger)
        else ">f8"
    )


@contextmanager
def _written(
    connection: Connection, table: Table, columns: Sequence[str]
) -> Iterator[tuple[Any, str]]:
    """The driver's connection, and the table with its columns as SQL; what goes wrong is told without quoting rows."""
    quote = connection.dialect.identifier_preparer
    target = f"{quote.format_table(table)} ({', '.join(quote.quote(column) for column in columns)})"
    try:
        yield connection.connection.dbapi_connection, target
    except connection.dialect.loaded_dbapi.Error as error:
        told = str(error).partition("\n")[
            0
        ]  # the lines after the first quote rows, which are people's
        raise WriteError(f"{table.name} could not be written: {told}") from error


def _copy(driver: Any, target: str, rows: Iterable[Sequence[Any]]) -> int:
    count = 0
    with driver.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def _insert_many(driver: Any, target: str, width: int, rows: Iterable[Sequence[Any]]) -> int:
    count, remaining, marks = 0, iter(rows), ", ".join("?" * width)
    while chunk := list(islice(remaining, CHUNK)):
        driver.executemany(f"INSERT INTO {target} VALUES ({marks})", chunk)  # noqa: S608  names from the schema only
        count += len(chunk)
    return count
