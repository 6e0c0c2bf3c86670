"""Lines of text -> rows of fields, for any separator, with or without quotes."""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from batch.ingest.errors import BadRowError, RefusedError
from batch.ingest.parsing import Reject, rejected
from batch.ingest.rows import Rows, TableRows, most

BLOCK_CHARACTERS = 1 << 20
"""Characters that are split at a time: about 50,000 ratings."""
MAX_BLOCK_LINES = 50_000
FIRST_BLOCK_LINES = 100
"""Lines of the first block, by which the length of lines is learnt."""
MAX_RECORD_LINES = 20
"""Lines that one row may have, by line ends within quotes."""
LITERAL_QUOTES = ("\t", "|")
"""Separators of files that often have quotes in titles without quoting anything."""
SEPARATOR_LINE = re.compile(r'"?sep=(.)"? *\Z')
"""The first line in which Excel names the separator."""
BLANKS = " "
"""The separator of files whose fields are separated by one or more blanks."""

csv.field_size_limit(131_072)  # characters of a field, before an open quote is an error


@dataclass(frozen=True)
class Dialect:
    """How the lines of a file are split."""

    separator: str  # BLANKS: any number of them
    quoted: bool = True  # fields may be in double quotes, as in CSV
    skipped: int = 0  # lines before the table, such as `sep=;`

    def split(self, line: str) -> list[str]:
        """The fields of a line without quotes."""
        text = line.rstrip("\r\n")
        return text.split() if self.separator == BLANKS else text.split(self.separator)

    def parse(self, lines: list[str]) -> list[str]:
        """The fields of the one row that these lines are. Raises csv.Error."""
        if not self.quoted or '"' not in lines[0]:
            return self.split(lines[0])
        return next(self.reader(lines), [])

    def reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """The rows of lines some of which have quotes; blanks before a field do not count."""
        return csv.reader(
            map(str.lstrip, lines) if self.separator == BLANKS else lines,
            delimiter=self.separator,
            skipinitialspace=True,
            strict=True,
        )


def table_rows(
    lines: Iterable[str],
    dialect: Dialect,
    width: int | None,
    advance: Callable[[int], None] = lambda _: None,
) -> TableRows:
    """The rows of a file in blocks, and a reject for each line whose quotes are broken.

    `width` is the number of columns, None where it is not known yet. `advance` is called with the
    number of characters that are read.
    """
    remaining = _Lines(lines)
    remaining.take(dialect.skipped)
    n_lines = FIRST_BLOCK_LINES
    while block := remaining.take(n_lines):
        fields = _fields_of_plain_lines(block, dialect)
        if fields is not None:
            first_line = remaining.number - len(block) + 1
            yield Rows(range(first_line, first_line + len(block)), fields, dialect.separator)
        else:
            end = remaining.number
            remaining.put_back(block)
            yield from _careful_rows(remaining, end, dialect, width)
        n_characters = sum(map(len, block))
        advance(n_characters)
        n_lines = min(MAX_BLOCK_LINES, BLOCK_CHARACTERS * len(block) // n_characters) or 1


def require_usual_quotes(rows: list[list[str]]) -> None:
    """Raise RefusedError where single quotes are around most fields of some column."""
    width = min(map(len, rows))
    for column in range(width):
        if most(_in_single_quotes(fields[column]) for fields in rows):
            field = rows[-1][column].strip()
            message = f"fields are in single quotes, such as {field}; write double quotes or none"
            raise RefusedError("SINGLE_QUOTES", message, 1)


def _in_single_quotes(field: str) -> bool:
    text = field.strip()
    return len(text) > 1 and text[0] == text[-1] == "'"


class _Lines:
    """The lines of a file, some of which are looked at before they are taken."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rest = iter(lines)
        self._ahead: deque[str] = deque()
        self.number = 0  # of the last line that was taken

    def take(self, n_lines: int) -> list[str]:
        """The next lines, fewer at the end."""
        taken = [self._ahead.popleft() for _ in range(min(n_lines, len(self._ahead)))]
        taken += islice(self._rest, n_lines - len(taken))
        self.number += len(taken)
        return taken

    def put_back(self, lines: list[str]) -> None:
        """Undo taking these last lines."""
        self._ahead.extendleft(reversed(lines))
        self.number -= len(lines)


def _fields_of_plain_lines(lines: list[str], dialect: Dialect) -> list[list[str]] | None:
    """The fields of each line, or None where some row has several lines or broken quotes."""
    if not dialect.quoted or not any('"' in line for line in lines):
        return [dialect.split(line) for line in lines]
    try:
        rows = list(dialect.reader(lines))
    except csv.Error:
        return None
    return rows if len(rows) == len(lines) else None


def _careful_rows(
    lines: _Lines, end: int, dialect: Dialect, width: int | None
) -> Iterator[Rows | Reject]:
    """The rows up to line `end`, one by one: a line that breaks the rules of quotes is a reject."""
    while lines.number < end:
        (line,) = lines.take(1)
        try:
            fields = _record(line, lines, dialect, width)
        except BadRowError as error:
            yield rejected(lines.number, error, line.rstrip("\r\n"))
        else:
            yield Rows([lines.number], [fields], dialect.separator)


def _record(line: str, lines: _Lines, dialect: Dialect, width: int | None) -> list[str]:
    """The fields of the row that starts with `line`; its other lines are taken.

    A row of several lines must have as many fields as its table has columns, and no line in its
    middle may: an open quote costs its own line only. Raises BadRowError.
    """
    try:
        return dialect.parse([line])
    except csv.Error as error:
        reason = error
    if dialect.separator in LITERAL_QUOTES and len(dialect.split(line)) == width:
        return dialect.split(line)
    following = lines.take(MAX_RECORD_LINES - 1)
    for n_lines in range(1, len(following) + 1):
        if n_lines > 1 and len(dialect.split(following[n_lines - 2])) == width:
            break
        try:
            fields = dialect.parse([line, *following[:n_lines]])
        except csv.Error:
            continue
        if width in (None, len(fields)):
            lines.put_back(following[n_lines:])
            return fields
        break
    lines.put_back(following)
    message = f"not CSV ({reason}); fix the quotes there"
    raise BadRowError(None, "CSV_SYNTAX", message)
