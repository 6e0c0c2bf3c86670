"""Lines -> fields, with the line they end on; what every format with separators shares."""

import csv
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from batch.ingest.parsing import BadRowError, RefusedError, field_count, rejected

csv.field_size_limit(131_072)


def csv_rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each CSV row but empty lines; the header is the first.

    Raises RefusedError on broken quoting: where one row ends is unknown from there on.
    """
    reader, read = csv.reader(lines, strict=True), 0
    try:
        for fields in reader:
            read = reader.line_num
            if fields:
                yield read, fields
    except csv.Error as error:
        raise RefusedError(
            "CSV_SYNTAX", f"not CSV ({error}); fix the quotes there", read + 1
        ) from None


def split_rows(lines: Iterable[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each line but empty ones, in files that know no quotes."""
    for number, line in enumerate(lines, 1):
        if text := line.rstrip("\r\n"):
            yield number, text.split(separator)


def parsed(
    rows: Iterator[tuple[int, list[str]]],
    width: int,
    separator: str,
    parse: Callable[[int, list[str]], Any],
) -> Iterator[Any]:
    """What `parse` makes of each row of `width` fields; a row it cannot read is a reject, and costs no other row."""
    for line, fields in rows:
        try:
            field_count(fields, width)
            yield parse(line, fields)
        except BadRowError as error:
            yield rejected(line, error, separator.join(fields))


def most(matches: Iterable[object]) -> bool:
    """Whether more of the first lines look right than not: one bad row does not hide what a file is."""
    told = [bool(match) for match in matches]
    return sum(told) * 2 > len(told)
