"""A recognised file -> its ratings or films, in the order of its rows."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from batch.ingest.encoding import UTF8, Encoding
from batch.ingest.fast_ratings import Block, read_ratings
from batch.ingest.file_format import FileRow, Layout
from batch.ingest.parsing import MovieRow, Reading, Reject
from batch.ingest.rows import TableRows, shaped
from batch.ingest.separated import Dialect, table_rows
from batch.ingest.sources import Source

Advance = Callable[[int], None]
"""Called with the number of bytes or characters that were read."""
FileRows: TypeAlias = Generator[FileRow | Reject, None, None]
ReadFile: TypeAlias = Callable[[Reading, Advance], FileRows]
"""What reads a file from its start. Raises RefusedError."""


class Table(Protocol):
    """A file as rows of texts."""

    def rows(self, _width: int, advance: Advance) -> TableRows:
        """All rows of a table of so many columns, the header included."""


@dataclass(frozen=True)
class TextTable:
    """A file of lines."""

    source: Source
    encoding: Encoding
    dialect: Dialect

    def rows(self, width: int, advance: Advance) -> TableRows:
        """The rows of the whole file."""
        with self.source.lines(self.encoding.name) as lines:
            yield from table_rows(lines, self.dialect, width, advance)


def reader(table: Table, layout: Layout) -> ReadFile:
    """What reads a table by a layout."""

    def read(reading: Reading, advance: Advance) -> FileRows:
        reading.times = layout.times
        if isinstance(table, TextTable):
            if table.encoding.guess is not None:
                reading.warn(f"{table.encoding.guess}, a guess; save it as UTF-8 to be sure")
            if layout.plain is not None and _is_plain_text(table, layout):
                yield from _read_plain(table, layout, reading, advance)
                return
        rows = _below_header(table.rows(layout.width, advance), layout)
        yield from _usable(layout.parse(rows, reading), layout, reading)

    return read


def _is_plain_text(table: TextTable, layout: Layout) -> bool:
    """Whether its slow reader would read UTF-8, as that of blocks of bytes does."""
    return layout.format.kind == "ratings" or table.encoding.name == UTF8


def _usable(
    rows: Iterator[FileRow | Reject], layout: Layout, reading: Reading
) -> Iterator[FileRow | Reject]:
    """The rows without ratings that mean "not rated"; all films that were seen."""
    return rows if layout.format.kind == "seen" else _rated(rows, reading)


def _rated(rows: Iterator[FileRow | Reject], reading: Reading) -> Iterator[FileRow | Reject]:
    """The rows without ratings that mean "not rated", which are counted."""
    for row in rows:
        if isinstance(row, Block):
            is_rated = ~(np.isin(row.stars, list(reading.unrated)) | np.isnan(row.stars))  # (k,)
            n_rated = int(np.count_nonzero(is_rated))
            reading.n_unrated += len(row.stars) - n_rated
            if n_rated == len(row.stars):
                yield row
            elif n_rated:
                yield row.only(is_rated)
        elif isinstance(row, (Reject, MovieRow)):
            yield row
        elif row[3] in reading.unrated or row[3] != row[3]:
            reading.n_unrated += 1
        else:
            yield row


def _read_plain(
    table: TextTable, layout: Layout, reading: Reading, advance: Advance
) -> Iterator[FileRow | Reject]:
    """Blocks of bytes, as long as lines are plain."""

    def read_slowly(lines: Iterable[str]) -> Iterator[FileRow | Reject]:
        return read_lines(lines, table.dialect, layout, reading, advance)

    if layout.plain is not None:
        with table.source.open() as file:
            rows = read_ratings(file, layout.plain, read_slowly, reading, advance)
            yield from _usable(rows, layout, reading)


def read_lines(
    lines: Iterable[str],
    dialect: Dialect,
    layout: Layout,
    reading: Reading,
    advance: Advance = lambda _: None,
) -> Iterator[FileRow | Reject]:
    """The ratings or films of these lines, the header included."""
    rows = table_rows(lines, dialect, layout.width, advance)
    return layout.parse(_below_header(rows, layout), reading)


def _below_header(rows: TableRows, layout: Layout) -> TableRows:
    """The rows in the shape of the layout, without the header."""
    waiting = layout.has_header
    for block in rows:
        if isinstance(block, Reject):
            yield block
            continue
        in_shape = shaped(block, layout.width)
        if waiting and in_shape.fields:
            waiting = False
            lines, fields, _ = in_shape
            in_shape = in_shape._replace(lines=lines[1:], fields=fields[1:])
        if in_shape.fields:
            yield in_shape
