"""A run's lists -> a file of rows for other programs: CSV, JSON lines or Parquet."""

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from sqlalchemy import Connection, select

from batch import RecbatchError, query
from batch.files import replacing
from batch.query import Row
from batch.store import schema

ROW_GROUP = 50_000
"""Rows of a row group of Parquet, which are in memory together."""
GZIP_LEVEL = 6
"""Of 9. Nine itself, Python's default, takes twice the time for 6 % fewer bytes."""
QUOTED = re.compile(r'^$|[",\r\n]')
"""Texts that stand in quotes in a CSV file: an empty one too, as NULL is an empty cell.

Python's csv module leaves a lone \\r without quotes before 3.13, and then takes it for the end
of the row.
"""


class ExportFileError(RecbatchError):
    """A file whose ending names no format."""


class MissingPackageError(RecbatchError):
    """A format needs a package that is not installed."""


@dataclass(frozen=True)
class Exported:
    """What was written: all rows are of this run."""

    file: Path
    run_id: int
    rows: int


def export(
    connection: Connection, file: Path, *, model: str | None = None, run_id: int | None = None
) -> Exported:
    """Write the rows of `query.rows`, in the format that the ending of the file names.

    An existing file is replaced in one step by the whole new one, or stays as it is. Raises
    ExportFileError, MissingPackageError, NoSuchRunError, NoSuchModelError, OSError.
    """
    write = _writer(file)
    rows = query.rows(connection, model=model, run_id=run_id)
    if run_id is None:  # there is one, or reading its rows would have failed
        run_id = connection.execute(select(schema.publication.c.run_id)).scalar_one()
    with replacing(file) as out:
        n_rows = write(rows, out)
    return Exported(file, run_id, n_rows)


Writer = Callable[[Iterator[Row], BinaryIO], int]
"""Writes rows, and returns how many there were."""


def _writer(file: Path) -> Writer:
    for ending, write in WRITERS.items():
        if file.name.lower().endswith(ending):
            return write
    *others, last = WRITERS
    endings = f"{', '.join(others)} or {last}"
    raise ExportFileError(f"{file}: the ending says no format; name a file that ends in {endings}")


def _write_csv(rows: Iterator[Row], out: BinaryIO) -> int:
    """Cells are texts as they are, also those that a spreadsheet would take for a formula."""
    _write_lines([_csv_line(Row._fields)], out)
    return _write_lines((_csv_line(row.cells()) for row in rows), out)


def _csv_line(values: Iterable[Any]) -> str:
    return ",".join(map(_cell, values))


def _cell(value: Any) -> str:
    """A number, a time in ISO 8601, or a text; empty for None."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    if QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _write_json_lines(rows: Iterator[Row], out: BinaryIO) -> int:
    """One object a line, `reason` as an object in it."""
    encoder = json.JSONEncoder(ensure_ascii=False, default=datetime.isoformat)
    return _write_lines((encoder.encode(row._asdict()) for row in rows), out)


def _write_lines(lines: Iterable[str], out: BinaryIO) -> int:
    n_lines = 0
    for line in lines:
        out.write(line.encode() + b"\n")
        n_lines += 1
    return n_lines


def _write_parquet(rows: Iterator[Row], out: BinaryIO) -> int:
    """Typed columns; `reason` is JSON as text."""
    pyarrow = _package("pyarrow")
    parquet = _package("pyarrow.parquet")
    columns = pyarrow.schema(_parquet_fields(pyarrow))
    n_rows = 0
    with parquet.ParquetWriter(out, columns) as writer:
        while block := [row.cells() for row in islice(rows, ROW_GROUP)]:
            arrays = [
                pyarrow.array(values, column.type)
                for values, column in zip(zip(*block, strict=True), columns, strict=True)
            ]
            writer.write_batch(pyarrow.RecordBatch.from_arrays(arrays, schema=columns))
            n_rows += len(block)
    return n_rows


def _parquet_fields(pyarrow: Any) -> list[Any]:
    """Name, type and whether it may be NULL, of each column."""
    text = pyarrow.string()
    return [
        pyarrow.field("user_key", text, nullable=False),
        pyarrow.field("user_name", text),
        pyarrow.field("model", text, nullable=False),
        pyarrow.field("rank", pyarrow.int32(), nullable=False),
        pyarrow.field("movie_key", text, nullable=False),
        pyarrow.field("title", text, nullable=False),
        pyarrow.field("score", pyarrow.float64(), nullable=False),
        pyarrow.field("predicted_rating", pyarrow.float64()),
        pyarrow.field("reason", text),
        pyarrow.field("run_id", pyarrow.int64(), nullable=False),
        pyarrow.field("published_at", pyarrow.timestamp("us", tz="UTC")),
        pyarrow.field("why", text),
    ]


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        message = "a Parquet file needs pyarrow; pip install 'recbatch[files]', or write .csv"
        raise MissingPackageError(message) from None


def _packed(write: Writer) -> Writer:
    """The same, packed; the same rows become the same bytes, as no time and no name goes in."""

    def write_packed(rows: Iterator[Row], out: BinaryIO) -> int:
        with gzip.GzipFile("", "wb", GZIP_LEVEL, out, mtime=0) as packed:
            return write(rows, cast(BinaryIO, packed))

    return write_packed


WRITERS: dict[str, Writer] = {
    ".csv": _write_csv,
    ".csv.gz": _packed(_write_csv),
    ".jsonl": _write_json_lines,
    ".jsonl.gz": _packed(_write_json_lines),
    ".parquet": _write_parquet,
}
"""Endings of files, and what writes them."""
