"""Lines -> fields with their line number; shared by all formats with separators."""

import csv
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from batch.ingest.parsing import BadRowError, RefusedError, Reject, rejected, require_field_count

Row = TypeVar("Row")
Fields = Iterator[tuple[int, list[str]]]
"""The number of the line that a row ends on, and the row's fields."""

csv.field_size_limit(131_072)  # characters of a field, before an open quote is an error


def csv_rows(lines: Iterable[str]) -> Fields:
    """The fields of each CSV row that is not empty; the header is the first.

    Raises RefusedError on broken quoting: after it, nobody can tell where a row ends.
    """
    reader = csv.reader(lines, strict=True)
    last_line = 0
    try:
        for fields in reader:
            last_line = reader.line_num
            if fields:
                yield last_line, fields
    except csv.Error as error:
        message = f"not CSV ({error}); fix the quotes there"
        raise RefusedError("CSV_SYNTAX", message, last_line + 1) from None


def split_rows(lines: Iterable[str], separator: str) -> Fields:
    """The fields of each line that is not empty, in files without quoting."""
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text:
            yield number, text.split(separator)


def parse_rows(
    rows: Fields, width: int, separator: str, parse: Callable[[int, list[str]], Row]
) -> Iterator[Row | Reject]:
    """The result of `parse` for each row of `width` fields, or a reject.

    `parse` takes the line number and the fields, and raises BadRowError.
    """
    for line, fields in rows:
        try:
            require_field_count(fields, width)
            yield parse(line, fields)
        except BadRowError as error:
            yield rejected(line, error, separator.join(fields))


def most(matches: Iterable[object]) -> bool:
    """Whether more than half are true: one bad row does not hide the format of a file."""
    results = [bool(match) for match in matches]
    return sum(results) * 2 > len(results)
