"""Columns of numbers -> rows of a table, by the fastest way that its database has."""

from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sqlalchemy import BigInteger, Connection, SmallInteger, Table

from batch.database import bulk_copy, bulk_insert

Array: TypeAlias = npt.NDArray[Any]


def insert_columns(
    connection: Connection, table: Table, constants: Mapping[str, int | str], columns: Mapping[str, Array]
) -> int:
    """Insert k rows, whose columns are numbers, (k,) each, or the same in each row, and return k; nan becomes NULL.

    On Postgres numpy lays the rows out as COPY reads them; SQLite takes nothing but objects, one by one.
    Raises WriteError, as `bulk_insert` does.
    """
    names, count = [*constants, *columns], len(next(iter(columns.values())))
    if connection.dialect.name == "postgresql":
        return bulk_copy(connection, table, names, _laid_out(table, constants, columns), count)
    same = [repeat(value, count) for value in constants.values()]
    lists = [_objects(table, name, column) for name, column in columns.items()]
    return bulk_insert(connection, table, names, zip(*same, *lists, strict=True))


def _objects(table: Table, name: str, column: Array) -> list[Any]:
    unknown = np.isnan(column)
    values: list[Any] = np.where(unknown, 0, column).astype(_type(table, name)).tolist()
    for place in np.flatnonzero(unknown).tolist():
        values[place] = None
    return values


def _laid_out(table: Table, constants: Mapping[str, int | str], columns: Mapping[str, Array]) -> Iterator[bytes]:
    """The rows in Postgres' binary form. Those that lack the same columns have one layout, and come together."""
    unknown = [np.isnan(column) << place for place, column in enumerate(columns.values())]
    lacking = np.bitwise_or.reduce(unknown, axis=0)  # (k,) a bit for each column
    for pattern in np.unique(lacking):
        chosen = lacking == pattern
        texts = {name: value.encode() for name, value in constants.items() if isinstance(value, str)}
        present = {name: column for place, (name, column) in enumerate(columns.items()) if not pattern >> place & 1}
        fields = {**constants, **texts, **present}
        layout = [("fields", ">i2")]
        for name in (*constants, *columns):
            layout.append((f"{name} size", ">i4"))
            if name in fields:
                layout.append((name, f"S{len(texts[name])}" if name in texts else _type(table, name)))
        rows = np.zeros(np.count_nonzero(chosen), layout)
        rows["fields"] = len(constants) + len(columns)
        for name in (*constants, *columns):
            rows[f"{name} size"] = rows.dtype[name].itemsize if name in fields else -1  # -1 stands for NULL
            if name in fields:
                rows[name] = columns[name][chosen] if name in columns else fields[name]
        yield rows.tobytes()


def _type(table: Table, name: str) -> str:
    """What a column of numbers holds, in Postgres' order of bytes."""
    kind = table.c[name].type
    return ">i2" if isinstance(kind, SmallInteger) else ">i8" if isinstance(kind, BigInteger) else ">f8"
