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
"""Rows passed to SQLite's driver at a time."""

# COPY in binary form: https://www.postgresql.org/docs/current/sql-copy.html
BINARY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, no flags, no header extension."""
BINARY_END = b"\xff\xff"
"""The trailer: a row with -1 fields."""
BINARY_NULL = -1
"""The size of a field that is NULL."""
JSONB_VERSION = b"\x01"
"""The first byte of a jsonb value, before its text."""


class WriteError(RecbatchError):
    """The database refused rows; the message has its reason."""


def bulk_insert(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
) -> int:
    """Insert many rows, by COPY on Postgres, and return how many.

    Values go to the driver as they are. Raises WriteError.
    """
    with _driver_and_target(connection, table, columns) as (driver, target):
        if connection.dialect.name == "postgresql":
            return _copy(driver, target, rows)
        return _insert_many(driver, target, len(columns), rows)


def insert_columns(
    connection: Connection,
    table: Table,
    constants: Mapping[str, int | str],
    columns: Mapping[str, Array],
) -> int:
    """Insert n rows, given by column, and return n.

    `columns` are arrays (n,) of numbers, where nan becomes NULL, or of JSON
    as ASCII text, where '' becomes NULL; `constants` have the same value in
    each row. On Postgres numpy builds the bytes of COPY; SQLite's driver
    accepts objects only, one by one. Raises WriteError.
    """
    names = [*constants, *columns]
    n_rows = len(next(iter(columns.values())))
    if connection.dialect.name == "postgresql":
        with _driver_and_target(connection, table, names) as (driver, target):
            _copy_binary(driver, target, _binary_rows(table, constants, columns))
        return n_rows
    values: list[Iterable[Any]] = [repeat(value, n_rows) for value in constants.values()]
    for name, column in columns.items():
        values.append(_objects(table, name, column))
    return bulk_insert(connection, table, names, zip(*values, strict=True))


def _objects(table: Table, name: str, column: Array) -> list[Any]:
    """A column as Python objects of the type that its table column takes."""
    missing = _is_missing(column)
    values: list[Any]
    if _is_text(column):
        values = column.tolist()
    else:
        values = np.where(missing, 0, column).astype(_number_type(table, name)).tolist()
    for row in np.flatnonzero(missing).tolist():
        values[row] = None
    return values


def _binary_rows(
    table: Table, constants: Mapping[str, int | str], columns: Mapping[str, Array]
) -> Iterator[bytes]:
    """Rows in the binary form of COPY, grouped by the columns that are NULL.

    The rows of a group have one length: they are one structured array.
    """
    missing_bits = []
    for position, column in enumerate(columns.values()):
        missing_bits.append(_is_missing(column) << position)
    patterns = np.bitwise_or.reduce(missing_bits, axis=0)  # (n,) one bit for each column
    for pattern in np.unique(patterns):
        chosen = patterns == pattern  # (n,)
        fields: dict[str, Any] = {}
        for name, value in constants.items():
            fields[name] = _constant_field(table, name, value)
        for position, (name, column) in enumerate(columns.items()):
            if not pattern >> position & 1:
                fields[name] = _field(table, name, column[chosen])
        yield _rows_of_fields([*constants, *columns], fields, int(chosen.sum()))


def _constant_field(table: Table, name: str, value: int | str) -> Array:
    """A value in the bytes of its column, ()."""
    if not isinstance(value, str):
        return np.array(value, _number_type(table, name))
    content = value.encode()
    if table.c[name].type is Json:
        content = JSONB_VERSION + content
    return np.array(content, f"S{len(content)}")


def _field(table: Table, name: str, column: Array) -> Array:
    """The values of some rows in the bytes of their column, (n,)."""
    if _is_text(column):
        return _jsonb(column)
    return column.astype(_number_type(table, name))


def _rows_of_fields(
    names: Sequence[str],
    fields: Mapping[str, Array],
    n_rows: int,
) -> bytes:
    """For each row the number of fields, then size and bytes of each field."""
    layout: list[tuple[str, Any]] = [("n_fields", ">i2")]
    for name in names:
        layout.append((f"{name} size", ">i4"))
        if name in fields:
            layout.append((name, fields[name].dtype))
    rows = np.zeros(n_rows, layout)
    rows["n_fields"] = len(names)
    for name in names:
        if name in fields:
            rows[f"{name} size"] = fields[name].dtype.itemsize
            rows[name] = fields[name]
        else:
            rows[f"{name} size"] = BINARY_NULL
    return rows.tobytes()


def _is_text(column: Array) -> bool:
    return column.dtype.kind == "U"


def _is_missing(column: Array) -> Array:
    return column == "" if _is_text(column) else np.isnan(column)


def _jsonb(texts: Array) -> Array:
    """JSON texts (n,) as jsonb, padded to one width by spaces, which JSON ignores."""
    width = int(np.strings.str_len(texts).max())
    padded = np.strings.ljust(texts, width)
    return np.strings.add(JSONB_VERSION.decode(), padded).astype(np.bytes_)


def _number_type(table: Table, name: str) -> str:
    """The numpy type of a column of numbers, big-endian as Postgres sends it."""
    column_type = table.c[name].type
    if isinstance(column_type, SmallInteger):
        return ">i2"
    if isinstance(column_type, BigInteger):
        return ">i8"
    return ">f8"


@contextmanager
def _driver_and_target(
    connection: Connection, table: Table, columns: Sequence[str]
) -> Iterator[tuple[Any, str]]:
    """The driver's connection, and the table with its columns as SQL.

    Raises WriteError without quoting a row, which may be of a person.
    """
    preparer = connection.dialect.identifier_preparer
    names = ", ".join(preparer.quote(column) for column in columns)
    target = f"{preparer.format_table(table)} ({names})"
    try:
        yield connection.connection.dbapi_connection, target
    except connection.dialect.loaded_dbapi.Error as error:
        # The lines after the first quote rows.
        message = str(error).partition("\n")[0]
        raise WriteError(f"{table.name} could not be written: {message}") from error


def _copy(driver: Any, target: str, rows: Iterable[Sequence[Any]]) -> int:
    n_rows = 0
    with driver.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
            n_rows += 1
    return n_rows


def _copy_binary(driver: Any, target: str, blocks: Iterable[bytes]) -> None:
    statement = f"COPY {target} FROM STDIN (FORMAT BINARY)"
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(BINARY_HEAD)
        for block in blocks:
            copy.write(block)
        copy.write(BINARY_END)


def _insert_many(
    driver: Any,
    target: str,
    width: int,
    rows: Iterable[Sequence[Any]],
) -> int:
    marks = ", ".join("?" * width)
    # Names are the schema's only.
    statement = f"INSERT INTO {target} VALUES ({marks})"  # noqa: S608
    n_rows = 0
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK)):
        driver.executemany(statement, chunk)
        n_rows += len(chunk)
    return n_rows
