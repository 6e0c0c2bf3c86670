"""Rows of texts, the common form of all tables, and what is done with each of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from batch.ingest.errors import BadRowError
from batch.ingest.parsing import Reject, rejected, require_field_count

Row = TypeVar("Row")


class Rows(NamedTuple):
    """k consecutive rows of a table."""

    lines: Sequence[int]  # (k,) the line that each row ends on, from 1
    fields: list[list[str]]  # (k,) the fields of each row
    separator: str = ","  # of the fields, where a rejected row is shown


TableRows: TypeAlias = Iterator[Rows | Reject]
"""The rows of a table in their order; a reject is a line that has no fields."""


def shaped(rows: Rows, width: int) -> Rows:
    """The rows without those that are blank, and without blank fields beyond the width."""
    for fields in rows.fields:
        if len(fields) != width or not fields[0]:
            break
    else:
        return rows  # nothing to do, as for most
    lines: list[int] = []
    kept: list[list[str]] = []
    for line, fields in zip(rows.lines, rows.fields, strict=True):
        if not any(text.strip() for text in fields):
            continue
        if has_width(fields, width):
            kept.append(fields[:width])
        else:
            kept.append(fields)
        lines.append(line)
    return rows._replace(lines=lines, fields=kept)


def has_width(fields: list[str], width: int) -> bool:
    """Whether a row has so many fields, not counting blank ones behind them."""
    if len(fields) <= width:
        return len(fields) == width
    return not any(text.strip() for text in fields[width:])


def parse_rows(
    rows: TableRows, width: int, parse: Callable[[int, list[str]], Row]
) -> Iterator[Row | Reject]:
    """The result of `parse` for each row of `width` fields, or a reject.

    `parse` takes the line number and the fields, and raises BadRowError.
    """
    for block in rows:
        if isinstance(block, Reject):
            yield block
        else:
            yield from parse_block_rows(block, width, parse)


def parse_block_rows(
    block: Rows, width: int, parse: Callable[[int, list[str]], Row]
) -> Iterator[Row | Reject]:
    """The same for the rows of one block."""
    for line, fields in zip(block.lines, block.fields, strict=True):
        try:
            require_field_count(fields, width)
            yield parse(line, fields)
        except BadRowError as error:
            yield rejected(line, error, block.separator.join(fields))


def most(matches: Iterable[object]) -> bool:
    """Whether more than half are true: one bad row does not hide the format of a file."""
    results = [bool(match) for match in matches]
    return sum(results) * 2 > len(results)
